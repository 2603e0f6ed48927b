-- Keep what was made under the lease, unless it was begun in another incarnation, one of its tags was
-- invalidated since, or is being written now; then tell those who wait.
-- ARGV: digest, token, incarnation, stamp, ms to live, byte bound, text, tags. Returns 1 if it is kept, else 0.
local digest, token, stamp, ttl_ms, limit = ARGV[1], ARGV[2], tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local holder = redis.call('GET', prefix .. 'lease:' .. digest)
local good = ARGV[3] == incarnation and (not holder or holder == token)
local lines = { string.format('%.0f %.0f %d', now_ms + ttl_ms, stamp, #ARGV - 7) }
for i = 8, #ARGV do
  good = good and invalidated(ARGV[i]) <= stamp and not being_written(ARGV[i])
  lines[#lines + 1] = ARGV[i]
end
local kept = 0
if good then
  lines[#lines + 1] = ARGV[7]
  kept = keep(digest, table.concat(lines, '\n'), now_ms, limit)
end
release(digest, token)
return kept
