-- Budgets: reserve, settle, and what rebuilds the counters after a loss. One file, so that all of it
-- keeps to one form of a record; the first argument says what is to be done.
--
-- KEYS[1] is the prefix of everything here. `gen` names the server and its content (run id and marker);
-- `ready` is the same once the counters hold. What is of a generation bears its name, so that what an
-- append-only file brings back after a restart counts for nothing.
--
-- Amounts are four whole numbers: nano-dollars, tokens, calls, milliseconds; exact below 2^53.
-- A scope is a hash: s1..s4 settled, r1..r4 reserved. A record is a field of its delivery's hash:
--   state expiry_ms a1 a2 a3 a4 scopes buckets shard node
-- o: open; x: open and expired, counted as spent; s: settled. Whatever is in a record is counted in its
-- scopes, if the generation is ready. `scopes` and `buckets` are joined by commas; a bucket is
-- name=capacity.
local PREFIX, VERB = KEYS[1], ARGV[1]
local gen = redis.call('GET', PREFIX .. 'gen')
local same_server = gen and string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') == string.match(gen, '^%x+')
local ready = same_server and redis.call('GET', PREFIX .. 'ready') == gen
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now_ms = math.floor(now_us / 1000)
local KEPT_S = 34560000
local SETTLED, RESERVED = { 's1', 's2', 's3', 's4' }, { 'r1', 'r2', 'r3', 'r4' }

local function whole(number)
  return string.format('%.0f', number)
end
local function key(kind, name)
  return PREFIX .. gen .. ':' .. kind .. ':' .. name
