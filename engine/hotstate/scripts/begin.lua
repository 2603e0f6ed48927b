-- The last word before a body: it may begin only while its permit is still held by this nonce on
-- this very server. May be asked again for another try of the same body.
-- KEYS: permits of the run. ARGV: field, token, epoch, nonce. Returns 1 or 0.
local held = ' ' .. ARGV[2] .. ' ' .. ARGV[3] .. ' ' .. ARGV[4]
if string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') ~= ARGV[3] then
  return 0
end
local permit = redis.call('HGET', KEYS[1], ARGV[1])
if not permit or (permit ~= 'c' .. held and string.sub(permit, 1, #held + 2) ~= 'b' .. held .. ' ') then
  return 0
end
local now = redis.call('TIME')
-- Microseconds: the body of a chunk that began last is the one blamed if the process dies.
local now_us = string.format('%.0f', now[1] * 1000000 + now[2])
redis.call('HSET', KEYS[1], ARGV[1], 'b' .. held .. ' ' .. now_us)
return 1
