"""What must hold in every world, at every step, and once all is quiet."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caliper_readtime._rules import (
    MAX_REJECTIONS,
    TABLE,
    AcquireClaim,
    AcquireResult,
    Caller,
    Commit,
    CommitResult,
    Defer,
    Park,
    ParkResult,
    Release,
    Renew,
    Signal,
    Unpark,
)
from caliper_readtime._rules import state as limits  # a scenario shrinks its constants
from caliper_readtime._rules.outcome import MAX_FAILURES
from caliper_readtime._rules.ranges import fingerprint
from caliper_readtime._rules.state import SECOND
from tests.model.world import EVENTS, READERS, START, read_event

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Phase, ReadTimeState
    from tests.model.world import ModelState, Scenario

#: By this the clock moves between two sweeps of a quiet world: past every lease, back-off and retry time.
QUIET_MS = 2 * 86_400_000
QUIET_SWEEPS = 16
_TIMES = ("start_ms", "end_ms", "began_at_ms", "ended_at_ms")


class Violation(AssertionError):
    """A promise is broken. ``trace`` is filled in by the explorer."""


def must(holds: object, promise: str) -> None:
    """Raise unless the promise holds."""
    if not holds:
        raise Violation(promise)


def check_step(
    verb: Any,
    old: ReadTimeState | None,
    new: ReadTimeState | None,
    result: Any,
    now: int,
    edge: tuple[Phase, str, Phase],
) -> None:
    """Check one transition."""
    start, name, end = edge
    must(end in TABLE[start, name].ends, f"the table has no edge {start} -{name}-> {end}")
    if old is None or new is None:
        born = old is None and isinstance(verb, Signal)
        must(born or (old is None and new is None), "only a signal creates a state, and no verb ends one")
        return
    _check_time(verb, old, new, result, now)
    _check_ledger(verb, old, new, now)
    if isinstance(verb, AcquireClaim):
        _check_take(verb, old, new, result, now)
    elif isinstance(verb, Commit):
        _check_commit(verb, old, new, result)
    elif isinstance(verb, Release | Renew | Park):
        claim = old.ledger.claim
        if claim is None or claim.owner != verb.owner or claim.event_id != verb.event_id:
            must(new is old, "release, renew and refuse by anybody but the owner change nothing")
        elif isinstance(verb, Park):
            _check_refused(verb, old, new, result, now)
        elif isinstance(verb, Release):
            _check_released(verb, old, new, now)
    elif isinstance(verb, Unpark):
        parked = new.ledger.parked
        must(all(p.claimable(new.ledger.context, now) for p in parked), "after unpark every event may be sent at once")
    elif isinstance(verb, Defer) and result and new.unclaimed_ms >= SECOND:
        before = old.ledger.deferred_at_ms
        must(new.ledger.deferred_at_ms == (now if before is None else before), "what is deferred is due at once")


def _check_time(verb: Any, old: ReadTimeState, new: ReadTimeState, result: Any, now: int) -> None:
    was, has = old.meter, new.meter
    if not isinstance(verb, Signal):
        must(has is was, "only signals move time")
        return
    gained = has.cumulative_ms - was.cumulative_ms
    must(gained == result.accepted_ms >= 0, "the total grows by what was accepted")
    must(has.last_sync_at_ms >= was.last_sync_at_ms, "the last sync never moves back")
    # With the bound at birth, step by step: cumulative + budget <= last sync - where it begins + leeway + widened.
    passed = has.last_sync_at_ms - was.last_sync_at_ms
    widened = new.ledger.widened_ms - old.ledger.widened_ms
    must(
        gained + has.budget_ms - was.budget_ms <= passed + widened,
        "total and budget grow by no more than the time that passed",
    )
    must(passed <= max(0, now - was.last_sync_at_ms), "the last sync is no later than now")
    if not result.accepted_ms and not result.clamped_ms:
        must(has == was, "a signal that claims nothing new moves no time")


def _check_ledger(verb: Any, old: ReadTimeState, new: ReadTimeState, now: int) -> None:
    was, has = old.ledger, new.ledger
    must(has.generation == was.generation, "a state keeps its generation")
    must(has.pointer_ms >= was.pointer_ms, "the pointer is never lowered")
    must(new.reported_ms >= old.reported_ms, "what was reported stays reported")
    if was.finalized_at_ms is not None:
        must(has.finalized_at_ms == was.finalized_at_ms, "a stamp stays as it is")
    elif has.finalized_at_ms is not None:
        whole = has.claim is not None or has.parked or new.unclaimed_ms >= SECOND
        must(not whole and has.finalized_at_ms == now, "the stamp comes when nothing whole is left")
        asked = was.finalize_wanted or getattr(verb, "finalize", False) or isinstance(verb, Signal)
        must(asked, "only what was to be finalized is stamped")
    finalizing = was.finalize_wanted or (isinstance(verb, AcquireClaim | Defer) and verb.finalize)
    must(not finalizing or has.finalize_wanted or has.finalized_at_ms, "finalize is wanted until it is stamped")
    if was is has:
        return
    now_open = {entry.event_id: entry for entry in (*has.parked, *([has.claim] if has.claim else []))}
    for entry in (*was.parked, *([was.claim] if was.claim else [])):
        kept = now_open.get(entry.event_id)
        if kept is None:
            committed = isinstance(verb, Commit) and verb.event_id == entry.event_id
            must(committed, "a claimed or parked event stays until it is committed")
            continue
        same = all(getattr(kept, time) == getattr(entry, time) for time in _TIMES)
        must(same, "an event's range and times never change")


def _check_take(verb: AcquireClaim, old: ReadTimeState, new: ReadTimeState, result: Any, now: int) -> None:
    was, claim, own, context = old.ledger.claim, result.claim, False, new.ledger.context
    explicit = verb.caller is Caller.EXPLICIT
    ready = [
        parked
        for parked in old.ledger.parked
        if parked.event_id not in verb.tried
        and (_corrected(parked, context) or parked.retry_at_ms <= now or (explicit and not parked.refused))
    ]
    if result.result is not AcquireResult.CLAIMED:
        must(new.ledger.claim == was, "who gets no claim leaves the claim as it is")
        if was is None and result.result in (AcquireResult.NOTHING, AcquireResult.WAITING, AcquireResult.DEFERRED):
            waits = ready and verb.caller is not Caller.HEARTBEAT
            must(not waits, "a parked event goes again when its context or its time has come")
        must(
            result.result is not AcquireResult.NOTHING or old.unclaimed_ms < SECOND,
            "nothing means that nothing whole is there",
        )
        return
    must(claim == new.ledger.claim and claim.owner == verb.owner, "the claim that is handed out is the stored one")
    must(claim.until_at_ms == now + verb.policy.lock_ms, "a lease lasts lock_seconds from now")
    event = read_event(claim.event)
    must(event["seconds"] * SECOND == claim.end_ms - claim.start_ms, "the event says how long the range is")
    must(event["email"] == claim.context.reader.email, "a claim holds the context of its event")
    retries = [parked.event_id for parked in old.ledger.parked]
    again = was is not None or claim.event_id not in retries or claim.event_id in [parked.event_id for parked in ready]
    must(again, "a parked event goes again only when its context is a new one or its time has come")
    must(was is not None or claim.event_id not in retries or verb.retries, "a sweep leaves retries for later")
    if was is not None:
        must(was.owner in (None, verb.owner) or claim.ambiguous, "an owner that was cut off may have sent it")
        own = was.owner == verb.owner
        must(was.event_id == claim.event_id, "an older claim is handed out before a new one is made")
        live = was.owner is not None and not own and was.until_at_ms > now
        must(not live, "nobody gets a claim while another owner's lease lasts")
        if was.event != claim.event:
            must(was.rejections and not own, "the same id means the same bytes, a refusal apart")
        elif was.rejections and not own and context.reader is not READERS[2]:
            must(claim.context == context, "a refused event is rebuilt when the context has changed")
    elif ready and verb.retries:
        must(claim.event_id == ready[0].event_id, "parked events go before new time, the oldest first")
    elif not any(parked.event_id == claim.event_id for parked in old.ledger.parked):
        room = len(old.ledger.parked) < limits.MAX_PARKED
        must(room or verb.caller is Caller.EXPLICIT, "with a full parked list only explicit calls claim new time")
    waits = was is not None and not own and was.until_at_ms > now
    must(not waits or verb.caller is Caller.EXPLICIT, "nobody but an explicit call sends before the back-off is over")
    if verb.caller is Caller.HEARTBEAT:
        must(not old.ledger.parked, "no heartbeat sends while an event is parked")


def _corrected(parked: Any, context: Any) -> bool:
    """Return whether a context is one that a parked event was not sent with yet."""
    unsure = parked.attempts > 0 and not parked.refused  # it may have arrived as it is
    return not unsure and parked.context != context and fingerprint(context) not in parked.tried


def _check_released(verb: Release, old: ReadTimeState, new: ReadTimeState, now: int) -> None:
    claim, slot = old.ledger.claim, new.ledger.claim
    before = next((parked for parked in old.ledger.parked if parked.event_id == claim.event_id), None)
    after = next((parked for parked in new.ledger.parked if parked.event_id == claim.event_id), None)
    must((slot is None) == (after is not None), "what was released is either in the slot or in the list")
    must(before is None or after is not None, "a retry that failed goes back to the list")
    left = slot or after
    must(left.ambiguous == (claim.ambiguous or verb.ambiguous), "what may have arrived is remembered")
    if not verb.counted:
        must(before is not None or slot is not None, "what was not tried stays in the slot")
        must(left.attempts == (claim.attempts if before is None else before.attempts), "… and is no attempt")
        return
    must(left.attempts == claim.attempts + 1, "a failed emission is an attempt")
    waits = (slot.until_at_ms if after is None else after.retry_at_ms) - now
    must(waits >= verb.policy.retry_backoff_ms // 2, "a failed emission is followed by a back-off")
    must(waits <= verb.policy.max_retry_backoff_ms, "… of no more than the longest")
    room = len(old.ledger.parked) < limits.MAX_PARKED
    if before is None and left.attempts >= MAX_FAILURES and old.unclaimed_ms >= SECOND and room:
        must(after is not None and not after.refused, "at its third failure an event makes way for newer time")
    elif before is None:
        must(after is None, "… and not before")
    else:
        must(not _corrected(after, claim.context), "a context that was tried is not tried again at once")


def _check_commit(verb: Commit, old: ReadTimeState, new: ReadTimeState, result: CommitResult) -> None:
    was, has = old.ledger, new.ledger
    open_before = {parked.event_id for parked in was.parked} | ({was.claim.event_id} if was.claim else set())
    if was.generation != verb.generation:
        must(new is old and result is CommitResult.GONE, "a commit of another generation changes nothing")
    elif verb.event_id in open_before:
        must(result is CommitResult.SENT, "a commit counts, whoever makes it")
        open_now = {parked.event_id for parked in has.parked} | ({has.claim.event_id} if has.claim else set())
        must(verb.event_id not in open_now, "a committed event is neither claimed nor parked")
        must(new.reported_ms - old.reported_ms == verb.end_ms - verb.start_ms, "a commit reports its range, once")
    elif verb.end_ms <= was.pointer_ms:
        must(new is old and result is CommitResult.BEFORE, "a second commit of an event changes nothing")
    else:
        must(result is CommitResult.LOST, "the loss of a claim is noticed")


def _check_refused(verb: Park, old: ReadTimeState, new: ReadTimeState, result: ParkResult, now: int) -> None:
    claim = old.ledger.claim
    mine = [parked for parked in new.ledger.parked if parked.event_id == claim.event_id]
    if result is ParkResult.STUCK:
        must(not mine and new.ledger.claim.event == claim.event, "with a full list a refused event stays in the slot")
        must(
            new.ledger.claim.until_at_ms == now + verb.policy.max_retry_backoff_ms, "… released at the maximum back-off"
        )
        must(new.ledger.claim.rejections == claim.rejections + 1, "… and the refusal is counted")
        return
    must(len(mine) == 1, "a refused event is parked, once")
    must(mine[0].context.reader.email == read_event(claim.event)["email"], "… with the context it was built from")
    before = next((parked for parked in old.ledger.parked if parked.event_id == claim.event_id), None)
    unparked = before is not None and claim.first_claimed_at_ms < before.retry_at_ms <= now
    must(not unparked or mine[0].retry_at_ms == now, "an unpark outlives the refusal of an earlier try")
    must(unparked or now < mine[0].retry_at_ms <= now + 86_400_000, "… and tried again within a day")
    must(not _corrected(mine[0], claim.context), "a context that was refused is not tried again at once")
    must(new.ledger.pointer_ms >= claim.end_ms, "the pointer steps over a parked range")
    must(claim.rejections < MAX_REJECTIONS or mine, "an event refused often is parked")


def check_world(world: ModelState, scenario: Scenario) -> None:
    """Check one world."""
    state = world.state
    if state is None:
        must(world.index is None, "nothing stored is nothing due")
        return
    meter, ledger, policy = state.meter, state.ledger, scenario.policy
    claim, parked = ledger.claim, ledger.parked
    opened = scenario.menu[0].opened_at_ms
    open_ms = 0 if opened is None else ledger.first_sync_at_ms - START - opened
    first_ms = max(policy.heartbeat_ms, open_ms)
    bound = meter.last_sync_at_ms - ledger.first_sync_at_ms + first_ms + policy.leeway_ms
    must(
        0 <= state.reported_ms <= meter.cumulative_ms <= bound - meter.budget_ms, "reported <= cumulative <= wall time"
    )
    must(world.earlier_ms + meter.cumulative_ms <= truth(world, scenario), "no time of a view or delta is paid twice")
    _check_due(world, scenario)
    meant = ledger.deferred_at_ms is None or ledger.finalize_wanted or state.unclaimed_ms >= SECOND
    must(meant, "no deferral outlives the time that it was meant for")
    wanted_only = ledger.finalize_wanted and claim is None and not parked and state.unclaimed_ms < SECOND
    must(not wanted_only, "nothing whole left and finalize wanted: it is stamped")
    must(len(parked) <= scenario.max_parked, "the parked list has its limit")
    ranges = sorted((entry.start_ms, entry.end_ms) for entry in parked)
    listed = claim is not None and any(entry.event_id == claim.event_id for entry in parked)
    if claim is not None and not listed:
        must(claim.start_ms >= ledger.pointer_ms, "a new claim begins where the last one ended")
        ranges.append((claim.start_ms, claim.end_ms))
    else:
        must(not ranges or ranges[-1][1] <= ledger.pointer_ms, "the pointer is behind everything parked")
    _check_ranges(ranges, scenario)
    must(not ranges or ranges[-1][1] <= meter.cumulative_ms, "no more than was read is claimed")
    if not scenario.budget.failovers:
        _check_endpoint(world, scenario)


def _check_ranges(ranges: list[tuple[int, int]], scenario: Scenario) -> None:
    end = 0
    for start_ms, end_ms in ranges:
        must(start_ms >= end, "distinct events have disjoint ranges")
        must(0 < end_ms - start_ms <= scenario.max_event_ms, "no event is longer than allowed")
        must((end_ms - start_ms) % SECOND == 0, "events carry whole seconds")
        end = end_ms


def truth(world: ModelState, scenario: Scenario) -> int:
    """Return how much the client has claimed: the largest total of each view, and each delta once."""
    views: dict[str, int] = {}
    deltas = 0
    for number, item in enumerate(scenario.menu):
        if world.told >> number & 1:
            if item.view is None:
                deltas += item.total_ms
            else:
                views[item.view] = max(views.get(item.view, 0), item.total_ms)
    return deltas + sum(views.values())


def _check_due(world: ModelState, scenario: Scenario) -> None:
    state = world.state
    ledger, due, index = state.ledger, state.due, world.index
    open_ms = state.meter.cumulative_ms - state.reported_ms
    if open_ms < SECOND:
        must(due is None and index is None, "nothing whole is nothing due")
        must(state.expires_at_ms is not None, "a state without unreported time expires")
        return
    must(state.expires_at_ms is None, "a state with unreported time never expires")
    must(due is not None and index is not None, "everything unreported is due")
    must(index.at_ms <= due.at_ms, "the index never sleeps longer than its state")
    if ledger.claim is not None:
        must(due == (ledger.claim.until_at_ms, False), "nothing shortens or outlasts a lease or back-off")
        return
    for parked in ledger.parked:
        at_ms = parked.parked_at_ms if _corrected(parked, ledger.context) else parked.retry_at_ms
        must(due.at_ms <= at_ms, "a parked event is due when it may be sent")
    if len(ledger.parked) >= scenario.max_parked:
        must(not due.soft, "behind a full list new time makes nothing due")
    elif state.unclaimed_ms >= SECOND:
        at_ms = state.meter.last_sync_at_ms if ledger.deferred_at_ms is None else ledger.deferred_at_ms
        must(due.at_ms <= at_ms, "unclaimed time is due from its last sync or deferral")


def _check_endpoint(world: ModelState, scenario: Scenario) -> None:
    state = world.state
    ledger = state.ledger
    mine = [sent for sent in world.sent if sent.generation == ledger.generation]
    _check_ranges([(sent.start_ms, sent.end_ms) for sent in mine], scenario)
    still_open = {parked.event_id for parked in ledger.parked}
    if ledger.claim is not None:
        still_open.add(ledger.claim.event_id)
    held = committed = 0
    for sent in mine:
        if sent.held:
            held += sent.end_ms - sent.start_ms
        if sent.event_id not in still_open:
            must(sent.held, "what is no longer open has arrived")
            committed += sent.end_ms - sent.start_ms
    must(committed == state.reported_ms, "reported is what the endpoint holds and nobody will send again")
    must(state.reported_ms <= held, "nothing counts as reported that the endpoint does not hold")


def check_quiet(world: ModelState, scenario: Scenario) -> None:
    """Let every worker crash, let the endpoint accept all, sweep: then everything must have arrived."""
    state, index, now = world.state, world.index, world.now
    if state is None:
        return
    held = {sent.event_id: (sent.start_ms, sent.end_ms) for sent in world.sent if sent.held}
    if state.ledger.context.reader is READERS[2]:
        state, _ = Defer(finalize=False, reader=READERS[0])(state, now)
        index = state.due
    generation = state.ledger.generation
    for _ in range(QUIET_SWEEPS):
        now += QUIET_MS
        if index is None or index.at_ms > now:
            break
        new, acquired = AcquireClaim("quiet", scenario.policy, EVENTS, Caller.SWEEP, 0.0)(state, now)
        if acquired.result is AcquireResult.CLAIMED:
            claim = acquired.claim
            held[claim.event_id] = (claim.start_ms, claim.end_ms)
            new, _ = Commit(generation, claim.event_id, claim.start_ms, claim.end_ms)(new, now)
        if new is not state:
            state, index = new, new.due
    ledger = state.ledger
    must(index is None, "quiet sweeps come to an end")
    left = ledger.claim is not None or ledger.parked or state.meter.cumulative_ms - state.reported_ms >= SECOND
    must(not left, "after quiet sweeps nothing whole is unreported")
    must(not ledger.finalize_wanted, "after quiet sweeps what was to be finalized is")
    if not scenario.budget.failovers:
        ids = {sent.event_id for sent in world.sent if sent.generation != generation}
        seconds = sum(end_ms - start_ms for event_id, (start_ms, end_ms) in held.items() if event_id not in ids)
        must(seconds == state.reported_ms, "when quiet, the distinct seconds at the endpoint are the reported ones")
