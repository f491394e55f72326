"""The scene of a behaviour test, on every store."""

from __future__ import annotations

import pytest

from caliper_readtime import InMemoryStateStore
from tests.backends import STORES
from tests.scenes import Scene


@pytest.fixture(params=STORES.values(), ids=STORES)
def scene(request, tmp_path):
    """A tracker on a fresh store; every store that the test opens is closed afterwards."""
    opened = []

    def make_store():
        opened.append(request.param(tmp_path))
        return opened[-1]

    yield Scene(make_store)
    for store in opened:
        store.close()


@pytest.fixture
def memory_scene():
    """The same in memory alone, for what no store decides."""
    return Scene(InMemoryStateStore)
