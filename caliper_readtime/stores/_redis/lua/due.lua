-- Returns what is due in one shard.
--
-- KEYS[1] due   zset   see write.lua
-- KEYS[2] idle  zset   see write.lua
--
-- ARGV[1] now, ms since the epoch; '' for this server's clock
-- ARGV[2] how long a reader must have been idle, ms
-- ARGV[3] most members of each kind
--
-- Reply: members and scores in turn, kind by kind, each oldest first: those of `due`, those of `idle`, and of either
-- those that lie further ahead than an entry can (D5: a clock had jumped).

$MOMENT
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', moment, 'WITHSCORES', 'LIMIT', 0, ARGV[3])
for _, value in ipairs(redis.call('ZRANGEBYSCORE', KEYS[2], '-inf', moment - ARGV[2], 'WITHSCORES', 'LIMIT', 0,
    ARGV[3])) do
  found[#found + 1] = value
end
for position = 1, 2 do
  for _, value in ipairs(redis.call('ZRANGEBYSCORE', KEYS[position], '(' .. moment + $LONGEST_WAIT, '+inf', 'WITHSCORES',
      'LIMIT', 0, ARGV[3])) do
    found[#found + 1] = value
  end
end
return found
