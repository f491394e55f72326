"""PURE: what a heartbeat does to a state (chapters S and B of the protocol)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from caliper_readtime._rules.reading import counts_as_read
from caliper_readtime._rules.state import (
    MAX_VIEWS,
    MOST_CLAMPED_MS,
    SECOND,
    Context,
    Ledger,
    Meter,
    Phase,
    ReadTimeState,
    evolved,
)
from caliper_readtime._rules.steps import remembered, rule, settled
from caliper_readtime.errors import MissingField

if TYPE_CHECKING:
    from caliper_readtime._model import Activity, Reader
    from caliper_readtime._policy import ReadTimePolicy


#: Makes a named tuple of a tuple, in half the time of its own constructor.
made: Final = tuple.__new__


class Counted(NamedTuple):
    """What a signal came to.

    Attributes:
        accepted_ms: added to the total.
        clamped_ms: claimed beyond the budget.
        duplicate: its view or id was known, and it claimed nothing new.
        completed: the article counts as read and is not finalized yet.
        other_duration: the duration differs from the canonical one by more than the tolerance.
        other_kind: it is of another kind of activity than the one before: one id names both (I8).
    """

    accepted_ms: int
    clamped_ms: int
    duplicate: bool
    completed: bool
    other_duration: bool
    other_kind: bool = False


class Signal(NamedTuple):
    """One heartbeat: a delta (``accumulate``), or the running total of a page view (``observe``).

    A transition like the other verbs; a tuple, because one is made for every heartbeat.

    Attributes:
        policy: the rules.
        nonce: 32 random hex digits: the generation, should this signal give birth to the state; their second half is
            the heartbeat id where the client gave none.
        offered_ms: the delta, or the view's total.
        reader: newest reader, or None to rely on the stored one.
        article: newest article, or None to rely on the stored one.
        heartbeat_id: id of the delta, from the client or drawn.
        view_id: id of the page view; None for a delta.
        acknowledged_ms: how much of the total the client knows that the server has.
        opened_at_ms: when the page was opened, by the server's word.
        position_ms: where in the article the reader is.
        duration_ms: how long the article is.
        defers: a completed article is left to the sweeper.
    """

    policy: ReadTimePolicy
    nonce: str
    offered_ms: int
    reader: Reader | None
    article: Activity | None
    heartbeat_id: str
    view_id: str | None = None
    acknowledged_ms: int = 0
    opened_at_ms: int | None = None
    position_ms: int | None = None
    duration_ms: int | None = None
    defers: bool = False

    @property
    def durable(self) -> bool:
        """False: what a crash takes of the last heartbeats is healed by the next total (C6 is about claims)."""
        return False

    @property
    def generation(self) -> str:
        """The generation of the state that this signal gives birth to, if it does."""
        return str(UUID(hex=self.nonce, version=4))

    @property
    def drawn(self) -> bool:
        """Whether nobody but this call knows the heartbeat id."""
        return self.heartbeat_id in (self.nonce[16:], self.nonce)

    def __call__(self, state: ReadTimeState | None, now: int, /) -> tuple[ReadTimeState, Counted]:
        """Apply the signal as ``SIGNAL_RULES`` say, without looking the phase up: this is the hot path."""
        return birth(self, now) if state is None else count(self, state, now)


def birth(signal: Signal, now: int) -> tuple[ReadTimeState, Counted]:
    """Return the state that a first signal creates.

    Raises:
        MissingField: the signal does not bring both a reader and an article.
    """
    policy = signal.policy
    if signal.reader is None or signal.article is None:
        field = "reader" if signal.reader is None else "article"
        raise MissingField(
            field, "nothing is stored for this reader and article yet: pass a Reader and an Article once"
        )
    # S9: an earlier life may have paid for a view opened state_ttl ago or earlier: its total is taken as known.
    reborn = signal.opened_at_ms is not None and now - signal.opened_at_ms >= policy.state_ttl_ms
    # Nor does such an opening widen the budget: another old tab could claim through it what was paid before.
    open_for = 0 if signal.opened_at_ms is None or reborn else now - signal.opened_at_ms
    allowed = max(policy.heartbeat_ms, open_for) + policy.leeway_ms
    total = _capped(signal, now)
    # X6: a younger page whose opening is known has outlived its state, which the store has lost: all of it counts.
    known = total if reborn else signal.acknowledged_ms if signal.opened_at_ms is None else 0
    claimed = max(0, total - known) if signal.view_id is not None else signal.offered_ms
    accepted, budget = spend(policy, claimed, allowed)
    meter = Meter(
        cumulative_ms=accepted,
        last_sync_at_ms=now,
        budget_ms=budget,
        since_at_ms=max(0, now - accepted),  # a test's clock may stand at the epoch
        clamped_ms=claimed - accepted,
        position_ms=signal.position_ms,
        views=() if signal.view_id is None else ((signal.view_id, total),),
        heartbeats=(signal.heartbeat_id,) if signal.view_id is None else (),
    )
    ledger = Ledger(
        generation=signal.generation,
        first_sync_at_ms=now,
        ttl_ms=policy.state_ttl_ms,
        context=Context(signal.reader, signal.article),
        context_at_ms=signal.opened_at_ms,
        duration_ms=signal.duration_ms or None,
        counts_from_at_ms=max(0, now - max(policy.heartbeat_ms, open_for)),
    )
    state = ReadTimeState(signal.reader.sourced_id, signal.article.resource_id, meter, ledger)
    completed = counts_as_read(policy, meter, ledger)
    if completed:
        state = _wanting(signal, state, now)
    return state, Counted(accepted, claimed - accepted, False, completed, False)  # noqa: FBT003


def count(signal: Signal, state: ReadTimeState, now: int) -> tuple[ReadTimeState, Counted]:  # noqa: C901, PLR0912 - see below
    """Return the state that a later signal leaves."""
    # Each attribute, call and keyword here costs every heartbeat: tuples are taken apart once, and made as tuples.
    policy, _, offered, reader, article, heartbeat_id, view_id, _, opened, place, length, _ = signal
    ledger, meter = state.ledger, state.meter
    cumulative, last_sync, budget, since, clamped_in_all, position, views, heartbeats = meter
    claimed = accepted = clamped = wider = 0
    if view_id is None:
        duplicate = heartbeat_id in heartbeats
        if not duplicate:
            claimed = offered
            # An id that was only drawn for this call need not be remembered where there is nothing to count twice.
            if claimed or not signal.drawn:
                heartbeats = (*heartbeats[1 - MAX_VIEWS :], heartbeat_id)
    else:
        claimed, duplicate, views = _heard(signal, view_id, views, now)
    if place is not None:
        position = place
    if claimed:
        elapsed = now - last_sync
        # B9: a clock that steps back counts as no elapsed time and never moves last sync back.
        allowed = budget + elapsed if elapsed > 0 else budget
        if opened is not None:
            wider = widening(policy, ledger, opened)
        accepted, budget = spend(policy, claimed, allowed + wider)
        clamped = claimed - accepted
        if clamped:
            clamped_in_all = min(clamped_in_all + clamped, MOST_CLAMPED_MS)
        if cumulative - ledger.claimed_end_ms < SECOND:
            since = max(0, now - accepted)
        new = made(
            Meter,
            (
                cumulative + accepted,
                now if elapsed > 0 else last_sync,
                budget,
                since,
                clamped_in_all,
                position,
                views,
                heartbeats,
            ),
        )
    # S5: a signal that claims nothing new moves no time (cumulative, last sync, budget, views).
    elif position == meter[5] and heartbeats is meter[7]:
        new = meter
    else:
        new = meter._replace(position_ms=position, heartbeats=heartbeats)
    context = ledger.context
    # Identity first: comparing values costs a heartbeat more than everything else here.
    steady = (reader is None or reader is context.reader) and (article is None or article is context.article)
    fresh = ledger if steady and not length else _with_context(signal, ledger)
    if wider:
        fresh = evolved(fresh, widened_ms=ledger.widened_ms + wider)
    if ledger.parked and new is not meter and fresh is ledger and cumulative - ledger.claimed_end_ms < SECOND:
        # New time is due long before a parked event's retry: a copy of the ledger makes the store move the due entry.
        fresh = evolved(ledger)
    if new is not meter or fresh is not ledger:
        state = ReadTimeState(state.reader_sourced_id, state.resource_id, new, fresh)
    completed = fresh.finalized_at_ms is None and counts_as_read(policy, new, fresh)
    if completed and not fresh.finalize_wanted:
        state = _wanting(signal, state, now)
    other = length is not None and other_duration(signal, ledger)
    other_kind = not steady and article is not None and article.kind != context.article.kind
    return state, made(Counted, (accepted, clamped, duplicate, completed, other, other_kind))


def _heard(
    signal: Signal, view_id: str, views: tuple[tuple[str, int], ...], now: int
) -> tuple[int, bool, tuple[tuple[str, int], ...]]:
    """Return what a view's total claims, whether it is a duplicate, and the views with it as the newest."""
    total = _capped(signal, now)
    known, others = None, views
    for place, (view, heard) in enumerate(views):
        if view == view_id:
            known, others = heard, views[:place] + views[place + 1 :]
            break
    # S2: for an evicted view what the client says is acknowledged, so that it is not paid twice.
    claimed = total - (signal.acknowledged_ms if known is None else known)
    if claimed <= 0:
        return 0, known is not None, views
    return claimed, False, (*others[1 - MAX_VIEWS :], (view_id, total))


