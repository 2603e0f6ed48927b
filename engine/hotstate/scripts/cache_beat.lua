-- Hold leases for longer. ARGV: ms, then digest and token of each. Returns 1 or 0 (lost) for each.
local held = {}
for i = 2, #ARGV, 2 do
  local lease = prefix .. 'lease:' .. ARGV[i]
  local ours = redis.call('GET', lease) == ARGV[i + 1]
  if ours then
    redis.call('PEXPIRE', lease, ARGV[1])
  end
  held[#held + 1] = ours and 1 or 0
end
return held
