"""PURE: how much of a reader's time on several articles one pair of eyes cannot have read (B11)."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, NamedTuple

from caliper_readtime._rules.account import recent

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules.account import SentEvent
    from caliper_readtime._rules.state import Claim, Parked, ReadTimeState


class Stretch(NamedTuple):
    """Time that was read at some moments within a window.

    Attributes:
        begins_ms: begin of the window, milliseconds since the epoch.
        ends_ms: its end.
        ms: how much was read.
    """

    begins_ms: int
    ends_ms: int
    ms: int


def beside(stretches: Iterable[Stretch]) -> int:
    """Return the milliseconds that cannot all have been read one after the other.

    All that fits into wall time is taken out, the window that ends first always first: no order takes out more.
    """
    coming = sorted(stretches)
    waiting: list[tuple[int, int]] = []  # (end of the window, what is left to read in it)
    place = now = over = 0
    while place < len(coming) or waiting:
        if not waiting:
            now = max(now, coming[place].begins_ms)
        while place < len(coming) and coming[place].begins_ms <= now:
            heappush(waiting, coming[place][1:])
            place += 1
        ends, left = heappop(waiting)
        until = coming[place].begins_ms if place < len(coming) else ends
        fits = max(0, min(left, min(ends, until) - now))
        now += fits
        if now >= ends:
            over += left - fits
        elif left > fits:
            heappush(waiting, (ends, left - fits))
    return over


def stretches_of(state: ReadTimeState, policy: ReadTimePolicy) -> Iterator[Stretch]:
    """Yield the reading that a state remembers: of its last events, of what is under way, and of what waits.

    A total that was held back may have been read before it came: windows begin that much earlier.
    """
    ledger, meter = state.ledger, state.meter
    entries: list[SentEvent | Parked | Claim] = [*recent(ledger.account), *ledger.parked]
    if ledger.claim is not None and all(entry.start_ms != ledger.claim.start_ms for entry in ledger.parked):
        entries.append(ledger.claim)
    found = [(one.began_at_ms, one.ended_at_ms, one.end_ms - one.start_ms) for one in entries]
    found.append((meter.since_at_ms, meter.last_sync_at_ms, max(0, state.unclaimed_ms)))
    first = 0 if ledger.counts_from_at_ms is None else ledger.counts_from_at_ms - ledger.widened_ms
    for began, ended, ms in found:
        yield Stretch(max(began - policy.catch_up_ms, first) - policy.leeway_ms, ended, ms)
