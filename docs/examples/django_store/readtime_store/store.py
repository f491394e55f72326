"""``DjangoStateStore``: reading time in the project's own database, by the ORM."""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from django.db import Error, IntegrityError, connections, transaction
from django.db.models import Q

from caliper_readtime import ConfigurationError, ContentionError, CorruptState, ReadTimeState, StoreUnavailable
from caliper_readtime.stores import (
    SCHEMA,
    Key,
    Meter,
    check_meter,
    compare_meta,
    dump_heartbeats,
    dump_ledger,
    dump_views,
    load_heartbeats,
    load_ledger,
    load_views,
    log_unreadable,
    named,
)
from readtime_store.models import Fact, ReadTime

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

METER = ("cumulative_ms", "last_sync_at_ms", "budget_ms", "since_at_ms", "clamped_ms", "position_ms")
# Every host asks the database for the time, so that they all agree. SQLite is one machine's.
CLOCKS = {
    "postgresql": "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint",
    "mysql": "SELECT CAST(UNIX_TIMESTAMP(NOW(3)) * 1000 AS UNSIGNED)",
    "sqlite": "SELECT CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
}
BIRTHS = 5
PAGE = 200


class DjangoStateStore:
    """A ``StateStore`` on the database ``using``."""

    def __init__(self, using: str = "default") -> None:
        self.using = using
        self.rows, self.facts = ReadTime.objects.using(using), Fact.objects.using(using)
        # No connection may be open in two processes. One that is in a transaction is its owner's affair.
        if hasattr(os, "register_at_fork"):  # Windows never forks
            os.register_at_fork(before=self._before_fork)

    def update(self, key: Key, transition: Any, now: int | None = None, /) -> tuple[Any, ReadTimeState | None]:
        """Apply a transition in one transaction, with the row locked."""
        for _ in range(BIRTHS):
            try:
                with self._transaction():
                    return self._updated(key, transition, self.now() if now is None else now)
            except IntegrityError:
                continue  # somebody else has just made the row: now it can be locked
        raise ContentionError(f"reader {key.reader_sourced_id}, article {key.resource_id}: too many writers at once")

    def _updated(self, key: Key, transition: Any, now: int) -> tuple[Any, ReadTimeState | None]:
        row = self.rows.select_for_update().filter(reader=key.reader_sourced_id, resource=key.resource_id).first()
        old = None if row is None else _state(row)
        if old is not None and _expired(old, now):
            old = None
        new, result = transition(old, now)
        if new is not old and new is not None:
            due = new.due
            ReadTime(
                id=None if row is None else row.id,
                reader=key.reader_sourced_id,
                resource=key.resource_id,
                **dict(zip(METER, new.meter, strict=False)),
                views=dump_views(new.meter.views),
                heartbeats=dump_heartbeats(new.meter.heartbeats),
                ledger=dump_ledger(new.ledger),
                due_at_ms=None if due is None else due.at_ms,
                soft=due is not None and due.soft,
                expires_at_ms=new.expires_at_ms,
                parked=bool(new.ledger.parked),
            ).save(using=self.using, force_insert=row is None, force_update=row is not None)
        return result, new

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state as it stands, or None."""
        with self._errors():
            row = self.rows.filter(reader=key.reader_sourced_id, resource=key.resource_id).first()
        state = None if row is None else _state(row)
        return None if state is None or _expired(state, self.now() if now is None else now) else state

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader."""
        moment = self.now() if now is None else now
        with self._errors():
            alive = self.rows.filter(Q(expires_at_ms=None) | Q(expires_at_ms__gt=moment), reader=reader)
            return tuple(Key(*found) for found in alive.values_list("reader", "resource"))

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come, oldest first."""
        moment = self.now() if now is None else now
        with self._errors():
            come = self.rows.filter(
                Q(soft=False, due_at_ms__lte=moment) | Q(soft=True, due_at_ms__lte=moment - idle_ms)
            )
            return tuple(Key(*found) for found in come.order_by("due_at_ms").values_list("reader", "resource")[:limit])

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events."""
        with self._errors():
            rows = list(self.rows.filter(parked=True)[:limit])
        return tuple(_readable(rows, "parked"))

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:  # noqa: ARG002 - what is due never expires
        """Yield every state that has a due entry, page by page; what has one never expires."""
        last = 0
        while True:
            with self._errors():
                rows = list(self.rows.filter(due_at_ms__isnull=False, id__gt=last).order_by("id")[:PAGE])
            yield from _readable(rows, "unreported")
            if len(rows) < PAGE:
                return
            last = rows[-1].id

    def delete(self, reader: str) -> int:
        """Remove everything of a reader; return how many states."""
        with self._transaction():
            return self.rows.filter(reader=reader).delete()[0]

    def now(self, key: Key | None = None) -> int:  # noqa: ARG002 - one clock for every key
        """Return the database's clock."""
        connection = connections[self.using]
        with self._errors(), connection.cursor() as cursor:
            cursor.execute(CLOCKS[connection.vendor])
            return int(cursor.fetchone()[0])

    def meta(self, expected: Mapping[str, str]) -> None:
        """Record what this database is used for, or compare."""
        facts = {"schema": str(SCHEMA[0]), **expected}
        with self._transaction():
            self.facts.bulk_create(
                (Fact(name=name, value=value) for name, value in facts.items()), ignore_conflicts=True
            )
            compare_meta(dict(self.facts.filter(name__in=facts).values_list("name", "value")), facts)

    def swept(self, now: int | None = None) -> None:
        """Record that a sweep has run, and remove what has expired."""
        moment = self.now() if now is None else now
        with self._transaction():
            self.facts.update_or_create(name="last_sweep", defaults={"value": str(moment)})
            self.rows.filter(expires_at_ms__lte=moment).delete()

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        with self._errors():
            found = self.facts.filter(name="last_sweep").first()
        return None if found is None else int(found.value)

    def close(self) -> None:
        """Close this thread's connection; Django opens another."""
        connections[self.using].close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Let no driver's error through, but chain it."""
        try:
            yield
        except IntegrityError:
            raise
        except Error as error:
            raise StoreUnavailable(
                f"database {self.using!r}: {type(error).__name__}; the outcome is unknown"
            ) from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction that is durable once it has ended: never a part of another one, which might be rolled back."""
        with self._errors(), ExitStack() as stack:
            try:
                stack.enter_context(transaction.atomic(using=self.using, durable=True))
            except RuntimeError as error:
                raise ConfigurationError(
                    "reading time cannot be kept inside another transaction, which may be rolled back after its event"
                    " was sent: decorate the view with @transaction.non_atomic_requests, or give the store a database"
                    " alias of its own without ATOMIC_REQUESTS"
                ) from error
            yield

    def _before_fork(self) -> None:
        connection = connections[self.using]
        if not connection.in_atomic_block:
            connection.close()


def _state(row: ReadTime) -> ReadTimeState:
    key = Key(row.reader, row.resource)
    numbers = [getattr(row, name) for name in METER]
    try:
        check_meter(numbers)
        meter = Meter(*numbers, load_views(row.views), load_heartbeats(row.heartbeats))
        return ReadTimeState(*key, meter, load_ledger(row.ledger))
    except CorruptState as error:
        raise named(error, key) from None


def _readable(rows: list[ReadTime], doing: str) -> Iterator[ReadTimeState]:
    for row in rows:
        try:
            yield _state(row)
        except CorruptState as error:
            log_unreadable(error, doing)


def _expired(state: ReadTimeState, now: int) -> bool:
    expires = state.expires_at_ms
    return expires is not None and expires <= now