end
local function split(text, pattern)
  local parts = {}
  for part in string.gmatch(text, pattern) do
    parts[#parts + 1] = part
  end
  return parts
end
local function parsed(raw)
  local p = split(raw, '%S+')
  return {
    state = p[1], expiry = tonumber(p[2]), scopes = p[7], buckets = p[8], shard = p[9], node = p[10],
    amounts = { tonumber(p[3]), tonumber(p[4]), tonumber(p[5]), tonumber(p[6]) },
  }
end
local function text(record)
  local a = record.amounts
  return table.concat({
    record.state, whole(record.expiry), whole(a[1]), whole(a[2]), whole(a[3]), whole(a[4]),
    record.scopes, record.buckets, record.shard, record.node,
  }, ' ')
end
-- Scopes of runs are remembered, so that a scheduler finds them once their run is over.
local function remember(scope)
  if string.find(scope, '^run/') or string.find(scope, '^task/') then
    redis.call('SADD', PREFIX .. gen .. ':runs', scope)
  end
end
-- A scope that is not there was forgotten: its run is over, or its day. Only what is new to the counters makes one,
-- and none is without a time at which it goes.
local function add(scopes, fields, amounts, sign, makes)
  for _, scope in ipairs(split(scopes, '[^,]+')) do
    local name = key('s', scope)
    local is_new = scope ~= '-' and redis.call('EXISTS', name) == 0
    if scope ~= '-' and (makes or not is_new) then
      for i = 1, 4 do
        if amounts[i] ~= 0 then
          redis.call('HINCRBY', name, fields[i], whole(sign * amounts[i]))
        end
      end
      if is_new then
        redis.call('EXPIRE', name, KEPT_S)
        remember(scope)
      end
    end
  end
end
-- The bucket's level now, what flowed in since it was last touched included. One that is new starts full:
-- after a loss it is written before the generation is ready.
local function level(name, capacity, per_h)
  local at = redis.call('HMGET', key('b', name), 'level', 'at_us')
  if not at[1] then
    return capacity
  end
  local flowed = math.floor(math.max(0, now_us - tonumber(at[2])) / 3600000000 * per_h)
  return math.min(capacity, tonumber(at[1]) + flowed)
end
local function pour(buckets, nusd)
  for _, bucket in ipairs(split(buckets, '[^,]+')) do
    if bucket ~= '-' then
      local name, capacity = string.match(bucket, '^(.*)=(%d+)$')
      local had = redis.call('HGET', key('b', name), 'level')
      if had then
        redis.call('HSET', key('b', name), 'level', whole(math.min(tonumber(capacity), tonumber(had) + nusd)))
      end
    end
  end
end
local function name_of(token, id)
  return token .. ' ' .. id
end
local function expire_some()
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', PREFIX .. gen .. ':open', '-inf', now_ms, 'LIMIT', 0, 200)) do
    local token, id = string.match(name, '^(%S+) (.*)$')
    local raw = redis.call('HGET', key('h', token), id)
    local record = raw and parsed(raw)
    if record and record.state == 'o' then
      add(record.scopes, RESERVED, record.amounts, -1)
      add(record.scopes, SETTLED, record.amounts, 1)
      record.state = 'x'
      redis.call('HSET', key('h', token), id, text(record))
    end
    redis.call('ZREM', PREFIX .. gen .. ':open', name)
  end
end
local function count(record, sign, makes)
  add(record.scopes, record.state == 'o' and RESERVED or SETTLED, record.amounts, sign, makes)
  pour(record.buckets, -sign * record.amounts[1])
end
local function keep(token, id, record, entry)
  redis.call('HSET', key('h', token), id, text(record), 'e ' .. id, entry)
  redis.call('ZADD', PREFIX .. gen .. ':tokens', now_ms, record.shard .. ' ' .. token)
  if record.state == 'o' then
    redis.call('ZADD', PREFIX .. gen .. ':open', whole(record.expiry), name_of(token, id))
  end
end
-- What was counted for an attempt of which nobody knew what it had spent.
local function uncount_attempt(node)
  local raw = redis.call('HGET', PREFIX .. gen .. ':unknown', node)
  if raw then
    count(parsed(raw), -1)
    redis.call('HDEL', PREFIX .. gen .. ':unknown', node)
  end
end

local verbs = {}

-- token, id, shard, node, ms until it expires, a1..a4, entry, count of scopes, then for each scope: name,
-- limits 1..4 (empty: none), seconds it is kept; then for each bucket: name, capacity, nano-dollars an hour.
function verbs.reserve()
  if not ready then
    return { 'closed' }
  end
  local token, id, shard, node = ARGV[2], ARGV[3], ARGV[4], ARGV[5]
  if redis.call('HEXISTS', key('h', token), id) == 1 then
    return { 'ok', gen } -- the first reply was lost
  end
  expire_some()
  local want = { tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10]) }
  local scopes, buckets, last = {}, {}, 12 + 6 * tonumber(ARGV[12])
  local wait
  for i = 13, last, 6 do
    local scope = ARGV[i]
    local is = redis.call('HMGET', key('s', scope), 's1', 's2', 's3', 's4', 'r1', 'r2', 'r3', 'r4')
    for d = 1, 4 do
      local limit = tonumber(ARGV[i + d])
      local settled, reserved = tonumber(is[d] or 0), tonumber(is[d + 4] or 0)
      if limit and want[d] > 0 and settled + want[d] > limit then
        return { 'exhausted', scope, d, whole(limit), whole(settled), whole(reserved) }
      elseif limit and want[d] > 0 and settled + reserved + want[d] > limit and not wait then
        -- What others hold may come back: nobody is refused for the sake of a mere ceiling.
        wait = { 'wait', scope, d, whole(limit), whole(settled), whole(reserved), -1 }
      end
    end
    scopes[#scopes + 1] = scope
  end
  local levels = {}
  for i = last + 1, #ARGV, 3 do
    local name, capacity, per_h = ARGV[i], tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2])
    local has = level(name, capacity, per_h)
    if want[1] > capacity then
      return { 'exhausted', name, 1, whole(capacity), '0', whole(capacity - has) }
    elseif has < want[1] and not wait then
      local ms = per_h > 0 and math.ceil((want[1] - has) / per_h * 3600000) or -1
      wait = { 'wait', name, 1, whole(capacity), '0', whole(capacity - has), whole(ms) }
    end
    levels[name] = has
    buckets[#buckets + 1] = name .. '=' .. ARGV[i + 1]
  end
  if wait then
    return wait
  end
  local record = {
    state = 'o', expiry = now_ms + tonumber(ARGV[6]), amounts = want, shard = shard, node = node,
    scopes = #scopes > 0 and table.concat(scopes, ',') or '-',
    buckets = #buckets > 0 and table.concat(buckets, ',') or '-',
  }
  add(record.scopes, RESERVED, want, 1, true)
  for i = 13, last, 6 do
    redis.call('EXPIRE', key('s', ARGV[i]), ARGV[i + 5])
    remember(ARGV[i])
  end
  for name, has in pairs(levels) do
    redis.call('HSET', key('b', name), 'level', whole(has - want[1]), 'at_us', whole(now_us))
    redis.call('EXPIRE', key('b', name), KEPT_S)
  end
  keep(token, id, record, ARGV[11])
  return { 'ok', gen }
end

-- generation, token, id, a1..a4, entry (empty: nothing was spent, and nothing is kept).
function verbs.settle()
  if not same_server or gen ~= ARGV[2] then
    return 'moved'
  end
  local token, id, entry = ARGV[3], ARGV[4], ARGV[9]
  local raw = redis.call('HGET', key('h', token), id)
  if not raw then
    return 'gone' -- the scheduler has put it in the ledger, or it was given back
  end
  local record = parsed(raw)
  if record.state == 's' then
    return 'ok'
  end
  if ready then
    count(record, -1)
  end
  redis.call('ZREM', PREFIX .. gen .. ':open', name_of(token, id))
  if entry == '' then
    redis.call('HDEL', key('h', token), id, 'e ' .. id)
    if redis.call('EXISTS', key('h', token)) == 0 then
      redis.call('ZREM', PREFIX .. gen .. ':tokens', record.shard .. ' ' .. token)
    end
    return 'ok'
  end
  record.state = 's'
  record.amounts = { tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8]) }
  if ready then
    count(record, 1)
  end
  redis.call('HSET', key('h', token), id, text(record), 'e ' .. id, entry)
  return 'ok'
