-- What tags stand for has changed, or may change from now on (`open`), or has stopped changing (`close`):
-- whatever was begun before is stale, and nothing is kept that is begun while it changes.
-- ARGV: open, close or bump; token of the writer; ms after which an open one counts as gone; byte bound; tags.
-- Returns the incarnation and the stamp of the invalidation.
local mode, token, open_ms, limit = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local stamp = redis.call('HINCRBY', facts, 'clock', 1)
for i = 5, #ARGV do
  local tag, key = ARGV[i], prefix .. 'writes:' .. ARGV[i]
  if mode == 'open' then
    redis.call('ZADD', key, now_ms + open_ms, token)
    if redis.call('PTTL', key) < open_ms then
      redis.call('PEXPIRE', key, open_ms)
    end
  elseif mode == 'close' then
    redis.call('ZREM', key, token)
  end
  if redis.call('ZADD', tags, stamp, tag) == 1 then
    redis.call('HINCRBY', facts, 'tag_bytes', #tag + TAG_BYTES)
  end
end
-- Tags may have a quarter of the room; those invalidated longest ago give way.
while fact('tag_bytes') * 4 > limit do
  local oldest = redis.call('ZPOPMIN', tags)
  if not oldest[1] then
    break
  end
  redis.call('HINCRBY', facts, 'tag_bytes', -(#oldest[1] + TAG_BYTES))
  redis.call('HSET', facts, 'floor', oldest[2])
end
return { incarnation, stamp }
