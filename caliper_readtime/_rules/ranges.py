"""The ranges of a total that are on their way: what is claimed, and what was set aside."""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b
from typing import Final

import attrs

from caliper_readtime._model import Activity, Reader  # noqa: TC001 - stores read these values back by their types
from caliper_readtime._policy import LONGEST_LEASE_SECONDS, LONGEST_WAIT_SECONDS

#: Contexts that a parked event remembers to have been sent with; after so many changes it waits for its retry time.
MAX_TRIED: Final = 8
#: A refused event is tried again after a day, and nothing waits longer.
LONGEST_WAIT_MS: Final = LONGEST_WAIT_SECONDS * 1000
LONGEST_LEASE_MS: Final = LONGEST_LEASE_SECONDS * 1000
#: An endpoint may forget the ids of events after a day; what is sent again later than that could count twice.
DOUBTFUL_MS: Final = 86_400_000


@attrs.frozen
class Context:
    """What an event says besides its time. An event keeps the context that it was built from."""

    reader: Reader
    article: Activity


@lru_cache(maxsize=1024)
def fingerprint(context: Context) -> str:
    """Return a short digest of a context: a parked event remembers by it what it was sent with."""
    return blake2b(repr(attrs.astuple(context)).encode(), digest_size=8).hexdigest()


@attrs.frozen(slots=False)  # for `evolved`
class Claim:
    """The milliseconds ``[start_ms, end_ms)`` that are being reported, with the finished event that says so.

    Attributes:
        event_id: derived from generation, key and range: the same range has the same id on any host.
        began_at_ms: when the claimed time began.
        ended_at_ms: last sync of the claimed time.
        context: what the event was built from.
        event: the finished event as JSON: a retry sends the same bytes.
        owner: token of whoever may send it now; None once released.
        until_at_ms: end of the owner's lease; once released, end of the back-off.
        first_claimed_at_ms: when the range was first claimed.
        attempts: failed emissions.
        rejections: how often the endpoint refused the event itself.
        ambiguous: an emission of it may have arrived although nobody heard so.
    """

    event_id: str
    start_ms: int
    end_ms: int
    began_at_ms: int
    ended_at_ms: int
    context: Context
    event: str = attrs.field(repr=False)
    owner: str | None
    until_at_ms: int
    first_claimed_at_ms: int
    attempts: int = 0
    rejections: int = 0
    ambiguous: bool = False

    def leased(self, now: int) -> bool:
        """Return whether its owner may still be sending. D5: a lease too far ahead was left by a clock that jumped."""
        return self.owner is not None and now < self.until_at_ms <= now + LONGEST_LEASE_MS

    def backs_off(self, now: int) -> bool:
        """Return whether it was released, and its back-off runs. D5: as for a lease."""
        return self.owner is None and now < self.until_at_ms <= now + LONGEST_WAIT_MS

    def doubtful(self, now: int) -> bool:
        """Return whether it is so old that an endpoint which accepted it may have forgotten its id."""
        return now - self.first_claimed_at_ms >= DOUBTFUL_MS


@attrs.frozen(slots=False)  # for `stores`
class Parked:
    """An event that was set aside so that later time is not stuck behind it.

    Attributes:
        context: what it was last built from.
        retry_at_ms: when to try again.
        attempts: failed emissions.
        ambiguous: an emission of it may have arrived although nobody heard so.
        refused: the endpoint has refused it as it is; otherwise nothing but its turn is awaited.
        tried: fingerprints of the contexts that it was sent with before, since its last retry time.
    """

    event_id: str
    start_ms: int
    end_ms: int
    began_at_ms: int
    ended_at_ms: int
    context: Context
    parked_at_ms: int
    retry_at_ms: int
    status: int | None
    reason: str
    attempts: int = 0
    ambiguous: bool = False
    refused: bool = True
    tried: tuple[str, ...] = ()

    @property
    def fixed(self) -> bool:
        """Whether it keeps its bytes: it was sent, may have arrived, and nobody has refused it (I7)."""
        return not self.refused and self.attempts > 0

    def corrected(self, context: Context) -> bool:
        """Return whether the context has changed, to one that it was not sent with yet (P5)."""
        if self.fixed or context == self.context:
            return False
        return len(self.tried) < MAX_TRIED and fingerprint(context) not in self.tried

    def claimable(self, context: Context, now: int, *, explicit: bool = True) -> bool:
        """Return whether it is sent again: its context was corrected, or its retry time has come (P4).

        An ``explicit`` call does not mind the back-off of one that was not refused (V3).
        """
        waits = now < self.retry_at_ms <= now + LONGEST_WAIT_MS
        return not waits or self.corrected(context) or (explicit and not self.refused)
