"""``SqliteFile``: an SQLite file, this process's connection to it, and transactions as durable as they say."""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Final

from caliper_readtime.errors import ConfigurationError, StoreUnavailable
from caliper_readtime.stores._forking import SurvivesFork

# STRICT tables (SQLite 3.37) let nothing but whole numbers into the meter: a heartbeat checks no more than their range.
_OLDEST_SQLITE: Final = (3, 37, 0)
_POLL_SECONDS: Final = 0.002


class _Connection:
    """An open file, and how durable a commit on it is."""

    def __init__(self, path: str, busy_seconds: float, tables: str) -> None:
        self.synchronous: str = ""
        self.sqlite: sqlite3.Connection = sqlite3.connect(
            path, timeout=busy_seconds, isolation_level=None, check_same_thread=False
        )
        try:
            self._switch_to_wal(time.monotonic() + busy_seconds)
            self.sqlite.executescript(tables)
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

    Each file has one of each kind and uses it again and again: the file's lock lets in one body at a time.
    """

    # A class, because a generator's context costs a heartbeat a tenth of its time.
    __slots__ = ("_begin", "_file", "_level", "_lock", "_sqlite")

    def __init__(self, file: SqliteFile, level: str, begin: str = "BEGIN IMMEDIATE") -> None:
        self._file, self._level, self._begin = file, level, begin

    def __enter__(self) -> sqlite3.Connection:
        lock = self._file.lock
        lock.acquire()
        try:
            connection = self._file.connection()
            if connection.synchronous != self._level:
                connection.durably(self._level)
            connection.sqlite.execute(self._begin)
        except BaseException as error:
            self._file.let_go()
            lock.release()
            if isinstance(error, sqlite3.Error):
                raise self._file.unavailable(error) from error
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
            raise self._file.unavailable(failed) from failed
        finally:
            if sqlite.in_transaction:  # not even that worked, or a signal came between: closing it rolls back
                self._file.let_go()
            lock.release()
        if isinstance(error, sqlite3.Error):
            raise self._file.unavailable(error) from error


class SqliteFile(SurvivesFork):
    """A file in WAL mode, opened by each process for itself.

    Args:
        path: the file; it is created where it does not exist.
        busy_seconds: how long to wait while another process writes.
        tables: SQL that makes what is missing in it.

    Raises:
        ConfigurationError: ``path`` is not a file path, or Python's SQLite is older than 3.37.
        StoreUnavailable: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], busy_seconds: float, tables: str) -> None:
        text = os.fspath(path)
        if not isinstance(text, str) or not text or text == ":memory:" or text.startswith("file:"):
            raise ConfigurationError("SqliteStateStore needs a file path; for memory use InMemoryStateStore")
        if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
            raise ConfigurationError(f"SQLite 3.37 or newer is needed, Python has {sqlite3.sqlite_version}")
        super().__init__()
        self._path = str(Path(text).absolute())
        self._busy_seconds = busy_seconds
        self._tables = tables
        self._connection: _Connection | None = None
        self._reading = _Transaction(self, "NORMAL", "BEGIN")
        self._beating = _Transaction(self, "NORMAL")  # a power loss may take it
        self._writing = _Transaction(self, "FULL")
        with self._writing:
            pass

    def unavailable(self, error: sqlite3.Error) -> StoreUnavailable:
        """Return what hosts are told of SQLite's error."""
        return StoreUnavailable(f"SQLite file {self._path}: {error}; check its disk, its rights and its other users")

    def connection(self) -> _Connection:
        """Return this process's connection; opens one after a fork or a close. Called with the lock held."""
        if self._connection is None:
            self._connection = _Connection(self._path, self._busy_seconds, self._tables)
        return self._connection

    def let_go(self) -> None:
        """Close this process's connection, which rolls back what was under way. Called with the lock held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.sqlite.close()
