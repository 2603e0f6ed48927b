-- Store a report and give up what it ends, in one step: no moment in which a node is neither
-- leased nor reported. A permit that carries another token by now is not ours to delete.
-- KEYS: stream, permits of the run, leases of the shard.
-- ARGV: report, token, 1 if the delivery has no node left, fields that ended.
redis.call('XADD', KEYS[1], '*', 'r', ARGV[1])
local pattern = ' ' .. ARGV[2] .. ' '
for i = 4, #ARGV do
  local permit = redis.call('HGET', KEYS[2], ARGV[i])
  if permit and string.sub(permit, 2, #pattern + 1) == pattern then
    redis.call('HDEL', KEYS[2], ARGV[i])
  end
end
if ARGV[3] == '1' then
  redis.call('ZREM', KEYS[3], ARGV[2])
end
return 1
