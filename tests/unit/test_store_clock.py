"""The store's time without a round trip: ``ReadTimeTracker.now``."""

from __future__ import annotations

import pytest

from caliper_readtime import InMemoryStateStore, ReadTimePolicy, ReadTimeTracker, StoreUnavailable
from caliper_readtime._units import to_datetime
from caliper_readtime.stores._clock import ASK_AGAIN_SECONDS, RETRY_SECONDS, StoreClock
from caliper_readtime.testing import ManualClock
from tests.scenes import START


class DelayedStoreClock:
    """A store whose clock, answers and travel time are in the test's hands, beside a host whose clock is wrong."""

    def __init__(self):
        self.monotonic = 1000.0
        self.store_ms = 1_700_000_000_000
        self.host_ms = self.store_ms - 90_000
        self.travel = 0.0
        self.down = False
        self.asked = 0

    def now(self):
        self.asked += 1
        self.pass_by(self.travel / 2)
        if self.down:
            raise StoreUnavailable("down")
        said = self.store_ms
        self.pass_by(self.travel / 2)
        return said

    def pass_by(self, seconds):
        self.monotonic += seconds
        self.store_ms += round(seconds * 1000)
        self.host_ms += round(seconds * 1000)

    def clock(self):
        return StoreClock(self, monotonic=lambda: self.monotonic, host_ms=lambda: self.host_ms)


@pytest.fixture
def scene():
    """A scene whose store answers."""
    return DelayedStoreClock()


def test_it_is_the_stores_time(scene):
    """Whatever the host's own clock says, and however long the answer travels."""
    scene.travel = 0.4
    clock = scene.clock()
    assert clock() == to_datetime(scene.store_ms)
    scene.pass_by(33.25)
    assert clock() == to_datetime(scene.store_ms)
    assert scene.asked == 1


def test_the_store_is_asked_once_a_minute(scene):
    """In between the monotonic clock carries on; then the store is believed, also where it has stepped back."""
    clock = scene.clock()
    clock()
    scene.pass_by(ASK_AGAIN_SECONDS - 0.001)
    clock()
    assert scene.asked == 1
    scene.store_ms -= 5000
    scene.pass_by(0.001)
    assert clock() == to_datetime(scene.store_ms)
    assert scene.asked == 2


def test_a_store_that_is_down_costs_one_wait(scene, caplog):
    """Its last word is carried on, and it is asked again after a while, not each time."""
    clock = scene.clock()
    clock()
    scene.down = True
    scene.pass_by(ASK_AGAIN_SECONDS)
    for _ in range(5):
        assert clock() == to_datetime(scene.store_ms)
    assert scene.asked == 2
    scene.pass_by(RETRY_SECONDS)
    clock()
    assert scene.asked == 3
    assert "the store does not tell the time" in caplog.text


def test_without_any_word_of_the_store_the_host_stands_in(scene):
    """A page has a time of opening even if the store was never up; as soon as it is, its time is the time."""
    scene.down = True
    clock = scene.clock()
    assert clock() == to_datetime(scene.host_ms)
    scene.down = False
    scene.pass_by(RETRY_SECONDS)
    assert clock() == to_datetime(scene.store_ms)


def test_the_trackers_time():
    """A tracker's clock is the given one, or the store's."""
    given = ManualClock(START)
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=given)
    given.advance(5)
    assert tracker.now() == given()
    own = ReadTimeTracker(InMemoryStateStore())
    assert abs((own.now() - to_datetime(InMemoryStateStore().now())).total_seconds()) < 1


def test_the_trackers_policy():
    """Hosts read the rules that they have set."""
    policy = ReadTimePolicy(heartbeat_seconds=7)
    assert ReadTimeTracker(InMemoryStateStore(), policy=policy).policy is policy
