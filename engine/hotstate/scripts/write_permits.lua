-- Store permits of one run, if the scheduler that writes them still leads its shard: one that was
-- frozen must not bring back what its successor revoked.
-- KEYS: fence of the shard, permits of the run, the shard's runs with permits. ARGV: the scheduler's
-- fencing epoch, the run, then field and permit in turn. Returns 1 or 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
redis.call('SADD', KEYS[3], ARGV[2])
for i = 3, #ARGV, 2 do
  redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1])
end
return 1
