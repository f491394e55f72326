"""``SqliteStateStore``: states in one SQLite file that any number of processes of one machine may share."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from caliper_readtime.errors import ConfigurationError, CorruptState, StoreError, StoreUnavailable
from caliper_readtime.logs import say_unreadable
from caliper_readtime.state import Key, Meter, ReadTimeState
from caliper_readtime.stores.codec import (
    SCHEMA,
    check_meter,
    dump_heartbeats,
    dump_ledger,
    dump_views,
    load_heartbeats,
    load_ledger,
    load_views,
    named,
)
from caliper_readtime.stores.forking import SurvivesFork
from caliper_readtime.stores.memory import compare_meta
from caliper_readtime.transitions import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from caliper_readtime.protocols import Transition

R = TypeVar("R")

#: How long a writer waits for another process before ``StoreUnavailable``.
BUSY_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.002
#: States that ``unreported`` reads in one go.
PAGE: Final = 100

# STRICT tables (SQLite 3.37) let nothing but whole numbers into the meter: a heartbeat checks no more than their range.
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
CREATE INDEX IF NOT EXISTS state_unreported ON state (reader, resource) WHERE due_ms IS NOT NULL;
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
    """An open file, and how durable a commit on it is."""

    def __init__(self, path: str, busy_seconds: float) -> None:
        self.synchronous: str = ""
        self.sqlite: sqlite3.Connection = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            self._switch_to_wal(time.monotonic() + busy_seconds)
            self.sqlite.executescript(_TABLES)
        except BaseException:
            self.sqlite.close()
            raise

    def _switch_to_wal(self, until: float) -> None:
        # SQLite does not wait where two processes switch a new file: one of them is told at once that it is locked.
        while True:
            try:
                self.sqlite.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if not error.sqlite_errorname.startswith("SQLITE_BUSY") or time.monotonic() >= until:
                    raise
                time.sleep(_POLL_SECONDS)
            else:
                return

    def durably(self, level: str) -> None:
        self.sqlite.execute(f"PRAGMA synchronous={level}")
        self.synchronous = level


class _Transaction:
    """A transaction on this process's connection; it is durable once the body has ended, as ``level`` says.

    Each store has one of each kind and uses it again and again: the store's lock lets in one body at a time.
    """

    # A class, because a generator's context costs a heartbeat a tenth of its time.
    __slots__ = ("_begin", "_level", "_lock", "_sqlite", "_store")

    def __init__(self, store: SqliteStateStore, level: str, begin: str = "BEGIN IMMEDIATE") -> None:
        self._store, self._level, self._begin = store, level, begin

    def __enter__(self) -> sqlite3.Connection:
        lock = self._store.lock
        lock.acquire()
        try:
            connection = self._store.connection()
            if connection.synchronous != self._level:
                connection.durably(self._level)
            connection.sqlite.execute(self._begin)
        except BaseException as error:
            self._store.let_go()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise self._store.unavailable(error) from error
            raise
        self._lock, self._sqlite = lock, connection.sqlite
        return connection.sqlite

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        lock, sqlite = self._lock, self._sqlite
        try:
            if error is None:
                sqlite.execute("COMMIT")
            elif sqlite.in_transaction:
                sqlite.execute("ROLLBACK")
        except sqlite3.Error as failed:
            raise self._store.unavailable(failed) from failed
        finally:
            if sqlite.in_transaction:  # not even that worked, or a signal came between: closing it rolls back
                self._store.let_go()
            lock.release()
        if isinstance(error, sqlite3.Error):
            raise self._store.unavailable(error) from error


class SqliteStateStore(SurvivesFork):
    """A ``StateStore`` in one file (WAL mode). Thread-safe, safe across processes, and across fork.

    Claims and everything else that the promises rest on are committed at ``synchronous=FULL``; heartbeats at
    ``NORMAL``: a power loss may take the last of them, never a claim.

    Args:
        path: the file; it is created where it does not exist. Not on a network file system.
        busy_seconds: how long a call waits while another process writes, before ``StoreUnavailable``.

    Raises:
        ConfigurationError: ``path`` is not a file path, or Python's SQLite is older than 3.37.
        StoreUnavailable: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_seconds: float = BUSY_SECONDS) -> None:
        text = os.fspath(path)
        if not isinstance(text, str) or not text or text == ":memory:" or text.startswith("file:"):
            raise ConfigurationError("SqliteStateStore needs a file path; for memory use InMemoryStateStore")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite 3.37 or newer is needed, Python has {sqlite3.sqlite_version}")
        super().__init__()
        self._path = str(Path(text).absolute())
        self._busy_seconds = busy_seconds
        self._connection: _Connection | None = None
        self._reading = _Transaction(self, "NORMAL", "BEGIN")
        self._beating = _Transaction(self, "NORMAL")
        self._writing = _Transaction(self, "FULL")
        with self._writing:
            pass

    def __repr__(self) -> str:
        return f"SqliteStateStore({self._path!r})"

    def unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        """Return what hosts are told of SQLite's error."""
        return StoreUnavailable(f"SQLite file {self._path}: {error}; check its disk, its rights and its other users")

    def connection(self) -> _Connection:
        """Return this process's connection; opens one after a fork or a close. Called with the lock held."""
        if self._connection is None:
            self._connection = _Connection(self._path, self._busy_seconds)
        return self._connection

    def let_go(self) -> None:
        """Close this process's connection, which rolls back what was under way. Called with the lock held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.sqlite.close()

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition in one IMMEDIATE transaction."""
        with self._beating if isinstance(transition, Signal) else self._writing as sqlite:
            return _updated(sqlite, key, transition, self.now() if now is None else now)

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None = None, /
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Apply a transition to each of several keys in one transaction: the disk is waited for only once."""
        answers: list[tuple[R, ReadTimeState | None] | StoreError] = []
        with self._writing as sqlite:
            moment = self.now() if now is None else now
            for key, transition in changes:
                try:
                    answers.append(_updated(sqlite, key, transition, moment))
                except StoreError as error:
                    answers.append(error)
        return answers

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state as it stands, or None."""
        with self._reading as sqlite:
            row = _found(sqlite, key)
            state = None if row is None else _state(key, row)
        moment = self.now() if now is None else now
        return None if state is None or state.expired(moment) else state

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader."""
        moment = self.now() if now is None else now
        with self._reading as sqlite:
            rows = sqlite.execute(
                "SELECT reader, resource FROM state WHERE reader = ? AND (expires_ms IS NULL OR expires_ms > ?)",
                (reader, moment),
            ).fetchall()
        return tuple(Key(*row) for row in rows)

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come, oldest first."""
        moment = self.now() if now is None else now
        with self._reading as sqlite:
            rows = sqlite.execute(
                "SELECT * FROM (SELECT due_ms, reader, resource FROM state"
                " WHERE due_ms IS NOT NULL AND soft = 0 AND due_ms <= ? ORDER BY due_ms LIMIT ?)"
                " UNION ALL SELECT * FROM (SELECT due_ms, reader, resource FROM state"
                " WHERE due_ms IS NOT NULL AND soft = 1 AND due_ms <= ? ORDER BY due_ms LIMIT ?)"
                " ORDER BY 1 LIMIT ?",
                (moment, limit, moment - idle_ms, limit, limit),
            ).fetchall()
        return tuple(Key(reader, resource) for _, reader, resource in rows)

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events; one that cannot be read is logged and left out."""
        states: list[ReadTimeState] = []
        with self._reading as sqlite:
            for found in sqlite.execute("SELECT reader, resource FROM state WHERE parked > 0").fetchall():
                if len(states) == limit:
                    break
                key = Key(*found)
                try:
                    states.append(_state(key, _found(sqlite, key)))
                except CorruptState as error:
                    say_unreadable(error, "parked")
        return tuple(states)

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry, page by page."""
        moment = self.now() if now is None else now
        last = ("", "")
        while True:
            states: list[ReadTimeState] = []
            with self._reading as sqlite:
                # By key: a state that is written meanwhile gets a new rowid, and may get another due time.
                page = sqlite.execute(
                    "SELECT reader, resource FROM state INDEXED BY state_unreported"
                    " WHERE due_ms IS NOT NULL AND (reader, resource) > (?, ?) ORDER BY reader, resource LIMIT ?",
                    (*last, PAGE),
                ).fetchall()
                for found in page:
                    key = Key(*found)
                    try:
                        states.append(_state(key, _found(sqlite, key)))
                    except CorruptState as error:
                        say_unreadable(error, "unreported")
            yield from (state for state in states if not state.expired(moment))
            if len(page) < PAGE:
                return
            last = page[-1]

    def delete(self, reader: str) -> int:
        """Remove everything of a reader in one transaction; return how many states."""
        with self._writing as sqlite:
            return sqlite.execute("DELETE FROM state WHERE reader = ?", (reader,)).rowcount

    def now(self, key: Key | None = None) -> int:  # noqa: ARG002 - one clock for every key
        """Return this machine's clock, which every user of the file shares."""
        return time.time_ns() // 1_000_000

    def meta(self, expected: Mapping[str, str]) -> None:
        """Record what this file is used for, or compare.

        Raises:
            ConfigurationError: a recorded fact differs.
        """
        facts = {"schema": str(SCHEMA[0]), **expected}
        with self._writing as sqlite:
            compare_meta(dict(sqlite.execute("SELECT name, value FROM meta").fetchall()), facts)
            sqlite.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", facts.items())

    def swept(self, now: int | None = None) -> None:
        """Record that a sweep has run, and remove what has expired."""
        moment = self.now() if now is None else now
        with self._beating as sqlite:
            sqlite.execute("INSERT OR REPLACE INTO meta VALUES ('last_sweep', ?)", (str(moment),))
            sqlite.execute("DELETE FROM state WHERE expires_ms <= ?", (moment,))

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        with self._reading as sqlite:
            row = sqlite.execute("SELECT value FROM meta WHERE name = 'last_sweep'").fetchone()
        return None if row is None else int(row[0])

    def info(self) -> dict[str, dict[str, Any]]:
        """Return what there is to say of the file."""
        path = Path(self._path)
        facts: dict[str, Any] = {"kind": "sqlite", "exists": path.exists()}
        if facts["exists"]:
            with self._reading as sqlite:
                facts["journal_mode"] = sqlite.execute("PRAGMA journal_mode").fetchone()[0]
            # The directory too: SQLite keeps its log beside the file.
            facts["writable"] = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
            facts["free_bytes"] = shutil.disk_usage(path.parent).free
        return {f"SQLite file {self._path}": facts}

    def close(self) -> None:
        """Close this process's connection; the next call opens another."""
        with self.lock:
            self.let_go()


