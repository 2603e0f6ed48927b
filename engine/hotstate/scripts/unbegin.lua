-- Take back begin marks that were set ahead of bodies which did not begin: they are claimed and no more.
-- KEYS: permits of the run. ARGV: token, epoch, nonce, fields.
local held = ' ' .. ARGV[1] .. ' ' .. ARGV[2] .. ' ' .. ARGV[3]
for i = 4, #ARGV do
  local permit = redis.call('HGET', KEYS[1], ARGV[i])
  if permit and string.sub(permit, 1, #held + 2) == 'b' .. held .. ' ' then
    redis.call('HSET', KEYS[1], ARGV[i], 'c' .. held)
  end
end
return 1
