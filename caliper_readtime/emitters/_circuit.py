"""``CircuitBreaker``: lets calls through while an endpoint answers, and one at a time once it has stopped to."""

from __future__ import annotations

import time
from contextlib import contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Final

from caliper_readtime.errors import EmitError, EmitterUnavailable, EndpointRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: How long calls fail fast after the first call that exhausted its retries; doubles with every further one.
FAIL_FAST_SECONDS: Final = 0.5
#: The longest that calls fail fast.
MAX_FAIL_FAST_SECONDS: Final = 30.0
_MOST_DOUBLINGS: Final = 16


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
        self._shut_until = 0.0
        self._probing = False

    def check(self, event_ids: Sequence[str]) -> None:
        """Return while calls go through.

        Raises:
            EmitterUnavailable: they fail fast.
        """
        with self._lock:
            self._check(event_ids)

    @contextmanager
    def passage(self, event_ids: Sequence[str]) -> Iterator[None]:
        """Let a call through, and learn from how it ends.

        Raises:
            EmitterUnavailable: a window is open, or somebody else is finding out whether it has to be renewed.
        """
        with self._lock:
            self._check(event_ids)
            seen = self._failures
            probe = self._probing = seen > 0
        try:
            yield
        except EmitError as error:
            if isinstance(error, EmitterUnavailable) and not isinstance(error, EndpointRefused):
                self._exhausted(seen)
            elif error.status is not None:
                self._answered()
            raise
        else:
            self._answered()
        finally:
            if probe:
                self._probing = False

    def _check(self, event_ids: Sequence[str]) -> None:
        rest = self._shut_until - self._clock() if self._failures else 0.0
        if rest > 0 or self._probing:
            raise EmitterUnavailable(
                f"{self._where} did not answer a moment ago, so this was not tried",
                event_ids=event_ids,
                retry_after_seconds=max(rest, 0.0),
            )

    def _answered(self) -> None:
        with self._lock:
            self._failures = 0

    def _exhausted(self, seen: int) -> None:
        with self._lock:
            # Calls that were under way together have seen one and the same outage: it counts once.
            if seen == self._failures:
                window = FAIL_FAST_SECONDS * 2 ** min(self._failures, _MOST_DOUBLINGS)
                self._failures += 1
                self._shut_until = self._clock() + min(window, MAX_FAIL_FAST_SECONDS)
