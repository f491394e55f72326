"""A reader's record of claimed time in SQLite: read and written in the transaction of the state."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, TypeVar

from caliper_readtime.stores._walls import claimable, decided, dump_wall, load_wall, unreadable

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import Transition

R = TypeVar("R")


def found_wall(sqlite: sqlite3.Cursor, reader: str) -> Wall | None:
    """Return what is stored of a reader, expired or not.

    Raises:
        CorruptState: it cannot be read.
    """
    try:
        row = sqlite.execute("SELECT record FROM wall WHERE reader = ?", (reader,)).fetchone()
    except sqlite3.OperationalError as error:
        if "UTF-8" not in str(error):
            raise
    else:
        return None if row is None else load_wall(row[0], reader)
    raise unreadable(reader)


def beside(
    sqlite: sqlite3.Cursor, key: Key, transition: Transition[R], old: ReadTimeState | None, moment: int
) -> tuple[ReadTimeState | None, R]:
    """Apply a walled transition, inside the caller's transaction, and write the record that it leaves."""
    reader = key.reader_sourced_id
    new, result, wall = decided(transition, old, claimable(lambda: found_wall(sqlite, reader)), moment)
    if wall is not None:
        sqlite.execute("INSERT OR REPLACE INTO wall VALUES (?, ?, ?)", (reader, wall.expires_at_ms, dump_wall(wall)))
    return new, result
