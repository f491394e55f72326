-- Applies a steady heartbeat to a state's meter in one round trip; the rule is _rules/heartbeat.py's `count`.
--
-- KEYS[1] state   hash      one reader's time on one article
-- KEYS[2] due     zset      member -> when a state with a claim, a deferral or a parked event wants attention, ms
-- KEYS[3] idle    zset      member -> last sync of a state that holds nothing but unreported time, ms
-- KEYS[4] reader  zset      resource of each of the reader's states -> when it expires, ms; inf where it does not
--
-- ARGV[1]  member of the index sets
-- ARGV[2]  resource
-- ARGV[3]  id of the page view, or of the heartbeat
-- ARGV[4]  offered: the view's active time so far, or the heartbeat's delta, ms
-- ARGV[5]  nonce of the ledger that the caller has; '' for none
-- Each argument costs every heartbeat, so what follows is left out where nothing more follows, and else is ''.
-- ARGV[6]  what the client knows of the view to be acknowledged, ms; '' for a heartbeat whose id was drawn for this
--          call, '-' for one whose id was given
-- ARGV[7]  fingerprint of the article that was passed
-- ARGV[8]  when the page was opened, ms since the epoch
-- ARGV[9]  position, ms
-- ARGV[10] '1' where a duration was given
-- ARGV[11] fingerprint of the reader that was passed
-- ARGV[12] now, ms since the epoch; this server's clock where it is not given
--
-- Reply: {accepted ms, meter}, and where that is not all: {accepted, meter, clamped, duplicate, ledger}, the ledger if
-- the caller has another one. Where the signal is not a steady one nothing is written, and the reply is
-- {-1, stale, now, meter, ledger} (stale as in read.lua): the caller applies the transition itself.
--
-- Names after a dollar sign are put in by scripts.py, those of the policy too. A script's time goes to calls, to long
-- texts that are made, and to numbers that become text: `%d` writes one in half the time of `..`.

local moment = ARGV[12]
if moment then
  moment = moment + 0
else
  local time = redis.call('TIME')
  moment = time[1] * 1000 + (time[2] - time[2] % 1000) / 1000
end

local meter = redis.call('HGET', KEYS[1], 'meter')

