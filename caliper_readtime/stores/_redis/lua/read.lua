-- Reads a state, and the time by this server's clock.
--
-- KEYS[1] state   hash      one reader's time on one article
-- KEYS[2] due     zset      \
-- KEYS[3] idle    zset       } the shard's index sets, see write.lua
-- KEYS[4] parked  set       /
-- KEYS[5] wall    hash      where a claim is asked for: what its reader has claimed on all articles
--
-- ARGV[1] member of the index sets
--
-- Reply: {stale, now in ms, meter, ledger, record}, the last where it was asked for. `stale` is 1 where an index set
-- knows a state that is gone: it held unreported time, which never expires, so somebody or something has removed it.

local time = redis.call('TIME')
local f = redis.call('HMGET', KEYS[1], 'meter', 'ledger')
local stale = 0
if not f[1] and (redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('ZSCORE', KEYS[3], ARGV[1])
    or redis.call('SISMEMBER', KEYS[4], ARGV[1]) == 1) then
  stale = 1
end
local wall = KEYS[5]
if not wall then
  return {stale, time[1] * 1000 + math.floor(time[2] / 1000), f[1], f[2]}
end
$RECORD
return {stale, time[1] * 1000 + math.floor(time[2] / 1000), f[1], f[2], record}
