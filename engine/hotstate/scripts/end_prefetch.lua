-- Hand over what was read ahead, if anybody still wants it: its permit is there. An empty text says
-- that nothing came, so that nobody waits on.
-- KEYS: permits of the run, list for the body, stream. ARGV: field, token, what was read, ms to live,
-- report. Returns 1 or 0.
local permit = redis.call('HGET', KEYS[1], ARGV[1])
local begun = 'b ' .. ARGV[2] .. ' '
if not permit or string.sub(permit, 1, #begun) ~= begun then
  return 0
end
redis.call('HDEL', KEYS[1], ARGV[1])
redis.call('RPUSH', KEYS[2], ARGV[3])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('XADD', KEYS[3], '*', 'r', ARGV[5])
return 1
