-- Writes a state and its index entries, if nobody else has written since it was read: compare-and-swap on the meter,
-- which holds a nonce, and on the reader's record of claimed time where that changes too.
--
-- KEYS[1] state   hash      one reader's time on one article
-- KEYS[2] due     zset      member -> when a state with a claim, a deferral or a parked event wants attention, ms
-- KEYS[3] idle    zset      member -> last sync of a state that holds nothing but unreported time, ms
-- KEYS[4] parked  set       members that hold parked events
-- KEYS[5] reader  zset      resource of each of the reader's states -> when it expires, ms; inf where it does not
-- KEYS[6] wall    hash      where it is written: what the reader has claimed on all articles
--
-- ARGV[1]  meter that was read; '' where there was no state
-- ARGV[2]  meter to write, with a nonce drawn for it
-- ARGV[3]  '1': the state is a new one, of which no field of an older one may stay
-- ARGV[4]  member of the index sets
-- ARGV[5]  resource
-- ARGV[6]  score in due; '' for none
-- ARGV[7]  score in idle; '' for none
-- ARGV[8]  '1': the ledger is as it was, so an entry that is there stays
-- ARGV[9]  '1': it holds parked events; '0': it may have held some; '': neither
-- ARGV[10] when it expires, ms since the epoch; '' for never
-- ARGV[11] now, ms since the epoch
-- ARGV[12...] fields and values; before them, with KEYS[6]:
-- ARGV[12] record that was read; '' where there was none, '!' where it was no record
-- ARGV[13] record to write
-- ARGV[14] when it expires, ms since the epoch
--
-- Reply: 1 if written (also by an earlier delivery of this very call), 0 if somebody else was faster.

local state, due, idle, parked, reader = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]

local meter = redis.call('HGET', state, 'meter')
if meter == ARGV[2] then
  -- The answer to an earlier delivery was lost. A write all the same: WAIT counts from this connection's last one.
  redis.call('HSET', state, 'meter', meter)
  return 1
end
if (meter or '') ~= ARGV[1] then
  -- T9: so it was, and heartbeats have come since, which leave its nonce.
  local numbers = '^%d+ %d+ %d+ %d+ %d+ %d* %d%d? ($NONCE)'
  local nonce = meter and meter:match(numbers)
  if nonce and nonce == ARGV[2]:match(numbers) then
    redis.call('HSET', state, 'meter', meter)
    return 1
  end
  return 0
end
local wall, fields = KEYS[6], 12
if wall then
  fields = 15
  $RECORD
  if (record or '') ~= ARGV[12] then
    return 0
  end
end

-- Look at every index key first: should one be of another type, nothing has been written.
local listed_due, listed_idle = redis.call('ZSCORE', due, ARGV[4]), redis.call('ZSCORE', idle, ARGV[4])
redis.call('SISMEMBER', parked, ARGV[4])
local listed = redis.call('ZSCORE', reader, ARGV[5])

-- A server that is out of memory refuses a script's first writing command if it takes more, and none after it: a new
-- state is refused, and what is there can still be reported, as the first command takes something away, or could.
local expires = ARGV[10] == '' and 'inf' or ARGV[10]
if ARGV[3] == '1' then
  redis.call('ZADD', reader, expires, ARGV[5])
end
local kept = ARGV[8] == '1' and (listed_due or listed_idle)
local leaves_due, leaves_idle = not kept and listed_due and ARGV[6] == '', not kept and listed_idle and ARGV[7] == ''
if leaves_due then
  redis.call('ZREM', due, ARGV[4])
end
if leaves_idle then
  redis.call('ZREM', idle, ARGV[4])
end
if ARGV[9] ~= '' or not (leaves_due or leaves_idle) then
  redis.call('SREM', parked, ARGV[4])
end
if ARGV[9] == '1' then
  redis.call('SADD', parked, ARGV[4])
end
if not kept then
  if ARGV[6] ~= '' then
    redis.call('ZADD', due, ARGV[6], ARGV[4])
  elseif ARGV[7] ~= '' then
    redis.call('ZADD', idle, ARGV[7], ARGV[4])
  end
end
local last
if listed ~= expires then
  redis.call('ZADD', reader, expires, ARGV[5])
  last = tonumber(redis.call('ZREVRANGE', reader, 0, 0, 'WITHSCORES')[2])
end

if ARGV[3] == '1' then
  redis.call('DEL', state)
end
redis.call('HSET', state, 'meter', ARGV[2], unpack(ARGV, fields))
if wall then
  if ARGV[12] == '!' then
    redis.call('DEL', wall)
  end
  redis.call('HSET', wall, 'record', ARGV[13])
  redis.call('PEXPIRE', wall, math.max(0, ARGV[14] - ARGV[11]) + $GRACE)
end

-- Redis removes what has expired, some time after everybody has stopped seeing it.
if ARGV[10] == '' then
  redis.call('PERSIST', state)
else
  redis.call('PEXPIRE', state, math.max(0, ARGV[10] - ARGV[11]) + $GRACE)
end
if last == math.huge then
  redis.call('PERSIST', reader)
elseif last then
  redis.call('PEXPIRE', reader, math.max(0, last - ARGV[11]) + $GRACE)
end
return 1
