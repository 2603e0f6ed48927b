-- Drop everything (no ARGV), also what is being made; or the entries with these digests. Returns how many went.
if #ARGV == 0 then
  local count = redis.call('HLEN', entries)
  start_anew()
  return count
end
local count = 0
for _, digest in ipairs(ARGV) do
  if drop(digest) then
    count = count + 1
  end
end
return count
