"""The one table of stores that every suite runs over."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime.stores.memory import InMemoryStateStore
from caliper_readtime.stores.sqlite import SqliteStateStore

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caliper_readtime.protocols import StateStore

STORES: dict[str, Callable[[Path], StateStore]] = {
    "memory": lambda _: InMemoryStateStore(),
    "sqlite": lambda path: SqliteStateStore(path / "readtime.db"),
}
