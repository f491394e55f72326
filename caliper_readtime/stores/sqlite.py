"""``SqliteStateStore``: states in one SQLite file that any number of processes of one machine may share."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from caliper_readtime.errors import ConfigurationError, CorruptState, StoreUnavailable
from caliper_readtime.state import Key, Meter, ReadTimeState
from caliper_readtime.stores.codec import (
    SCHEMA,
    dump_heartbeats,
    dump_ledger,
    dump_views,
    load_heartbeats,
    load_ledger,
    load_views,
    named,
)
from caliper_readtime.stores.memory import compare_meta
from caliper_readtime.transitions import Signal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caliper_readtime.protocols import Transition

R = TypeVar("R")

#: How long a writer waits for another process before ``StoreUnavailable``.
BUSY_SECONDS: Final = 5.0

# STRICT tables (SQLite 3.37) let nothing but whole numbers into the meter, so that a heartbeat need not check them.
_OLDEST_SQLITE: Final = (3, 37, 0)
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS state (
    reader TEXT NOT NULL,
    resource TEXT NOT NULL,
    cumulative_ms INTEGER NOT NULL,
    last_sync_ms INTEGER NOT NULL,
    carry_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    clamped_ms INTEGER NOT NULL,
    position_ms INTEGER,
    views TEXT NOT NULL,
    heartbeats TEXT NOT NULL,
    due_ms INTEGER,
    soft INTEGER NOT NULL,
    expires_ms INTEGER,
    parked INTEGER NOT NULL,
    ledger TEXT NOT NULL,
    PRIMARY KEY (reader, resource)
) STRICT;
CREATE INDEX IF NOT EXISTS state_due ON state (soft, due_ms) WHERE due_ms IS NOT NULL;
CREATE INDEX IF NOT EXISTS state_parked ON state (reader, resource) WHERE parked > 0;
CREATE INDEX IF NOT EXISTS state_expires ON state (expires_ms) WHERE expires_ms IS NOT NULL;
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
"""
_COLUMNS: Final = (
    "cumulative_ms, last_sync_ms, carry_ms, since_ms, clamped_ms, position_ms, views, heartbeats, ledger, due_ms, rowid"
)
_SELECT: Final = f"SELECT {_COLUMNS} FROM state WHERE reader = ? AND resource = ?"  # noqa: S608 - constants
_BEAT: Final = (
    "UPDATE state SET cumulative_ms = ?, last_sync_ms = ?, carry_ms = ?, since_ms = ?, clamped_ms = ?,"
    " position_ms = ?, views = ?, heartbeats = ? WHERE rowid = ?"
)
_WRITE: Final = "INSERT OR REPLACE INTO state VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"


class _Connection:
    """One process's connection: the lock lets one thread at a time use it."""

    def __init__(self, path: str) -> None:
        self.lock = threading.Lock()
        self.synchronous = ""
        self.sqlite = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)

    def durably(self, level: str) -> None:
        if self.synchronous != level:
            self.sqlite.execute(f"PRAGMA synchronous={level}")
            self.synchronous = level


class _Transaction:
    """One transaction on this process's connection; it is durable once the body has ended, as ``level`` says."""

    # A class, because a generator's context costs a heartbeat a tenth of its time.
    __slots__ = ("_begin", "_connection", "_level", "_store")

    def __init__(self, store: SqliteStateStore, level: str, begin: str = "BEGIN IMMEDIATE") -> None:
        self._store, self._level, self._begin = store, level, begin

    def __enter__(self) -> sqlite3.Connection:
        try:
            connection = self._connection = self._store.connection()
        except sqlite3.Error as error:
            raise self._store.unavailable(error) from error
        connection.lock.acquire()
        try:
            connection.durably(self._level)
            connection.sqlite.execute(self._begin)
        except BaseException as error:
            connection.lock.release()
            if isinstance(error, sqlite3.Error):
                raise self._store.unavailable(error) from error
            raise
        return connection.sqlite

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        sqlite = self._connection.sqlite
        try:
            if error is None:
                sqlite.execute("COMMIT")
                return
            if sqlite.in_transaction:
                sqlite.execute("ROLLBACK")
        except sqlite3.Error as failed:
            if sqlite.in_transaction:
                sqlite.execute("ROLLBACK")
            raise self._store.unavailable(failed) from failed
        finally:
            self._connection.lock.release()
        if isinstance(error, sqlite3.Error):
            raise self._store.unavailable(error) from error


