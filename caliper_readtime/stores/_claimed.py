"""``Claimed``: what this process has just written with claims, so that settling one needs no read before (T8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Key, ReadTimeState

V = TypeVar("V")

#: States that are remembered at most. A batch is settled before the next one is claimed.
MOST: Final = 1024


def claims(new: ReadTimeState, old: ReadTimeState | None) -> bool:
    """Return whether somebody is about to send what this write claims."""
    claim = new.ledger.claim
    return claim is not None and claim.owner is not None and (old is None or old.ledger.claim != claim)


class Claimed(Generic[V]):
    """Bounded, and never trusted: what is made of a state is written only where nobody has written since.

    Safe for threads and forks, since it has no lock: whoever finds a state here has it alone.

    Attributes:
        kept: by key, to be looked at only.
    """

    def __init__(self) -> None:
        self.kept: dict[Key, V] = {}

    def keep(self, key: Key, written: V) -> None:
        """Remember what was written."""
        if len(self.kept) >= MOST:
            self.kept.clear()
        self.kept[key] = written

    def take(self, key: Key) -> V | None:
        """Return what was written, and forget it here: of two who would settle it one finds nothing, and reads."""
        return self.kept.pop(key, None)
