-- Removes a reader's states with all their index entries.
--
-- KEYS[1] reader  zset   see write.lua
-- KEYS[2] due     zset   see write.lua
-- KEYS[3] idle    zset   see write.lua
-- KEYS[4] parked  set    see write.lua
-- KEYS[5...] state hashes
--
-- ARGV: for each state, in this order, its resource and its member of the index sets
--
-- Reply: {how many states were removed, how many of the reader's resources are left: born since they were listed}.

-- Look at every index key first: should one be of another type, nothing has been written.
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('SCARD', KEYS[4])
local removed = 0
for position = 5, #KEYS do
  removed = removed + redis.call('DEL', KEYS[position])
  redis.call('ZREM', KEYS[1], ARGV[2 * position - 9])
  redis.call('ZREM', KEYS[2], ARGV[2 * position - 8])
  redis.call('ZREM', KEYS[3], ARGV[2 * position - 8])
  redis.call('SREM', KEYS[4], ARGV[2 * position - 8])
end
return {removed, redis.call('ZCARD', KEYS[1])}
