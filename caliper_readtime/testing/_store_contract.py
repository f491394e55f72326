"""``StateStoreContract``: what every store must do, as a pytest class to subclass. Imports pytest."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, ClassVar, Final

import pytest

from caliper_readtime._rules import Defer, Signal
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.testing._store_concurrency import ConcurrencyRules
from caliper_readtime.testing._store_driver import DAY, NOW, POLICY, SECOND, Look, StoreDriver, nonce
from caliper_readtime.testing._store_indexes import IndexRules
from caliper_readtime.testing._store_many import ManyRules
from caliper_readtime.testing._store_updates import UpdateRules
from caliper_readtime.testing._store_walls import WallRules

if TYPE_CHECKING:
    from caliper_readtime.protocols import StateStore

_CLOCK_SKEW_MS: Final = 60 * SECOND
_YEAR_2000: Final = 946_684_800_000
_YEAR_2100: Final = 4_102_444_800_000


class StateStoreContract(UpdateRules, ManyRules, WallRules, IndexRules, ConcurrencyRules):
    """The rules of ``caliper_readtime.protocols.StateStore``.

    Subclass it in a test module and override ``store``; ``reopen`` adds the checks of a store that several processes
    share, ``lose_due`` the one of a lost index. For pytest's detailed messages call
    ``pytest.register_assert_rewrite("caliper_readtime.testing")`` in your ``conftest.py``.

    Attributes:
        shared: whether a second object can reach the same states. False for a store that lives in one object.

    Example::

        class TestMyStore(StateStoreContract):
            @pytest.fixture
            def store(self, server):
                with closing(MyStore(server.url)) as store:
                    yield store

            @pytest.fixture
            def reopen(self, server):
                return lambda: MyStore(server.url)
    """

    shared: ClassVar[bool] = True

    @pytest.fixture
    def store(self) -> Any:
        """The store, holding nothing yet."""
        raise NotImplementedError("override the fixture `store`")

    @pytest.fixture
    def reopen(self) -> Any:
        """A function that returns another, independent store on the data of ``store``. The contract closes it."""
        if self.shared:
            pytest.fail("override the fixture `reopen`, or say `shared = False`")
        pytest.skip("lives in one object")

    @pytest.fixture
    def lose_due(self) -> Any:
        """A function that removes every due entry of ``store`` behind its back."""
        pytest.skip("no fixture `lose_due`")

    # Time

    @pytest.mark.parametrize("start", [_YEAR_2000, NOW, _YEAR_2100], ids=["2000", "2026", "2100"])
    def test_a_given_time_travels(self, store: StateStore, start: int) -> None:
        """T3: leases, due times, expiry and stamps follow the given time alone, however far from the store's clock."""
        driver = StoreDriver(store, now=start).read()
        assert driver.do(Look())[1] == driver.now
        assert (driver.state.ledger.first_sync_at_ms, driver.state.meter.last_sync_at_ms) == (driver.now, driver.now)
        assert driver.due() == (driver.key,)
        driver.take()
        assert driver.due() == ()
        assert driver.wait(POLICY.lock_ms).due() == (driver.key,)
        driver.do(driver.committing())
        assert driver.wait(POLICY.state_ttl_ms - POLICY.lock_ms - 1).loaded is not None
        assert store.keys("reader", driver.now) == (driver.key,)
        store.swept(driver.now)
        assert store.last_sweep() == driver.now

    def test_the_stores_own_clock_decides_where_no_time_is_given(self, store: StateStore) -> None:
        """T3: ``now=None`` is the store's clock in every verb: whole milliseconds near this machine's, never back."""
        driver = StoreDriver(store)
        before = store.now()
        _, state = store.update(driver.key, Signal(POLICY, nonce(), 5000, driver.reader, driver.article, "h"))
        after = store.now(driver.key)
        assert type(before) is int
        assert abs(before - time.time() * 1000) < _CLOCK_SKEW_MS
        assert state is not None
        assert before - SECOND <= state.meter.last_sync_at_ms <= after + SECOND
        (_, given), _ = store.update(driver.key, Look())
        assert type(given) is int
        assert before - SECOND <= given <= store.now(driver.key) + SECOND
        assert store.load(driver.key) == state
        assert store.keys("reader") == (driver.key,)
        assert store.due(10, None, DAY) == ()
        store.update(driver.key, Defer(finalize=False))
        assert store.due(10) == (driver.key,)
        store.swept()
        swept = store.last_sweep()
        assert swept is not None
        assert before - SECOND <= swept <= store.now() + SECOND

    # Around the states

    def test_meta_is_recorded_once_and_compared_ever_after(self, store: StateStore) -> None:
        """T6: the same facts pass, new ones are added, another value is refused, naming both and writing nothing."""
        facts = {"sensor": "https://a.example.org", "oneroster_url": "https://b.example.org/ü'"}
        store.meta({})
        for _ in range(2):
            store.meta(facts)
        for _ in range(2):
            with pytest.raises(ConfigurationError) as caught:
                store.meta({"new": "1", "sensor": "https://other.example.org"})
            assert "https://a.example.org" in str(caught.value)
            assert "https://other.example.org" in str(caught.value)
        store.meta({"new": "2"})
        recorded = {**facts, "new": "2"}
        for expected in (recorded, {}):
            assert (store.meta(expected) or recorded).items() >= recorded.items()
        assert store.keys("reader", NOW) == ()

    def test_sweeps_are_noted(self, store: StateStore) -> None:
        """W13: ``last_sweep`` is the time that ``swept`` was given last; no state is touched."""
        driver = StoreDriver(store).read()
        for moment in (driver.now, driver.now, driver.now + DAY):
            store.swept(moment)
            assert store.last_sweep() == moment
        assert driver.due() == (driver.key,)

    def test_closing_is_harmless(self, store: StateStore) -> None:
        """A store may be closed twice, and a call after that opens it again."""
        driver = StoreDriver(store).read()
        state = driver.state
        for _ in range(2):
            store.close()
        assert driver.state == state
        driver.read()
        store.close()
