-- What became of a delivery's nodes, asked after its worker died.
-- KEYS: permits of the run. ARGV: token, epoch, fields.
-- Returns, a field: -2 unknown (another server by now), -1 no longer this delivery's,
-- 0 not begun, else the microsecond in which its body began.
local mark = ' ' .. ARGV[1] .. ' ' .. ARGV[2]
local same_server = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)') == ARGV[2]
local found = {}
for i = 3, #ARGV do
  local permit = same_server and redis.call('HGET', KEYS[1], ARGV[i])
  if not same_server then
    found[#found + 1] = '-2'
  elseif not permit or string.sub(permit, 2, #mark + 1) ~= mark then
    found[#found + 1] = '-1'
  elseif string.sub(permit, 1, 1) == 'b' then
    found[#found + 1] = string.match(permit, '(%d+)$')
  else
    found[#found + 1] = '0'
  end
end
return found
