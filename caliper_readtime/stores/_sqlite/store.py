"""``SqliteStateStore``: states in one SQLite file that any number of processes of one machine may share."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from caliper_readtime._logs import log_unreadable
from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.state import Key, ReadTimeState
from caliper_readtime.errors import CorruptState, StoreError
from caliper_readtime.stores._claimed import Claimed
from caliper_readtime.stores._codec import SCHEMA, compare_meta, load_time
from caliper_readtime.stores._sqlite.connection import SqliteFile
from caliper_readtime.stores._sqlite.encoding import TABLES, Row, found, path_of, state_of, updated
from caliper_readtime.stores._sqlite.walls import found_wall
from caliper_readtime.stores._walls import standing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import Transition

R = TypeVar("R")

#: How long a writer waits for another process before ``StoreUnavailable``.
BUSY_SECONDS: Final = 5.0
#: States that ``unreported`` reads in one go.
PAGE: Final = 100

_DUE: Final = "SELECT due_at_ms, reader, resource FROM state WHERE due_at_ms IS NOT NULL AND soft = ? AND due_at_ms"
_COME: Final = f"{_DUE} <= ? ORDER BY due_at_ms LIMIT ?"
# D5: an entry that lies further ahead than one can was left by a clock that jumped.
_TOO_FAR: Final = f"{_DUE} > ? ORDER BY due_at_ms LIMIT ?"


class SqliteStateStore:
    """A ``StateStore`` in one file (WAL mode). Thread-safe, safe across processes, and across fork.

    Claims and everything else that the promises rest on are committed at ``synchronous=FULL``; heartbeats at
    ``NORMAL``: a power loss may take the last of them, never a claim.

    Args:
        path: the file; where it does not exist it is created, for this user alone. Not on a network file system.
        busy_seconds: how long a call waits for other threads and processes in all, before ``StoreUnavailable``.

    Raises:
        ConfigurationError: ``path`` is not a file path, or Python's SQLite is older than 3.37.
        StoreUnavailable: the file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], *, busy_seconds: float = BUSY_SECONDS) -> None:
        self._file = SqliteFile(path, busy_seconds, TABLES)
        self._claimed: Claimed[Row] = Claimed()

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """Open the file that a URL names, as SQLAlchemy reads it.

        Args:
            url: ``sqlite:///readtime.db`` is relative to the working directory, ``sqlite:////var/lib/readtime.db``
                absolute: three slashes and the path. Special characters of it are percent-encoded.
            options: as for the class.

        Raises:
            ConfigurationError: the URL is not usable.
            StoreUnavailable: the file cannot be opened.
        """
        return cls(path_of(url), **options)

    def __repr__(self) -> str:
        return f"SqliteStateStore({self._file.path!r})"

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition in one IMMEDIATE transaction."""
        with self._file.writing if getattr(transition, "durable", True) else self._file.beating as sqlite:
            return updated(sqlite, key, transition, self.now() if now is None else now, self._claimed)

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None = None, /
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Apply a transition to each of several keys in one transaction: the disk is waited for only once."""
        answers: list[tuple[R, ReadTimeState | None] | StoreError] = []
        with self._file.writing as sqlite:
            moment = self.now() if now is None else now
            for key, transition in changes:
                try:
                    answers.append(updated(sqlite, key, transition, moment, self._claimed))
                except StoreError as error:
                    answers.append(error)
        return answers

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state as it stands, or None."""
        with self._file.reading as sqlite:
            row = found(sqlite, key)
            state = None if row is None else state_of(key, row)
        moment = self.now() if now is None else now
        return None if state is None or state.expired(moment) else state

    def wall(self, reader: str, now: int | None = None) -> Wall:
        """Return how a reader's claimed time lies in wall time."""
        with self._file.reading as sqlite:
            found = found_wall(sqlite, reader)
        return standing(found, self.now() if now is None else now)

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader."""
        moment = self.now() if now is None else now
        with self._file.reading as sqlite:
            rows = sqlite.execute(
                "SELECT reader, resource FROM state WHERE reader = ? AND (expires_at_ms IS NULL OR expires_at_ms > ?)",
                (reader, moment),
            ).fetchall()
        return tuple(Key(*row) for row in rows)

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come, oldest first."""
        moment = self.now() if now is None else now
        with self._file.reading as sqlite:
            rows = [
                row
                for soft, come in ((0, moment), (1, moment - idle_ms))
                for where, bound in ((_COME, come), (_TOO_FAR, moment + LONGEST_WAIT_MS))
                for row in sqlite.execute(where, (soft, bound, limit))
            ]
        return tuple(Key(*row[1:]) for row in sorted(rows)[:limit])

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events; one that cannot be read is logged and left out."""
        states: list[ReadTimeState] = []
        with self._file.reading as sqlite:
            for names in sqlite.execute("SELECT reader, resource FROM state WHERE parked > 0").fetchall():
                if len(states) == limit:
                    break
                key = Key(*names)
                try:
                    states.append(state_of(key, found(sqlite, key)))
                except CorruptState as error:
                    log_unreadable(error, "parked")
        return tuple(states)

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry, page by page."""
        moment = self.now() if now is None else now
        last = ("", "")
        while True:
            states: list[ReadTimeState] = []
            with self._file.reading as sqlite:
                # By key: a state that is written meanwhile gets a new rowid, and may get another due time.
                page = sqlite.execute(
                    "SELECT reader, resource FROM state INDEXED BY state_unreported"
                    " WHERE due_at_ms IS NOT NULL AND (reader, resource) > (?, ?) ORDER BY reader, resource LIMIT ?",
                    (*last, PAGE),
                ).fetchall()
                for names in page:
                    key = Key(*names)
                    try:
                        states.append(state_of(key, found(sqlite, key)))
                    except CorruptState as error:
                        log_unreadable(error, "unreported")
            yield from (state for state in states if not state.expired(moment))
            if len(page) < PAGE:
                return
            last = page[-1]

    def delete(self, reader: str) -> int:
        """Remove everything of a reader in one transaction; return how many states."""
        with self._file.writing as sqlite:
            sqlite.execute("DELETE FROM wall WHERE reader = ?", (reader,))
            return sqlite.execute("DELETE FROM state WHERE reader = ?", (reader,)).rowcount

    def now(self, key: Key | None = None) -> int:  # noqa: ARG002 - one clock for every key
        """Return this machine's clock, which every user of the file shares."""
        return time.time_ns() // 1_000_000

    def meta(self, expected: Mapping[str, str]) -> Mapping[str, str]:
        """Record what this file is used for, or compare; return all that is recorded.

        Raises:
            ConfigurationError: a recorded fact differs.
        """
        facts = {"schema": str(SCHEMA[0]), **expected}
        with self._file.writing as sqlite:
            recorded = compare_meta(dict(sqlite.execute("SELECT name, value FROM meta").fetchall()), facts)
            sqlite.executemany("INSERT OR IGNORE INTO meta VALUES (?, ?)", facts.items())
        return recorded

    def swept(self, now: int | None = None) -> None:
        """Record that a sweep has run, and remove what has expired."""
        moment = self.now() if now is None else now
        with self._file.beating as sqlite:
            sqlite.execute("INSERT OR REPLACE INTO meta VALUES ('last_sweep', ?)", (str(moment),))
            sqlite.execute("DELETE FROM state WHERE expires_at_ms <= ?", (moment,))
            sqlite.execute("DELETE FROM wall WHERE expires_at_ms <= ?", (moment,))

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        with self._file.reading as sqlite:
            row = sqlite.execute("SELECT value FROM meta WHERE name = 'last_sweep'").fetchone()
        return None if row is None else load_time(row[0])

    def info(self) -> dict[str, dict[str, Any]]:
        """Return what there is to say of the file."""
        path = Path(self._file.path)
        facts: dict[str, Any] = {"kind": "sqlite", "exists": path.exists()}
        if facts["exists"]:
            with self._file.reading as sqlite:
                facts["journal_mode"] = sqlite.execute("PRAGMA journal_mode").fetchone()[0]
            # The directory too: SQLite keeps its log beside the file.
            facts["writable"] = os.access(path, os.W_OK) and os.access(path.parent, os.W_OK)
            facts["free_bytes"] = shutil.disk_usage(path.parent).free
            if os.name == "posix":
                others = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
                there = [one for one in (path, *others) if one.exists()]
                facts["readable_by_others"] = [str(one) for one in there if one.stat().st_mode & 0o077]
        return {f"SQLite file {self._file.path}": facts}

    def close(self) -> None:
        """Close this process's connection; the next call opens another."""
        self._file.close()
