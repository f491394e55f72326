"""``Circuit``: whether calls to something that has stopped to answer are let through: one at a time, after a while."""

from __future__ import annotations

import random
import time
from threading import Lock
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_DOUBLINGS: Final = 16

#: For so long a probe keeps others from trying at most (L5): one that was interrupted never says that it is over.
LOST_PROBE_SECONDS: Final = 30.0


class Circuit:
    """Thread-safe, for one process. While there are no ``failures`` a caller need not ask.

    Args:
        first_seconds: how long calls fail fast after the first failure; doubles with every further one.
        longest_seconds: the longest that calls fail fast.
        jitter: by which part of itself a span is shortened at random at most, so that processes do not try together.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        first_seconds: float,
        longest_seconds: float,
        *,
        jitter: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._first = first_seconds
        self._longest = longest_seconds
        self._jitter = jitter
        self._clock = clock
        self._lock = Lock()
        self.failures = 0  # in a row
        self._shut_until = 0.0
        self._probed_at: float | None = None

    def shut(self) -> float | None:
        """Return for how many seconds calls fail fast; 0 while another one probes, None where they go through."""
        if not self.failures:
            return None
        rest = self._shut_until - self._clock()
        if rest > 0:
            return rest
        probed_at = self._probed_at
        return 0.0 if probed_at is not None and self._clock() - probed_at < LOST_PROBE_SECONDS else None

    def enter(self) -> int | None:
        """Return how many failures are behind us, for ``leave``; None where calls fail fast. Above 0 it is a probe."""
        if not self.failures:
            return 0
        with self._lock:
            if self.shut() is not None:
                return None
            self._probed_at = self._clock() if self.failures else None
            return self.failures

    def leave(self, seen: int, *, failed: bool | None) -> None:
        """Note how a call has ended.

        Args:
            seen: what ``enter`` said.
            failed: False for an answer, of whatever kind; None where nothing is known.
        """
        if not seen and not failed and not self.failures:
            return
        with self._lock:
            if seen:
                self._probed_at = None
            if failed is False:
                self.failures = 0
            # Calls that were under way together have seen one and the same outage: it counts once.
            elif failed and seen == self.failures:
                span = min(self._first * 2 ** min(seen, _MOST_DOUBLINGS), self._longest)
                self.failures += 1
                self._shut_until = self._clock() + span * (1 - random.uniform(0, self._jitter))  # noqa: S311
