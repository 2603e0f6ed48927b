-- Bring an entry back that SQL kept, as begun before anything that this incarnation knows of.
-- ARGV: incarnation, digest, ms to live, ms since it was made, byte bound, text, tags. Returns 1 if it is kept,
-- 0 if not, -1 if the incarnation is another by now.
if ARGV[1] ~= incarnation then
  return -1
end
local digest, ttl_ms, age_ms, limit = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local lines = { string.format('%.0f 0 %d', now_ms + ttl_ms, #ARGV - 6) }
for i = 7, #ARGV do
  if invalidated(ARGV[i]) > 0 or being_written(ARGV[i]) then
    return 0
  end
  lines[#lines + 1] = ARGV[i]
end
if redis.call('HEXISTS', entries, digest) == 1 then
  return 0
end
lines[#lines + 1] = ARGV[6]
return keep(digest, table.concat(lines, '\n'), now_ms - age_ms, limit)
