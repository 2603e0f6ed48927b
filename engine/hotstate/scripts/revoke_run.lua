-- Delete every permit of a run. Returns milliseconds since its youngest body began, or -1, and then
-- the fields of the bodies that had begun.
-- KEYS: permits of the run, the shard's runs with permits. ARGV: the run.
local permits = redis.call('HGETALL', KEYS[1])
local youngest, found = nil, { -1 }
for i = 1, #permits, 2 do
  local begun = string.sub(permits[i + 1], 1, 1) == 'b' and tonumber(string.match(permits[i + 1], '(%d+)$'))
  if begun then
    found[#found + 1] = permits[i]
    youngest = math.max(youngest or begun, begun)
  end
end
redis.call('DEL', KEYS[1])
redis.call('SREM', KEYS[2], ARGV[1])
if youngest then
  local now = redis.call('TIME')
  found[1] = math.max(0, math.floor((now[1] * 1000000 + now[2] - youngest) / 1000))
end
return found
