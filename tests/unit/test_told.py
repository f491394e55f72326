"""What ``on_report`` was told adds up to what the states hold, whatever was called and whatever failed."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    InMemoryStateStore,
    PageView,
    ReadTimeError,
    ReadTimePolicy,
    ReadTimeTracker,
)
from caliper_readtime.testing import FlakyEmitter, ManualClock
from tests.scenes import ANNA, BEES, BEN, OWLS, START, article, events

READERS, ARTICLES = (ANNA, BEN), (OWLS, BEES, article("ants"))
FAILURES = (
    EmitterUnavailable("away"),
    EmitterUnavailable("broken", status=500),
    EndpointRefused("closed", status=403),
    EventRejected("bad", status=422),
)


class Host:
    """A host that calls every verb at random, and sums what it is told."""

    def __init__(self, seed):
        self.random, self.clock, self.emitter = Random(seed), ManualClock(START), FlakyEmitter()
        self.told, self.opened = [], {}
        pick = self.random.choice
        policy = ReadTimePolicy(
            reader_budget=pick(["off", "measure", "enforce"]),
            partial_min_seconds=pick([0, 20]),
            heartbeat_seconds=pick([1, 10]),
            leeway_seconds=pick([0, 5]),
            catch_up_seconds=pick([0, 300]),
            completion=pick(["send", "defer"]),
            completion_dwell_seconds=pick([None, 60]),
        )
        limits = {"batch_events": pick([None, 1, 2]), "batch_bytes": pick([None, 1])}
        self.tracker = ReadTimeTracker(
            InMemoryStateStore(), self.emitter, events(), policy, self.clock, on_report=self.told.append, **limits
        )

    def read(self, reader, what):
        opened = self.opened.setdefault((reader, what), self.clock())
        total = (self.clock() - opened).total_seconds() + self.random.choice([0, 0, 10])
        self.tracker.observe(reader, what, PageView("view", total), opened_at=opened)

    def step(self):
        reader, what = self.random.choice(READERS), self.random.choice(ARTICLES)
        self.clock.advance(self.random.choice([0, 0.7, 5, 30, 200]))
        if self.random.random() < 0.25:
            self.emitter.fail(self.random.choice(FAILURES))
        verbs = {
            lambda: self.read(reader, what): 12,
            lambda: self.tracker.partial(reader, what): 2,
            lambda: self.tracker.partial(reader, what, defer=True): 1,
            lambda: self.tracker.finalize(reader, what): 1,
            lambda: self.tracker.flush_reader(reader): 1,
            lambda: self.tracker.sweep(idle_seconds=self.random.choice([0, 60])): 2,
            lambda: self.tracker.unpark(reader, what): 1,
        }
        (verb,) = self.random.choices([*verbs], [*verbs.values()])
        with suppress(ReadTimeError):  # on_report was told of it, too
            verb()


@pytest.mark.parametrize("seed", range(60))
def test_what_is_told_adds_up(seed):
    """V11, U4: seconds sent and seconds read beside another article are each told once, and none is left out."""
    host = Host(seed)
    for _ in range(40):
        host.step()
    states = [state for reader in READERS for state in host.tracker.states(reader)]
    sent = sum(report.delta_seconds for report in host.told)
    beside = sum(report.beside_seconds for report in host.told)
    assert sent == pytest.approx(sum(state.reported_read_time_seconds for state in states))
    assert beside == pytest.approx(sum(state.beside_seconds for state in states))
