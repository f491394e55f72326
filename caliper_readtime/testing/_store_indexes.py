"""``IndexRules``: the part of the store contract about what is due, expired, parked and deleted."""

# ruff: noqa: S101, PLR2004 - a test suite asserts, and its numbers speak for themselves

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from caliper_readtime._rules import AcquireResult, CommitResult, Signal
from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.state import Key
from caliper_readtime.errors import MissingField
from caliper_readtime.testing._store_driver import CENTURY, DAY, NOW, POLICY, SECOND, Look, StoreDriver, nonce

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime.protocols import StateStore


class IndexRules:
    """What is due and when, what may go and when, what is parked, and what a deletion takes."""

    def test_due_is_oldest_first_and_limited(self, store: StateStore) -> None:
        """W1: of one reader's articles those come first that have waited longest; a limit cuts off the newest."""
        drivers = [
            StoreDriver(store, Key("reader", f"article {place * 7 % 10}"), NOW + place * SECOND) for place in range(10)
        ]
        for driver in reversed(drivers):
            driver.beat(5 * SECOND)
        drivers[4].defer()  # an explicit entry among soft ones
        wanted = tuple(driver.key for driver in drivers)
        last = drivers[-1]
        for limit in (1, 3, 10, 1000):
            assert [last.due(limit) for _ in range(2)] == [wanted[:limit]] * 2
        assert drivers[2].due() == wanted[:3]
        assert last.wait(-10 * SECOND).due() == ()

    def test_an_entry_further_ahead_than_one_can_be_is_due(self, store: StateStore) -> None:
        """D5: a clock that jumped ahead and back leaves entries that no sweep would reach for days: they are due."""
        soft, deferred = (StoreDriver(store, Key("reader", name)) for name in ("soft", "deferred"))
        for driver in (soft, deferred):
            driver.beat(5 * SECOND)
        deferred.defer()
        assert soft.wait(-LONGEST_WAIT_MS).due() == ()
        assert set(soft.wait(-1).due()) == {soft.key, deferred.key}

    def test_due_reaches_every_reader(self, store: StateStore) -> None:
        """W1: whatever shards there are, all of many readers' states come, and a limit is kept over all of them."""
        keys = [Key(f"reader {place}", f"article {place % 3}") for place in range(40)]
        for key in keys:
            StoreDriver(store, key).beat(5 * SECOND)
        assert sorted(store.due(1000, NOW)) == sorted(keys)
        assert len(set(store.due(7, NOW))) == 7

    def test_idle_time_spares_active_readers_alone(self, store: StateStore) -> None:
        """D7: ``idle_ms`` applies to soft entries; deferrals, leases and back-offs come at their own time."""
        soft, deferred, leased = (StoreDriver(store, Key("reader", name)) for name in ("soft", "deferred", "leased"))
        for driver in (soft, deferred, leased):
            driver.beat(5 * SECOND)
        deferred.defer()
        leased.take()
        assert soft.due(idle=1) == (deferred.key,)
        assert soft.due(idle=0) in {(soft.key, deferred.key), (deferred.key, soft.key)}
        assert soft.wait(POLICY.lock_ms - 1).due(idle=POLICY.lock_ms) == (deferred.key,)
        assert set(soft.wait(1).due(idle=POLICY.lock_ms + 1)) == {deferred.key, leased.key}
        assert set(soft.due(idle=POLICY.lock_ms)) == {soft.key, deferred.key, leased.key}

    def test_the_due_entry_follows_the_ledger(self, store: StateStore) -> None:
        """D1: every change of the ledger writes the entry anew, to a later or an earlier time, or removes it."""
        driver = StoreDriver(store).read()
        assert driver.due() == (driver.key,)
        driver.take()
        self._comes_at(driver, driver.now + POLICY.lock_ms)
        driver.do(driver.releasing())
        self._comes_at(driver, driver.claim.until_at_ms)
        driver.settle()
        assert driver.wait(DAY).due() == ()
        driver.read().park()
        self._comes_at(driver, driver.state.ledger.parked[0].retry_at_ms)
        driver.unpark()
        assert driver.due() == (driver.key,)
        driver.settle()
        assert driver.wait(2 * DAY).due() == ()

    def test_a_heartbeat_adds_a_missing_due_entry(self, store: StateStore) -> None:
        """D1: the signal that makes a second whole changes the meter alone, and the state becomes due."""
        driver = StoreDriver(store)
        driver.beat(0)
        driver.wait(600).beat(600)
        assert driver.wait(DAY).due() == ()
        driver.beat(600)
        assert driver.due() == (driver.key,)
        driver.settle()
        assert driver.wait(DAY).due() == ()
        driver.beat(SECOND)
        assert driver.due() == (driver.key,)

    def test_a_heartbeat_restores_a_lost_due_entry(self, store: StateStore, lose_due: Callable[[], object]) -> None:
        """D6: even where the whole index was lost, an active reader's state becomes due again."""
        driver = StoreDriver(store).read()
        lose_due()
        assert driver.due() == ()
        driver.read()
        assert driver.due() == (driver.key,)
        lose_due()
        driver.take()
        assert driver.wait(POLICY.lock_ms).due() == (driver.key,)

    def test_a_settled_state_expires_for_every_verb(self, store: StateStore) -> None:
        """X3: from ``expires_at_ms`` on, and not before, a state is gone as if it had been deleted."""
        driver = StoreDriver(store).read().settle()
        expires = driver.state.expires_at_ms
        assert expires is not None
        driver.wait(expires - 1 - driver.now)
        assert store.keys("reader", driver.now) == (driver.key,)
        assert driver.loaded is not None
        driver.wait(1)
        assert store.keys("reader", driver.now) == ()
        assert driver.loaded is None
        assert driver.do(Look()) == (None, expires)
        assert driver.due() == ()
        with pytest.raises(MissingField):
            store.update(driver.key, Signal(POLICY, nonce(), 5000, None, None, "h"), driver.now)

    def test_a_late_commit_does_not_bring_an_expired_state_back(self, store: StateStore) -> None:
        """K4: neither a commit nor a sweep recreates what has expired; a signal does, with a generation of its own."""
        driver = StoreDriver(store).read()
        driver.take()
        committing, first = driver.committing(), driver.state
        driver.do(committing)
        driver.wait(POLICY.state_ttl_ms)
        assert driver.do(committing) is CommitResult.GONE
        assert driver.take().result is AcquireResult.NOTHING
        assert driver.loaded is None
        driver.beat(5 * SECOND)
        assert driver.state.ledger.generation != first.ledger.generation
        assert driver.state.meter.cumulative_ms == 5 * SECOND

    def test_a_heartbeat_puts_expiry_off(self, store: StateStore) -> None:
        """X1: a signal below a second is use as well: the state lives for another whole ``ttl``."""
        driver = StoreDriver(store).read().settle()
        driver.wait(POLICY.state_ttl_ms - 1).beat(300)
        assert driver.wait(POLICY.state_ttl_ms - 1).loaded is not None
        assert driver.wait(1).loaded is None

    def test_unreported_time_never_expires(self, store: StateStore) -> None:
        """X2: Unclaimed, deferred, claimed, released and parked time waits for a century, and expires once reported."""
        names = ("unclaimed", "late", "deferred", "claimed", "released", "parked")
        drivers = {name: StoreDriver(store, Key("reader", name)).read() for name in names}
        drivers["late"].settle().wait(POLICY.state_ttl_ms - 1).beat(SECOND)
        drivers["deferred"].defer()
        drivers["claimed"].take()
        drivers["released"].take()
        drivers["released"].do(drivers["released"].releasing())
        drivers["parked"].park()
        store.swept(NOW + CENTURY)
        for driver in drivers.values():
            assert driver.wait(NOW + CENTURY - driver.now).loaded is not None
        assert len(store.keys("reader", NOW + CENTURY)) == len(store.due(10, NOW + CENTURY)) == len(names)
        assert [state.key for state in store.parked(10)] == [drivers["parked"].key]
        for driver in drivers.values():
            assert driver.settle().wait(POLICY.state_ttl_ms).loaded is None
        assert store.keys("reader", NOW + CENTURY + POLICY.state_ttl_ms) == ()

    def test_parked_events_are_listed_until_they_are_sent(self, store: StateStore) -> None:
        """``parked`` returns whole states, at most as many as asked for, and each as long as it holds one."""
        drivers = [StoreDriver(store, Key(f"reader {place}", "article")).read().park() for place in range(5)]
        StoreDriver(store, Key("reader", "other")).read()
        for _ in range(2):
            assert sorted(store.parked(10), key=lambda state: state.key) == [driver.state for driver in drivers]
            assert len({state.key for state in store.parked(3)}) == 3
        drivers[0].read()
        assert drivers[0].state in store.parked(10)
        drivers[0].unpark().settle()
        assert store.delete("reader 1") == 1
        assert sorted(state.key for state in store.parked(10)) == [driver.key for driver in drivers[2:]]

    def test_unreported_states_are_listed_whole(self, store: StateStore) -> None:
        """``unreported`` yields each state once that has unclaimed seconds, a claim or parked events, and no other."""
        names = ("unclaimed", "deferred", "claimed", "released", "parked", "settled", "less than a second", "deleted")
        drivers = {name: StoreDriver(store, Key(name, "article")) for name in names}
        for name, driver in drivers.items():
            driver.beat(900) if name == "less than a second" else driver.read()
        drivers["deferred"].defer()
        drivers["claimed"].take()
        drivers["released"].take()
        drivers["released"].do(drivers["released"].releasing())
        drivers["parked"].park()
        drivers["settled"].settle()
        store.delete("deleted")
        there = sorted(names[:5])
        for _ in range(2):
            found = sorted(store.unreported(NOW + CENTURY), key=lambda state: state.key)
            assert found == [drivers[name].state for name in there]
        for name in there:
            drivers[name].unpark().settle()
        assert list(store.unreported(NOW)) == []
        assert list(store.unreported()) == []

    def test_unreported_holds_up_nobody(self, store: StateStore) -> None:
        """Between two states others read, write and delete; who is unreported all the while is not missed."""
        drivers = {
            key: StoreDriver(store, key).read() for key in (Key(f"reader {n}", f"article {n % 2}") for n in range(250))
        }
        seen: set[Key] = set()
        for state in store.unreported(NOW):
            seen.add(state.key)
            if len(seen) % 10 == 0:
                drivers[state.key].read(SECOND).defer()
            elif len(seen) % 25 == 0:
                assert store.delete(state.key.reader_sourced_id) == 1
        assert seen == set(drivers)
        states = store.unreported(NOW)
        first = next(states).key
        gone = next(key for key in seen if key != first and drivers[key].loaded is not None)
        store.delete(gone.reader_sourced_id)
        there = {key for key, driver in drivers.items() if driver.loaded is not None}
        assert {first, *(state.key for state in states)} - {gone} == there
        next(store.unreported(NOW))  # nobody has to look to the end
        assert drivers[first].read().loaded is not None

    def test_deleting_takes_everything_of_one_reader(self, store: StateStore) -> None:
        """X4: States, due entries and parked events go, and are counted; other readers' stay."""
        drivers = [StoreDriver(store, Key("reader", f"article {place}")).read() for place in range(4)]
        drivers[1].defer()
        drivers[2].take()
        drivers[3].park()
        other = StoreDriver(store, Key("reader 2", "article 1")).read()
        assert [store.delete("reader") for _ in range(2)] == [4, 0]
        assert [driver.loaded for driver in drivers] == [None] * 4
        assert (store.keys("reader", NOW), store.parked(10)) == ((), ())
        assert store.due(10, NOW + DAY) == (other.key,)

    def test_a_reborn_state_is_another(self, store: StateStore) -> None:
        """I5, K4: after a deletion the same key begins anew, and a commit of the former life is a no-op."""
        driver = StoreDriver(store).read()
        driver.take()
        committing = driver.committing()
        store.delete("reader")
        assert driver.do(committing) is CommitResult.GONE
        driver.read().take()
        assert driver.state.ledger.generation != committing.generation
        assert driver.claim.event_id != committing.event_id
        assert driver.do(committing) is CommitResult.GONE

    @staticmethod
    def _comes_at(driver: StoreDriver, moment: int) -> None:
        """The driver's state is due at a moment, and not a millisecond before."""
        now = driver.now
        driver.now = moment - 1
        assert driver.due() == ()
        driver.now = moment
        assert driver.due() == (driver.key,)
        driver.now = now