repeat
  if not meter then
    break
  end
  local cumulative, last_sync, budget, since, clamped_in_all, old_position, ids, rest, nonce, claimed_to, due, context =
    meter:match('^(%d+) (%d+) (%d+) (%d+) (%d+) (%d*) (%d%d?) ()($NONCE) $SCHEMA (%d+) (%d*) ()')
  -- Lua would write larger numbers with an exponent.
  if not context or #cumulative > $DIGITS or #last_sync > $DIGITS or #budget > $DIGITS or #since > $DIGITS
      or #clamped_in_all > $DIGITS or #old_position > $DIGITS or moment >= $LARGEST then
    break
  end
  local article, opened, reader = ARGV[7] or '', ARGV[8] or '', ARGV[11] or ''
  if (article ~= '' and article ~= meter:sub(context, context + $PRINT - 1))
      or (reader ~= '' and reader ~= meter:sub(context + $PRINT + 1, context + 2 * $PRINT)) then
    break
  end
  local position, whole = ARGV[9] or '', cumulative - claimed_to >= $SECOND
  if position == '' then
    position = old_position
  end
  local duration, finalized, counts_from, widened, expires, words
  if not whole or position ~= '' or opened ~= '' or ARGV[10] == '1' or $DWELL or $PACE then
    duration, finalized, counts_from, widened, expires, words =
      meter:match('^(%d*) (%d*) (%d*) (%d+) (%d*) (%d*)\n', context + 2 * $PRINT + 2)
    -- What expires without being used again may have expired; a claim or a deferral keeps a state.
    if not duration or (ARGV[10] == '1' and duration == '')
        or (not whole and due == '' and (expires == '' or moment >= expires + 0)) then
      break
    end
  end

  -- The lists are those from `rest` to `kept`, from `again` to `place`, what is added, and what is behind `place`.
  local claimed, duplicate, acknowledged = ARGV[4] + 0, 0, ARGV[6] or ''
  local kept, again, place, added = #meter, #meter + 1, #meter, ''
  if acknowledged == '' or acknowledged == '-' then
    if meter:find('\n' .. ARGV[3] .. '\n', context, true) then
      claimed, duplicate = 0, 1
    elseif claimed > 0 or acknowledged == '-' then
      added = ARGV[3] .. '\n'
      if ids ~= '$MAX_VIEWS' then
        ids = ids + 1
        if ids > $MAX_VIEWS then
          break
        end
      else
        -- The oldest id stands behind the last view, or behind the first line.
        kept = meter:find('\t', context, true) and meter:match('^.*\t%d+()\n') or meter:find('\n', context, true)
        again = meter:find('\n', (kept or #meter) + 1, true)
        if not again then
          break
        end
        again = again + 1
      end
    end
  else
    local total, shown = claimed, ARGV[4]
    if opened ~= '' then
      local open_for = moment - opened
      local most = (open_for > 0 and open_for or 0) + $LEEWAY
      if total > most then
        total, shown = most, string.format('%d', most)
      end
    end
    local entry = ARGV[3] .. '\t'
    local from, to = meter:find('\n' .. entry, context, true)
    local known, after = acknowledged, nil
    if from then
      known, after = meter:match('^(%d+)\n()', to + 1)
      if not known then
        break
      end
    end
    claimed = total - known
    if claimed > 0 then
      -- A page that was opened before the budget begins may widen it, which the ledger remembers.
      if opened ~= '' and counts_from ~= '' and counts_from - widened > opened + 0 and widened + 0 < $CATCH_UP then
        break
      end
      added = entry .. shown .. '\n'
      if from then
        kept, again = from, after
      else
        kept = meter:find('\n', context, true)
        if not kept then
          break
        end
        again = kept + 1
        local _, count = meter:gsub('\t', '')
        if count >= $MAX_VIEWS then
          again = meter:match('^[^\n\t]+\t%d+\n()', again)
          if not again then
            break
          end
        end
      end
      -- Views stand before the ids of heartbeats.
      if ids ~= '0' then
        place = meter:find('\t', again, true) and meter:match('^.*\t%d+()\n') or again - 1
      end
    else
      claimed = 0
      if from then
        duplicate = 1
      end
    end
  end

  local accepted, clamped = 0, 0
  if claimed > 0 then
    local allowed, elapsed = budget + 0, moment - last_sync
    if elapsed > 0 then
      allowed = allowed + elapsed
      -- As text: a number costs redis.call as much as the command itself.
      last_sync = string.format('%d', moment)
    end
    accepted = claimed
    if accepted > allowed then
      accepted = allowed
    end
    if accepted > $MOST then
      accepted = $MOST
    end
    clamped = claimed - accepted
    if not whole then
      since = math.max(0, moment - accepted)
    end
    cumulative = cumulative + accepted
    budget = allowed - accepted
    if budget > $CATCH_UP then
      budget = $CATCH_UP
    end
    if clamped > 0 then
      clamped_in_all = clamped_in_all + clamped
    end
  end

  if finalized == '' then
    local placed = position ~= '' and duration ~= ''
    if ($DWELL and cumulative + 0 >= $DWELL) or (placed and position / duration >= $RATIO)
        -- Where no depth is known, the time of the words alone completes.
        or ($PACE and not placed and words ~= '' and cumulative + 0 >= words * $MINUTE / $PACE) then
      break
    end
  end
  -- What still holds nothing whole expires, later than it did.
  if not whole and due == '' and cumulative - claimed_to < $SECOND then
    break
  end
  local ledger
  if nonce ~= ARGV[5] then
    ledger = redis.call('HGET', KEYS[1], 'ledger')
    if not ledger then
      break
    end
  end

  local text = meter
  if claimed > 0 or added ~= '' or position ~= old_position then
    text = string.format('%d %s %d ', cumulative, last_sync, budget) .. since .. ' ' .. clamped_in_all .. ' '
      .. position .. ' ' .. ids .. ' ' .. meter:sub(rest, kept) .. meter:sub(again, place) .. added
      .. meter:sub(place + 1)
    -- The indexes first: should a key be of another type, the state has not been written.
    if due ~= '' then
      redis.call('ZADD', KEYS[2], 'NX', due, ARGV[1])
    else
      redis.call('ZADD', KEYS[3], 'NX', last_sync, ARGV[1])
    end
    -- D6: what holds something to report never expires (X2), nor does its reader's set.
    if whole or due ~= '' then
      if redis.call('ZADD', KEYS[4], 'NX', 'inf', ARGV[2]) == 1 then
        redis.call('PERSIST', KEYS[4])
      end
    else
      redis.call('ZADD', KEYS[4], 'inf', ARGV[2])
      redis.call('PERSIST', KEYS[4])
      redis.call('PERSIST', KEYS[1])
    end
    redis.call('HSET', KEYS[1], 'meter', text)
  end
  if ledger or clamped > 0 or duplicate == 1 then
    return {accepted, text, clamped, duplicate, ledger or false}
  end
  return {accepted, text}
until true

local stale = 0
if not meter and (redis.call('ZSCORE', KEYS[2], ARGV[1]) or redis.call('ZSCORE', KEYS[3], ARGV[1])) then
  stale = 1
end
return {-1, stale, moment, meter, redis.call('HGET', KEYS[1], 'ledger')}
