-- A worker's heartbeat: it is alive, and so are these deliveries (their leases come back even after
-- a flush). Returns the indices, from 1, of the tokens that were told to stop.
-- KEYS: worker, index of workers, prefix of stop flags, then one leases key a token.
-- ARGV: worker as JSON, its name, lease in ms, then the tokens.
local lease_ms = tonumber(ARGV[3])
local now = redis.call('TIME')
local expiry = now[1] * 1000 + math.floor(now[2] / 1000) + lease_ms
redis.call('SET', KEYS[1], ARGV[1], 'PX', lease_ms)
redis.call('ZADD', KEYS[2], expiry, ARGV[2])
redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', expiry - 2 * lease_ms)
local stopped = {}
for i = 4, #ARGV do
  redis.call('ZADD', KEYS[i], expiry, ARGV[i])
  if redis.call('EXISTS', KEYS[3] .. ARGV[i]) == 1 then
    stopped[#stopped + 1] = i - 3
  end
end
return stopped
