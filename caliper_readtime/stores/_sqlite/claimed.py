"""``Claimed``: what this process has just written with a claim, so that settling it needs no look before (T8)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Key, ReadTimeState

#: States that are remembered at most. A batch is settled before the next one is claimed.
MOST: Final = 1024


class Row(NamedTuple):
    """A row as this process has written it.

    Attributes:
        rowid: SQLite's.
        state: what stands there unless somebody has written since.
        ledger: its text.
    """

    rowid: int
    state: ReadTimeState
    ledger: str


class Claimed:
    """Bounded, and never trusted: a row is written only where it is as it was left.

    Safe for threads and forks, since it has no lock: whoever finds a row here has it alone.
    """

    def __init__(self) -> None:
        self._rows: dict[Key, Row] = {}

    def keep(self, key: Key, row: Row) -> None:
        """Remember what was written, if somebody is about to send what it claims."""
        claim = row.state.ledger.claim
        if claim is None or claim.owner is None:
            return
        if len(self._rows) >= MOST:
            self._rows.clear()
        self._rows[key] = row

    def take(self, key: Key) -> Row | None:
        """Return a row, and forget it here."""
        return self._rows.pop(key, None)
