"""The store contract, kept by every store of the package, and what each of them promises beyond it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from caliper_readtime import ConfigurationError, CorruptState, testing
from caliper_readtime._rules import Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.testing._emitter_contract import EmitterContract
from caliper_readtime.testing._store_contract import StateStoreContract
from caliper_readtime.testing._store_driver import CENTURY, NOW, POLICY, SECOND, StoreDriver, nonce, take
from tests.backends import STORES
from tests.contract.unreadable import refused

ROW = "SELECT * FROM state WHERE resource = 'article'"


class TestInMemoryStateStore(StateStoreContract):
    """States in a dict."""

    shared = False

    @pytest.fixture
    def store(self, tmp_path):
        return STORES["memory"](tmp_path)

    @pytest.fixture
    def lose_due(self, store):
        return store._due.entries.clear


class TestSqliteStateStore(StateStoreContract):
    """States in a file."""

    @pytest.fixture
    def store(self, tmp_path):
        with closing(STORES["sqlite"](tmp_path)) as store:
            yield store

    @pytest.fixture
    def reopen(self, tmp_path):
        return lambda: STORES["sqlite"](tmp_path)

    @pytest.fixture
    def lose_due(self, tmp_path):
        def lose():
            with closing(sqlite3.connect(tmp_path / "readtime.db")) as file:
                file.execute("UPDATE state SET due_at_ms = NULL")
                file.commit()

        return lose

    def test_a_state_that_cannot_be_read_is_left_as_it_is(self, store, tmp_path):
        """T7: CorruptState is never overwritten: every verb names it, none touches it, others are unharmed."""
        driver, other = StoreDriver(store).read().park().read(), StoreDriver(store, Key("reader", "other")).read()
        with closing(sqlite3.connect(tmp_path / "readtime.db")) as file:
            whole = file.execute(ROW).fetchone()
            file.execute("UPDATE state SET ledger = substr(ledger, 1, length(ledger) - 9) WHERE resource = 'article'")
            file.commit()
            torn = file.execute(ROW).fetchone()
            assert torn != whole
            assert len(list(refused(store, driver))) == 6
            with pytest.raises(CorruptState):
                store.load(driver.key, driver.now)
            assert set(store.keys("reader", driver.now)) == set(store.due(10, driver.now)) == {driver.key, other.key}
            assert list(store.unreported(driver.now)) == [other.state]
            store.swept(NOW + CENTURY)
            other.read().settle()
            assert file.execute(ROW).fetchone() == torn
            file.execute("UPDATE state SET ledger = ? WHERE resource = 'article'", whole[-1:])
            file.commit()
        StoreDriver(store, now=driver.now).read().unpark().settle()

    def test_claims_wait_for_the_disk_and_heartbeats_do_not(self, store):
        """C6: claims commit at FULL, heartbeats at NORMAL."""
        driver = StoreDriver(store)

        def synchronous():
            return store._file.connection().sqlite.execute("PRAGMA synchronous").fetchone()[0]

        normal, full = 1, 2
        for _ in range(2):
            driver.read()
            store.update(driver.key, Signal(POLICY, nonce(), SECOND, None, None, nonce()), driver.now)
            assert synchronous() == normal
            for verb in (take("owner"), lambda state, _: (state, None)):
                store.update(driver.key, verb, driver.now)
                assert synchronous() == full
            driver.settle()
        assert store._file.connection().sqlite.execute("PRAGMA journal_mode").fetchone()[0] == "wal"

    def test_a_sweep_removes_what_has_expired(self, store):
        """The file does not grow for ever; what is unreported stays."""
        drivers = [StoreDriver(store, Key("reader", name)).read() for name in ("settled", "unreported")]
        drivers[0].settle()
        store.swept(NOW + CENTURY)
        rows = store._file.connection().sqlite.execute("SELECT resource FROM state").fetchall()
        assert rows == [("unreported",)]

    def test_a_file_of_another_schema_is_refused(self, store, tmp_path):
        """T6: a newer major version has written here: ConfigurationError before anything is read or written."""
        store.meta({})
        with closing(sqlite3.connect(tmp_path / "readtime.db")) as file:
            file.execute("UPDATE meta SET value = '2' WHERE name = 'schema'")
            file.commit()
        with pytest.raises(ConfigurationError, match="schema"):
            store.meta({})


@pytest.mark.parametrize("contract", [StateStoreContract, EmitterContract])
def test_a_failing_check_shows_its_values(contract):
    """pytest rewrites the assertions of every module that a contract's checks come from."""
    homes = {kind.__module__.removeprefix("caliper_readtime.testing.") for kind in contract.__mro__[:-1]}
    assert homes <= set(testing._CHECKS)
