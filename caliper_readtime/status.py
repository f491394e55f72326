"""PURE: what an operator is told of all states together, and from when no sweep is a worry."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caliper_readtime.results import Status
from caliper_readtime.state import SECOND
from caliper_readtime.units import to_datetime, to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caliper_readtime.state import ReadTimeState

#: A sweep should have run within this many seconds; beyond it the log and ``doctor`` warn.
SWEEP_SECONDS: Final = 600.0


def status_of(unreported: Iterable[ReadTimeState], *, now: int, last_sweep: int | None) -> Status:
    """Return the status of a store, looking at each state once.

    Args:
        unreported: every state that is due at some time.
        now: milliseconds since the epoch.
        last_sweep: when a sweep last ran, or None.
    """
    states = total_ms = parked = doubtful = 0
    oldest: int | None = None
    for state in unreported:
        ledger = state.ledger
        states += 1
        total_ms += state.unreported_ms
        parked += len(ledger.parked)
        doubtful += ledger.claim is not None and ledger.claim.doubtful(now)
        began = _began_ms(state)
        oldest = began if oldest is None else min(oldest, began)
    return Status(
        unreported_states=states,
        unreported_seconds=to_seconds(total_ms),
        oldest_unreported_at=None if oldest is None else to_datetime(oldest),
        parked_events=parked,
        last_sweep_at=None if last_sweep is None else to_datetime(last_sweep),
        doubtful_claims=doubtful,
    )


def _began_ms(state: ReadTimeState) -> int:
    """Return when the oldest unreported time of a state began to be read."""
    ledger = state.ledger
    claimed = () if ledger.claim is None else (ledger.claim.began_ms,)
    unclaimed = (state.meter.since_ms,) if state.unclaimed_ms >= SECOND else ()
    return min((*claimed, *unclaimed, *(parked.began_ms for parked in ledger.parked)), default=state.meter.since_ms)
