-- From now on only this scheduler's permits are taken. Refused if Redis was emptied since the caller
-- read the marker (and made sure of its lease after that), or if a later scheduler leads.
-- KEYS: fence of the shard, marker. ARGV: the scheduler's fencing epoch, the marker it knows.
-- Returns 1 or 0.
if redis.call('GET', KEYS[2]) ~= ARGV[2] then
  return 0
end
local known = redis.call('GET', KEYS[1])
if known and tonumber(known) > tonumber(ARGV[1]) then
  return 0
end
redis.call('SET', KEYS[1], ARGV[1])
return 1
