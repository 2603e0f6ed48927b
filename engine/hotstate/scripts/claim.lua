-- Claim nodes of one delivery: each permit can be claimed once, and again only by the same nonce
-- (whose first reply was lost). The server's own run id is compared, because a permit that an
-- append-only file brought back after a restart may have been deleted in the second before.
-- KEYS: permits of the run, leases of the shard. ARGV: token, epoch, nonce, lease in ms, fields.
-- Returns 1 (claimed) or 0 (stale) a field.
local token, epoch, nonce, lease_ms = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local same_server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') == epoch
local published = 'p ' .. token .. ' ' .. epoch
local claimed = 'c ' .. token .. ' ' .. epoch .. ' ' .. nonce
local verdicts, any = {}, false
for i = 5, #ARGV do
  local verdict = 0
  if same_server then
    local permit = redis.call('HGET', KEYS[1], ARGV[i])
    if permit == published then
      redis.call('HSET', KEYS[1], ARGV[i], claimed)
      verdict = 1
    elseif permit == claimed then
      verdict = 1
    end
  end
  any = any or verdict == 1
  verdicts[#verdicts + 1] = verdict
end
if any then
  local now = redis.call('TIME')
  local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
  redis.call('ZADD', KEYS[2], now_ms + lease_ms, token)
  -- A heartbeat may bring back the lease of a delivery that ended in that moment: nobody's by now.
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms - 3600000)
end
return verdicts
