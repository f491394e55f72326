"""When a call may start and by when it has to end: ``CircuitBreaker`` and the deadline."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from threading import Lock
from typing import TYPE_CHECKING, Final, ParamSpec, TypeVar

from caliper_readtime._circuit import Circuit
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

P = ParamSpec("P")
T = TypeVar("T")

_over_at: Final[ContextVar[float]] = ContextVar("over_at", default=math.inf)


def within(seconds: float, call: Callable[P, T], /, *args: P.args, **more: P.kwargs) -> T:
    """Return what a call returns that may take ``seconds``, or what is left of an outer deadline where that is less."""

    def limited() -> T:
        _over_at.set(min(_over_at.get(), time.monotonic() + seconds))
        return call(*args, **more)

    # L5: in a context of its own, so that wherever it is interrupted no later call has this one's deadline.
    return copy_context().run(limited)


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
        self._circuit = Circuit(FAIL_FAST_SECONDS, MAX_FAIL_FAST_SECONDS, clock=clock)
        self._lock = Lock()
        self._quick_failures = 0
        self._asked_until = 0.0

    def check(self, event_ids: Sequence[str]) -> None:
        """Return while calls go through.

        Raises:
            EmitterUnavailable: they fail fast; it was not tried.
        """
        rest, asked = self._circuit.shut(), self._asked_until - self._clock()
        if rest is not None or asked > 0:
            raise self._not_tried(event_ids, max(rest or 0.0, asked))

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
        self.check(event_ids)
        seen = self._circuit.enter()
        if seen is None:  # somebody was faster
            raise self._not_tried(event_ids, self._circuit.shut() or 0.0)
        started = self._clock()
        failed: bool | None = None
        try:
            yield
            failed = False
        except EmitError as error:
            if isinstance(error, EmitterUnavailable) and not isinstance(error, EndpointRefused):
                quick = error.ambiguous and self._clock() - started < QUICK_SECONDS
                failed = True if not quick or self._circuit.failures else self._many_quick_ones()
            elif error.status is not None:
                failed = False
            raise
        finally:
            if failed is False:
                self._quick_failures = 0
            self._circuit.leave(seen, failed=failed)

    def _many_quick_ones(self) -> bool | None:
        """Return True where so many quick failures in a row are an outage; None where nothing is known yet."""
        with self._lock:
            self._quick_failures += 1
            return True if self._quick_failures >= MAX_QUICK_FAILURES else None

    def _not_tried(self, event_ids: Sequence[str], rest: float) -> EmitterUnavailable:
        return EmitterUnavailable(
            f"{self._where} failed a moment ago or asked for a pause, so this was not tried",
            event_ids=event_ids,
            retry_after_seconds=max(rest, 0.0),
            ambiguous=False,
            tried=False,
        )
