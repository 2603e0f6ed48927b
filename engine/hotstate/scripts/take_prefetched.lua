-- What was read ahead for a body, for it alone. Reading that has not begun never does any more, for
-- the body reads itself from here on; nor is what still runs wanted, if it is given up.
-- KEYS: permits of the run, list for the body, prefix of what workers said of themselves.
-- ARGV: field, token, 1 to give up what still runs.
-- Returns {1, what was read}, {2} if it still runs, else {0}.
local read = redis.call('LPOP', KEYS[2])
if read then
  return { 1, read }
end
local permit = redis.call('HGET', KEYS[1], ARGV[1])
local held = ' ' .. ARGV[2] .. ' '
if not permit or string.sub(permit, 2, #held + 1) ~= held then
  return { 0 }
end
local worker = string.match(permit, '^b %S+ %S+ (%S+) ')
if worker and ARGV[3] ~= '1' and redis.call('EXISTS', KEYS[3] .. worker) == 1 then
  return { 2 }
end
redis.call('HDEL', KEYS[1], ARGV[1])
return { 0 }
