"""T8 in Redis: how often a claim's state is read, and by which clock it is settled; nothing forgotten comes back."""

from __future__ import annotations

from collections import Counter
from contextlib import closing

import pytest

from caliper_readtime import Outcome
from caliper_readtime.stores._redis import scripts
from caliper_readtime.testing import RecordingEmitter
from tests.backends import redis_store
from tests.scenes import ANNA, BEN, OWLS, Hooked, Scene, article

pytestmark = pytest.mark.redis


class Counting:
    """Counts the scripts that a store runs, and of how many states they are."""

    def __init__(self, inner):
        self.inner, self.ran, self.states = inner, Counter(), Counter()

    def run(self, script, *args):
        self.ran[script.name] += 1
        return self.inner.run(script, *args)

    def each(self, calls, waits=()):
        for script, _, args, _ in calls:
            self.ran[script.name] += 1
            self.states[script.name] += len(args) - 1 if script.name == "read" else 1
        return self.inner.each(calls, waits)

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.fixture
def scene(tmp_path):
    """A scene on an empty namespace; half a minute has been read."""
    scene = Scene(lambda: redis_store(tmp_path))
    with closing(scene.store):
        scene.read()
        yield scene


def test_a_partial_reads_once(scene):
    """T8: claim and commit: one look and two writes."""
    scene.store._redis = counting = Counting(scene.store._redis)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30
    assert counting.ran == {"read": 1, "write": 2}


def test_a_sweep_reads_each_state_once(scene):
    """T8: of a batch too, those of a shard by one script; and nothing is kept of what is settled."""
    for number in range(20):
        scene.read(BEN, article(f"page{number}"))
    scene.clock.advance(3600)
    scene.store._redis = counting = Counting(scene.store._redis)
    assert scene.tracker.sweep().events_sent == 21
    assert (counting.states["read"], counting.states["write"]) == (21, 42)
    assert counting.ran["read"] == 2
    assert scene.store._remembered.claimed.kept == {}


def test_what_is_forgotten_meanwhile_stays_forgotten(scene, tmp_path):
    """K4: the commit finds no state, whatever this process remembers of it."""
    with closing(redis_store(tmp_path)) as store:
        other = scene.another(RecordingEmitter(), store=store)
        scene.use(Hooked(lambda: other.forget(ANNA)))
        scene.tracker.partial(ANNA, OWLS)
        assert scene.state() is None
        assert list(store.client.scan_iter(f"{store._layout.namespace}:*:state:*")) == []


def test_the_clock_goes_on(scene):
    """T3: by the store's own clock a commit is no earlier than its claim, and not ahead of the server."""
    scene.clock = None
    tracker = scene.another()
    assert tracker.partial(ANNA, OWLS).outcome is Outcome.SENT
    claimed, sent = tracker.state(ANNA, OWLS).history
    assert claimed.at <= sent.at
    assert sent.at.timestamp() * 1000 <= scene.store.now()
    assert scripts.READ.name == "read"
