"""``Remembered``: what this process has just written with a claim, so that settling it needs no read before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import attrs

from caliper_readtime.stores._claimed import Claimed

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime.stores._redis.writing import Write


@attrs.frozen
class Known:
    """A state as this process has written it.

    Attributes:
        clock: the time by the state's server, milliseconds since the epoch.
        meter: as it was written. Its nonce tells whether anybody has written since.
        state: what stands there unless somebody has.
    """

    clock: int
    meter: str
    state: ReadTimeState


class Remembered:
    """What was claimed, and how far the server's clock was ahead: what is made of it is swapped by its nonce."""

    def __init__(self) -> None:
        self.claimed: Claimed[tuple[float, str, ReadTimeState]] = Claimed()

    def keep(self, key: Key, write: Write) -> None:
        """Remember what was written, if somebody is about to send what it claims."""
        if write.claims:
            self.claimed.keep(key, (write.clock - time.monotonic() * 1000, write.args[1], write.state))

    def take(self, key: Key) -> Known | None:
        """Return a state, and forget it here."""
        found = self.claimed.take(key)
        if found is None:
            return None
        ahead, meter, state = found
        return Known(int(ahead + time.monotonic() * 1000), meter, state)
