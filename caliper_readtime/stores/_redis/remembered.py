"""``Remembered``: what this process has just written with a claim, so that settling it needs no read before."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import attrs

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime.stores._redis.writing import Write

#: States that are remembered at most. A batch is settled before the next one is claimed.
MOST: Final = 1024


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
    """Bounded, and never trusted: what is made of a state is written by compare-and-swap on its nonce.

    Safe for threads and forks, since it has no lock: whoever finds a state here has it alone.
    """

    def __init__(self) -> None:
        self._states: dict[Key, tuple[float, str, ReadTimeState]] = {}

    def keep(self, key: Key, write: Write) -> None:
        """Remember what was written, if somebody is about to send what it claims."""
        if not write.claims:
            return
        if len(self._states) >= MOST:
            self._states.clear()
        self._states[key] = write.clock - time.monotonic() * 1000, write.args[1], write.state

    def take(self, key: Key) -> Known | None:
        """Return a state, and forget it here: of two who would settle it one finds nothing, and reads."""
        found = self._states.pop(key, None)
        if found is None:
            return None
        ahead, meter, state = found
        return Known(int(ahead + time.monotonic() * 1000), meter, state)
