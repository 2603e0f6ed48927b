-- A token bucket by Redis' own clock. A bucket that is not there, perhaps because Redis was emptied,
-- starts with one token: a full one would let a burst pass twice.
-- KEYS: bucket. ARGV: tokens a second, burst, wanted.
-- Returns how many were granted, and milliseconds until there is another.
local per_s, burst, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at_ms')
local tokens = 1
if bucket[1] then
  local elapsed_ms = math.max(0, now_ms - tonumber(bucket[2]))
  tokens = math.min(burst, tonumber(bucket[1]) + elapsed_ms * per_s / 1000)
end
local granted = math.min(want, math.floor(tokens))
tokens = tokens - granted
redis.call('HSET', KEYS[1], 'tokens', string.format('%.9f', tokens), 'at_ms', string.format('%.0f', now_ms))
redis.call('PEXPIRE', KEYS[1], math.ceil(3600000 + burst / per_s * 1000))
return { granted, math.max(0, math.ceil((1 - tokens) / per_s * 1000)) }
