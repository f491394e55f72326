"""``DjangoStateStore``: states in the project's own database, PostgreSQL or SQLite, over Django's connections."""

from __future__ import annotations

from contextlib import suppress
from heapq import merge
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from django.db import router
from django.db.models import Q

from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.state import Key, ReadTimeState
from caliper_readtime.errors import ContentionError, StoreError
from caliper_readtime.stores._codec import SCHEMA, compare_meta, load_time
from caliper_readtime.stores._walls import standing
from caliper_readtime.web.django._database import Database
from caliper_readtime.web.django._rows import STATE, beat, name_of, readable, row_of, state_from, state_of, write
from caliper_readtime.web.django._walls import Walls, found_wall, rows
from caliper_readtime.web.django.models import Fact, State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import Transition

R = TypeVar("R")

#: How often a transaction is run that others have undone: two births of one row, a deadlock, a serialization failure.
TRIES: Final = 10
#: States that ``unreported`` reads in one go.
PAGE: Final = 200


class DjangoStateStore:
    """A ``StateStore`` in one of the project's databases. Thread-safe: each thread has one of Django's connections.

    Claims, commits and all that the promises rest on have a transaction of their own, never a part of the host's.
    Heartbeats may be a part of it; outside of one a steady heartbeat does not wait for the disk: a crash of the server
    may take the last half second of them, never a claim.

    Args:
        using: the alias of the database; None for the one to which the project's routers send writes.

    Raises:
        ConfigurationError: there is no such database, or it is neither PostgreSQL nor SQLite.
    """

    def __init__(self, using: str | None = None) -> None:
        using = using or router.db_for_write(State)
        self._database = Database(using)
        self._rows: Any = State._default_manager.using(using)  # noqa: SLF001 - Django's own name
        self._facts: Any = Fact._default_manager.using(using)  # noqa: SLF001

    def __repr__(self) -> str:
        return f"DjangoStateStore({self.using!r})"

    @property
    def using(self) -> str:
        """The alias of the database."""
        return self._database.alias

    # States

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition in one transaction, with the row locked; a steady heartbeat by two statements."""
        durable = getattr(transition, "durable", True)
        answer = None
        if not durable:
            with suppress(ContentionError):  # where the project's isolation level is a stricter one
                answer = beat(self._database, key, transition, now)
        if answer is None:
            (found,) = self._again(lambda: self._updated([(key, transition)], now, durable=durable))
            if isinstance(found, StoreError):
                raise found
            answer = found
        return answer

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None = None, /
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Apply a transition to each of several keys in one transaction: the disk is waited for only once."""
        return self._again(lambda: self._updated(changes, now, durable=True))

    def _updated(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None, *, durable: bool
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        return self._database.transaction(lambda: self._applied(changes, now), durable=durable)

    def _applied(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        answers: list[tuple[R, ReadTimeState | None] | StoreError] = []
        births: list[tuple[Any, ...]] = []
        others: list[tuple[Any, ...]] = []
        # In one order, so that no two of them wait for each other.
        locked = self._rows.select_for_update().order_by("key")
        wanted = locked.filter(key__in=[name_of(key) for key, _ in changes])
        rows = {row[0]: row[1:] for row in wanted.values_list("key", *STATE)}
        walls = Walls(self.using, changes)
        moment = self.now() if now is None else now
        for key, transition in changes:
            row = rows.get(name_of(key))
            try:
                old = None if row is None else state_from(key, row)
                if old is not None and old.expired(moment):
                    old = None
                new, result = walls.applied(key, transition, old, moment)
            except StoreError as error:
                answers.append(error)
                continue
            answers.append((result, new))
            if new is not None and new is not old:
                (births if row is None else others).append(row_of(key, new))
        write(self._database, births, births=True)
        write(self._database, others, births=False)
        walls.write()
        return answers

    def _again(self, work: Callable[[], R]) -> R:
        for _ in range(TRIES - 1):
            try:
                return work()
            except ContentionError:
                continue
        return work()

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state as it stands, or None."""
        with self._database.errors():
            row = self._rows.filter(key=name_of(key)).first()
        state = None if row is None else state_of(row)
        return None if state is None or state.expired(self.now() if now is None else now) else state

    def wall(self, reader: str, now: int | None = None) -> Wall:
        """Return how a reader's claimed time lies in wall time."""
        with self._database.errors():
            found = found_wall(self.using, reader)
        return standing(found, self.now() if now is None else now)

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader."""
        moment = self.now() if now is None else now
        with self._database.errors():
            alive = self._rows.filter(Q(expires_at_ms=None) | Q(expires_at_ms__gt=moment), reader=reader)
            return tuple(Key(*found) for found in alive.values_list("reader", "resource"))

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come, oldest first, without those that others work on."""
        moment = self.now() if now is None else now
        # What another sweep is claiming is locked: this one takes what is next, and they share the work.
        free = self._rows.select_for_update(skip_locked=True).order_by("due_at_ms")
        # D5: an entry that lies further ahead than one can was left by a clock that jumped.
        too_far = Q(due_at_ms__gt=moment + LONGEST_WAIT_MS)
        hard = free.filter(Q(due_at_ms__lte=moment) | too_far, soft=False)
        soft = free.filter(Q(due_at_ms__lte=moment - idle_ms) | too_far, soft=True)
        found = [rows.values_list("due_at_ms", "reader", "resource")[:limit] for rows in (hard, soft)]
        pages = self._database.transaction(lambda: [list(rows) for rows in found], durable=False)
        return tuple(Key(reader, resource) for _, reader, resource in islice(merge(*pages), limit))

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events; one that cannot be read is logged and left out."""
        return tuple(islice(self._pages(Q(parked__gt=0), "parked"), limit))

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry, page by page."""
        moment = self.now() if now is None else now
        states = self._pages(Q(due_at_ms__isnull=False), "unreported")
        return (state for state in states if not state.expired(moment))

    def _pages(self, wanted: Q, doing: str) -> Iterator[ReadTimeState]:
        last = ""
        while True:
            with self._database.errors():
                rows = list(self._rows.filter(wanted, key__gt=last).order_by("key")[:PAGE])
            yield from readable(rows, doing)
            if len(rows) < PAGE:
                return
            last = rows[-1].key

    def delete(self, reader: str) -> int:
        """Remove everything of a reader in one transaction; return how many states."""

        def deleted() -> int:
            removed = int(self._rows.filter(reader=reader).delete()[0])
            rows(self.using).filter(reader=reader).delete()
            return removed

        return self._again(lambda: self._database.transaction(deleted, durable=False))

    # Around the states

    def now(self, key: Key | None = None) -> int:  # noqa: ARG002 - one clock for every key
        """Return the database's clock."""
        return self._database.now()

    def meta(self, expected: Mapping[str, str]) -> Mapping[str, str]:
        """Record what these tables are used for, or compare; return all that is recorded.

        Raises:
            ConfigurationError: a recorded fact differs.
        """
        facts = {"schema": str(SCHEMA[0]), **expected}

        def compared() -> Mapping[str, str]:
            new = [Fact(name=name, value=value) for name, value in facts.items()]
            self._facts.bulk_create(new, ignore_conflicts=True)
            return compare_meta(dict(self._facts.values_list("name", "value")), facts)

        return self._database.transaction(compared, durable=False)

    def swept(self, now: int | None = None) -> None:
        """Record that a sweep has run, and remove what has expired."""
        moment = self.now() if now is None else now
        fact = Fact(name="last_sweep", value=str(moment))

        def swept() -> None:
            self._facts.bulk_create([fact], update_conflicts=True, unique_fields=["name"], update_fields=["value"])
            self._rows.filter(expires_at_ms__lte=moment).delete()
            rows(self.using).filter(expires_at_ms__lte=moment).delete()

        self._again(lambda: self._database.transaction(swept, durable=False))
        # A sweeper's thread waits for a minute now, and Django cleans up around requests alone.
        self._database.release()

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        with self._database.errors():
            found = self._facts.filter(name="last_sweep").first()
        return None if found is None else load_time(found.value)

    def info(self) -> dict[str, dict[str, Any]]:
        """Return what there is to say of the database."""
        return {f"database {self._database.alias}": self._database.facts()}

    def close(self) -> None:
        """Close this thread's connection; the next call opens another."""
        self._database.let_go()
