"""``SqliteFile``: an SQLite file, this process's connection to it, and transactions as durable as they say."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from caliper_readtime.errors import ConfigurationError, StoreUnavailable
from caliper_readtime.stores._forking import SurvivesFork

# STRICT tables (SQLite 3.37) let nothing but whole numbers into the meter: a heartbeat checks no more than their range.
_OLDEST_SQLITE: Final = (3, 37, 0)
_POLL_SECONDS: Final = 0.002
#: Two changes of a directory that lie further apart than this have different times, on any file system.
_TICK_NS: Final = 2_000_000_000
#: States hold e-mail addresses. SQLite gives its log the rights of the file.
MODE: Final = 0o600


class _Connection:
    """An open file, how durable a commit on it is, and how long it waits for another process."""

    def __init__(self, path: str, seconds: float, tables: str) -> None:
        self.synchronous: str = ""
        self.path = path
        self.sqlite: sqlite3.Connection = sqlite3.connect(
            path, timeout=seconds, isolation_level=None, check_same_thread=False
        )
        # One for all statements: making one for each costs a heartbeat as much as a page view's total.
        self.cursor: sqlite3.Cursor = self.sqlite.cursor()
        self.seconds = seconds
        try:
            self._switch_to_wal(time.monotonic() + seconds)
            self.sqlite.executescript(tables)
            # SQLite keeps its log beside the file that a symbolic link leads to.
            real = os.path.realpath(path)
            self._log = real + "-wal"
            self._directory = os.path.dirname(real)  # noqa: PTH120 - as above
            self.quiet: tuple[int, ...] | None = None
            # A link may lie elsewhere: then the files alone are looked at.
            self._noisy_until = time.monotonic() if real == path else float("inf")
            self._opened = self._found()
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

    def waits(self, seconds: float) -> None:
        self.sqlite.execute(f"PRAGMA busy_timeout={round(seconds * 1000)}")
        self.seconds = seconds

    def _found(self) -> tuple[int, ...]:
        file, log = os.stat(self.path), os.stat(self._log)  # noqa: PTH116 - a Path takes twice as long
        return file.st_ino, file.st_dev, log.st_ino

    def in_place(self) -> bool:
        """Return whether the file, and its log, are still those that stand under their names.

        A directory in which nothing was made, renamed or removed since the last look spares one: its ctime tells, which
        nobody can set back. Clocks of file systems tick slowly, so one that has just changed tells nothing.
        """
        try:
            if self.quiet is not None or time.monotonic() >= self._noisy_until:
                stat = os.stat(self._directory)  # noqa: PTH116
                found = stat.st_ino, stat.st_dev, stat.st_ctime_ns
                if found == self.quiet:
                    return True
                self.quiet = found if time.time_ns() - stat.st_ctime_ns > _TICK_NS else None
                self._noisy_until = time.monotonic() + _TICK_NS / 1e9
            return self._found() == self._opened
        except FileNotFoundError:
            return False


class _Transaction:
    """A transaction on this process's connection; it is durable once the body has ended, as ``level`` says.

    The body gets a cursor, and reads each statement's rows before it executes the next one.
    Each file has one of each kind and uses it again and again: the file's lock lets in one body at a time.
    """

    # A class, because a generator's context costs a heartbeat a tenth of its time.
    __slots__ = ("_begin", "_connection", "_file", "_level", "_lock")

    def __init__(self, file: SqliteFile, level: str, begin: str = "BEGIN IMMEDIATE") -> None:
        self._file, self._level, self._begin = file, level, begin

    def __enter__(self) -> sqlite3.Cursor:
        file = self._file
        lock, seconds, me = file.lock, file.busy_seconds, threading.get_ident()
        if not lock.acquire(blocking=False):
            # One bound for this process's other threads and for other processes.
            since = time.monotonic()
            if not lock.acquire(timeout=seconds):
                raise file.unavailable("it is locked by this process's other threads")
            seconds = max(0.0, seconds - (time.monotonic() - since))
        try:
            if file.inside:  # L5: this thread was interrupted on its way out, or is in the midst of another
                file.let_go()
            file.inside = me
            connection = file.connection(seconds)
            if connection.synchronous != self._level:
                connection.durably(self._level)
            if connection.seconds != seconds:
                connection.waits(seconds)
            connection.cursor.execute(self._begin)
            if file.inside != me:
                file.undone()
        except BaseException as error:
            if file.inside in (0, me):
                file.let_go()
            file.leave(lock)
            if isinstance(error, sqlite3.Error):
                raise file.unavailable(error) from error
            raise
        self._lock, self._connection = lock, connection
        return connection.cursor

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        file, lock, connection = self._file, self._lock, self._connection
        try:
            try:
                if not file.is_in(connection):
                    # What is open now is another's transaction, or nobody's.
                    file.undone(error)
                    return
                if error is None:
                    connection.cursor.execute("COMMIT")
                elif connection.sqlite.in_transaction:
                    connection.cursor.execute("ROLLBACK")
            except BaseException as failed:
                # Not even that worked, or a signal came between: closing it rolls back.
                if file.is_in(connection) and connection.sqlite.in_transaction:
                    file.let_go()
                if isinstance(failed, sqlite3.Error):
                    raise file.unavailable(failed) from failed
                raise
            # Whatever stands there now, nobody would find in it what has just been written or read.
            if error is None and not connection.in_place():
                file.let_go()
                raise file.unavailable("it was removed or replaced while it was open, or its -wal was")
        finally:
            file.leave(lock)
        if isinstance(error, sqlite3.Error):
            raise file.unavailable(error) from error


class SqliteFile(SurvivesFork):
    """A file in WAL mode, opened by each process for itself.

    Args:
        path: the file; it is created, for this user alone, where it does not exist.
        busy_seconds: how long a transaction waits for others at most, in this process and in others.
        tables: SQL that makes what is missing in it.

    Attributes:
        reading: transactions that only read.
        beating: those that a power loss may take.
        writing: those that are on the disk once they have ended.
        inside: the thread that is in a transaction; 0 where none is.

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
        self.inside = 0
        self.path = str(Path(text).absolute())
        self.busy_seconds = busy_seconds
        self._tables = tables
        self._connection: _Connection | None = None
        self.reading = _Transaction(self, "NORMAL", "BEGIN")
        self.beating = _Transaction(self, "NORMAL")
        self.writing = _Transaction(self, "FULL")
        with self.writing:
            pass
        # What is built before a fork is seldom used there, and not every server tells Python of its forks (uWSGI).
        self.close()

    def new_lock(self) -> Any:
        """Return a lock that a thread can take though an interruption has left it to that thread (L5)."""
        return threading.RLock()

    def leave(self, lock: Any) -> None:
        """Let others in, however often an interruption has left this thread the lock."""
        if self.inside == threading.get_ident():
            self.inside = 0
        try:
            while True:
                lock.release()
        except RuntimeError:
            pass  # it is nobody's, or another's

    def unavailable(self, why: sqlite3.Error | OSError | str) -> StoreUnavailable:
        """Return what hosts are told of it."""
        return StoreUnavailable(f"SQLite file {self.path}: {why}; check its disk, its rights and its other users")

    def connection(self, seconds: float | None = None) -> _Connection:
        """Return this process's connection; opens one after a fork or a close. Called with the lock held."""
        if self._connection is None:
            try:
                # For this user alone, whatever the umask; a file that is there keeps the rights that it has.
                made = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL, MODE)
            except OSError:
                pass  # it is there, or cannot be made: SQLite says why
            else:
                os.close(made)
            try:
                self._connection = _Connection(
                    self.path, self.busy_seconds if seconds is None else seconds, self._tables
                )
            except OSError as error:  # it was removed at that very moment
                raise self.unavailable(error) from error
        return self._connection

    def is_in(self, connection: _Connection) -> bool:
        """Return whether this thread is in a transaction, and it is on this connection."""
        return self.inside == threading.get_ident() and self._connection is connection

    def undone(self, error: BaseException | None = None) -> None:
        """Say that a signal handler or a finalizer has come in the midst of a call, unless that ends otherwise."""
        if error is None or isinstance(error, sqlite3.Error):
            raise self.unavailable("it was used in the midst of another call of this thread") from error

    def let_go(self) -> None:
        """Close this process's connection, which rolls back what was under way. Called with the lock held."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.sqlite.rollback()  # closing waits for statements whose rows nobody has read
            connection.sqlite.close()

    def close(self) -> None:
        """Close this process's connection; the next transaction opens another."""
        with self.lock:
            self.let_go()
