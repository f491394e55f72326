-- Reads states of one shard, and the time by this server's clock.
--
-- KEYS[1...] of each state: a hash, one reader's time on one article; and with ARGV[1] = 2 also its wall, a hash, what
--            its reader has claimed on all articles
-- the last three: due (zset), idle (zset) and parked (set), the shard's index sets, see write.lua
--
-- ARGV[1] how many keys each state has, 1 or 2
-- ARGV[2...] of each state: its member of the index sets
--
-- Reply: {now in ms, and for each state stale, meter, ledger, and the record if its wall was given}. `stale` is 1 where
-- an index set knows a state that is gone: it held unreported time, which never expires, so somebody or something has
-- removed it.

local time = redis.call('TIME')
local found, each, last = {time[1] * 1000 + math.floor(time[2] / 1000)}, tonumber(ARGV[1]), #KEYS
for place = 2, #ARGV do
  local key, member = (place - 2) * each + 1, ARGV[place]
  local f = redis.call('HMGET', KEYS[key], 'meter', 'ledger')
  local stale = 0
  if not f[1] and (redis.call('ZSCORE', KEYS[last - 2], member) or redis.call('ZSCORE', KEYS[last - 1], member)
      or redis.call('SISMEMBER', KEYS[last], member) == 1) then
    stale = 1
  end
  local next = #found
  found[next + 1], found[next + 2], found[next + 3] = stale, f[1], f[2]
  if each == 2 then
    local wall = KEYS[key + 1]
    $RECORD
    found[next + 4] = record
  end
end
return found
