"""The scene of a recipe: one tracker on a store in memory, which is all that on_report and status() need."""

from __future__ import annotations

import pytest

from caliper_readtime import InMemoryStateStore
from tests.scenes import Scene


@pytest.fixture
def scene():
    """A tracker on a fresh store."""
    return Scene(InMemoryStateStore)
