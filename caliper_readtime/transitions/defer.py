"""PURE: what leaving the sending to the sweeper, or letting parked events try again, does to a state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from caliper_readtime.state import SECOND, Phase, ReadTimeState, evolved
from caliper_readtime.transitions.steps import Verb, refreshed, remembered, rule, settled

if TYPE_CHECKING:
    from caliper_readtime.model import Article, Reader


@attrs.frozen
class Defer(Verb[bool]):
    """Send nothing now: the sweeper is to do it. Answers whether there is anything to send.

    Attributes:
        finalize: and the state is to be finalized.
        reader: newest reader, or None.
        article: newest article, or None.
    """

    finalize: bool
    reader: Reader | None = None
    article: Article | None = None


def defer(verb: Defer, state: ReadTimeState, now: int) -> tuple[ReadTimeState, bool]:
    """PROTOCOL: the state becomes due at once; NOTHING_TO_SEND when nothing whole is there."""
    state = refreshed(state, verb.reader, verb.article, finalize=verb.finalize)
    if state.unreported_ms < SECOND:
        return settled(state, now), False
    # Time that is claimed or parked has its own hour; a mark left on it would outlive it and hurry later time.
    return deferred(state, now) if state.ledger.finalize_wanted or state.unclaimed_ms >= SECOND else state, True


def deferred(state: ReadTimeState, now: int) -> ReadTimeState:
    """Return the state, due at once. A deferral never shortens a lease or a back-off: the due function sees to that."""
    if state.ledger.deferred_ms is not None:
        return state
    ledger = remembered(state.ledger, now, "deferred", ms=max(0, state.unclaimed_ms))
    return evolved(state, ledger=evolved(ledger, deferred_ms=now))


@attrs.frozen
class Unpark(Verb[int]):
    """An operator has mended what the endpoint refused: parked events may be sent at once. Answers how many."""


def unpark(_verb: Unpark, state: ReadTimeState, now: int) -> tuple[ReadTimeState, int]:
    """PROTOCOL: sets the retry time to now, durably, whoever holds a claim."""
    parked = tuple(attrs.evolve(entry, retry_ms=min(now, entry.retry_ms)) for entry in state.ledger.parked)
    return evolved(state, ledger=evolved(state.ledger, parked=parked)), len(parked)


def nothing(_verb: Defer | Unpark, _state: None, _now: int) -> tuple[None, int]:
    """Where there is no state there is nothing to do, and none is created."""
    return None, 0


_PRESENT = tuple(phase for phase in Phase if phase is not Phase.ABSENT)
Defer.rules = {Phase.ABSENT: rule(nothing, Phase.ABSENT), **{phase: rule(defer, phase) for phase in _PRESENT}}
Unpark.rules = {Phase.ABSENT: rule(nothing, Phase.ABSENT), **{phase: rule(unpark, phase) for phase in _PRESENT}}
