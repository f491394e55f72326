"""pytest's plugin: fixtures for hosts' tests. Nothing is imported before a test asks for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.stores._redis.store import RedisStateStore
    from caliper_readtime.testing import CaliperEndpoint, CrashReport, ManualClock
    from caliper_readtime.testing._redis_server import RedisServer


@pytest.fixture
def readtime_clock() -> ManualClock:
    """The clock of ``readtime_tracker``, which stands still until ``advance`` moves it."""
    from caliper_readtime.testing import ManualClock  # noqa: PLC0415 - only for whoever asks

    return ManualClock()


@pytest.fixture
def readtime_tracker(readtime_clock: ManualClock) -> ReadTimeTracker:
    """A tracker with states in memory, ``readtime_clock``, and an ``emitter`` that accepts and keeps every event."""
    from caliper_readtime import InMemoryStateStore, ReadTimeTracker, TimeSpentEvents  # noqa: PLC0415
    from caliper_readtime.testing import RecordingEmitter  # noqa: PLC0415

    events = TimeSpentEvents("https://app.example.org", "Example App", "https://oneroster.example.org")
    return ReadTimeTracker(InMemoryStateStore(), RecordingEmitter(), events, clock=readtime_clock)


@pytest.fixture
def caliper_endpoint() -> Iterator[CaliperEndpoint]:
    """A strict Caliper endpoint on loopback, at its ``url``."""
    from caliper_readtime.testing import CaliperEndpoint  # noqa: PLC0415

    with CaliperEndpoint() as endpoint:
        yield endpoint


@pytest.fixture
def crash_every_step() -> Callable[..., CrashReport]:
    """``caliper_readtime.testing.crash_every_step``: a host's wiring, with a fault at each of its effects in turn."""
    from caliper_readtime.testing import crash_every_step  # noqa: PLC0415 - only for whoever asks

    return crash_every_step


@pytest.fixture(scope="session")
def _readtime_redis() -> Iterator[RedisServer]:
    from caliper_readtime.testing._redis_server import NO_SERVER, RedisServer, find_server, must_have_server  # noqa: PLC0415

    if find_server() is None:
        (pytest.fail if must_have_server() else pytest.skip)(NO_SERVER)
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_readtime_store(_readtime_redis: RedisServer) -> Iterator[RedisStateStore]:
    """An empty store on a Redis of the run's own. Without a Redis: skipped, or failed in CI."""
    from uuid import uuid4  # noqa: PLC0415

    from caliper_readtime.stores._redis.store import RedisStateStore  # noqa: PLC0415

    # A busy machine's server may take longer to answer than a request handler could wait.
    store = RedisStateStore.from_url(_readtime_redis.url, namespace=f"test-{uuid4().hex[:12]}", timeout_seconds=10)
    yield store
    store.close()
