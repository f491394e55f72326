"""C8: where claiming takes long, what is claimed by half of the lease's margin is sent, and the rest comes next."""

from __future__ import annotations

import pytest

from caliper_readtime import InMemoryStateStore, Reader
from caliper_readtime._rules import AcquireClaim
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, OWLS, Scene, article


class Slow(InMemoryStateStore):
    """Each claim takes two seconds to become durable, as one may that waits for replicas."""

    seconds = 0.0

    def update(self, key, transition, now=None, /):
        if isinstance(transition, AcquireClaim):
            self.seconds += 2.0
        return super().update(key, transition, now)


class SlowMany(Slow):
    """The same where claims are waited for in batches."""

    def update_many(self, changes, now=None, /):
        return [self.update(key, transition, now) for key, transition in changes]


class Patient(RecordingEmitter):
    deadline_seconds = 6.0


@pytest.mark.parametrize(("make_store", "first"), [(Slow, 7), (SlowMany, 7)])
@pytest.mark.parametrize("verb", ["sweep", "flush"])
def test_slow_claims_starve_nobody(make_store, first, verb):
    """C8: a lease of 30 s, a deadline of 6 s: after 12 s of claiming the first envelope goes; all 40 events arrive."""
    scene = Scene(make_store)
    scene.use(emitter := Patient())
    scene.tracker._delivery.leases.monotonic = lambda: scene.store.seconds
    if make_store is SlowMany:
        scene.tracker._delivery.leases.step = 1
    for number in range(40):
        reader, what = (ANNA, article(f"a{number}")) if verb == "flush" else (Reader(f"r{number}", "r@e.org"), OWLS)
        scene.tracker.accumulate(reader, what, 10)
    if verb == "flush":
        flushed = scene.tracker.flush_reader(ANNA)
        assert (flushed.settled, flushed.seconds_sent) == (True, 400.0)
    else:
        swept = scene.tracker.sweep(idle_seconds=0)
        assert (swept.seconds_sent, swept.failed, swept.stopped_by) == (400.0, 0, "drained")
    assert emitter.batches[0] == first
    assert sum(emitter.batches) == 40
