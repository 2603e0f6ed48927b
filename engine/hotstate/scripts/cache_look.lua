-- Look for an entry; if there is none, take the lease to make it, or wait for who has it.
-- An entry counts only if none of its tags, and none that the asker names, was invalidated since it was begun.
-- ARGV: digest, token, lease in ms (0: take none), tags. Returns {1, entry's text, stamp} for a hit,
-- {0, incarnation, stamp} for a miss that the asker is to make, {2, ms that the maker's lease has left}.
local digest, token, lease_ms = ARGV[1], ARGV[2], tonumber(ARGV[3])
local blob = redis.call('HGET', entries, digest)
if blob then
  local expires_ms, stamp, named, from = parsed(blob)
  for i = 4, #ARGV do
    named[#named + 1] = ARGV[i]
  end
  local fresh = expires_ms > now_ms
  for _, tag in ipairs(named) do
    fresh = fresh and invalidated(tag) <= stamp
  end
  if fresh then
    redis.call('ZADD', used, now_ms, digest)
    redis.call('HINCRBY', facts, 'hits', 1)
    return { 1, string.sub(blob, from), stamp }
  end
  drop(digest)
end
if lease_ms > 0 then
  local lease = prefix .. 'lease:' .. digest
  local holder = redis.call('GET', lease)
  if holder and holder ~= token then
    local waiters = prefix .. 'waiters:' .. digest
    redis.call('SADD', waiters, token)
    redis.call('PEXPIRE', waiters, 3600000)
    return { 2, redis.call('PTTL', lease) }
  end
  redis.call('SET', lease, token, 'PX', lease_ms)
end
redis.call('HINCRBY', facts, 'misses', 1)
return { 0, incarnation, fact('clock') }