def _updated(
    sqlite: sqlite3.Connection, key: Key, transition: Transition[R], moment: int
) -> tuple[R, ReadTimeState | None]:
    row = _found(sqlite, key)
    old = None if row is None else _state(key, row)
    # What has a due entry holds unreported time, so it neither expires nor gets a date to.
    indexed = row is not None and row[9] is not None
    if old is not None and not indexed and old.expired(moment):
        sqlite.execute("DELETE FROM state WHERE rowid = ?", row[10:])
        old = None
    new, result = transition(old, moment)
    if new is not old and new is not None:
        if indexed and old is not None and new.ledger is old.ledger:
            sqlite.execute(_BEAT, (*new.meter[:6], *_lists(new.meter), row[10]))
        else:
            sqlite.execute(_WRITE, _row(key, new))
    return result, new


def _found(sqlite: sqlite3.Connection, key: Key) -> Any:
    try:
        return sqlite.execute(_SELECT, key).fetchone()
    except sqlite3.OperationalError as error:
        if "UTF-8" not in str(error):
            raise
    # SQLite's own error quotes the text, which holds an address: it is not chained.
    raise named(CorruptState("the stored text is not UTF-8"), key)


def _state(key: Key, row: tuple[Any, ...]) -> ReadTimeState:
    try:
        check_meter(row)
        meter = Meter(row[0], row[1], row[2], row[3], row[4], row[5], load_views(row[6]), load_heartbeats(row[7]))
        return ReadTimeState(key[0], key[1], meter, load_ledger(row[8]))
    except CorruptState as error:
        raise named(error, key) from None


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
