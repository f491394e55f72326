"""PURE: what asking for a claim does to a state (chapter C of the protocol)."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from caliper_readtime._interruptions import pass_interruption
from caliper_readtime._policy import ReaderBudget
from caliper_readtime._rules.event import MAX_EVENT_MS
from caliper_readtime._rules.event_text import event_text
from caliper_readtime._rules.identity import event_ids, generated_id
from caliper_readtime._rules.outcome import MAX_FAILURES
from caliper_readtime._rules.state import (
    MAX_PARKED,
    MOST_CLAMPED_MS,
    SECOND,
    Claim,
    Ledger,
    Parked,
    Phase,
    ReadTimeState,
    evolved,
)
from caliper_readtime._rules.steps import Verb, listed, refreshed, remembered, rule, set_aside, settled, spread
from caliper_readtime._rules.wall import claimed, window

if TYPE_CHECKING:
    from caliper_readtime._model import Activity, Reader
    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.ranges import Context
    from caliper_readtime._rules.wall import Wall


class Caller(StrEnum):
    """Who asks for a claim: an explicit call, a heartbeat that completed an article, or a sweep."""

    EXPLICIT = "explicit"
    HEARTBEAT = "heartbeat"
    SWEEP = "sweep"


class AcquireResult(StrEnum):
    """What came of asking for a claim."""

    CLAIMED = "claimed"
    NOTHING = "nothing"
    IN_FLIGHT = "in_flight"
    WAITING = "waiting"  # a back-off runs, events are parked, or the reader is not idle
    RETRY_LAST = "retry_last"  # a sweep sends what has failed before once everybody else is served
    DEFERRED = "deferred"
    UNBUILDABLE = "unbuildable"


@attrs.frozen(slots=False)  # half the time to make, and a sweep makes thousands
class Acquired:
    """The answer to ``AcquireClaim``.

    Attributes:
        result: what came of it.
        claim: the claim, where one was made.
        again: the claim was made before, so the endpoint may already hold its event.
        parked: the event that could not be built, or the oldest one that waits for its retry.
        retry: the claim sends a parked event again.
        reason: why the event could not be built.
        beside_ms: found at this claim to have been read beside another article.
    """

    result: AcquireResult
    claim: Claim | None = None
    again: bool = False
    parked: Parked | None = None
    retry: bool = False
    reason: str = ""
    beside_ms: int = 0


@attrs.frozen(slots=False)  # for `evolved`
class AcquireClaim(Verb[Acquired]):
    """Ask for a claim. One that is ``walled`` also holds new time against the reader's other articles.

    Attributes:
        owner: token of this caller.
        policy: the rules.
        events: builds the event.
        caller: who asks.
        jitter: random number in [0, 1), of a batch.
        reader: newest reader, or None.
        article: newest article, or None.
        finalize: the caller wants the state finalized.
        min_ms: new time below this is deferred.
        idle_ms: a sweep leaves a reader alone who was active within this time.
        retries: a sweep takes what has failed before too: parked events, and those near their third failure.
        tried: events that this caller has tried already, and leaves alone.
        recovering: a sweep after an outage does not wait for back-offs, but for those of refused events.
    """

    name = "claim"

    owner: str
    policy: ReadTimePolicy
    events: TimeSpentEvents
    caller: Caller
    jitter: float
    reader: Reader | None = None
    article: Activity | None = None
    finalize: bool = False
    min_ms: int = 0
    idle_ms: int = 0
    retries: bool = True
    tried: frozenset[str] = frozenset()
    recovering: bool = False

    @property
    def walled(self) -> bool:
        """Whether a store that keeps walls is to call ``with_wall``."""
        return self.policy.reader_budget is not ReaderBudget.OFF

    def with_wall(
        self, state: ReadTimeState | None, wall: Wall, now: int, /
    ) -> tuple[ReadTimeState | None, Wall, Acquired]:
        """Apply the verb to a state, and to what its reader has claimed on all articles (chapter U)."""
        new, acquired = self(state, now)
        # U3: a claim that was made before, or a parked event, was measured when its time was new.
        if state is None or new is None or acquired.claim is None or acquired.again or acquired.retry:
            return new, wall, acquired
        if acquired.result not in (AcquireResult.CLAIMED, AcquireResult.UNBUILDABLE):
            return new, wall, acquired
        stretch = window(state, max(state.ledger.measured_ms, acquired.claim.start_ms), self.policy)
        if stretch.ms <= 0:
            return new, wall, acquired
        wall, over = claimed(wall, stretch, now + self.policy.state_ttl_ms)
        if over and self.policy.reader_budget is ReaderBudget.ENFORCE:
            new, acquired = self(_taken_off(state, over, now), now)
            assert new is not None  # noqa: S101 - a claim removes no state
        ledger = evolved(
            new.ledger, measured_ms=new.meter.cumulative_ms, beside_ms=min(new.ledger.beside_ms + over, MOST_CLAMPED_MS)
        )
        return evolved(new, ledger=ledger), wall, evolved(acquired, beside_ms=over) if over else acquired


def _taken_off(state: ReadTimeState, over: int, now: int) -> ReadTimeState:
    """U4: return the state without time that was read beside another article."""
    meter = state.meter
    meter = meter._replace(
        cumulative_ms=meter.cumulative_ms - over, clamped_ms=min(meter.clamped_ms + over, MOST_CLAMPED_MS)
    )
    ledger = remembered(state.ledger, now, "clamped", ms=over, detail="read beside another article")
    return evolved(state, meter=meter, ledger=ledger)


def acquire_nothing(_verb: AcquireClaim, _state: None, _now: int) -> tuple[None, Acquired]:
    """V7: where there is no state there is nothing to send, and none is created."""
    return None, Acquired(AcquireResult.NOTHING)


def acquire_held(verb: AcquireClaim, state: ReadTimeState, now: int) -> tuple[ReadTimeState, Acquired]:
    """Take over a claim whose lease has run out, or get one's own back with its lease renewed."""
    state, ledger, claim = _asked(verb, state)
    # C1: another owner's live lease: IN_FLIGHT.
    if claim.owner != verb.owner and claim.leased(now):
        return state, Acquired(AcquireResult.IN_FLIGHT, claim)
    if verb.caller is Caller.HEARTBEAT and ledger.parked:
        return state, Acquired(AcquireResult.WAITING, claim)
    return _claimed_again(verb, state, ledger, claim, now)


