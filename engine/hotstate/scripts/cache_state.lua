-- The incarnation and what the index counts: pairs of names and numbers.
local found = redis.call('HGETALL', facts)
found[#found + 1] = 'entries'
found[#found + 1] = redis.call('HLEN', entries)
found[#found + 1] = 'tags'
found[#found + 1] = redis.call('ZCARD', tags)
return found
