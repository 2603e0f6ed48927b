-- The last word before bodies: one may begin only while its permit is still held by this nonce on
-- this very server. May be asked again for another try of the same body.
-- KEYS: permits of the run. ARGV: token, epoch, nonce, fields. Returns 1 or 0 a field.
local held = ' ' .. ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]
local same_server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') == ARGV[2]
local now = redis.call('TIME')
-- Microseconds: the bodies of a chunk that began last are the ones blamed if the process dies.
local begun = 'b' .. held .. ' ' .. string.format('%.0f', now[1] * 1000000 + now[2])
local verdicts = {}
for i = 4, #ARGV do
  local permit = same_server and redis.call('HGET', KEYS[1], ARGV[i])
  local ours = permit and (permit == 'c' .. held or string.sub(permit, 1, #held + 2) == 'b' .. held .. ' ')
  if ours then
    redis.call('HSET', KEYS[1], ARGV[i], begun)
  end
  verdicts[#verdicts + 1] = ours and 1 or 0
end
return verdicts
