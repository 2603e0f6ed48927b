-- Room at a provider: open calls, each with a time after which its caller counts as dead unless it has renewed it by
-- then, and a bucket of tokens.
-- A model whose provider asked to be left alone is let nobody in to until then: all workers would be refused.
-- KEYS: sorted set of open calls by the millisecond they run out, hash of the bucket, of the models left alone, and of
-- when somebody last entered, asked or renewed (`seen`).
-- ARGV: 'enter', call, most open, tokens a minute (0: no limit), tokens wanted, milliseconds of a lease, model
--       'renew', milliseconds of a lease, calls: they still run, and count again if they had run out
--       'leave', call, tokens a minute, tokens to give back (below 0: used more than asked for), model,
--       milliseconds that it asked to be left alone for (0: it did not)
-- Enter returns {1, 0, 0, calls open} or {0, milliseconds until it is worth asking again, 1 if it is left alone until
-- then, calls open}; renew returns {calls that had run out, calls open}; leave returns {1}.
-- Where nobody was heard for half a lease Redis may have been away, and calls have run out that could not be renewed:
-- their callers have a quarter of a lease before anybody takes their places.
-- A bucket that is not there, perhaps because Redis was emptied, begins with a second's worth, so that a burst does
-- not pass twice; calls open then are not known any more until they are renewed, and bounded by the bucket alone.
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

local function bucket(per_minute)
  local kept = redis.call('HMGET', KEYS[2], 'tokens', 'at_ms')
  if not kept[1] then
    return per_minute / 60
  end
  local elapsed_ms = math.max(0, now_ms - tonumber(kept[2]))
  return math.min(per_minute, tonumber(kept[1]) + elapsed_ms * per_minute / 60000)
end

local function keep(tokens)
  redis.call('HSET', KEYS[2], 'tokens', string.format('%.3f', tokens), 'at_ms', string.format('%.0f', now_ms))
  redis.call('PEXPIRE', KEYS[2], 3600000)
end

if ARGV[1] == 'leave' then
  local per_minute, back = tonumber(ARGV[3]), tonumber(ARGV[4])
  local known = redis.call('ZREM', KEYS[1], ARGV[2])
  if known == 1 and per_minute > 0 and back ~= 0 then
    keep(math.min(per_minute, bucket(per_minute) + back))
  end
  local alone = 'alone ' .. ARGV[5]
  local until_ms = now_ms + tonumber(ARGV[6])
  if until_ms > now_ms and until_ms > tonumber(redis.call('HGET', KEYS[2], alone) or '0') then
    redis.call('HSET', KEYS[2], alone, string.format('%.0f', until_ms))
    redis.call('PEXPIRE', KEYS[2], 3600000)
  end
  return { 1 }
end

-- Whether those who ran out may be forgotten: they have had a chance to renew.
local function heard(live_ms)
  local kept = redis.call('HMGET', KEYS[2], 'seen', 'spared')
  local seen_ms, spared_ms = tonumber(kept[1] or now_ms), tonumber(kept[2] or '0')
  if now_ms - seen_ms > live_ms / 2 then
    spared_ms = now_ms + math.floor(live_ms / 4)
    redis.call('HSET', KEYS[2], 'spared', string.format('%.0f', spared_ms))
  end
  if not kept[1] or now_ms - seen_ms > live_ms / 16 then
    redis.call('HSET', KEYS[2], 'seen', string.format('%.0f', now_ms))
    redis.call('PEXPIRE', KEYS[2], 3600000)
  end
  return now_ms >= spared_ms
end

if ARGV[1] == 'renew' then
  local live_ms, late = tonumber(ARGV[2]), 0
  heard(live_ms)
  for i = 3, #ARGV do
    local over_ms = redis.call('ZSCORE', KEYS[1], ARGV[i])
    if not over_ms or tonumber(over_ms) <= now_ms then
      late = late + 1
    end
    redis.call('ZADD', KEYS[1], now_ms + live_ms, ARGV[i])
  end
  redis.call('PEXPIRE', KEYS[1], 3600000)
  return { late, redis.call('ZCOUNT', KEYS[1], now_ms, '+inf') }
end

local most, per_minute, wanted = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local live_ms = tonumber(ARGV[6])
if heard(live_ms) then
  redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_ms)
end
local open = redis.call('ZCARD', KEYS[1])
if redis.call('ZSCORE', KEYS[1], ARGV[2]) then
  redis.call('ZADD', KEYS[1], now_ms + live_ms, ARGV[2])
  return { 1, 0, 0, open } -- it is in already: the first reply was lost
end
if open >= most then
  return { 0, 0, 0, open }
end
local left_ms = tonumber(redis.call('HGET', KEYS[2], 'alone ' .. ARGV[7]) or '0') - now_ms
if left_ms > 0 then
  return { 0, left_ms, 1, open }
end
if per_minute > 0 then
  -- A call above the whole minute's tokens enters on a full bucket and leaves it in debt.
  local tokens, needed = bucket(per_minute), math.min(wanted, per_minute)
  if tokens < needed then
    keep(tokens)
    return { 0, math.ceil((needed - tokens) * 60000 / per_minute), 0, open }
  end
  keep(tokens - wanted)
end
redis.call('ZADD', KEYS[1], now_ms + live_ms, ARGV[2])
redis.call('PEXPIRE', KEYS[1], 3600000)
return { 1, 0, 0, open + 1 }
