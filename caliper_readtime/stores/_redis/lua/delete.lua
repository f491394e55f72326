-- Removes a reader's states with all their index entries.
--
-- KEYS[1] reader  zset   see write.lua
-- KEYS[2] due     zset   see write.lua
-- KEYS[3] idle    zset   see write.lua
-- KEYS[4] parked  set    see write.lua
-- KEYS[5] wall    hash   what the reader has claimed on all articles
-- KEYS[6...] state hashes
--
-- ARGV: for each state, in this order, its resource and its member of the index sets
--
-- Reply: {how many states were removed, how many of the reader's resources are left: born since they were listed}.

-- Look at every index key first: should one be of another type, nothing has been written.
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('SCARD', KEYS[4])
redis.call('DEL', KEYS[5])
local removed = 0
for place = 0, #KEYS - 6 do
  local resource, member = ARGV[2 * place + 1], ARGV[2 * place + 2]
  removed = removed + redis.call('DEL', KEYS[6 + place])
  redis.call('ZREM', KEYS[1], resource)
  redis.call('ZREM', KEYS[2], member)
  redis.call('ZREM', KEYS[3], member)
  redis.call('SREM', KEYS[4], member)
end
return {removed, redis.call('ZCARD', KEYS[1])}
