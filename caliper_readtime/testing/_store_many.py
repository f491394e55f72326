"""``ManyRules``: the part of the store contract about ``update_many``, for stores that have it."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import pytest

from caliper_readtime._rules import AcquireResult, Commit, CommitResult, Defer, Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.errors import ContentionError, CorruptState
from caliper_readtime.protocols import KeepsWalls, UpdatesMany
from caliper_readtime.testing._store_driver import (
    NOW,
    POLICY,
    SECOND,
    Fail,
    Look,
    Slow,
    StoreDriver,
    applied,
    nonce,
    persistently,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import StateStore, Transition

_KEYS: Final = tuple(Key(f"reader {number % 7}", f"article {number}") for number in range(30))
_THREADS: Final = 8
_ROUNDS: Final = 6


class ManyRules:
    """What an update of many states does. Everything is skipped where the store has no ``update_many``."""

    @pytest.fixture
    def many(self, store: StateStore) -> UpdatesMany:
        """The store, by the verb that it need not have."""
        if not isinstance(store, UpdatesMany):
            pytest.skip("has no update_many, which is optional")
        return store

    def test_many_updates_do_what_single_ones_do(self, store: StateStore, many: UpdatesMany) -> None:
        """Answers come in the order of the keys, each as if ``update`` had made it; states and indexes follow."""
        drivers = [StoreDriver(store, key) for key in _KEYS]
        assert many.update_many([], NOW) == []
        births: list[Transition[Any]] = [
            Signal(POLICY, nonce(), place * SECOND, driver.reader, driver.article, f"h{place}")
            for place, driver in enumerate(drivers)
        ]
        self._equal_single_ones(drivers, many, births, NOW)
        assert sorted(store.due(100, NOW)) == sorted(_KEYS[1:])
        mixed: list[Transition[Any]] = [_verb(place) for place in range(len(drivers))]
        self._equal_single_ones(drivers, many, mixed, NOW + SECOND)
        for reader in {key.reader_sourced_id for key in _KEYS}:
            assert sorted(store.keys(reader, NOW)) == sorted(key for key in _KEYS if key.reader_sourced_id == reader)
        commits: list[Transition[Any]] = [_commit(driver) for driver in drivers]
        self._equal_single_ones(drivers, many, commits, NOW + SECOND)
        for driver in drivers:
            driver.now = NOW + SECOND
            if driver.state.unclaimed_ms >= SECOND:
                driver.settle()
        assert store.due(100, NOW + SECOND) == ()

    @staticmethod
    def _equal_single_ones(
        drivers: Sequence[StoreDriver], many: UpdatesMany, verbs: Sequence[Transition[Any]], now: int
    ) -> None:
        wanted = []
        walls: dict[str, Wall | None] = {}
        for driver, verb in zip(drivers, verbs, strict=True):
            driver.now = now
            reader = driver.key.reader_sourced_id
            state, result, walls[reader] = applied(verb, driver.loaded, walls.get(reader, driver.wall), now)
            wanted.append((result, state))
        answers = many.update_many([(driver.key, verb) for driver, verb in zip(drivers, verbs, strict=True)], now)
        assert answers == wanted
        assert [driver.loaded for driver in drivers] == [state for _, state in wanted]
        if isinstance(many, KeepsWalls):
            assert {reader: many.wall(reader, now) for reader in walls} == walls

    def test_one_state_that_fails_does_not_sink_the_others(self, store: StateStore, many: UpdatesMany) -> None:
        """A typed error of one state stands in its place; its state is untouched, and the others are written."""
        drivers = [StoreDriver(store, key).read() for key in _KEYS[:5]]
        bad, victim, before = CorruptState("cannot be read"), drivers[2], drivers[2].state
        verbs: list[tuple[Key, Transition[Any]]] = [
            (driver.key, Fail(bad) if driver is victim else take("owner")) for driver in drivers
        ]
        answers: list[Any] = many.update_many(verbs, victim.now)
        for driver, answer in zip(drivers, answers, strict=True):
            if driver is victim:
                assert answer is bad
                assert driver.state == before
            else:
                assert answer[0].result is AcquireResult.CLAIMED
                assert driver.state == answer[1]
        everything: list[Any] = many.update_many([(driver.key, Fail(bad)) for driver in drivers], victim.now)
        assert everything == [bad] * 5

    def test_many_updates_may_come_twice(self, store: StateStore, many: UpdatesMany) -> None:
        """A driver may replay them: the second call finds what the first one left, and nothing counts twice."""
        drivers = [StoreDriver(store, key) for key in _KEYS[:5]]
        births: list[tuple[Key, Transition[Any]]] = [
            (driver.key, Signal(POLICY, nonce(), SECOND, driver.reader, driver.article, "h")) for driver in drivers
        ]
        counted: list[Any] = [[answer[0].accepted_ms for answer in _fine(many, births)] for _ in range(2)]
        assert counted == [[SECOND] * 5, [0] * 5]
        takes: list[tuple[Key, Transition[Any]]] = [(driver.key, take("owner")) for driver in drivers]
        claims = [[answer[0].claim for answer in _fine(many, takes)] for _ in range(2)]
        assert claims[0] == claims[1]
        assert None not in claims[0]
        commits: list[tuple[Key, Transition[Any]]] = [(driver.key, driver.committing()) for driver in drivers]
        accepted = [[answer[0] for answer in _fine(many, commits)] for _ in range(2)]
        assert accepted == [[CommitResult.SENT] * 5, [CommitResult.BEFORE] * 5]

    def test_many_updates_by_the_stores_own_clock(self, store: StateStore, many: UpdatesMany) -> None:
        """``now=None`` is the store's clock in this verb, too."""
        before = store.now()
        looks: list[tuple[Key, Transition[Any]]] = [(key, Look()) for key in _KEYS[:3]]
        for state, now in (answer[0] for answer in _fine(many, looks, None)):
            assert state is None
            assert type(now) is int
            assert before - SECOND <= now <= store.now() + SECOND
        drivers = [StoreDriver(store, key) for key in _KEYS[:3]]
        births: list[tuple[Key, Transition[Any]]] = [
            (driver.key, Signal(POLICY, nonce(), SECOND, driver.reader, driver.article, "h")) for driver in drivers
        ]
        _fine(many, births, None)
        defers: list[tuple[Key, Transition[Any]]] = [(key, Defer(finalize=False)) for key in _KEYS[:3]]
        _fine(many, defers, None)
        assert sorted(store.due(10)) == sorted(_KEYS[:3])

    def test_many_updates_at_once_lose_nothing(self, store: StateStore, many: UpdatesMany) -> None:
        """Threads update the same states, many at a time and singly: each heartbeat counts, no range is sent twice."""
        drivers = [StoreDriver(store, key) for key in _KEYS[:6]]
        for driver in drivers:
            driver.beat(0)

        def work(thread: int) -> list[tuple[Key, int, int]]:
            spans = []
            order = drivers[thread % 6 :] + drivers[: thread % 6]
            for place in range(_ROUNDS):
                beats: list[tuple[Key, Transition[Any]]] = [
                    (driver.key, Slow(Signal(POLICY, nonce(), SECOND, None, None, f"{thread} {place}")))
                    for driver in order
                ]
                _insistently(many, beats)
                single = Signal(POLICY, nonce(), SECOND, None, None, f"{thread} {place} single")
                persistently(partial(store.update, order[0].key, single, NOW))
                for answer in _insistently(many, [(driver.key, take(f"owner {thread}")) for driver in order]):
                    acquired, state = answer
                    if acquired.result is AcquireResult.CLAIMED:
                        span = (acquired.claim.start_ms, acquired.claim.end_ms)
                        commit = Commit(state.ledger.generation, acquired.claim.event_id, *span)
                        ((accepted, _),) = _insistently(many, [(state.key, commit)])
                        if accepted is CommitResult.SENT:
                            spans.append((state.key, *span))
            return spans

        with ThreadPoolExecutor(_THREADS) as pool:
            sent = [span for spans in pool.map(work, range(_THREADS)) for span in spans]
        singles = [sum(thread % 6 == place for thread in range(_THREADS)) for place in range(6)]
        for driver, single in zip(drivers, singles, strict=True):
            assert driver.state.meter.cumulative_ms == (_THREADS + single) * _ROUNDS * SECOND
            spans = sorted((start, end) for key, start, end in sent if key == driver.key)
            assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), driver.state.reported_ms]


