-- Returns those of a reader's resources whose states are still there, and forgets the others.
--
-- KEYS[1] reader  zset   see write.lua
-- KEYS[2] due     zset   see write.lua
-- KEYS[3] idle    zset   see write.lua
-- KEYS[4] parked  set    see write.lua
-- KEYS[5...] state hashes
--
-- ARGV[1] now, ms since the epoch; '' for this server's clock
-- ARGV[2...] for each state, in this order, its resource and its member of the index sets
--
-- Reply: the resources that are left and have not expired.

$MOMENT
-- Look at every index key first: should one be of another type, nothing has been written.
redis.call('ZCARD', KEYS[2])
redis.call('ZCARD', KEYS[3])
redis.call('SCARD', KEYS[4])
local left = {}
for position = 5, #KEYS do
  local resource, member = ARGV[2 * position - 8], ARGV[2 * position - 7]
  if redis.call('EXISTS', KEYS[position]) == 1 then
    local expires = redis.call('ZSCORE', KEYS[1], resource)
    if not expires or tonumber(expires) > moment then
      left[#left + 1] = resource
    end
  else
    redis.call('ZREM', KEYS[1], resource)
    redis.call('ZREM', KEYS[2], member)
    redis.call('ZREM', KEYS[3], member)
    redis.call('SREM', KEYS[4], member)
  end
end
return left