def spend(policy: ReadTimePolicy, claimed: int, allowed: int) -> tuple[int, int]:
    """B4 to B6: return how much of what is claimed is accepted, and the budget that is left; all in milliseconds."""
    most, kept = policy.max_delta_ms, policy.catch_up_ms
    accepted = claimed if most is None or most >= claimed else most
    if accepted > allowed:  # noqa: PLR1730 - a call costs a heartbeat as much as the rest of this
        accepted = allowed
    left = allowed - accepted
    return accepted, kept if kept < left else left  # noqa: FURB136 - as above


def widening(policy: ReadTimePolicy, ledger: Ledger, opened_at_ms: int) -> int:
    """B7: return by how many milliseconds a page that was opened before the budget begins widens it.

    All pages of a state share what this can add: the farthest opening counts, and at most ``catch_up``.
    """
    begins = ledger.counts_from_at_ms
    # S9: a page as old as a whole life may have been paid for by an earlier one.
    if begins is None or opened_at_ms >= begins or ledger.first_sync_at_ms - opened_at_ms >= policy.state_ttl_ms:
        return 0
    return max(0, min(policy.catch_up_ms, begins - opened_at_ms) - ledger.widened_ms)


def _capped(signal: Signal, now: int) -> int:
    # S8: a total is capped by the time since the opening and the leeway; the future counts as now.
    if signal.opened_at_ms is None:
        return signal.offered_ms
    return min(signal.offered_ms, max(0, now - signal.opened_at_ms) + signal.policy.leeway_ms)