def _verb(place: int) -> Transition[Any]:
    """Return a verb of some kind: what sweeps and flushes mix, and what writes nothing."""
    verbs: tuple[Transition[Any], ...] = (
        take("owner"),
        Signal(POLICY, nonce(), SECOND, None, None, f"later {place}"),
        Defer(finalize=True),
        Look(),
        Commit("another generation", "urn:uuid:1", 0, SECOND),
    )
    return verbs[place % len(verbs)]


def _commit(driver: StoreDriver) -> Transition[Any]:
    state: ReadTimeState = driver.state
    return Look() if state.ledger.claim is None else driver.committing()


def _fine(many: UpdatesMany, changes: Sequence[tuple[Key, Transition[Any]]], now: int | None = NOW) -> list[Any]:
    answers: list[Any] = many.update_many(changes, now)
    assert [answer for answer in answers if isinstance(answer, Exception)] == []
    return answers


def _insistently(many: UpdatesMany, changes: Sequence[tuple[Key, Transition[Any]]]) -> list[Any]:
    """Return the answers, asked again for those that met too many writers."""
    answers: list[Any] = many.update_many(changes, NOW)
    for place, change in enumerate(changes):
        while isinstance(answers[place], ContentionError):
            (answers[place],) = many.update_many([change], NOW)
    return answers
