-- Take nodes back from a delivery: those that this token holds (any, if it is empty) and whose bodies
-- have not begun. The worker that claimed them finds no permit when it comes to them.
-- KEYS: permits of the run. ARGV: token, fields. Returns the fields that were taken.
local taken = {}
for i = 2, #ARGV do
  local permit = redis.call('HGET', KEYS[1], ARGV[i])
  local held = permit and (string.sub(permit, 1, 1) == 'p' or string.sub(permit, 1, 1) == 'c')
  if held and (ARGV[1] == '' or string.sub(permit, 3, #ARGV[1] + 3) == ARGV[1] .. ' ') then
    redis.call('HDEL', KEYS[1], ARGV[i])
    taken[#taken + 1] = ARGV[i]
  end
end
return taken
