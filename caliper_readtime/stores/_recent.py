"""``Recent``: what was read from the last texts, so that the same text is read once."""

from __future__ import annotations

from typing import Final, Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")

_MANY: Final = 512


class Recent(Generic[K, V]):
    """The last values, at least ``_MANY`` of them and at most twice as many. Needs no lock: it never goes through one.

    A heartbeat meets the same ledger again and again, and the page views that the one before it has written; a commit
    meets the ledger that the claim has just written.
    """

    def __init__(self) -> None:
        self._older: dict[K, V] = {}
        self._newer: dict[K, V] = {}

    def get(self, key: K) -> V | None:
        """Return the value, or None."""
        found = self._newer.get(key)
        return self._older.get(key) if found is None else found

    def keep(self, key: K, value: V) -> None:
        """Remember a value."""
        if len(self._newer) >= _MANY:
            self._older, self._newer = self._newer, {}
        self._newer[key] = value
