"""``InMemoryStateStore``: states in a dict, for unit tests, notebooks and single processes."""

from __future__ import annotations

import time
from collections import OrderedDict
from itertools import takewhile
from typing import TYPE_CHECKING, Any, TypeVar

from caliper_readtime._rules import Signal
from caliper_readtime.errors import ReadTimeError
from caliper_readtime.stores._codec import compare_meta
from caliper_readtime.stores._due_index import DueIndex
from caliper_readtime.stores._forking import SurvivesFork
from caliper_readtime.stores._walls import decided, standing, walled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import Transition

R = TypeVar("R")


class InMemoryStateStore(SurvivesFork):
    """A ``StateStore`` that lives and dies with its process. Thread-safe; not shared between processes."""

    def __init__(self) -> None:
        super().__init__()
        self._states: dict[Key, ReadTimeState] = {}
        self._readers: dict[str, dict[Key, None]] = {}
        self._due = DueIndex()
        self._parked: dict[Key, None] = {}
        self._walls: OrderedDict[str, Wall] = OrderedDict()  # the one that was written longest ago comes first
        self._meta: dict[str, str] = {}
        self._swept: int | None = None

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition under the store's lock."""
        with self.lock:
            try:
                return self._updated(key, transition, self.now() if now is None else now)
            except ReadTimeError:
                raise  # a transition has refused, before anything was written
            except BaseException:
                self._index_anew()
                raise

    def _updated(self, key: Key, transition: Transition[R], moment: int) -> tuple[R, ReadTimeState | None]:
        old = self._states.get(key)
        # An active reader's state cannot have expired: the comparison spares its heartbeat a closer look.
        if old is not None and moment - old.meter.last_sync_at_ms >= old.ledger.ttl_ms:
            old = self._alive(key, moment)
        wall = None
        # A heartbeat is spared the question.
        if not isinstance(transition, Signal) and walled(transition):
            new, result, wall = decided(transition, old, self._walls.get(key[0]), moment)
        else:
            new, result = transition(old, moment)
        if new is not old and new is not None:
            self._states[key] = new
            if old is None:
                self._readers.setdefault(key.reader_sourced_id, {})[key] = None
            if old is None or new.ledger is not old.ledger:
                self._index(key, new)
            elif key not in self._due.entries:
                self._due.set(key, new.due)
        if wall is not None:
            self._walls[key[0]] = wall
            self._walls.move_to_end(key[0])
        return result, new

    def _alone(self, work: Callable[[], R]) -> R:
        """Return what is done while nobody else is let in."""
        with self.lock:  # L5: here and nowhere else, since only this statement cannot be interrupted with the lock held
            try:
                return work()
            except BaseException:
                self._index_anew()
                raise

    def _index_anew(self) -> None:
        """L5: make from the states, each of which is whole, what an interruption may have left half done."""
        self._due, self._parked, self._readers = DueIndex(), {}, {}
        for key, state in self._states.items():
            self._readers.setdefault(key.reader_sourced_id, {})[key] = None
            self._index(key, state)

    def _index(self, key: Key, state: ReadTimeState) -> None:
        self._due.set(key, state.due)
        if state.ledger.parked:
            self._parked[key] = None
        else:
            self._parked.pop(key, None)

    def _alive(self, key: Key, now: int) -> ReadTimeState | None:
        """Return the state, or None; an expired one is removed."""
        state = self._states.get(key)
        if state is None or not state.expired(now):
            return state
        self._remove(key)
        return None

    def _remove(self, key: Key) -> None:
        del self._states[key]
        self._due.set(key, None)
        self._parked.pop(key, None)
        keys = self._readers[key.reader_sourced_id]
        del keys[key]
        if not keys:
            del self._readers[key.reader_sourced_id]

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state as it stands, or None."""
        return self._alone(lambda: self._alive(key, self.now() if now is None else now))

    def wall(self, reader: str, now: int | None = None) -> Wall:
        """Return how a reader's claimed time lies in wall time."""
        return standing(self._walls.get(reader), self.now() if now is None else now)

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader."""
        moment = self.now() if now is None else now
        return self._alone(
            lambda: tuple(key for key in tuple(self._readers.get(reader, ())) if self._alive(key, moment) is not None)
        )

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come, oldest first."""
        return self._alone(lambda: self._due.come(limit, self.now() if now is None else now, idle_ms))

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events."""
        return self._alone(lambda: tuple(self._states[key] for key in tuple(self._parked)[:limit]))

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry."""
        for key in self._alone(lambda: tuple(self._due.entries)):
            state = self.load(key, now)
            if state is not None and state.due is not None:  # neither deleted nor settled meanwhile
                yield state

    def delete(self, reader: str) -> int:
        """Remove everything of a reader; return how many states."""

        def deleted() -> int:
            keys = tuple(self._readers.get(reader, ()))
            for key in keys:
                self._remove(key)
            self._walls.pop(reader, None)
            return len(keys)

        return self._alone(deleted)

    def now(self, key: Key | None = None) -> int:  # noqa: ARG002 - one clock for every key
        """Return this machine's clock."""
        return time.time_ns() // 1_000_000

    def meta(self, expected: Mapping[str, str]) -> Mapping[str, str]:
        """Record what this store is used for, or compare; return all that is recorded.

        Raises:
            ConfigurationError: a recorded fact differs.
        """
        with self.lock:
            self._meta = compare_meta(self._meta, expected)
            return dict(self._meta)

    def swept(self, now: int | None = None) -> None:
        """Record that a sweep has run, and remove the records of readers who have claimed nothing for long."""
        self._swept = moment = self.now() if now is None else now
        with self.lock:
            # As a rule what was written later expires later: a sweep looks at none that has not.
            for reader, _ in [*takewhile(lambda item: item[1].expired(moment), self._walls.items())]:
                del self._walls[reader]

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        return self._swept

    def info(self) -> dict[str, dict[str, Any]]:
        """Return what there is to say of it."""
        return {repr(self): {"kind": "memory"}}

    def __repr__(self) -> str:
        return "InMemoryStateStore()"

    def close(self) -> None:
        """Keep the states: they live as long as this object."""
