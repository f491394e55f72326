"""``CircuitBreaker``: lets calls through while an endpoint answers, and one at a time once it has stopped to."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from caliper_readtime._circuit import Circuit
from caliper_readtime.errors import EmitError, EmitterUnavailable, EndpointRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

#: How long calls fail fast after the first call that exhausted its retries; doubles with every further one.
FAIL_FAST_SECONDS: Final = 0.5
#: The longest that calls fail fast.
MAX_FAIL_FAST_SECONDS: Final = 30.0


class CircuitBreaker:
    """Thread-safe, for one process. An outage then costs the host's workers one waiting call, not all of them.

    Args:
        where: name of the endpoint, for errors.
        clock: monotonic seconds.
    """

    def __init__(self, where: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._circuit = Circuit(FAIL_FAST_SECONDS, MAX_FAIL_FAST_SECONDS, clock=clock)

    def check(self, event_ids: Sequence[str]) -> None:
        """Return while calls go through.

        Raises:
            EmitterUnavailable: they fail fast.
        """
        rest = self._circuit.shut()
        if rest is not None:
            raise self._not_tried(event_ids, rest)

    @contextmanager
    def passage(self, event_ids: Sequence[str]) -> Iterator[None]:
        """Let a call through, and learn from how it ends.

        Raises:
            EmitterUnavailable: a window is open, or somebody else is finding out whether it has to be renewed.
        """
        seen = self._circuit.enter()
        if seen is None:
            raise self._not_tried(event_ids, self._circuit.shut() or 0.0)
        failed: bool | None = None
        try:
            yield
            failed = False
        except EmitError as error:
            if isinstance(error, EmitterUnavailable) and not isinstance(error, EndpointRefused):
                failed = True
            elif error.status is not None:
                failed = False
            raise
        finally:
            self._circuit.leave(seen, failed=failed)

    def _not_tried(self, event_ids: Sequence[str], rest: float) -> EmitterUnavailable:
        return EmitterUnavailable(
            f"{self._where} did not answer a moment ago, so this was not tried",
            event_ids=event_ids,
            retry_after_seconds=rest,
        )
