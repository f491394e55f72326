"""When a call may start and by when it has to end: ``CircuitBreaker`` and the deadline."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import TYPE_CHECKING, Final

from caliper_readtime.emitters._responses import MAX_RETRY_AFTER_SECONDS
from caliper_readtime.errors import EmitError, EmitterUnavailable, EndpointRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: How long calls fail fast after the first call that the endpoint failed; doubles with every further one.
FAIL_FAST_SECONDS: Final = 0.5
#: The longest that calls fail fast, unless the endpoint asked for more.
MAX_FAIL_FAST_SECONDS: Final = 30.0
#: A 5xx or a reset that comes within this time costs nobody much, and may be about one event: no outage yet.
QUICK_SECONDS: Final = 1.0
#: How many of them in a row are an outage. Finding the one event among a hundred takes eight.
MAX_QUICK_FAILURES: Final = 10
_MOST_DOUBLINGS: Final = 16

_over_at: Final[ContextVar[float]] = ContextVar("over_at", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what happens inside take at most ``seconds``, or what is left of an outer deadline where that is less."""
    token = _over_at.set(min(_over_at.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _over_at.reset(token)


def left() -> float:
    """Return the seconds that are left; infinite where nobody has set a deadline."""
    return _over_at.get() - time.monotonic()


def cut(seconds: float | None) -> float | None:
    """Return a time-out in seconds (None: none), cut to what is left.

    Raises:
        TimeoutError: nothing is left.
    """
    remaining = left()
    if remaining <= 0:
        raise TimeoutError("the deadline is over")
    if remaining == math.inf:
        return seconds
    return remaining if seconds is None else min(seconds, remaining)


class CircuitBreaker:
    """Thread-safe, for one process. An outage then costs the host's workers one waiting call, not all of them.

    Args:
        where: name of the endpoint, for errors.
        clock: monotonic seconds.
    """

    def __init__(self, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._clock = clock
        self._lock = Lock()
        self._failures = 0
        self._quick_failures = 0
        self._open_until = 0.0
        self._asked_until = 0.0
        self._probing = False

    def check(self, event_ids: Sequence[str]) -> None:
        """Return while calls go through.

        Raises:
            EmitterUnavailable: they fail fast; it was not tried.
        """
        with self._lock:
            self._check(event_ids)

    def pause(self, seconds: float) -> None:
        """Leave the endpoint alone for as long as it has asked, but for no more than the longest Retry-After."""
        with self._lock:
            # H10: it binds the endpoint, so whoever comes next waits too.
            self._asked_until = max(self._asked_until, self._clock() + min(seconds, MAX_RETRY_AFTER_SECONDS))

    @contextmanager
    def passage(self, event_ids: Sequence[str]) -> Iterator[None]:
        """Let a call through, and learn from how it ends.

        Raises:
            EmitterUnavailable: calls fail fast, or somebody else is finding out whether they still have to.
        """
        with self._lock:
            self._check(event_ids)
            seen = self._failures
            probe = self._probing = seen > 0
        started = self._clock()
        try:
            yield
        except EmitError as error:
            if isinstance(error, EmitterUnavailable) and not isinstance(error, EndpointRefused):
                self._failed(seen, quick=error.ambiguous and self._clock() - started < QUICK_SECONDS)
            elif error.status is not None:
                self._passed()
            raise
        else:
            self._passed()
        finally:
            if probe:
                self._probing = False

    def _check(self, event_ids: Sequence[str]) -> None:
        rest = max(self._open_until, self._asked_until) - self._clock()
        if rest > 0 or self._probing:
            raise EmitterUnavailable(
                f"{self._where} failed a moment ago or asked for a pause, so this was not tried",
                event_ids=event_ids,
                retry_after_seconds=max(rest, 0.0),
                ambiguous=False,
                tried=False,
            )

    def _passed(self) -> None:
        with self._lock:
            self._failures = self._quick_failures = 0
            self._open_until = 0.0

    def _failed(self, seen: int, *, quick: bool) -> None:
        with self._lock:
            if quick and not self._failures:
                self._quick_failures += 1
                if self._quick_failures < MAX_QUICK_FAILURES:
                    return
            # Calls that were under way together have seen one and the same outage: it counts once.
            if seen == self._failures:
                span = FAIL_FAST_SECONDS * 2 ** min(self._failures, _MOST_DOUBLINGS)
                self._failures += 1
                self._open_until = self._clock() + min(span, MAX_FAIL_FAST_SECONDS)
