-- Take slots of a pool that several shards share. Each shard writes only its own field, with what it
-- holds in truth, so that a lost reply or a flush is set right by its next call.
-- KEYS: pool, names of the pools. ARGV: shard, in use, limit, wanted, its name. Returns how many were granted.
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
local total = 0
for _, in_use in ipairs(redis.call('HVALS', KEYS[1])) do
  total = total + tonumber(in_use)
end
local granted = math.max(0, math.min(tonumber(ARGV[4]), tonumber(ARGV[3]) - total))
local held = ARGV[2] + granted
if held > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], held)
  redis.call('SADD', KEYS[2], ARGV[5])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return granted