def acquire_released(verb: AcquireClaim, state: ReadTimeState, now: int) -> tuple[ReadTimeState, Acquired]:
    """Take a claim that was released."""
    state, ledger, claim = _asked(verb, state)
    # V3: explicit calls ignore the back-off. S14: while it runs or an event is parked, heartbeats send nothing.
    backs_off = claim.backs_off(now) and not (verb.recovering and not claim.rejections)
    waits = backs_off or (verb.caller is Caller.HEARTBEAT and ledger.parked)
    if (waits and verb.caller is not Caller.EXPLICIT) or claim.event_id in verb.tried:
        return state, Acquired(AcquireResult.WAITING, claim)
    if not verb.retries and claim.attempts >= MAX_FAILURES - 1:  # W9
        return state, Acquired(AcquireResult.RETRY_LAST, claim)
    return _claimed_again(verb, state, ledger, claim, now)


def acquire_unclaimed(verb: AcquireClaim, state: ReadTimeState, now: int) -> tuple[ReadTimeState, Acquired]:
    """Claim a parked event that may be sent again, otherwise the whole seconds that no claim covers."""
    state = refreshed(state, verb.reader, verb.article, finalize=verb.finalize)
    ledger = state.ledger
    # S14: while an event is parked, further heartbeats answer DEFERRED and send nothing.
    if ledger.parked and verb.caller is Caller.HEARTBEAT:
        return state, Acquired(AcquireResult.WAITING, parked=ledger.parked[0])
    # P7: a claimable parked event goes through the claim slot before new time, but for a sweep.
    explicit = verb.caller is Caller.EXPLICIT
    ready = (parked for parked in ledger.parked if parked.claimable(ledger.context, now, explicit=explicit))
    retry = next((parked for parked in ready if parked.event_id not in verb.tried), None)
    if retry is not None and verb.retries:
        return _claimed(
            verb, state, (retry.start_ms, retry.end_ms, retry.began_at_ms, retry.ended_at_ms), now, retry=retry
        )
    state, acquired = _acquire_new(verb, state, now)
    if retry is not None and acquired.result in (AcquireResult.NOTHING, AcquireResult.WAITING):
        return state, Acquired(AcquireResult.RETRY_LAST, parked=retry)
    return state, acquired


