"""PURE: how the claimed time of all of a reader's articles lies in wall time: one pair of eyes reads one at a time."""

from __future__ import annotations

from heapq import heappop, heappush
from operator import itemgetter
from typing import TYPE_CHECKING, Final, NamedTuple

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules.state import ReadTimeState

#: U5: stretches of claimed time that are kept for one reader. Of more, the older half is settled: it keeps the wall
#: time that it has now.
MAX_STRETCHES: Final = 64
#: U5: intervals that what is settled may leave; of more, the smallest gaps between them are closed.
MAX_SETTLED: Final = 16


_BY_END: Final = itemgetter(1)


class Stretch(NamedTuple):
    """Time that was read at some moments within a window; where it fills its window, these moments are known.

    Attributes:
        begins_ms: begin of the window, milliseconds since the epoch.
        ends_ms: its end.
        ms: how much was read.
    """

    begins_ms: int
    ends_ms: int
    ms: int


@attrs.frozen
class Wall:
    """What a reader has claimed on all articles, as it fits into wall time. Kept beside the reader's states.

    Attributes:
        stretches: the claimed time, by the ends of its windows; all of it can have been read one after the other.
        expires_at_ms: from when on the record is gone, milliseconds since the epoch.
    """

    stretches: tuple[Stretch, ...] = ()
    expires_at_ms: int = 0

    def expired(self, now: int) -> bool:
        """Return whether it is gone at ``now``, wherever it may still be stored."""
        return self.expires_at_ms <= now


#: Of a reader who has claimed nothing.
NO_WALL: Final = Wall()


def beside(stretches: Iterable[Stretch]) -> int:
    """Return the milliseconds that cannot all have been read one after the other."""
    return _planned(stretches)[0]


def _planned(stretches: Iterable[Stretch]) -> tuple[int, list[list[int]]]:
    """Return what does not fit into wall time, and the intervals that the rest takes, in their order.

    The window that ends first always goes first, as early as it can: no order fits more.
    """
    coming = sorted(stretches)
    waiting: list[tuple[int, int]] = []  # (end of the window, what is left to read in it)
    taken: list[list[int]] = []
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
        if fits:
            if taken and taken[-1][1] == now:
                taken[-1][1] += fits
            else:
                taken.append([now, now + fits])
        now += fits
        if now >= ends:
            over += left - fits
        elif left > fits:
            heappush(waiting, (ends, left - fits))
    return over, taken


def claimed(wall: Wall, stretch: Stretch, expires_at_ms: int) -> tuple[Wall, int]:
    """U2: return the record with newly claimed time, as much as fits, and how much was read beside other articles.

    Args:
        wall: what was claimed before; it need not come in the order of its windows.
        stretch: what is claimed now.
        expires_at_ms: from when on the record may go, if nothing more is claimed.
    """
    # Whoever reads one article after the other has had all of it since the last window ended: nothing to plan.
    last = wall.stretches[-1].ends_ms if wall.stretches else 0
    fits = stretch.ends_ms - max(stretch.begins_ms, last) >= stretch.ms
    # What was stored may say of itself that it does not fit: that is not this stretch's.
    over = 0 if fits else min(stretch.ms, beside((*wall.stretches, stretch)))
    expires_at_ms = max(wall.expires_at_ms, expires_at_ms)
    if over == stretch.ms:
        return attrs.evolve(wall, expires_at_ms=expires_at_ms), over
    kept = [*wall.stretches, stretch if not over else stretch._replace(ms=stretch.ms - over)]
    if stretch.ends_ms < last:
        kept.sort(key=_BY_END)
    if len(kept) > MAX_STRETCHES:
        kept = _settled(kept[: len(kept) // 2], kept[len(kept) // 2 :])
    return Wall(tuple(kept), expires_at_ms), over


def _settled(older: Sequence[Stretch], newer: Sequence[Stretch]) -> list[Stretch]:
    """U5: return the stretches, the older ones with the wall time that they take in place of their windows.

    A window that ends later never moves it, so nobody loses by it whose later claims end no earlier than these did.
    """
    taken = _planned(older)[1]
    first = min((one.begins_ms for one in newer), default=taken[-1][1])
    while len(taken) > MAX_SETTLED:
        # What the newer ones may need stays open.
        gaps = [(taken[place][0] - taken[place - 1][1], place) for place in range(1, len(taken))]
        closed = [gap for gap in gaps if taken[gap[1]][0] <= first]
        if not closed:
            return _settled([*older, *newer], ())
        _, place = min(closed)
        taken[place - 1 : place + 1] = [[taken[place - 1][0], taken[place][1]]]
    settled = [Stretch(begins, ends, ends - begins) for begins, ends in taken]
    return sorted((*settled, *newer), key=_BY_END)


def window(state: ReadTimeState, from_ms: int, policy: ReadTimePolicy) -> Stretch:
    """U1: return the stretch of a state's total from ``from_ms`` on, which nothing has measured yet.

    A total that was held back may have been read before it came: windows begin that much earlier.
    """
    ledger, meter = state.ledger, state.meter
    first = 0 if ledger.counts_from_at_ms is None else ledger.counts_from_at_ms - ledger.widened_ms
    begins = max(meter.since_at_ms - policy.catch_up_ms, first) - policy.leeway_ms
    return Stretch(max(0, begins), meter.last_sync_at_ms, meter.cumulative_ms - from_ms)
