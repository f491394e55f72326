"""``WallRules``: the part of the store contract about what a reader has claimed on all articles, for stores with it."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs
import pytest

from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules import AcquireResult, Signal
from caliper_readtime._rules.state import Key
from caliper_readtime._rules.wall import NO_WALL, Stretch, Wall, beside
from caliper_readtime.protocols import KeepsWalls, UpdatesMany
from caliper_readtime.testing._store_driver import (
    CENTURY,
    DAY,
    NOW,
    SECOND,
    Look,
    StoreDriver,
    nonce,
    persistently,
    take,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.protocols import StateStore, Transition

R = TypeVar("R")

_ARTICLES: Final = 30
_THREADS: Final = 8
#: Windows begin with the page, so that what the articles claim together cannot have been read.
_STRICT: Final = ReadTimePolicy(leeway_seconds=0, catch_up_seconds=0, reader_budget="enforce")
_RECORD: Final = Wall((Stretch(NOW, NOW + 5000, 3000), Stretch(NOW + 4000, NOW + 9001, 5001)), NOW + DAY)


@attrs.frozen
class _Record(Generic[R]):
    """A walled transition that leaves a given record, and does with the state what another transition does."""

    inner: Transition[R]
    record: Wall
    walled: bool = True

    def __call__(self, _state: ReadTimeState | None, _now: int, /) -> tuple[ReadTimeState | None, R]:
        """Fail."""
        raise AssertionError("a store that keeps walls calls with_wall")

    def with_wall(self, state: ReadTimeState | None, _wall: Wall, now: int, /) -> tuple[ReadTimeState | None, Wall, R]:
        """Return the record."""
        new, result = self.inner(state, now)
        return new, self.record, result


class WallRules:
    """What a store does with the records. Everything is skipped where it keeps none (``KeepsWalls``)."""

    @pytest.fixture
    def walls(self, store: StateStore) -> KeepsWalls:
        """The store, by the verb that it need not have."""
        if not isinstance(store, KeepsWalls):
            pytest.skip("keeps no walls, which is optional")
        return store

    def test_a_record_comes_back_as_it_was(self, store: StateStore, walls: KeepsWalls) -> None:
        """U6: what a transition leaves is what the next one is given, whoever's name looks like the reader's."""
        assert walls.wall("reader", NOW) == NO_WALL
        driver = StoreDriver(store).read()
        empty = attrs.evolve(_RECORD, stretches=())
        for record in (_RECORD, empty, _RECORD):
            driver.do(_Record(_beat(driver), record))
            assert walls.wall("reader", driver.now) == record
        for other in ("Reader", "reader ", "reader:article", "read", ""):
            assert walls.wall(other, driver.now) == NO_WALL

    def test_a_record_expires(self, store: StateStore, walls: KeepsWalls) -> None:
        """U7: from its own time on it is as if nothing were stored; a sweep may remove it; a later one is another."""
        driver = StoreDriver(store).read()
        driver.do(_Record(_beat(driver), _RECORD))
        assert walls.wall("reader", _RECORD.expires_at_ms - 1) == _RECORD
        for swept in (False, True):
            if swept:
                store.swept(_RECORD.expires_at_ms)
            assert walls.wall("reader", _RECORD.expires_at_ms) == NO_WALL
        driver.now = _RECORD.expires_at_ms
        assert driver.take().beside_ms == 0
        assert len(walls.wall("reader", driver.now).stretches) == 1

    def test_a_record_goes_with_the_reader(self, store: StateStore, walls: KeepsWalls) -> None:
        """X4: deleting a reader removes the record, also where every state has expired; others keep theirs."""
        drivers = [StoreDriver(store, Key(reader, "a")).read().settle() for reader in ("gone", "stays")]
        kept = walls.wall("stays", NOW)
        assert walls.wall("gone", NOW) != NO_WALL
        assert store.delete("gone") == 1
        assert walls.wall("gone", NOW) == NO_WALL
        drivers[0].now = NOW
        drivers[0].read()
        drivers[0].do(_Record(_beat(drivers[0]), attrs.evolve(_RECORD, expires_at_ms=NOW + 2 * CENTURY)))
        drivers[0].settle()
        drivers[0].wait(CENTURY)
        assert drivers[0].loaded is None
        assert store.keys("gone", drivers[0].now) == ()
        store.delete("gone")
        assert walls.wall("gone", drivers[0].now) == NO_WALL
        assert walls.wall("stays", NOW) == kept

    def test_side_by_side_articles_share_the_time(self, store: StateStore, walls: KeepsWalls) -> None:
        """U4: of what two articles claim of the same minute one minute is claimed, whichever comes first."""
        first, second, third = _side_by_side(store, 3)
        assert _claim(first).claim is not None
        answer = _claim(second)
        assert (answer.result, answer.beside_ms) == (AcquireResult.NOTHING, 60 * SECOND)
        assert second.state.meter.cumulative_ms == second.state.unclaimed_ms == 0
        assert (second.state.clamped_seconds, second.state.beside_seconds) == (60, 60)
        assert [entry.kind for entry in second.state.history] == ["clamped"]
        measured = third.take()
        assert (measured.result, measured.beside_ms) == (AcquireResult.CLAIMED, 0)  # the policy's leeway is a large one
        assert beside(walls.wall("reader", NOW).stretches) == 0

    def test_a_lost_answer_measures_once(self, store: StateStore, walls: KeepsWalls) -> None:
        """U3: what is asked for again by its owner, taken over, or parked and sent again is not measured again."""
        first, second = _side_by_side(store, 2)
        for driver in (first, second):
            _claim(driver)
            left = driver.state, walls.wall("reader", driver.now)
            assert _claim(driver).beside_ms == 0
            assert (driver.state.meter, walls.wall("reader", driver.now)) == (left[0].meter, left[1])
        record = walls.wall("reader", NOW)
        first.wait(60 * SECOND)
        assert _claim(first, "another").again
        first.do(first.refusing("another"))
        first.unpark()
        assert _claim(first).retry
        first.do(first.committing())
        assert walls.wall("reader", NOW) == record
        assert first.state.reported_ms == 60 * SECOND

    def test_several_claims_of_one_reader_at_once(self, store: StateStore, walls: KeepsWalls) -> None:
        """U6: in one ``update_many`` the second claim of a reader meets what the first has left, and so on."""
        if not isinstance(store, UpdatesMany):
            pytest.skip("has no update_many, which is optional")
        drivers = [*_side_by_side(store, _ARTICLES), *_side_by_side(store, 2, "other")]
        claims: list[tuple[Key, Transition[Any]]] = [(driver.key, _taking("owner")) for driver in drivers]
        for again in (False, True):
            answers: list[Any] = store.update_many(claims, drivers[0].now)
            assert [answer for answer in answers if isinstance(answer, Exception)] == []
            over = [0, *[60 * SECOND] * (_ARTICLES - 1), 0, 60 * SECOND]
            assert [answer[0].beside_ms for answer in answers] == ([0] * len(over) if again else over)
        for reader, number in (("reader", _ARTICLES), ("other", 2)):
            assert [one.ms for one in walls.wall(reader, NOW).stretches] == [60 * SECOND]
            total = sum(driver.state.meter.cumulative_ms for driver in drivers if driver.key[0] == reader)
            assert (number, total) == (number, 60 * SECOND)

    def test_claims_at_once_share_the_time(self, store: StateStore, walls: KeepsWalls) -> None:
        """U6: threads claim a reader's articles at the same moment: the minute is claimed once, and none is lost."""
        drivers = _side_by_side(store, _THREADS)

        def work(driver: StoreDriver) -> int:
            acquired, _ = persistently(partial(store.update, driver.key, _taking("owner"), driver.now))
            return int(acquired.beside_ms)

        with ThreadPoolExecutor(_THREADS) as pool:
            over = list(pool.map(work, drivers))
        assert sum(over) == (_THREADS - 1) * 60 * SECOND
        assert sum(driver.state.meter.cumulative_ms for driver in drivers) == 60 * SECOND
        assert [one.ms for one in walls.wall("reader", NOW).stretches] == [60 * SECOND]

    def test_another_object_sees_the_record(
        self, store: StateStore, walls: KeepsWalls, reopen: Callable[[], Any]
    ) -> None:
        """U6: two devices of one reader, on two hosts, share one record."""
        first, second = _side_by_side(store, 2)
        _claim(first)
        other = reopen()
        try:
            assert _claim(StoreDriver(other, second.key, second.now)).beside_ms == 60 * SECOND
            assert walls.wall("reader", NOW) == other.wall("reader", NOW)
        finally:
            other.close()

    def test_what_writes_nothing_leaves_the_record(self, store: StateStore, walls: KeepsWalls) -> None:
        """U6: the very same record is not written, and a state that is None stays none."""
        driver = StoreDriver(store)
        assert driver.take().result is AcquireResult.NOTHING
        assert driver.loaded is None
        driver.do(Look())
        assert walls.wall("reader", NOW) == NO_WALL


def _beat(driver: StoreDriver) -> Signal:
    return Signal(_STRICT, nonce(), SECOND, driver.reader, driver.article, nonce())


def _taking(owner: str) -> Any:
    return attrs.evolve(take(owner), policy=_STRICT)


def _claim(driver: StoreDriver, owner: str = "owner") -> Any:
    return driver.do(_taking(owner))


def _side_by_side(store: StateStore, number: int, reader: str = "reader") -> Sequence[StoreDriver]:
    """Return so many articles, each of which claims that the same minute was spent on it."""
    drivers = [StoreDriver(store, Key(reader, f"article {place}")) for place in range(number)]
    for driver in drivers:
        driver.do(Signal(_STRICT, nonce(), 0, driver.reader, driver.article, "h"))
        driver.wait(60 * SECOND)
        driver.do(Signal(_STRICT, nonce(), 60 * SECOND, None, None, "i"))
    return drivers
