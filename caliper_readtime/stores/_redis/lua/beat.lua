-- Applies a steady heartbeat to a state's meter in one round trip; the rule is _rules/heartbeat.py's `count`.
--
-- KEYS[1] state   hash      one reader's time on one article
-- KEYS[2] due     zset      member -> when a state with a claim, a deferral or a parked event wants attention, ms
-- KEYS[3] idle    zset      member -> last sync of a state that holds nothing but unreported time, ms
-- KEYS[4] parked  set       members that hold parked events
-- KEYS[5] reader  zset      resource of each of the reader's states -> when it expires, ms; inf where it does not
--
-- ARGV[1]  now, ms since the epoch; '' for this server's clock
-- ARGV[2]  member of the index sets
-- ARGV[3]  nonce of this signal
-- ARGV[4]  id of the page view, or of the heartbeat
-- ARGV[5]  offered: the view's active time so far, or the heartbeat's delta, ms
-- ARGV[6]  what the client knows to be acknowledged, ms; '' for a heartbeat whose id was drawn for this call, '-' for
--          one whose id was given
-- ARGV[7]  when the page was opened, ms since the epoch; '' where nobody said
-- ARGV[8]  position, ms; '' where nobody said
-- ARGV[9]  '1' where a duration was given
-- ARGV[10] fingerprint of the reader that was passed; '' for an id
-- ARGV[11] fingerprint of the article that was passed; '' for an id
-- ARGV[12] resource
-- ARGV[13] catch-up, ms
-- ARGV[14] most that one signal may add, ms; '' without a limit
-- ARGV[15] 'leeway=<ms> pace=<words a minute, or nothing> ratio=<completion ratio> dwell=<completion dwell, ms, or
--          nothing>', seldom needed
--
-- Reply: {accepted, clamped, duplicate, ledger, views, heartbeats, cumulative, last sync, budget, since, clamped in all,
-- position or ''}, times in ms. Where the signal is not a steady one nothing is written, and the reply is
-- {-1, stale, now, meter, views, heartbeats, ledger} (as read.lua's, after the -1): the caller applies the transition
-- itself. Names after a dollar sign are put in by scripts.py.

$MOMENT

local f = redis.call('HMGET', KEYS[1], 'meter', 'views', 'heartbeats', 'ledger', 'steady')
local meter, views, heartbeats = f[1], f[2], f[3]

local function declined()
  local stale = 0
  if not meter and (redis.call('ZSCORE', KEYS[2], ARGV[2]) or redis.call('ZSCORE', KEYS[3], ARGV[2])
      or redis.call('SISMEMBER', KEYS[4], ARGV[2]) == 1) then
    stale = 1
  end
  return {-1, stale, moment, f[1], f[2], f[3], f[4]}
end

if not (meter and views and heartbeats and f[4] and f[5]) or string.sub(f[5], 1, 9) ~= 'schema=$SCHEMA '
    or (ARGV[10] ~= '' and ARGV[10] ~= string.sub(f[5], 17, 40))
    or (ARGV[11] ~= '' and ARGV[11] ~= string.sub(f[5], 50, 73)) then
  return declined()
end
local claimed_to, due, duration, finalized, counts_from, widened, words = string.match(f[5],
  '^claimedTo=(%d+) due=(%d*) duration=(%d*) finalized=(%d*) countsFrom=(%d*) widened=(%d+)(.*)$', 75)
-- Few articles have words.
if words ~= '' then
  words = string.match(words or '', '^ words=(%d+)$')
end
local cumulative, last_sync, budget, since, clamped_in_all, old_position = string.match(meter,
  '^cumulative=(%d+) lastSync=(%d+) budget=(%d+) since=(%d+) clamped=(%d+) position=(%d*) nonce=%x+$')
if not words or not cumulative or (ARGV[9] == '1' and duration == '') then
  return declined()
end
cumulative, last_sync, budget = tonumber(cumulative), tonumber(last_sync), tonumber(budget)
-- Lua would write larger numbers with an exponent.
if math.max(cumulative, last_sync, budget, since, clamped_in_all, old_position ~= '' and old_position or 0)
    >= $LARGEST then
  return declined()
end
-- Where nothing whole is unreported the state is about to expire, or to become due: no steady heartbeat.
local whole = cumulative - claimed_to >= $SECOND
if not whole and due == '' then
  return declined()
end

local claimed, duplicate = tonumber(ARGV[5]), 0
local acknowledged = tonumber(ARGV[6])
if not acknowledged then
  if string.find(heartbeats, '\n' .. ARGV[4] .. '\n', 1, true) then
    claimed, duplicate = 0, 1
  elseif claimed > 0 or ARGV[6] == '-' then
    local count, first = string.match(heartbeats, '^(%d+)\n()')
    if not count then
      return declined()
    end
    count = tonumber(count)
    while count >= $MAX_VIEWS do
      first = string.find(heartbeats, '\n', first, true) + 1
      count = count - 1
    end
    heartbeats = string.format('%d\n%s%s\n', count + 1, string.sub(heartbeats, first), ARGV[4])
  end
else
  if not string.find(views, '^\n') and views ~= '' then
    return declined()
  end
  local total = claimed
  if ARGV[7] ~= '' then
    total = math.min(total, math.max(0, moment - ARGV[7]) + string.match(ARGV[15], '^leeway=(%d+)'))
  end
  local entry = '\n' .. ARGV[4] .. '\t'
  local from, to = string.find(views, entry, 1, true)
  local known, others
  if from then
    local digits = string.match(views, '^%d+', to + 1)
    if not digits then
      return declined()
    end
    known = tonumber(digits)
    others = string.sub(views, 1, from - 1) .. string.sub(views, to + 1 + #digits)
  else
    known = acknowledged
  end
  claimed = math.max(0, total - known)
  if claimed > 0 then
    -- A page that was opened before the budget begins may widen it, which the ledger remembers.
    if ARGV[7] ~= '' and counts_from ~= '' and counts_from - widened > tonumber(ARGV[7])
        and tonumber(widened) < tonumber(ARGV[13]) then
      return declined()
    end
    if not from then
      others = views
      local _, count = string.gsub(views, '\n', '')
      while count >= $MAX_VIEWS do
        others = string.sub(others, string.find(others, '\n', 2, true) or #others + 1)
        count = count - 1
      end
    end
    views = others .. entry .. total
  elseif from then
    duplicate = 1
  end
end

local position = ARGV[8] ~= '' and ARGV[8] or old_position
local accepted, clamped = 0, 0
if claimed > 0 then
  local allowed = budget + math.max(0, moment - last_sync)
  accepted = math.min(claimed, allowed, tonumber(ARGV[14]) or claimed)
  clamped = claimed - accepted
  if not whole then
    since = math.max(0, moment - accepted)
  end
  cumulative = cumulative + accepted
  last_sync = math.max(last_sync, moment)
  budget = math.min(ARGV[13], allowed - accepted)
  if clamped > 0 then
    clamped_in_all = clamped_in_all + clamped
  end
end

local placed = position ~= '' and duration ~= ''
if finalized == '' and (placed or string.sub(ARGV[15], -6) ~= 'dwell=') then
  local ratio, dwell = string.match(ARGV[15], 'ratio=(%S+) dwell=(%d*)$')
  if (dwell ~= '' and cumulative >= tonumber(dwell)) or (placed and position / duration >= tonumber(ratio)) then
    return declined()
  end
end
-- Where no depth is known, the time of the words alone completes.
local pace = words ~= '' and finalized == '' and not placed and string.match(ARGV[15], 'pace=(%S+) ')
if pace and cumulative >= words * $MINUTE / pace then
  return declined()
end

if claimed > 0 or position ~= old_position or heartbeats ~= f[3] then
  -- As text: a number costs redis.call as much as the command itself.
  local synced = string.format('%d', last_sync)
  -- The indexes first: should a key be of another type, the state has not been written.
  if due ~= '' then
    redis.call('ZADD', KEYS[2], 'NX', due, ARGV[2])
  else
    redis.call('ZADD', KEYS[3], 'NX', synced, ARGV[2])
  end
  -- D6: what holds something to report never expires, nor does its reader's set.
  if redis.call('ZADD', KEYS[5], 'NX', 'inf', ARGV[12]) == 1 then
    redis.call('PERSIST', KEYS[5])
  end
  meter = string.format('cumulative=%d lastSync=%s budget=%d since=%s clamped=%s position=%s nonce=%s',
    cumulative, synced, budget, since, clamped_in_all, position, ARGV[3])
  if acknowledged then
    redis.call('HSET', KEYS[1], 'meter', meter, 'views', views)
  else
    redis.call('HSET', KEYS[1], 'meter', meter, 'heartbeats', heartbeats)
  end
end
return {accepted, clamped, duplicate, f[4], views, heartbeats, cumulative, last_sync, budget, tonumber(since),
  tonumber(clamped_in_all), position}
