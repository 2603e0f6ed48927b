-- Claim nodes of one delivery: each permit can be claimed once, and again only by the same nonce
-- (whose first reply was lost). The server's own run id is compared, because a permit that an
-- append-only file brought back after a restart may have been deleted in the second before.
-- KEYS: permits of the run, leases of the shard. ARGV: token, epoch, nonce, lease in ms, 1 to begin
-- the first body as well (see begin.lua), fields. Returns 1 (claimed) or 0 (stale) a field.
local token, epoch, nonce, lease_ms, begin_first = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4]), ARGV[5] == '1'
local same_server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') == epoch
local now = redis.call('TIME')
local published = 'p ' .. token .. ' ' .. epoch
local held = ' ' .. token .. ' ' .. epoch .. ' ' .. nonce
local claimed = 'c' .. held
local begun_now = 'b' .. held .. ' ' .. string.format('%.0f', now[1] * 1000000 + now[2])
local verdicts, any = {}, false
for i = 6, #ARGV do
  local verdict = 0
  local permit = same_server and redis.call('HGET', KEYS[1], ARGV[i])
  if permit then
    local begin = begin_first and i == 6
    local begun = begin and string.sub(permit, 1, #held + 2) == 'b' .. held .. ' '
    if permit == published or permit == claimed or begun then
      redis.call('HSET', KEYS[1], ARGV[i], begin and begun_now or claimed)
      verdict = 1
    end
  end
  any = any or verdict == 1
  verdicts[#verdicts + 1] = verdict
end
if any then
  local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
  redis.call('ZADD', KEYS[2], now_ms + lease_ms, token)
  -- A heartbeat may bring back the lease of a delivery that ended in that moment: nobody's by now.
  redis.call('ZREMRANGEBYSCORE', KEYS[2], '-inf', now_ms - 3600000)
end
return verdicts