def _with_context(signal: Signal, ledger: Ledger) -> Ledger:
    """Return the ledger with the context and duration that the signal brings; the same object where nothing is new."""
    known, opened = ledger.context, signal.opened_at_ms
    context = Context(signal.reader or known.reader, signal.article or known.article)
    # S15: a page that is still open does not bring back what a page opened later has corrected.
    if context != known and not (opened is not None and opened < (ledger.context_at_ms or 0)):
        ledger = evolved(ledger, context=context, context_at_ms=opened or ledger.context_at_ms)
    if signal.duration_ms and ledger.duration_ms is None:
        ledger = evolved(ledger, duration_ms=signal.duration_ms)
    return ledger


def other_duration(signal: Signal, ledger: Ledger) -> bool:
    """Return whether the signal brings a duration that differs from the canonical one by more than the tolerance."""
    if not signal.duration_ms or ledger.duration_ms is None:
        return False
    return abs(signal.duration_ms - ledger.duration_ms) > signal.policy.duration_tolerance_ms


def _wanting(signal: Signal, state: ReadTimeState, now: int) -> ReadTimeState:
    """Return the state of an article that counts as read: to be finalized, and due at once."""
    ledger = evolved(state.ledger, finalize_wanted=True, deferred_at_ms=now)
    if signal.defers:
        ledger = remembered(ledger, now, "deferred", detail="the article counts as read")
    return settled(evolved(state, ledger=ledger), now)


#: The row of the state machine that signals follow.
SIGNAL_RULES: Final = {
    Phase.ABSENT: rule(birth, Phase.SETTLED, Phase.UNREPORTED),
    Phase.SETTLED: rule(count, Phase.SETTLED, Phase.UNREPORTED),
    Phase.PARKED: rule(count, Phase.PARKED, Phase.UNREPORTED),
    **{phase: rule(count, phase) for phase in (Phase.UNREPORTED, Phase.CLAIMED, Phase.RELEASED)},
}
