"""The store contract, kept by the store in the project's own database, on PostgreSQL and on SQLite."""

from __future__ import annotations

import logging
from contextlib import closing

import pytest

from caliper_readtime import CorruptState
from caliper_readtime._rules.state import Key
from caliper_readtime.testing._store_contract import StateStoreContract
from caliper_readtime.testing._store_driver import CENTURY, NOW, StoreDriver
from tests.contract.unreadable import refused
from tests.django_databases import database, postgresql, sqlite
from tests.scenes import ANNA, BEES, OWLS, Scene


class DjangoRules(StateStoreContract):
    """The contract, and what this store promises beyond it."""

    @pytest.fixture
    def store(self, alias):
        from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415

        with closing(DjangoStateStore(alias)) as store:
            yield store

    @pytest.fixture
    def reopen(self, alias, store):
        return lambda: type(store)(alias)

    @pytest.fixture
    def rows(self, alias, store):
        from caliper_readtime.web.django.models import State  # noqa: PLC0415

        return State._default_manager.using(alias)

    @pytest.fixture
    def lose_due(self, rows):
        return lambda: rows.update(due_at_ms=None)

    def test_a_state_that_cannot_be_read_is_left_as_it_is(self, store, rows):
        """T7: CorruptState is never overwritten: every verb names it, none touches it, others are unharmed."""
        driver, other = StoreDriver(store).read().park().read(), StoreDriver(store, Key("reader", "other")).read()
        (whole,) = rows.filter(resource="article").values_list("ledger", flat=True)
        rows.filter(resource="article").update(ledger=whole[:-9])
        assert len(list(refused(store, driver))) == 6
        with pytest.raises(CorruptState):
            store.load(driver.key, driver.now)
        assert set(store.keys("reader", driver.now)) == set(store.due(10, driver.now)) == {driver.key, other.key}
        assert list(store.unreported(driver.now)) == [other.state]
        assert store.parked(10) == ()
        store.swept(NOW + CENTURY)
        other.read().settle()
        assert rows.get(resource="article").ledger == whole[:-9]
        rows.filter(resource="article").update(ledger=whole)
        StoreDriver(store, now=driver.now).read().unpark().settle()

    def test_a_damaged_record_of_a_reader_is_begun_anew(self, store, alias, caplog):
        """U10: it stops no claim, neither alone nor in a batch, and is told of once."""
        from caliper_readtime.web.django._walls import rows  # noqa: PLC0415

        caplog.set_level(logging.ERROR, "caliper_readtime")
        scene = Scene(lambda: store)
        for what in (OWLS, BEES):
            scene.read(ANNA, what)
            assert scene.tracker.partial(ANNA, what).delta_seconds == 30
            rows(alias).update(record="junk")
        scene.read(ANNA, OWLS)
        scene.read(ANNA, BEES)
        assert scene.tracker.sweep(idle_seconds=0).seconds_sent == 60
        assert [record.resource_id for record in caplog.records][:1] == ["bees"]
        assert len(caplog.records) == 2

    def test_a_sweep_removes_what_has_expired(self, store, rows):
        """The table does not grow for ever; what is unreported stays."""
        drivers = [StoreDriver(store, Key("reader", name)).read() for name in ("settled", "unreported")]
        drivers[0].settle()
        store.swept(NOW + CENTURY)
        assert list(rows.values_list("resource", flat=True)) == ["unreported"]


@pytest.mark.postgresql
class TestPostgresql(DjangoRules):
    """States in PostgreSQL."""

    @pytest.fixture
    def alias(self):
        with database(postgresql()) as alias:
            yield alias


class TestSqlite(DjangoRules):
    """States in SQLite, through Django."""

    @pytest.fixture
    def alias(self, tmp_path):
        with database(sqlite(tmp_path)) as alias:
            yield alias
