"""PURE: what all transitions share: dispatch by phase, and the small steps they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import attrs

from caliper_readtime._rules.account import cut
from caliper_readtime._rules.history import with_step
from caliper_readtime._rules.ranges import fingerprint
from caliper_readtime._rules.state import (
    SECOND,
    Claim,
    Context,
    Ledger,
    Parked,
    Phase,
    ReadTimeState,
    evolved,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caliper_readtime._model import Activity, Reader

R = TypeVar("R")


class Rule(NamedTuple):
    """What a verb does in one phase, and the phases that it may leave."""

    function: Callable[..., tuple[Any, Any]]
    ends: frozenset[Phase]


def rule(function: Callable[..., tuple[Any, Any]], *ends: Phase) -> Rule:
    """Return a row of a verb's table."""
    return Rule(function, frozenset(ends))


@attrs.frozen
class Verb(Generic[R]):
    """A transition that is looked up in its class's ``rules`` by the phase of the state it meets."""

    name: ClassVar[str]
    durable: ClassVar[bool] = True
    rules: ClassVar[Mapping[Phase, Rule]] = {}

    def __call__(self, state: ReadTimeState | None, now: int, /) -> tuple[ReadTimeState | None, R]:
        """Apply the verb."""
        function = self.rules[Phase.ABSENT if state is None else state.phase].function
        new, result = function(self, state, now)
        return new, result


def remembered(
    ledger: Ledger, now: int, kind: str, *, event_id: str | None = None, ms: int = 0, detail: str = "", **changes: Any
) -> Ledger:
    """Return the ledger with one more step in its history, and with other fields changed as well."""
    return evolved(ledger, history=with_step(ledger.history, now, kind, event_id, ms, detail), **changes)


def settled(state: ReadTimeState, now: int) -> ReadTimeState:
    """Stamp ``finalized_at`` where it has been earned.

    D8: finalize wanted, no claim, nothing whole, nothing parked: stamped, and the wish cleared.
    """
    ledger = state.ledger
    if not ledger.finalize_wanted or ledger.claim is not None or ledger.parked or state.unclaimed_ms >= SECOND:
        return state
    ledger = evolved(ledger, finalize_wanted=False, finalized_at_ms=now, deferred_at_ms=None)
    return evolved(state, ledger=remembered(ledger, now, "finalized"))


def refreshed(
    state: ReadTimeState, reader: Reader | None, article: Activity | None, *, finalize: bool
) -> ReadTimeState:
    """Return the state with the context that a caller brings, wanting to be finalized where the caller wants it.

    V6: a finalize that cannot finish leaves its wish. V5: a later one leaves the stamp.
    """
    ledger = state.ledger
    context = ledger.context
    other = False
    if reader is not None or article is not None:
        context = Context(reader or context.reader, article or context.article)
        other = context != ledger.context
    wanted = ledger.finalize_wanted or (finalize and ledger.finalized_at_ms is None)
    if not other and wanted == ledger.finalize_wanted:
        return state
    # S15: what a host says itself is newer than every page that was heard until now.
    at = state.meter.last_sync_at_ms if other else ledger.context_at_ms
    return evolved(state, ledger=evolved(ledger, context=context, context_at_ms=at, finalize_wanted=wanted))


def listed(ledger: Ledger, event_id: str) -> Parked | None:
    """Return the event's entry in the parked list, if it has one."""
    return next((parked for parked in ledger.parked if parked.event_id == event_id), None)


def retried(ledger: Ledger, claim: Claim) -> tuple[str, ...]:
    """Return what a parked event that is claimed has been sent with before this, for P5."""
    before = listed(ledger, claim.event_id)
    if before is None or before.retry_at_ms <= claim.first_claimed_at_ms or before.context == claim.context:
        return ()  # its time had come: each value counts anew
    return (*before.tried, fingerprint(before.context))


def set_aside(
    ledger: Ledger, claim: Claim, now: int, retry_at_ms: int, status: int | None, reason: str, *, refused: bool = True
) -> Ledger:
    """P8: a new refusal replaces its entry. P2: the pointer steps over a new one's range."""
    before = listed(ledger, claim.event_id)
    # P6: it was unparked while it was on its way, so this refusal is of an earlier try.
    if before is not None and claim.first_claimed_at_ms < before.retry_at_ms <= now:
        retry_at_ms = now
    parked = Parked(
        claim.event_id,
        claim.start_ms,
        claim.end_ms,
        claim.began_at_ms,
        claim.ended_at_ms,
        # P1: with the context it was built from.
        claim.context,
        now,
        retry_at_ms,
        status,
        reason,
        claim.attempts,
        claim.ambiguous,
        refused,
        retried(ledger, claim),
    )
    pointer_ms = max(ledger.pointer_ms, claim.end_ms)
    ledger = evolved(
        ledger,
        claim=None,
        parked=(*(entry for entry in ledger.parked if entry is not before), parked),
        pointer_ms=pointer_ms,
        account=cut(ledger.account, (claim.start_ms, claim.end_ms), ledger.pointer_ms, pointer_ms),
        last_error=reason,
    )
    return remembered(ledger, now, "parked", event_id=claim.event_id, ms=claim.end_ms - claim.start_ms, detail=reason)


def spread(longest_ms: int, jitter: float) -> int:
    """Return a wait of at least half of ``longest_ms``, so that what failed together comes back apart (W10)."""
    return int(longest_ms * (1 - jitter / 2))
