-- What every script of the cache begins with. Entries, tags and what they count live in one incarnation
-- of the index: the server's own run id and the microsecond in which it was found new. In another one
-- nothing of the former is believed, whatever an append-only file brought back: the last second's
-- invalidations may be missing from it.
-- KEYS: facts, entries, used, tags, prefix of what is named by digest, tag or token.
local facts, entries, used, tags, prefix = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local ENTRY_BYTES, TAG_BYTES = 320, 160 -- what Redis keeps beside an entry's and a tag's own text, measured
local time = redis.call('TIME')
local now_ms = time[1] * 1000 + math.floor(time[2] / 1000)
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local incarnation = redis.call('HGET', facts, 'incarnation')

local function start_anew()
  redis.call('UNLINK', facts, entries, used, tags)
  incarnation = string.format('%s:%.0f', server, time[1] * 1000000 + time[2])
  redis.call('HSET', facts, 'incarnation', incarnation)
end

if not incarnation or string.sub(incarnation, 1, #server) ~= server then
  start_anew()
end

local function fact(name)
  return tonumber(redis.call('HGET', facts, name) or 0)
end

-- When a tag was last invalidated. Those that had to make room were so no later than the floor.
local function invalidated(tag)
  return tonumber(redis.call('ZSCORE', tags, tag)) or fact('floor')
end

-- Whether a body that writes what the tag stands for may be at it.
local function being_written(tag)
  local key = prefix .. 'writes:' .. tag
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now_ms)
  return redis.call('EXISTS', key) == 1
end

-- An entry is a line `expires_ms stamp tags`, a line for each tag, and what the cache keeps.
local function parsed(blob)
  local stop = string.find(blob, '\n', 1, true)
  local expires_ms, stamp, count = string.match(string.sub(blob, 1, stop - 1), '^(%d+) (%d+) (%d+)$')
  local named = {}
  for i = 1, tonumber(count) do
    local from = stop + 1
    stop = string.find(blob, '\n', from, true)
    named[i] = string.sub(blob, from, stop - 1)
  end
  return tonumber(expires_ms), tonumber(stamp), named, stop + 1
end

local function drop(digest)
  local blob = redis.call('HGET', entries, digest)
  if blob then
    redis.call('HDEL', entries, digest)
    redis.call('HINCRBY', facts, 'bytes', -(#blob + #digest + ENTRY_BYTES))
  end
  redis.call('ZREM', used, digest)
  return blob
end

-- Keep an entry, and make room for it among those that were used least lately.
local function keep(digest, blob, used_ms, limit)
  local size = #blob + #digest + ENTRY_BYTES
  if size * 4 > limit then
    return 0
  end
  drop(digest)
  redis.call('HSET', entries, digest, blob)
  redis.call('ZADD', used, used_ms, digest)
  local bytes = redis.call('HINCRBY', facts, 'bytes', size)
  while bytes + fact('tag_bytes') > limit do
    local oldest = redis.call('ZRANGE', used, 0, 0)[1]
    if not oldest then
      break
    end
    drop(oldest)
    redis.call('HINCRBY', facts, 'evicted', 1)
    bytes = fact('bytes')
  end
  return redis.call('HEXISTS', entries, digest)
end

-- Give the lease back, and tell those who wait for it.
local function release(digest, token)
  local lease, waiters = prefix .. 'lease:' .. digest, prefix .. 'waiters:' .. digest
  local holder = redis.call('GET', lease)
  if holder and holder ~= token then
    return
  end
  redis.call('DEL', lease)
  for _, waiter in ipairs(redis.call('SMEMBERS', waiters)) do
    local told = prefix .. 'told:' .. waiter
    redis.call('RPUSH', told, '1')
    redis.call('PEXPIRE', told, 10000)
  end
  redis.call('DEL', waiters)
end
