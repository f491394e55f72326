"""``DueIndex``: which states want attention, in the order of their times; for a store that lives in memory."""

from __future__ import annotations

from heapq import heapify, heappop, heappush, nsmallest
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING

from caliper_readtime._rules.ranges import LONGEST_WAIT_MS

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Due, Key

    _Heap = list[tuple[int, int, Key, Due]]


class DueIndex:
    """A due entry for each of some keys. What is asked of it costs as much among a million as alone.

    Entries that were replaced stay in their heap until they come to its top, or are too many. Not thread-safe.

    Attributes:
        entries: what was set last; to be looked at only.
    """

    def __init__(self) -> None:
        self.entries: dict[Key, Due] = {}
        self._heaps: tuple[_Heap, _Heap] = ([], [])  # by ``soft``
        self._number = count()  # of two at one time the older is first, and keys are never compared
        self._latest_ms = 0

    def set(self, key: Key, due: Due | None) -> None:
        """Replace a key's entry; None removes it."""
        if due is None:
            self.entries.pop(key, None)
            return
        self.entries[key] = due
        self._latest_ms = max(self._latest_ms, due.at_ms)
        heap = self._heaps[due.soft]
        heappush(heap, (due.at_ms, next(self._number), key, due))
        if len(heap) > 2 * len(self.entries) + 64:
            heap[:] = [entry for entry in heap if self.entries.get(entry[2]) is entry[3]]
            heapify(heap)

    def come(self, limit: int, now: int, idle_ms: int) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose entry has come (``Due.come``), oldest first."""
        if self._latest_ms > now + LONGEST_WAIT_MS:
            # D5: a clock has jumped, and what it left has come as well.
            self._latest_ms = max((due.at_ms for due in self.entries.values()), default=0)
            found = [(due.at_ms, key) for key, due in self.entries.items() if due.come(now, idle_ms)]
        else:
            found = [*self._top(0, limit, now), *self._top(1, limit, now - idle_ms)]
        return tuple(key for _, key in nsmallest(limit, found, key=itemgetter(0)))

    def _top(self, soft: int, limit: int, until_ms: int) -> list[tuple[int, Key]]:
        heap = self._heaps[soft]
        found: _Heap = []
        while heap and heap[0][0] <= until_ms and len(found) < limit:
            entry = heappop(heap)
            if self.entries.get(entry[2]) is entry[3]:
                found.append(entry)
        for entry in found:
            heappush(heap, entry)
        return [(at_ms, key) for at_ms, _, key, _ in found]
