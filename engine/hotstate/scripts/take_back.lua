-- Take nodes back from a delivery: those that this token holds (any, if it is empty) and whose bodies
-- have not begun. The worker that claimed them finds no permit when it comes to them. A scheduler that
-- does not lead any more must not: its successor would miss them.
-- KEYS: fence of the shard, permits of the run. ARGV: the scheduler's fencing epoch (empty: do not ask),
-- token, fields. Returns the fields that were taken, or false.
if ARGV[1] ~= '' and redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return false
end
local taken = {}
for i = 3, #ARGV do
  local permit = redis.call('HGET', KEYS[2], ARGV[i])
  local held = permit and (string.sub(permit, 1, 1) == 'p' or string.sub(permit, 1, 1) == 'c')
  if held and (ARGV[2] == '' or string.sub(permit, 3, #ARGV[2] + 3) == ARGV[2] .. ' ') then
    redis.call('HDEL', KEYS[2], ARGV[i])
    taken[#taken + 1] = ARGV[i]
  end
end
return taken
