"""The store contract, kept by every store of the package, and what each of them promises beyond it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from caliper_readtime.testing.store_contract import StateStoreContract
from tests.backends import STORES


class TestInMemoryStateStore(StateStoreContract):
    """States in a dict."""

    shared = False

    @pytest.fixture
    def store(self, tmp_path):
        return STORES["memory"](tmp_path)

    @pytest.fixture
    def lose_due(self, store):
        return store._due.clear


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
                file.execute("UPDATE state SET due_ms = NULL")
                file.commit()

        return lose