end

-- generation, token, ms until they expire, ids. Their calls still run: what expired already is merely held again.
function verbs.renew()
  if not same_server or gen ~= ARGV[2] then
    return 'moved'
  end
  for i = 5, #ARGV do
    local raw = redis.call('HGET', key('h', ARGV[3]), ARGV[i])
    local record = raw and parsed(raw)
    if record and record.state ~= 's' then
      if record.state == 'x' and ready then
        add(record.scopes, SETTLED, record.amounts, -1)
        add(record.scopes, RESERVED, record.amounts, 1)
      end
      record.state, record.expiry = 'o', now_ms + tonumber(ARGV[4])
      redis.call('HSET', key('h', ARGV[3]), ARGV[i], text(record))
      redis.call('ZADD', PREFIX .. gen .. ':open', whole(record.expiry), name_of(ARGV[3], ARGV[i]))
    end
  end
  return 'ok'
end

-- generation, token, attempt, then for each record: id, ms until it expires, record, entry. What a living
-- worker holds, told again to a Redis that has lost it; all that the attempt holds, so that nothing else
-- counts for it.
function verbs.announce()
  if not same_server or gen ~= ARGV[2] then
    return 'moved'
  end
  local token = ARGV[3]
  if ready then
    uncount_attempt(ARGV[4])
  end
  for i = 5, #ARGV, 4 do
    local id = ARGV[i]
    if redis.call('HEXISTS', key('h', token), id) == 0 then
      local record = parsed(ARGV[i + 2])
      record.expiry = now_ms + tonumber(ARGV[i + 1])
      if ready then
        count(record, 1, true)
      end
      keep(token, id, record, ARGV[i + 3])
    end
  end
  redis.call('SADD', PREFIX .. gen .. ':announced', ARGV[4])
  return 'ok'
end

