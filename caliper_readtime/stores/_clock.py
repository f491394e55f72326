"""``StoreClock``: the store's time without asking the store each time."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

from caliper_readtime._logs import log
from caliper_readtime._units import to_datetime
from caliper_readtime.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from caliper_readtime.protocols import StateStore

#: For how long the monotonic clock carries on what the store said; it drifts by a few milliseconds in that time.
ASK_AGAIN_SECONDS: Final = 60.0
#: How soon a store that did not answer is asked again: in between, nobody waits for its time-out.
RETRY_SECONDS: Final = 5.0


class StoreClock:
    """The store's clock, for decisions about opening and expiry that must not cost a round trip.

    While the store does not answer, its last word is carried on; where it never said anything, this host's own clock
    stands in (NTP is assumed), because a page without a time of opening could not be counted at all.

    Args:
        store: whose clock.
        monotonic: seconds on a clock that is never set.
        host_ms: this host's own time, milliseconds since the epoch.
    """

    def __init__(
        self,
        store: StateStore,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        host_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._store = store
        self._monotonic = monotonic
        self._host_ms = host_ms
        # (the store's milliseconds at the monotonic clock's zero, when to ask again); replaced as a whole, so that
        # threads need no lock: two that ask at once do no harm.
        self._known: tuple[float, float] | None = None

    def __call__(self) -> datetime:
        """Return the store's time; asks at most once a minute."""
        begun = self._monotonic()
        known = self._known
        if known is None or begun >= known[1]:
            known = self._known = self._asked(begun, known)
        return to_datetime(round(known[0] + self._monotonic() * 1000))

    def _asked(self, begun: float, known: tuple[float, float] | None) -> tuple[float, float]:
        try:
            said = self._store.now()
        except StoreError as error:
            end = self._monotonic()
            log(
                logging.WARNING,
                "the store does not tell the time, so the last known one is used to go on from",
                error=error,
            )
            return (self._host_ms() - end * 1000 if known is None else known[0]), end + RETRY_SECONDS
        end = self._monotonic()
        # The store looked at its clock somewhere in between.
        return said - (begun + end) * 500, end + ASK_AGAIN_SECONDS