class SqliteStateStore:
    """A ``StateStore`` in one file (WAL mode). Thread-safe, safe across processes, and across fork.

    Claims and everything else that the promises rest on are committed at ``synchronous=FULL``; heartbeats at
    ``NORMAL``: a power loss may take the last of them, never a claim.

    Args:
        path: the file; it is created where it does not exist. Not on a network file system.

    Raises:
        ConfigurationError: ``path`` is not a file path, or Python's SQLite is older than 3.37.
        StoreUnavailable: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        text = os.fspath(path)
        if not isinstance(text, str) or not text or text == ":memory:" or text.startswith("file:"):
            raise ConfigurationError("SqliteStateStore needs a file path; for memory use InMemoryStateStore")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite 3.37 or newer is needed, Python has {sqlite3.sqlite_version}")
        self._path = str(Path(text).absolute())
        # A connection must not cross a fork, not even to be closed: a child leaves its parent's entry alone.
        self._connections: dict[int, _Connection] = {}
        self._opening = threading.Lock()
        with _Transaction(self, "FULL"):
            pass

    def __repr__(self) -> str:
        return f"SqliteStateStore({self._path!r})"

    def unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        """Return what hosts are told of SQLite's error."""
        return StoreUnavailable(f"SQLite file {self._path}: {error}; check its disk, its rights and its other users")

    def connection(self) -> _Connection:
        """Return this process's connection; opens one after a fork or a close."""
        connection = self._connections.get(os.getpid())
        if connection is None:
            new = _Connection(self._path)
            new.sqlite.execute("PRAGMA journal_mode=WAL")
            new.sqlite.executescript(_TABLES)
            connection = self._connections.setdefault(os.getpid(), new)
            if connection is not new:
                new.sqlite.close()
        return connection

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition in one IMMEDIATE transaction."""
        with _Transaction(self, "NORMAL" if isinstance(transition, Signal) else "FULL") as sqlite:
            moment = time.time_ns() // 1_000_000 if now is None else now
            row = sqlite.execute(_SELECT, key).fetchone()
            old = None if row is None else _state(key, row)
            # What has a due entry holds unreported time, so it neither expires nor gets a date to.
            indexed = row is not None and row[9] is not None
            if old is not None and not indexed and _expired(old, moment):
                sqlite.execute("DELETE FROM state WHERE rowid = ?", row[10:])
                old = None
            new, result = transition(old, moment)
            if new is not old and new is not None:
                if indexed and old is not None and new.ledger is old.ledger:
                    sqlite.execute(_BEAT, (*new.meter[:6], *_lists(new.meter), row[10]))
                else:
                    sqlite.execute(_WRITE, _row(key, new))
            return result, new

    def load(self, key: Key, now: int | None = None, /) -> ReadTimeState | None:
        """Return the state as it stands, or None."""
        with _Transaction(self, "NORMAL", "BEGIN") as sqlite:
            row = sqlite.execute(_SELECT, key).fetchone()
            state = None if row is None else _state(key, row)
        moment = self.now() if now is None else now
        return None if state is None or _expired(state, moment) else state

    def keys(self, reader: str, now: int | None = None, /) -> tuple[Key, ...]:
        """Return the keys of every state of this reader."""
        moment = self.now() if now is None else now
        with _Transaction(self, "NORMAL", "BEGIN") as sqlite:
            rows = sqlite.execute(
                "SELECT reader, resource FROM state WHERE reader = ? AND (expires_ms IS NULL OR expires_ms > ?)",
                (reader, moment),
            ).fetchall()
        return tuple(Key(*row) for row in rows)

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0, /) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come, oldest first."""
        moment = self.now() if now is None else now
        with _Transaction(self, "NORMAL", "BEGIN") as sqlite:
            rows = sqlite.execute(
                "SELECT * FROM (SELECT due_ms, reader, resource FROM state"
                " WHERE due_ms IS NOT NULL AND soft = 0 AND due_ms <= ? ORDER BY due_ms LIMIT ?)"
                " UNION ALL SELECT * FROM (SELECT due_ms, reader, resource FROM state"
                " WHERE due_ms IS NOT NULL AND soft = 1 AND due_ms <= ? ORDER BY due_ms LIMIT ?)"
                " ORDER BY 1 LIMIT ?",
                (moment, limit, moment - idle_ms, limit, limit),
            ).fetchall()
        return tuple(Key(reader, resource) for _, reader, resource in rows)

    def parked(self, limit: int, /) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events."""
        with _Transaction(self, "NORMAL", "BEGIN") as sqlite:
            rows = sqlite.execute(
                f"SELECT {_COLUMNS}, reader, resource FROM state WHERE parked > 0 LIMIT ?",  # noqa: S608 - constants
                (limit,),
            ).fetchall()
        return tuple(_state(Key(*row[11:]), row) for row in rows)

    def delete(self, reader: str, /) -> int:
        """Remove everything of a reader in one transaction; return how many states."""
        with _Transaction(self, "FULL") as sqlite:
            return sqlite.execute("DELETE FROM state WHERE reader = ?", (reader,)).rowcount

    def now(self, key: Key | None = None, /) -> int:  # noqa: ARG002 - one clock for every key
        """Return this machine's clock, which every user of the file shares."""
        return time.time_ns() // 1_000_000

    def meta(self, expected: Mapping[str, str], /) -> None:
        """Record what this file is used for, or compare.

        Raises:
            ConfigurationError: a recorded fact differs.
        """
        facts = {"schema": str(SCHEMA[0]), **expected}
        with _Transaction(self, "FULL") as sqlite:
            compare_meta(dict(sqlite.execute("SELECT name, value FROM meta").fetchall()), facts)
            sqlite.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", facts.items())

    def swept(self, now: int | None = None, /) -> None:
        """Record that a sweep has run, and remove what has expired."""
        moment = self.now() if now is None else now
        with _Transaction(self, "NORMAL") as sqlite:
            sqlite.execute("INSERT OR REPLACE INTO meta VALUES ('last_sweep', ?)", (str(moment),))
            sqlite.execute("DELETE FROM state WHERE expires_ms <= ?", (moment,))

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        with _Transaction(self, "NORMAL", "BEGIN") as sqlite:
            row = sqlite.execute("SELECT value FROM meta WHERE name = 'last_sweep'").fetchone()
        return None if row is None else int(row[0])

    def close(self) -> None:
        """Close this process's connection; the next call opens another."""
        connection = self._connections.pop(os.getpid(), None)
        if connection is not None:
            with connection.lock:
                connection.sqlite.close()


def _state(key: Key, row: tuple[Any, ...]) -> ReadTimeState:
    try:
        meter = Meter(row[0], row[1], row[2], row[3], row[4], row[5], load_views(row[6]), load_heartbeats(row[7]))
        return ReadTimeState(key[0], key[1], meter, load_ledger(row[8]))
    except CorruptState as error:
        raise named(error, key) from None


def _expired(state: ReadTimeState, now: int) -> bool:
    expires = state.expires_at_ms
    return expires is not None and expires <= now


def _lists(meter: Meter) -> tuple[str, str]:
    return dump_views(meter.views), dump_heartbeats(meter.heartbeats)


def _row(key: Key, state: ReadTimeState) -> tuple[Any, ...]:
    due = state.due
    return (
        *key,
        *state.meter[:6],
        *_lists(state.meter),
        None if due is None else due.at_ms,
        0 if due is None else int(due.soft),
        state.expires_at_ms,
        len(state.ledger.parked),
        dump_ledger(state.ledger),
    )
