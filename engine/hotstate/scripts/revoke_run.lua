-- Delete every permit of a run. Returns milliseconds since its youngest body began, or -1.
-- KEYS: permits of the run.
local youngest = nil
for _, permit in ipairs(redis.call('HVALS', KEYS[1])) do
  local begun = string.sub(permit, 1, 1) == 'b' and tonumber(string.match(permit, '(%d+)$'))
  if begun and (not youngest or begun > youngest) then
    youngest = begun
  end
end
redis.call('DEL', KEYS[1])
if not youngest then
  return -1
end
local now = redis.call('TIME')
return math.max(0, math.floor((now[1] * 1000000 + now[2] - youngest) / 1000))
