-- Records what this store is used for, if nothing that is recorded differs.
--
-- KEYS[1] meta  hash   names and values, the same for everybody who uses this namespace
--
-- ARGV: names and values in turn
--
-- Reply: what was recorded before, names and values in turn; where one differs nothing is written.

local recorded = redis.call('HGETALL', KEYS[1])
local by_name = {}
for position = 1, #recorded, 2 do
  by_name[recorded[position]] = recorded[position + 1]
end
for position = 1, #ARGV, 2 do
  local value = by_name[ARGV[position]]
  if value and value ~= ARGV[position + 1] then
    return recorded
  end
end
redis.call('HSET', KEYS[1], unpack(ARGV))
return recorded
