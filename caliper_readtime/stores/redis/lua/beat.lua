-- Applies a steady heartbeat to a state's meter in one round trip; the rule is transitions/signal.py's `count`.
--
-- KEYS[1] state   hash      one reader's time on one article
-- KEYS[2] due     zset      member -> when a state with a claim, a deferral or a parked event wants attention, ms
-- KEYS[3] idle    zset      member -> last sync of a state that holds nothing but unreported time, ms
-- KEYS[4] parked  set       members that hold parked events
--
-- ARGV[1]  now, ms since the epoch; '' for this server's clock
-- ARGV[2]  member of the index sets
-- ARGV[3]  nonce of this signal
-- ARGV[4]  id of the page view, or of the heartbeat
-- ARGV[5]  the view's total, or the heartbeat's delta, ms
-- ARGV[6]  what the client knows to be acknowledged, ms; '' for a heartbeat
-- ARGV[7]  when the page was opened, ms since the epoch; '' where nobody said
-- ARGV[8]  position, ms; '' where nobody said
-- ARGV[9]  '1' where a duration was given
-- ARGV[10] fingerprint of the reader that was passed; '' for an id
-- ARGV[11] fingerprint of the article that was passed; '' for an id
-- ARGV[12] leeway, ms
-- ARGV[13] catch-up, ms
-- ARGV[14] most that one signal may add, ms; '' without a limit
-- ARGV[15] completion ratio
-- ARGV[16] completion dwell, ms; '' without one
--
-- Reply: {accepted, clamped, duplicate, now, the fields that make a state}, times in ms. Where the signal is not a
-- steady one nothing is written, and the reply is {-1, stale, 0, now, fields} (`stale` as in read.lua): the caller
-- applies the transition itself. Names after a dollar sign are put in by scripts.py: $name is a field's position.

local state, due, idle = KEYS[1], KEYS[2], KEYS[3]

local moment = tonumber(ARGV[1])
if not moment then
  local time = redis.call('TIME')
  moment = time[1] * 1000 + math.floor(time[2] / 1000)
end

local f = redis.call('HMGET', state, $ALL)

local function declined()
  local stale = 0
  if not f[$nonce] and (redis.call('ZSCORE', due, ARGV[2]) or redis.call('ZSCORE', idle, ARGV[2])
      or redis.call('SISMEMBER', KEYS[4], ARGV[2]) == 1) then
    stale = 1
  end
  return {-1, stale, 0, moment, unpack(f, 1, $STATE)}
end

if not f[$nonce] or f[$schema] ~= '$SCHEMA' or f[$parkedEvents] ~= '0'
    or (ARGV[10] ~= '' and ARGV[10] ~= f[$reader]) or (ARGV[11] ~= '' and ARGV[11] ~= f[$article])
    or (ARGV[9] == '1' and f[$canonicalDurationMs] == '') then
  return declined()
end

local views, heartbeats = f[$views], f[$heartbeats]
if not (f[$cumulativeReadTimeMs] and f[$lastServerSyncMs] and f[$carryMs] and f[$sinceMs] and f[$clampedMs]
    and views and heartbeats and f[$claimedToMs] and f[$dueMs] and f[$finalizedMs])
    or not string.find(table.concat(f, ' ', $cumulativeReadTimeMs, $clampedMs), '^%d+ %d+ %d+ %d+ %d+$') then
  return declined()
end
local cumulative, last_sync, carry = tonumber(f[$cumulativeReadTimeMs]), tonumber(f[$lastServerSyncMs]), tonumber(f[$carryMs])
local since, clamped_in_all = tonumber(f[$sinceMs]), tonumber(f[$clampedMs])
if math.max(cumulative, last_sync, carry, since) >= $LARGEST or clamped_in_all > $MOST then
  return declined()
end
-- Where nothing whole is unreported the state is about to expire, or to become due: no steady heartbeat.
local whole = cumulative - tonumber(f[$claimedToMs]) >= $SECOND
if not (whole or f[$dueMs] ~= '') then
  return declined()
