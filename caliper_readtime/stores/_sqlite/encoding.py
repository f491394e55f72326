"""How a state stands in SQLite's tables, how a row is read, changed and written, and what file a URL names."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar
from urllib.parse import unquote

from caliper_readtime._rules.state import Key, Meter, ReadTimeState
from caliper_readtime.errors import ConfigurationError, CorruptState
from caliper_readtime.stores._claimed import Claimed, claims
from caliper_readtime.stores._codec import (
    check_meter,
    dump_heartbeats,
    dump_views,
    load_heartbeats,
    load_views,
    named,
)
from caliper_readtime.stores._ledger_text import dump_ledger, load_ledger
from caliper_readtime.stores._recent import Recent
from caliper_readtime.stores._sqlite.walls import beside
from caliper_readtime.stores._walls import walled

if TYPE_CHECKING:
    from caliper_readtime.protocols import Transition

R = TypeVar("R")

#: Made where they are missing, whenever a file is opened.
TABLES: Final = """
CREATE TABLE IF NOT EXISTS state (
    reader TEXT NOT NULL,
    resource TEXT NOT NULL,
    cumulative_ms INTEGER NOT NULL,
    last_sync_at_ms INTEGER NOT NULL,
    budget_ms INTEGER NOT NULL,
    since_at_ms INTEGER NOT NULL,
    clamped_ms INTEGER NOT NULL,
    position_ms INTEGER,
    views TEXT NOT NULL,
    heartbeats TEXT NOT NULL,
    due_at_ms INTEGER,
    soft INTEGER NOT NULL,
    expires_at_ms INTEGER,
    parked INTEGER NOT NULL,
    ledger TEXT NOT NULL,
    PRIMARY KEY (reader, resource)
) STRICT;
CREATE INDEX IF NOT EXISTS state_due ON state (soft, due_at_ms) WHERE due_at_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS state_parked ON state (reader, resource) WHERE parked > 0;
CREATE INDEX IF NOT EXISTS state_unreported ON state (reader, resource) WHERE due_at_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS state_expires ON state (expires_at_ms) WHERE expires_at_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS wall (
    reader TEXT PRIMARY KEY, expires_at_ms INTEGER NOT NULL, record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_COLUMNS: Final = (
    "cumulative_ms, last_sync_at_ms, budget_ms, since_at_ms, clamped_ms, position_ms,"
    " views, heartbeats, ledger, due_at_ms, rowid"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM state WHERE reader = ? AND resource = ?"  # noqa: S608 - constants
_BEAT: Final = (
    "UPDATE state SET cumulative_ms = ?, last_sync_at_ms = ?, budget_ms = ?, since_at_ms = ?, clamped_ms = ?,"
    " position_ms = ?, views = ?, heartbeats = ? WHERE rowid = ?"
)
_SETTLE: Final = "UPDATE state SET due_at_ms = ?, soft = ?, expires_at_ms = ?, parked = ?, ledger = ? WHERE rowid = ?"
#: The rows that heartbeats of this process have left, and the states that they hold: what nobody has changed since
#: is not taken apart again.
_LEFT: Final[Recent[Key, tuple[tuple[Any, ...], ReadTimeState]]] = Recent()
# T8: where nobody has written since. The ledger names the state's birth, so a row of another state is none of them.
_SWAP: Final = (
    f"{_SETTLE} AND cumulative_ms = ? AND last_sync_at_ms = ? AND budget_ms = ? AND since_at_ms = ? AND clamped_ms = ?"
    " AND position_ms IS ? AND views = ? AND heartbeats = ? AND ledger = ?"
)
_WRITE: Final = "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class Row(NamedTuple):
    """A row as this process has written it with a claim.

    Attributes:
        rowid: SQLite's.
        state: what stands there unless somebody has written since.
        ledger: its text.
    """

    rowid: int
    state: ReadTimeState
    ledger: str


def path_of(url: str) -> str:
    """Return the file that a URL names: after three slashes, so that a fourth one makes it absolute.

    Raises:
        ConfigurationError: it names none, or says more than a file's name.
    """
    scheme, slashes, path = url.partition(":///")
    if scheme != "sqlite" or not slashes or path.strip("/") in ("", ":memory:"):
        raise ConfigurationError(
            "a URL of SQLite looks like sqlite:///readtime.db (relative to the working directory) or"
            " sqlite:////var/lib/app/readtime.db (absolute); for memory use memory://"
        )
    if set(path) & set("?#"):
        raise ConfigurationError(
            "a URL of SQLite takes no options: leave out what follows ? or #, or write %3F and %23"
        )
    return unquote(path)


def updated(
    sqlite: sqlite3.Cursor, key: Key, transition: Transition[R], moment: int, claimed: Claimed[Row]
) -> tuple[R, ReadTimeState | None]:
    """Apply a transition to the state under ``key``, inside the caller's transaction."""
    wanted = walled(transition)
    known = None if wanted else claimed.take(key)
    settled = None if known is None else _settled(sqlite, known, transition, moment)
    if settled is not None:
        return settled
    row = found(sqlite, key)
    old = None if row is None else state_of(key, row)
    # What has a due entry holds unreported time, so it neither expires nor gets a date to.
    indexed = row is not None and row[9] is not None
    if old is not None and not indexed and old.expired(moment):
        sqlite.execute("DELETE FROM state WHERE rowid = ?", row[10:])
        old = None
    if wanted:
        new, result = beside(sqlite, key, transition, old, moment)
    else:
        new, result = transition(old, moment)
    if new is not old and new is not None:
        if old is not None and new.meter is old.meter:
            account = _account(new)
            sqlite.execute(_SETTLE, (*account, row[10]))
            if claims(new, old):
                claimed.keep(key, Row(row[10], new, account[-1]))
        elif indexed and old is not None and new.ledger is old.ledger:
            meter = (*new.meter[:6], *_lists(new.meter))
            sqlite.execute(_BEAT, (*meter, row[10]))
            _LEFT.keep(key, ((*meter, *row[8:]), new))
        else:
            sqlite.execute(_WRITE, _row(key, new))
    return result, new


def _settled(
    sqlite: sqlite3.Cursor, known: Row, transition: Transition[R], moment: int
) -> tuple[R, ReadTimeState | None] | None:
    """Apply a transition to what was claimed a moment ago; None where that is not for certain what stands there."""
    old = known.state
    new, result = transition(old, moment)
    if new is None or new is old or new.meter is not old.meter:
        return None
    sqlite.execute(_SWAP, (*_account(new), known.rowid, *old.meter[:6], *_lists(old.meter), known.ledger))
    return (result, new) if sqlite.rowcount == 1 else None


def found(sqlite: sqlite3.Cursor, key: Key) -> Any:
    """Return the row of the state under ``key``, or None.

    Raises:
        CorruptState: its text is no text.
    """
    try:
        return sqlite.execute(_SELECT, key).fetchone()
    except sqlite3.OperationalError as error:
        if "UTF-8" not in str(error):
            raise
    # SQLite's own error quotes the text, which holds an address: it is not chained.
    raise named(CorruptState("the stored text is not UTF-8"), key)


def state_of(key: Key, row: tuple[Any, ...]) -> ReadTimeState:
    """Return the state that a row holds.

    Raises:
        CorruptState: it holds something else.
    """
    left = _LEFT.get(key)
    if left is not None and left[0] == row:
        return left[1]
    try:
        check_meter(row)
        meter = Meter(row[0], row[1], row[2], row[3], row[4], row[5], load_views(row[6]), load_heartbeats(row[7]))
        return ReadTimeState(key[0], key[1], meter, load_ledger(row[8]))
    except CorruptState as error:
        raise named(error, key) from None


def _lists(meter: Meter) -> tuple[str, str]:
    return dump_views(meter.views), dump_heartbeats(meter.heartbeats)


def _account(state: ReadTimeState) -> tuple[Any, ...]:
    due = state.due
    return (
        None if due is None else due.at_ms,
        0 if due is None else int(due.soft),
        state.expires_at_ms,
        len(state.ledger.parked),
        dump_ledger(state.ledger),
    )


def _row(key: Key, state: ReadTimeState) -> tuple[Any, ...]:
    return (*key, *state.meter[:6], *_lists(state.meter), *_account(state))
