"""``UpdateRules``: the part of the store contract about ``update`` and about what is kept."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from caliper_readtime._rules import (
    AcquireResult,
    Commit,
    CommitResult,
    Counted,
    Defer,
    ParkResult,
    Renew,
    Signal,
    Unpark,
)
from caliper_readtime._rules.state import Key
from caliper_readtime.errors import MissingField
from caliper_readtime.testing._store_driver import (
    DAY,
    NOW,
    POLICY,
    SECOND,
    Fail,
    Look,
    Put,
    StoreDriver,
    empty_state,
    full_state,
    nonce,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.protocols import StateStore

#: Ids that a careless key, pattern, collation or number would take for each other. Each line is (reader, article).
ODD_KEYS: Final = tuple(
    Key(*pair)
    for pair in (
        ("a|b", "c"),
        ("a", "b|c"),
        ("a:b", "c"),
        ("a", "b:c"),
        ("a,b", "c"),
        ("a", "b,c"),
        ("a/b", "c"),
        ("a", "b/c"),
        ("a b", "c"),
        ("a", "b c"),
        ("a", "c"),
        ("A", "c"),
        ("a", "C"),
        ("a", "c "),
        ("a ", "c"),
        (" a", "c"),
        ("{a}", "c"),
        ("a", "{c}"),
        ("a%", "c"),
        ("a%25", "c"),
        ("a_", "c"),
        ("a*", "c"),
        ("a?", "c"),
        ("[a]", "c"),
        ("a#", "c"),
        ("a\\", "c"),
        ("a'", "c"),
        ('a"', "c"),
        ("a'; DROP TABLE state; --", "c"),
        ("1", "1"),
        ("01", "1"),
        ("1.0", "1"),
        ("é", "ß"),
        ("e\u0301", "ß"),
        ("é", "ss"),
        ("猫", "\U0001f989"),
        ("x" * 255, "y" * 255),
        ("x" * 254, "y" * 255),
        ("\U0001f989" * 255, "y" * 254),
        ("https://else.example.org/users/1?a=b#c", "https://else.example.org/1"),
    )
)


class UpdateRules:
    """What an update does, and that everything comes back."""

    def test_a_new_store_holds_nothing(self, store: StateStore) -> None:
        """Every question about nothing is answered, and asking creates nothing."""
        driver = StoreDriver(store)
        for _ in range(2):
            assert driver.loaded is None
            assert (store.keys("reader", NOW), driver.due(), store.parked(10)) == ((), (), ())
            assert store.last_sweep() is None
            assert store.delete("reader") == 0
            assert driver.do(Look()) == (None, NOW)
            assert driver.do(Commit("g", "urn:uuid:1", 0, SECOND)) is CommitResult.GONE
            assert not driver.do(Defer(finalize=True))

    def test_an_update_answers_with_result_and_state(self, store: StateStore) -> None:
        """T1: both the transition's result and the state that it left come back, and the state is stored."""
        driver = StoreDriver(store)
        signal = Signal(POLICY, nonce(), 5000, driver.reader, driver.article, "h")
        result, state = store.update(driver.key, signal, NOW)
        assert result == Counted(5000, 0, False, False, False)  # noqa: FBT003
        assert state is not None
        assert (state.key, state.meter.cumulative_ms) == (driver.key, 5000)
        assert store.load(driver.key, NOW) == state
        assert store.keys("reader", NOW) == (driver.key,)

    def test_the_same_object_means_nothing_to_write(self, store: StateStore) -> None:
        """A transition that returns the object it was given gets its result through, and changes nothing."""
        driver = StoreDriver(store).read()
        state, due = driver.state, driver.due()
        assert driver.do(Look()) == (state, driver.now)
        assert driver.do(Renew("nobody", "urn:uuid:1", 1)) is None
        assert driver.state == state
        assert driver.due() == due == (driver.key,)

    @pytest.mark.parametrize("error", [MissingField("reader", "is missing"), RuntimeError("a bug")], ids=["own", "any"])
    def test_a_transition_that_raises_changes_nothing(self, store: StateStore, error: Exception) -> None:
        """T1: the error passes as it is; what was stored stays, what was not is not created, and the store goes on."""
        driver, other = StoreDriver(store).read(), StoreDriver(store, Key("reader", "other"))
        state, due = driver.state, driver.due()
        for _ in range(2):
            for key in (driver.key, other.key):
                with pytest.raises(type(error)) as caught:
                    store.update(key, Fail(error), driver.now)
                assert caught.value is error
        assert (driver.state, driver.due(), other.loaded) == (state, due, None)
        assert store.keys("reader", driver.now) == (driver.key,)
        driver.read()

    def test_every_kind_of_signal_does_what_the_rules_say(self, store: StateStore) -> None:
        """T4: a heartbeat, run natively or not, equals the transition: deltas, totals, repeats, clamps, contexts."""
        driver = StoreDriver(store)
        driver.beat(SECOND)
        steps: tuple[tuple[int, dict[str, Any]], ...] = (
            (1500, {}),
            (1500, {"heartbeat_id": "h"}),
            (9000, {"heartbeat_id": "h"}),
            (4000, {"view_id": "v"}),
            (4000, {"view_id": "v"}),
            (3000, {"view_id": "v"}),
            (9001, {"view_id": "v", "position_ms": 7}),
            (9001, {"view_id": "v", "position_ms": 8}),
            (9000, {"view_id": "w", "acknowledged_ms": 8500}),
            (10**9, {"view_id": "x", "opened_at_ms": NOW - 5 * SECOND}),
            (10**9, {"view_id": "y", "opened_at_ms": driver.now + DAY}),
            (10**10, {}),
            (0, {"duration_ms": 60_000}),
            (0, {"duration_ms": 90_000, "position_ms": 30_000}),
            (700, {"reader": attrs.evolve(driver.reader, email="new@example.org")}),
            (700, {"article": attrs.evolve(driver.article, title="New")}),
            (700, {"position_ms": 59_000, "defers": True}),
            *((SECOND * place, {"view_id": f"view {place} |:{{}}'\""}) for place in range(20)),
            *((SECOND, {"heartbeat_id": f"beat {place} ,;猫"}) for place in range(20)),
        )
        for step, (claimed, more) in enumerate(steps):
            driver.wait(700 if step % 3 else -200).beat(claimed, **more)
            assert store.due(10, NOW + DAY) == (driver.key,)

    def test_every_verb_may_come_twice(self, store: StateStore) -> None:
        """T1: a driver may replay a call whose answer was lost: the second one finds what the first one left."""
        driver = StoreDriver(store)
        for _ in range(2):
            driver.beat(0, heartbeat_id="birth", reader=driver.reader, article=driver.article)
        driver.wait(40 * SECOND)
        assert [driver.beat(30_000, heartbeat_id="one").duplicate for _ in range(2)] == [False, True]
        assert [driver.beat(8_000, view_id="v").accepted_ms for _ in range(2)] == [8000, 0]
        assert [driver.do(Defer(finalize=False)) for _ in range(2)] == [True, True]
        acquired = [driver.take() for _ in range(2)]
        assert [answer.result for answer in acquired] == [AcquireResult.CLAIMED] * 2
        assert len({answer.claim.event for answer in acquired if answer.claim is not None}) == 1
        assert [driver.take("other").result for _ in range(2)] == [AcquireResult.IN_FLIGHT] * 2
        renewals = [driver.do(Renew("owner", driver.claim.event_id, 5000)) for _ in range(2)]
        assert renewals == [driver.claim] * 2
        releasing = driver.releasing()
        assert [driver.do(releasing) for _ in range(2)] == [True, False]
        driver.take()
        refusing = driver.refusing()
        assert [driver.do(refusing) for _ in range(2)] == [ParkResult.PARKED, ParkResult.NOT_OWNER]
        assert [driver.do(Unpark()) for _ in range(2)] == [1, 1]
        driver.take()
        committing = driver.committing()
        assert [driver.do(committing) for _ in range(2)] == [CommitResult.SENT, CommitResult.BEFORE]
        assert [store.keys("reader", driver.now) for _ in range(2)] == [(driver.key,)] * 2
        assert [store.delete("reader") for _ in range(2)] == [1, 0]

    def test_a_commit_after_the_claim_was_taken_over_counts_once(self, store: StateStore) -> None:
        """K2: the slow owner's commit counts, and the new owner's finds that it was committed before."""
        driver = StoreDriver(store).read()
        driver.take("slow")
        driver.wait(POLICY.lock_ms)
        assert driver.take("next").again
        committing = driver.committing()
        assert [driver.do(committing) for _ in range(2)] == [CommitResult.SENT, CommitResult.BEFORE]
        assert driver.state.reported_ms == driver.state.meter.cumulative_ms

    @pytest.mark.parametrize("made", [empty_state, full_state], ids=["empty", "full"])
    def test_a_state_comes_back_complete(self, store: StateStore, made: Callable[[Key], ReadTimeState]) -> None:
        """Every field, every default and every odd character, also after a heartbeat that changed the meter alone."""
        for key in (Key("reader", "article"), ODD_KEYS[-3]):
            driver = StoreDriver(store, key, NOW + 100)
            assert driver.do(Put(made(key))) == driver.now
            state = driver.state
            driver.do(Put(attrs.evolve(state, meter=state.meter._replace(budget_ms=77))))
            driver.do(Put(made(key)))
            assert (driver.state, driver.state.due) == (made(key), made(key).due)

    def test_odd_ids_stay_apart(self, store: StateStore) -> None:
        """Any text that passes for an id is one: no two keys share a state, a due entry, a reader or a deletion."""
        drivers = [StoreDriver(store, key) for key in ODD_KEYS]
        for seconds, driver in enumerate(drivers, start=1):
            driver.beat(seconds * SECOND)
        for seconds, driver in enumerate(drivers, start=1):
            assert driver.state.meter.cumulative_ms == seconds * SECOND
        assert sorted(store.due(1000, NOW)) == sorted(ODD_KEYS)
        for reader in dict.fromkeys(key.reader_sourced_id for key in ODD_KEYS):
            own = [key for key in ODD_KEYS if key.reader_sourced_id == reader]
            assert sorted(store.keys(reader, NOW)) == sorted(own)
            assert store.delete(reader) == len(own)
            assert store.keys(reader, NOW) == ()
            assert [driver.loaded for driver in drivers if driver.key in own] == [None] * len(own)
        assert store.due(1000, NOW) == ()