end

local total, claimed, duplicate = tonumber(ARGV[5]), 0, 0

-- Leaves room for one more line: of `lines`, which each begin with a line break, the first goes while there are too many.
local function with_room(lines)
  local _, count = string.gsub(lines, '\n', '')
  while count >= $MAX_VIEWS do
    lines = string.sub(lines, string.find(lines, '\n', 2, true) or #lines + 1)
    count = count - 1
  end
  return lines
end

if ARGV[6] == '' then
  if string.find(heartbeats .. '\n', '\n' .. ARGV[4] .. '\n', 1, true) then
    duplicate = 1
  else
    claimed = total
    if claimed > 0 or ARGV[4] ~= ARGV[3] then
      heartbeats = with_room(heartbeats) .. '\n' .. ARGV[4]
    end
  end
else
  if ARGV[7] ~= '' then
    total = math.min(total, math.max(0, moment - tonumber(ARGV[7])) + tonumber(ARGV[12]))
  end
  local entry = '\n' .. ARGV[4] .. '\t'
  local from, to = string.find(views, entry, 1, true)
  local known, others
  if from then
    local digits = string.match(views, '^%d+', to + 1)
    known = tonumber(digits)
    if not known then
      return declined()
    end
    others = string.sub(views, 1, from - 1) .. string.sub(views, to + 1 + #digits)
  else
    known = tonumber(ARGV[6])
  end
  claimed = math.max(0, total - known)
  if claimed > 0 then
    views = (from and others or with_room(views)) .. entry .. string.format('%.0f', total)
  elseif from then
    duplicate = 1
  end
end

local position = tonumber(ARGV[8]) or tonumber(f[$positionMs])
local accepted, clamped = 0, 0
if claimed > 0 then
  local elapsed = moment - last_sync
  local allowed = carry + math.max(0, elapsed)
  accepted = math.min(claimed, allowed, tonumber(ARGV[14]) or claimed)
  clamped = claimed - accepted
  if not whole then
    since = math.max(0, moment - accepted)
  end
  cumulative = cumulative + accepted
  last_sync = math.max(last_sync, moment)
  carry = math.min(tonumber(ARGV[13]), allowed - accepted)
  clamped_in_all = clamped_in_all + clamped
end

if f[$finalizedMs] == '' then
  local dwell, duration = tonumber(ARGV[16]), tonumber(f[$canonicalDurationMs])
  if (dwell and cumulative >= dwell) or (position and duration and position / duration >= tonumber(ARGV[15])) then
    return declined()
  end
end

local moved = position ~= tonumber(f[$positionMs])
if claimed > 0 or moved or heartbeats ~= f[$heartbeats] then
  -- The index first: should its key be of another type, nothing has been written.
  if f[$dueMs] ~= '' then
    redis.call('ZADD', due, 'NX', f[$dueMs], ARGV[2])
  else
    redis.call('ZADD', idle, 'NX', last_sync, ARGV[2])
  end
  if claimed > 0 then
    redis.call('HSET', state, 'nonce', ARGV[3], 'cumulativeReadTimeMs', cumulative, 'lastServerSyncMs', last_sync,
      'carryMs', carry, 'sinceMs', since, 'clampedMs', clamped_in_all,
      'views', views, 'heartbeats', heartbeats)
  else
    redis.call('HSET', state, 'nonce', ARGV[3], 'heartbeats', heartbeats)
  end
  if moved then
    redis.call('HSET', state, 'positionMs', position)
  end
end

f[$cumulativeReadTimeMs], f[$lastServerSyncMs], f[$carryMs], f[$sinceMs] = cumulative, last_sync, carry, since
f[$clampedMs], f[$positionMs], f[$views], f[$heartbeats] = clamped_in_all, position or '', views, heartbeats
return {accepted, clamped, duplicate, moment, unpack(f, 1, $STATE)}