-- token. Its report is on its way with all its entries: nothing is to be read from here any more. Before
-- the counters hold, it stays, for they are made from it.
function verbs.reported()
  if not ready then
    return 0
  end
  local token, shard = ARGV[2], nil
  local held = redis.call('HGETALL', key('h', token))
  for i = 1, #held, 2 do
    if string.sub(held[i], 1, 2) ~= 'e ' then
      local record = parsed(held[i + 1])
      if record.state ~= 's' then
        return 0
      end
      shard = record.shard
    end
  end
  redis.call('DEL', key('h', token))
  if shard then
    redis.call('ZREM', PREFIX .. gen .. ':tokens', shard .. ' ' .. token)
  end
  return 1
end

-- shard, token, ids. These are in the ledger by now, the open ones at their ceiling.
function verbs.ledgered()
  if not ready then
    return 0
  end
  local token = ARGV[3]
  for i = 4, #ARGV do
    local id = ARGV[i]
    local raw = redis.call('HGET', key('h', token), id)
    local record = raw and parsed(raw)
    if record and record.state == 'o' then
      add(record.scopes, RESERVED, record.amounts, -1)
      add(record.scopes, SETTLED, record.amounts, 1)
    end
    redis.call('HDEL', key('h', token), id, 'e ' .. id)
    redis.call('ZREM', PREFIX .. gen .. ':open', name_of(token, id))
  end
  if redis.call('EXISTS', key('h', token)) == 0 then
    redis.call('ZREM', PREFIX .. gen .. ':tokens', ARGV[2] .. ' ' .. token)
  end
  return 1
end

-- generation, how many ids follow, ids of entries that the ledger has, then for each attempt that is out and
-- may have spent: its name and the record that stands for it. The sums of the ledger were written before.
function verbs.open()
  if not same_server or gen ~= ARGV[2] then
    return 0
  end
  if ready then
    return 1
  end
  local stored, last = {}, 3 + tonumber(ARGV[3])
  for i = 4, last do
    stored[ARGV[i]] = true
  end
  for _, name in ipairs(redis.call('ZRANGE', PREFIX .. gen .. ':tokens', 0, -1)) do
    local held = redis.call('HGETALL', key('h', string.match(name, ' (.*)$')))
    for i = 1, #held, 2 do
      if string.sub(held[i], 1, 2) ~= 'e ' and not stored[held[i]] then
        count(parsed(held[i + 1]), 1, true)
      end
    end
  end
  for i = last + 1, #ARGV, 2 do
    if redis.call('SISMEMBER', PREFIX .. gen .. ':announced', ARGV[i]) == 0 then
      count(parsed(ARGV[i + 1]), 1, true)
      redis.call('HSET', PREFIX .. gen .. ':unknown', ARGV[i], ARGV[i + 1])
    end
  end
  redis.call('SET', PREFIX .. 'ready', gen)
  return 1
end

-- attempt, a1..a4. An attempt of which nobody knew has ended, and the ledger has this much of it.
function verbs.known()
  local raw = ready and redis.call('HGET', PREFIX .. gen .. ':unknown', ARGV[2])
  if not raw then
    return 0
  end
  uncount_attempt(ARGV[2])
  local record = parsed(raw)
  record.state = 's'
  record.amounts = { tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6]) }
  count(record, 1)
  return 1
end

-- id, record. It counts as spent, but its cost is known much later, by another delivery: a part may come back.
function verbs.owe()
  if gen then
    redis.call('SET', key('owed', ARGV[2]), ARGV[3], 'EX', 691200)
  end
  return 1
end

-- id, a1..a4. What was owed cost this much. Once: whoever comes again finds nothing owed.
function verbs.refund()
  local raw = ready and redis.call('GET', key('owed', ARGV[2]))
  if not raw then
    return 0
  end
  redis.call('DEL', key('owed', ARGV[2]))
  local record = parsed(raw)
  local rest = {}
  for i = 1, 4 do
    rest[i] = math.max(0, record.amounts[i] - tonumber(ARGV[i + 2]))
  end
  for _, scope in ipairs(split(record.scopes, '[^,]+')) do
    add(scope, SETTLED, rest, -1)
  end
  return 1
end

return verbs[VERB]()
