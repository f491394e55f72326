"""PURE: what all transitions share: dispatch by phase, and the small steps they are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, NamedTuple, TypeVar

import attrs

from caliper_readtime._model import HistoryEntry
from caliper_readtime._rules.account import Context, cut
from caliper_readtime._rules.state import (
    MAX_HISTORY,
    SECOND,
    Claim,
    Ledger,
    Parked,
    Phase,
    ReadTimeState,
    evolved,
)
from caliper_readtime._units import to_datetime, to_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caliper_readtime._model import Article, Reader

#: A refused event is tried again after a day.
PARKED_RETRY_MS: Final = 86_400_000

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
    ledger: Ledger, now: int, kind: str, *, event_id: str | None = None, ms: int = 0, detail: str = ""
) -> Ledger:
    """Return the ledger with one more step in its history."""
    entry = HistoryEntry(to_datetime(now), kind, event_id, to_seconds(ms), detail)
    return evolved(ledger, history=(*ledger.history[1 - MAX_HISTORY :], entry))


def settled(state: ReadTimeState, now: int) -> ReadTimeState:
    """Stamp ``finalized_at`` where it has been earned.

    D8: finalize wanted, no claim, nothing whole, nothing parked: stamped, and the wish cleared.
    """
    ledger = state.ledger
    if not ledger.finalize_wanted or ledger.claim is not None or ledger.parked or state.unclaimed_ms >= SECOND:
        return state
    ledger = evolved(ledger, finalize_wanted=False, finalized_at_ms=now, deferred_at_ms=None)
    return evolved(state, ledger=remembered(ledger, now, "finalized"))


def refreshed(state: ReadTimeState, reader: Reader | None, article: Article | None, *, finalize: bool) -> ReadTimeState:
    """Return the state with the context that a caller brings, wanting to be finalized where the caller wants it.

    V6: a finalize that cannot finish leaves its wish. V5: a later one leaves the stamp.
    """
    ledger = state.ledger
    context = Context(reader or ledger.context.reader, article or ledger.context.article)
    wanted = ledger.finalize_wanted or (finalize and ledger.finalized_at_ms is None)
    if context == ledger.context and wanted == ledger.finalize_wanted:
        return state
    return evolved(state, ledger=evolved(ledger, context=context, finalize_wanted=wanted))


def is_parked(ledger: Ledger, event_id: str) -> bool:
    """Return whether the event is in the parked list."""
    return any(parked.event_id == event_id for parked in ledger.parked)


def parked_entry(claim: Claim, now: int, jitter: float, status: int | None, reason: str) -> Parked:
    """Return the entry for a refused event."""
    return Parked(
        claim.event_id,
        claim.start_ms,
        claim.end_ms,
        claim.began_at_ms,
        claim.ended_at_ms,
        # P1: with the context it was built from.
        claim.context,
        now,
        now + int(PARKED_RETRY_MS * (1 - jitter / 20)),
        status,
        reason,
    )


def set_aside(ledger: Ledger, claim: Claim, parked: Parked, now: int) -> Ledger:
    """P8: a new refusal replaces its entry. P2: the pointer steps over a new one's range."""
    others = tuple(entry for entry in ledger.parked if entry.event_id != claim.event_id)
    pointer_ms = max(ledger.pointer_ms, claim.end_ms)
    ledger = evolved(
        ledger,
        claim=None,
        parked=(*others, parked),
        pointer_ms=pointer_ms,
        account=cut(ledger.account, (claim.start_ms, claim.end_ms), ledger.pointer_ms, pointer_ms),
        last_error=parked.reason,
    )
    return remembered(
        ledger, now, "parked", event_id=claim.event_id, ms=claim.end_ms - claim.start_ms, detail=parked.reason
    )