def _acquire_new(verb: AcquireClaim, state: ReadTimeState, now: int) -> tuple[ReadTimeState, Acquired]:
    """C3: claim the whole seconds from the pointer on, at most 86,400."""
    ledger = state.ledger
    if ledger.accepted_to_ms > ledger.pointer_ms:
        # K6: totals that have climbed back are not sent again.
        ledger = evolved(ledger, pointer_ms=min(ledger.accepted_to_ms, state.meter.cumulative_ms))
        state = evolved(state, ledger=ledger)
    whole = min(state.unclaimed_ms // SECOND * SECOND, MAX_EVENT_MS)
    if whole <= 0:
        return settled(state, now), Acquired(AcquireResult.NOTHING, parked=ledger.parked[0] if ledger.parked else None)
    waits = _sweep_waits(verb, state, now) if verb.caller is Caller.SWEEP else None
    if waits is not None:
        return waits, Acquired(AcquireResult.WAITING)
    if whole < verb.min_ms and verb.caller is Caller.EXPLICIT:
        return deferred(state, now), Acquired(AcquireResult.DEFERRED)
    start = ledger.pointer_ms
    return _claimed(
        verb, state, (start, start + whole, state.meter.since_at_ms, state.meter.last_sync_at_ms), now, retry=None
    )


def _sweep_waits(verb: AcquireClaim, state: ReadTimeState, now: int) -> ReadTimeState | None:
    """Return the state to leave where a sweep must not claim new time yet."""
    # P10: when the list is full only explicit calls claim new time.
    if len(state.ledger.parked) >= MAX_PARKED:
        return state
    if state.ledger.deferred_at_ms is None and now - verb.idle_ms < state.meter.last_sync_at_ms <= now:
        # A copy of the ledger: the store writes the due entry of an active reader again, at its newer time.
        return evolved(state, ledger=evolved(state.ledger))
    return None


def _asked(verb: AcquireClaim, state: ReadTimeState) -> tuple[ReadTimeState, Ledger, Claim]:
    state = refreshed(state, verb.reader, verb.article, finalize=verb.finalize)
    claim = state.ledger.claim
    assert claim is not None  # noqa: S101 - the table sends only states with a claim here
    return state, state.ledger, claim


def _claimed_again(
    verb: AcquireClaim, state: ReadTimeState, ledger: Ledger, claim: Claim, now: int
) -> tuple[ReadTimeState, Acquired]:
    """C2: hand on a claim whose lease has run out, or that was released, as it is under a new owner token."""
    own = claim.owner == verb.owner
    # An owner that was cut off may have sent it.
    ambiguous = claim.ambiguous or (claim.owner is not None and not own)
    new = evolved(claim, owner=verb.owner, until_at_ms=now + verb.policy.lock_ms, ambiguous=ambiguous)
    if claim.rejections and claim.context != ledger.context and not own:
        # P11: a refused event that stayed in the slot is rebuilt if the context has changed.
        ids = claim.event_id, generated_id(ledger.generation, state.key, claim.start_ms, claim.end_ms)
        span = claim.start_ms, claim.end_ms, claim.began_at_ms, claim.ended_at_ms
        body = _built(verb.events, ledger.context, ids, span)
        new = new if isinstance(body, Exception) else evolved(new, context=ledger.context, event=body)
    if not own:
        ledger = remembered(
            ledger, now, "claimed", event_id=claim.event_id, ms=claim.end_ms - claim.start_ms, detail="again"
        )
    state = evolved(state, ledger=evolved(ledger, claim=new))
    return state, Acquired(AcquireResult.CLAIMED, new, again=True, retry=listed(ledger, claim.event_id) is not None)


def _claimed(
    verb: AcquireClaim, state: ReadTimeState, span: tuple[int, int, int, int], now: int, *, retry: Parked | None
) -> tuple[ReadTimeState, Acquired]:
    """Return the state with a new claim over ``span`` (from, to, began, ended), holding the finished event."""
    ledger = state.ledger
    ids = event_ids(ledger.generation, state.key, span[0], span[1])
    context = retry.context if retry is not None and retry.fixed else ledger.context
    body = _built(verb.events, context, ids, span)
    claim = Claim(
        ids[0],
        *span,
        context,
        "" if isinstance(body, Exception) else body,
        verb.owner,
        now + verb.policy.lock_ms,
        now,
        attempts=0 if retry is None else retry.attempts,
        ambiguous=retry is not None and retry.ambiguous,
    )
    if isinstance(body, Exception):
        # C5: an event that cannot be built is parked. Its text may hold an address, so only its kind is kept.
        reason = f"the event cannot be built: {type(body).__name__}"
        if retry is None and len(ledger.parked) >= MAX_PARKED:
            ledger = evolved(ledger, last_error=reason)
        else:
            # Nobody has refused it: once the builder works again, so does the event.
            # One jitter is drawn for a batch: with its own digits each event comes back at a time of its own.
            jitter = (verb.jitter + int(ids[0][-6:], 16) / 0x1000000) % 1
            retry_at_ms = now + spread(verb.policy.max_retry_backoff_ms, jitter)
            ledger = set_aside(ledger, claim, now, retry_at_ms, None, reason, refused=False)
        parked = listed(ledger, claim.event_id)
        answer = Acquired(AcquireResult.UNBUILDABLE, claim, parked=parked, retry=retry is not None, reason=reason)
        return settled(evolved(state, ledger=ledger), now), answer
    ledger = remembered(
        ledger,
        now,
        "claimed",
        event_id=claim.event_id,
        ms=claim.end_ms - claim.start_ms,
        claim=claim,
        deferred_at_ms=None if retry is None else ledger.deferred_at_ms,
    )
    return evolved(state, ledger=ledger), Acquired(
        AcquireResult.CLAIMED, claim, again=retry is not None, retry=retry is not None
    )


def _built(
    events: TimeSpentEvents, context: Context, ids: tuple[str, str], span: tuple[int, int, int, int]
) -> str | Exception:
    """Return the event of ``span`` (from, to, began, ended), or why it cannot be built."""
    start_ms, to_ms, began_at_ms, ended_at_ms = span
    try:
        return event_text(events, context, ids, (to_ms - start_ms) // SECOND, began_at_ms, ended_at_ms)
    except Exception as error:  # noqa: BLE001 - whatever a builder raises, it must not sink the others
        pass_interruption(error)
        return error


AcquireClaim.rules = {
    Phase.ABSENT: rule(acquire_nothing, Phase.ABSENT),
    Phase.SETTLED: rule(acquire_unclaimed, Phase.SETTLED),
    Phase.PARKED: rule(acquire_unclaimed, Phase.PARKED, Phase.CLAIMED),
    Phase.UNREPORTED: rule(acquire_unclaimed, Phase.UNREPORTED, Phase.CLAIMED, Phase.PARKED),
    Phase.CLAIMED: rule(acquire_held, Phase.CLAIMED),
    Phase.RELEASED: rule(acquire_released, Phase.RELEASED, Phase.CLAIMED),
}


@attrs.frozen
class Defer(Verb[bool]):
    """Send nothing now: the sweeper is to do it. Answers whether there is anything to send.

    Attributes:
        finalize: and the state is to be finalized.
        reader: newest reader, or None.
        article: newest article, or None.
    """

    name = "defer"

    finalize: bool
    reader: Reader | None = None
    article: Activity | None = None


def defer(verb: Defer, state: ReadTimeState, now: int) -> tuple[ReadTimeState, bool]:
    """V9: leave new time to the sweeper, due at once. V7: where nothing is whole there is nothing to send."""
    state = refreshed(state, verb.reader, verb.article, finalize=verb.finalize)
    if state.unreported_ms < SECOND:
        return settled(state, now), False
    # Time that is claimed or parked has its own hour; a mark left on it would outlive it and hurry later time.
    return deferred(state, now) if state.ledger.finalize_wanted or state.unclaimed_ms >= SECOND else state, True


def deferred(state: ReadTimeState, now: int) -> ReadTimeState:
    """Return the state, due at once. A deferral never shortens a lease or a back-off: the due function sees to that."""
    if state.ledger.deferred_at_ms is not None:
        return state
    ledger = remembered(state.ledger, now, "deferred", ms=max(0, state.unclaimed_ms))
    return evolved(state, ledger=evolved(ledger, deferred_at_ms=now))


@attrs.frozen
class Unpark(Verb[int]):
    """An operator has mended what the endpoint refused: parked events may be sent at once. Answers how many."""

    name = "unpark"


def unpark(_verb: Unpark, state: ReadTimeState, now: int) -> tuple[ReadTimeState, int]:
    """P6: set the retry time to now, durably, whoever holds a claim."""
    tried = None if state.ledger.claim is None else state.ledger.claim.event_id
    parked = tuple(
        # Where its time has come before, and that try is under way, what comes of it must show that this was later.
        attrs.evolve(entry, retry_at_ms=now if entry.event_id == tried else min(now, entry.retry_at_ms))
        for entry in state.ledger.parked
    )
    return evolved(state, ledger=evolved(state.ledger, parked=parked)), len(parked)


def nothing(_verb: Defer | Unpark, _state: None, _now: int) -> tuple[None, int]:
    """Where there is no state there is nothing to do, and none is created."""
    return None, 0


_PRESENT = tuple(phase for phase in Phase if phase is not Phase.ABSENT)
Defer.rules = {Phase.ABSENT: rule(nothing, Phase.ABSENT), **{phase: rule(defer, phase) for phase in _PRESENT}}
Unpark.rules = {Phase.ABSENT: rule(nothing, Phase.ABSENT), **{phase: rule(unpark, phase) for phase in _PRESENT}}
