"""``Database``: one of the project's databases: its transactions, its clock, and what its errors mean for a host."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import Error, IntegrityError, connections, transaction

from caliper_readtime.errors import ConfigurationError, ContentionError, StoreUnavailable
from caliper_readtime.stores._forking import SurvivesFork
from caliper_readtime.web.django.models import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

R = TypeVar("R")

#: How long a call waits for a row that somebody else has locked, before ``StoreUnavailable``.
LOCK_SECONDS: Final = 5.0
#: Milliseconds since the epoch, where every host asks the server. SQLite is one machine's.
_CLOCKS: Final = {"postgresql": "(extract(epoch FROM clock_timestamp()) * 1000)::bigint", "sqlite": None}
_LOCK_MS: Final = f"{LOCK_SECONDS * 1000:.0f}"
# Locked rows are read as they are; a stricter level, should the project have one, would fail whoever had to wait.
_BEGUN: Final = f"SET TRANSACTION ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = {_LOCK_MS}"
# For one statement that is a transaction of its own. Conditions of the row that is found: a subquery would be planned.
_LAZILY: Final = (
    "AND set_config('synchronous_commit', 'off', true) IS NOT NULL"
    f" AND set_config('lock_timeout', '{_LOCK_MS}', true) IS NOT NULL"
)
#: Serialization failure, deadlock: the transaction is undone, and may be run again.
_AGAIN: Final = ("40001", "40P01")
_UNDEFINED_TABLE: Final = "42P01"
# Of SQLite: each commit waits for the disk.
_FULL: Final = 2


class Database(SurvivesFork):
    """A database of the project. No connection is held: each thread uses Django's.

    Args:
        alias: its name in ``DATABASES``.

    Attributes:
        alias: that name.
        clock: SQL for its time, or None where this machine's is the same.
        states: the table of states, quoted.

    Raises:
        ConfigurationError: there is no such database, or it is none that a claim can rely on.
    """

    def __init__(self, alias: str) -> None:
        if alias not in connections.settings:
            raise ConfigurationError(f"DATABASES has no {alias!r}: STORE_URL=django://alias must name one of them")
        vendor = connections[alias].vendor
        if vendor not in _CLOCKS:
            raise ConfigurationError(
                f"the database {alias!r} is a {vendor}: reading time is kept in PostgreSQL or SQLite; or use Redis"
            )
        super().__init__()
        self.alias: str = alias
        self.clock: str | None = _CLOCKS[vendor]
        self.states: str = connections[alias].ops.quote_name(State._meta.db_table)  # noqa: SLF001 - Django's own name

    @property
    def connection(self) -> Any:
        """This thread's connection."""
        return connections[self.alias]

    def now(self) -> int:
        """Return the database's time, in milliseconds since the epoch."""
        if self.clock is None:
            return time.time_ns() // 1_000_000
        with self.cursor() as cursor:
            cursor.execute(f"SELECT {self.clock}")
            return int(cursor.fetchone()[0])

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Let no driver's error through, but chain it; and leave no dead connection behind.

        Django cleans up around requests alone: a thread of its own, such as a sweeper's, would never get another.

        Raises:
            ConfigurationError: the tables are missing.
            ContentionError: others were faster; what was done is undone, and may be done again.
            StoreUnavailable: anything else.
        """
        try:
            yield
        except Error as error:
            if not self.connection.in_atomic_block:
                self.connection.close_if_unusable_or_obsolete()
            raise self._error_of(error) from error

    def _error_of(self, error: Error) -> ConfigurationError | ContentionError | StoreUnavailable:
        state = getattr(error.__cause__, "sqlstate", None)
        if isinstance(error, IntegrityError) or state in _AGAIN:
            return ContentionError(f"database {self.alias!r}: too many writers at once")
        if state == _UNDEFINED_TABLE or "no such table" in str(error):
            return ConfigurationError(
                f"database {self.alias!r} has no tables of reading time: run manage.py migrate --database {self.alias}"
            )
        # Its text may quote a row, so only its kind is told.
        kind = type(error.__cause__ or error).__name__
        return StoreUnavailable(f"database {self.alias!r}: {kind}; whether the last change was made is not known")

    @contextmanager
    def cursor(self) -> Iterator[Any]:
        """Give a cursor, inside whatever transaction there is, or none."""
        with self.errors(), self.connection.cursor() as cursor:
            yield cursor

    def transaction(self, work: Callable[[], R], *, durable: bool) -> R:
        """Return what is done in one transaction.

        Args:
            work: does it.
            durable: it must be durable once it has ended, so it cannot be a part of the host's, which may be rolled
                back after its event was sent.

        Raises:
            StoreUnavailable: it would be a part of the host's; or as ``errors`` says.
        """
        nested, begun = self.connection.in_atomic_block, False
        with self.errors():
            try:
                # L5: a context of our own around it could be interrupted between its beginning and its end.
                with transaction.atomic(using=self.alias, durable=durable):
                    begun = True
                    if self.clock is not None and not nested:
                        with self.connection.cursor() as cursor:
                            cursor.execute(_BEGUN)
                    return work()
            except RuntimeError:
                if begun:
                    raise
                raise StoreUnavailable(
                    f"database {self.alias!r}: nothing can be reported inside a transaction of the application, which"
                    " may be rolled back after its event was sent: decorate the view with"
                    " @transaction.non_atomic_requests, or report after the transaction (transaction.on_commit)"
                ) from None

    def lazily(self) -> str:
        """Return conditions that let a statement not wait for the disk, where it is a transaction of its own."""
        return "" if self.clock is None or self.connection.in_atomic_block else _LAZILY

    def facts(self) -> dict[str, Any]:
        """Return what ``doctor`` judges: whether claims are durable, and whether they can be written and kept apart."""
        with self.cursor() as cursor:
            if self.clock is None:
                cursor.execute("PRAGMA synchronous")
                durable = cursor.fetchone()[0] >= _FULL
                cursor.execute("PRAGMA query_only")
                writable = not cursor.fetchone()[0]
            else:
                cursor.execute("SHOW fsync")
                durable = cursor.fetchone()[0] == "on"
                cursor.execute("SHOW synchronous_commit")
                durable = durable and cursor.fetchone()[0] != "off"
                cursor.execute("SHOW transaction_read_only")
                writable = cursor.fetchone()[0] == "off"
        mode = self.connection.settings_dict["OPTIONS"].get("transaction_mode")
        locks = self.clock is not None or mode in ("IMMEDIATE", "EXCLUSIVE")
        return {"kind": "database", "durable": durable, "writable": writable, "locks": locks}

    def release(self) -> None:
        """Give this thread's connection back, as Django does after a request; one in a transaction is its owner's."""
        if not self.connection.in_atomic_block:
            self.connection.close_if_unusable_or_obsolete()

    def let_go(self) -> None:
        """Close this thread's connection, if it has one: none may be open in two processes."""
        for connection in connections.all(initialized_only=True):
            if connection.alias == self.alias and not connection.in_atomic_block:
                connection.close()
