"""The one table of stores that every suite runs over."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from caliper_readtime.stores._memory import InMemoryStateStore
from caliper_readtime.stores._redis.store import RedisStateStore
from caliper_readtime.stores._sqlite.store import SqliteStateStore
from caliper_readtime.testing._redis_server import RedisServer, find_server

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from caliper_readtime.protocols import StateStore


def has_server() -> bool:
    """Whether there is a Redis to start."""
    return find_server() is not None


@cache
def redis_server() -> RedisServer:
    """The server that all tests share; each of their stores has a namespace of its own."""
    # Doctor finds fault with a server that writes nothing down; no power fails here, so nobody waits for the disk.
    return RedisServer({"appendonly": "yes", "appendfsync": "no"})


def stop_server() -> None:
    """End the shared server, if a test has started it."""
    if redis_server.cache_info().currsize:
        redis_server().close()
        redis_server.cache_clear()


def namespace(path: Path) -> str:
    """The namespace that belongs to a folder. It goes with the folder: a new one of the same name has another."""
    file = path / "namespace"
    if not file.exists():
        file.write_text(f"test-{uuid4().hex[:12]}", encoding="utf-8")
    return file.read_text(encoding="utf-8")


def redis_store(path: Path, **options: Any) -> RedisStateStore:
    """A store on the shared server."""
    return RedisStateStore.from_url(redis_server().url, namespace=namespace(path), timeout_seconds=10, **options)


STORES: dict[str, Callable[[Path], StateStore]] = {
    "memory": lambda _: InMemoryStateStore(),
    "sqlite": lambda path: SqliteStateStore(path / "readtime.db"),
    "redis": redis_store,
}
