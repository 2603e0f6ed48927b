-- Reading ahead may begin if its permit is as it was published, on this very server. No lease: what is
-- lost is not repeated. The permit names the worker, so that nobody waits for one that is gone.
-- KEYS: permits of the run. ARGV: field, token, epoch, worker. Returns 1 or 0.
local published = ' ' .. ARGV[2] .. ' ' .. ARGV[3]
if string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') ~= ARGV[3] then
  return 0
end
if redis.call('HGET', KEYS[1], ARGV[1]) ~= 'p' .. published then
  return 0
end
local now = redis.call('TIME')
local begun = string.format('%.0f', now[1] * 1000000 + now[2])
redis.call('HSET', KEYS[1], ARGV[1], 'b' .. published .. ' ' .. ARGV[4] .. ' ' .. begun)
return 1
