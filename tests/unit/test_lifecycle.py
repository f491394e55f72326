"""ReadTimeTracker: what it refuses to be built from, threads, and what it may do without an emitter."""

from __future__ import annotations

from datetime import datetime

import pytest

from caliper_readtime import (
    ConfigurationError,
    EmitterUnavailable,
    InMemoryStateStore,
    InvalidInput,
    Outcome,
    PageView,
    ReadTimePolicy,
    ReadTimeTracker,
)
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, OWLS, Scene, article, events, in_threads


class Deadline(RecordingEmitter):
    """Promises to return within a time."""

    def __init__(self, deadline_seconds):
        super().__init__()
        self.deadline_seconds = deadline_seconds


@pytest.mark.parametrize("deadline", [30.0, 31.0])
def test_a_deadline_not_below_the_lock_is_refused(scene: Scene, deadline):
    """C9: the tracker refuses (ConfigurationError) an emitter that states a deadline not below it."""
    with pytest.raises(ConfigurationError, match="deadline"):
        scene.another(Deadline(deadline))


def test_a_deadline_below_the_lock_is_fine(scene: Scene):
    """C9: below the lock it sends."""
    scene.use(Deadline(29.9))
    scene.read()
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.SENT


@pytest.mark.parametrize("verb", ["partial", "finalize", "flush", "sweep"])
def test_no_emission_starts_that_cannot_end_within_the_lease(scene: Scene, verb):
    """C10, L6: an emission that might outlast the lease does not start: released, and no attempt counted."""
    now = [0.0]

    class Slow:
        """The store; every update takes 5.1 s, so that 24.9 s of a new lease are left."""

        def __getattr__(self, name):
            return getattr(scene.store, name)

        def update(self, *args):
            now[0] += 5.1
            return scene.store.update(*args)

    emitter = Deadline(25.0)
    scene.read()
    tracker = scene.another(emitter, store=Slow())
    tracker._delivery.leases.monotonic = lambda: now[0]
    if verb == "sweep":
        swept = tracker.sweep(idle_seconds=0)
        assert (swept.stopped_by, swept.failed, swept.more) == ("unavailable", 1, True)
    elif verb == "flush":
        assert not tracker.flush_reader(ANNA).settled
    else:
        with pytest.raises(EmitterUnavailable):
            getattr(tracker, verb)(ANNA, OWLS)
    state = scene.state()
    assert emitter.events == []
    assert state.attempts == 0
    assert state.due_at == scene.clock()  # whoever is faster may send at once
    assert scene.another().sweep(idle_seconds=0).events_sent == 1


@pytest.mark.parametrize(
    "other",
    [{"sensor": "https://other.example.org"}, {"oneroster_url": "https://other.example.org"}],
    ids=["sensor", "OneRoster URL"],
)
def test_two_trackers_of_different_facts_on_one_store(scene: Scene, other):
    """T6: sensor and OneRoster URL: a mismatch is a ConfigurationError, before anything changes."""
    scene.read()
    stranger = scene.another(RecordingEmitter(), events=events(**other))
    for verb in (
        lambda: stranger.accumulate(ANNA, OWLS, 1),
        lambda: stranger.observe(ANNA, OWLS, PageView("v", 1)),
        lambda: stranger.partial(ANNA, OWLS),
        lambda: stranger.finalize(ANNA, OWLS, defer=True),
        lambda: stranger.flush_reader(ANNA),
        stranger.sweep,
        lambda: stranger.unpark(ANNA, OWLS),
    ):
        before = scene.state()
        with pytest.raises(ConfigurationError, match="in use"):
            verb()
        assert scene.state() == before
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.SENT


def test_the_same_facts_share_a_store(scene: Scene):
    """T6: another tracker with the same sensor and OneRoster URL, however written, is welcome."""
    scene.read()
    other = scene.another(events=events(oneroster_url="https://roster.example.org/"))
    assert other.partial(ANNA, OWLS).outcome is Outcome.SENT


def test_an_emitter_needs_a_builder():
    """ReadTimeTracker: an emitter without events has nothing to send."""
    with pytest.raises(ConfigurationError, match="events"):
        ReadTimeTracker(InMemoryStateStore(), RecordingEmitter())


@pytest.mark.parametrize("builder", [None, events()], ids=["no events", "events"])
def test_without_an_emitter_it_accumulates_defers_and_inspects(scene: Scene, builder):
    """ReadTimeTracker: "emitter None = may accumulate, defer and inspect"."""
    silent = ReadTimeTracker(scene.store, None, builder, clock=scene.clock)
    assert silent.accumulate(ANNA, OWLS, 10).accepted_seconds == 10.0
    assert silent.observe(ANNA, OWLS, PageView("v", 5)).accepted_seconds == 5.0
    assert silent.partial(ANNA, OWLS, defer=True).outcome is Outcome.DEFERRED
    assert silent.state(ANNA, OWLS) == silent.states(ANNA)[0]
    assert silent.parked() == ()
    assert silent.status().unreported_seconds == 15.0
    assert silent.explain(ANNA, OWLS).state == silent.state(ANNA, OWLS)
    assert silent.forget(ANNA) == 1


@pytest.mark.parametrize(
    "send",
    [
        lambda tracker: tracker.partial(ANNA, OWLS),
        lambda tracker: tracker.finalize("anna", "owls"),
        lambda tracker: tracker.partial(ANNA, article("owls", title="Changed")),
        lambda tracker: tracker.flush_reader(ANNA),
        lambda tracker: tracker.sweep(idle_seconds=0),
        lambda tracker: tracker.unpark(ANNA, OWLS),
    ],
    ids=["partial", "finalize", "partial with news", "flush", "sweep", "unpark"],
)
def test_without_an_emitter_sending_changes_nothing(scene: Scene, send):
    """ReadTimeTracker: "sending raises ConfigurationError", before anything changes."""
    silent = ReadTimeTracker(scene.store, clock=scene.clock)
    scene.read(tracker=silent)
    before = scene.state()
    with pytest.raises(ConfigurationError, match="no emitter"):
        send(silent)
    assert scene.state() == before
    assert scene.store.last_sweep() is None


def test_it_is_a_context_manager_and_its_parts_live_on(scene: Scene):
    """ReadTimeTracker: a context manager; parts that were passed in stay open."""
    with scene.tracker as entered:
        assert entered is scene.tracker
        scene.read()
    scene.tracker.close()
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.SENT


def test_a_naive_clock_is_refused(scene: Scene):
    """Values: "times are timezone-aware UTC datetimes": a host's clock too."""
    tracker = ReadTimeTracker(scene.store, clock=lambda: datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point
    with pytest.raises(InvalidInput, match="aware"):
        tracker.accumulate(ANNA, OWLS, 1)
    assert scene.tracker.state(ANNA, OWLS) is None


def test_the_stores_own_clock_is_the_default(scene: Scene):
    """T3: ``clock=None`` is the store's own."""
    before = scene.store.now()
    tracker = ReadTimeTracker(scene.store, RecordingEmitter(), events())
    state = tracker.accumulate(ANNA, OWLS, 10).state
    assert before <= state.last_server_sync_at.timestamp() * 1000 <= scene.store.now()
    assert tracker.finalize(ANNA, OWLS).outcome is Outcome.SENT


def test_heartbeats_of_many_threads_all_count(scene: Scene):
    """ReadTimeTracker: "Thread-safe": 16 threads' heartbeats on one state lose nothing."""
    scene.tracker.accumulate(ANNA, OWLS, 0)
    scene.clock.advance(300)

    def beat():
        return sum(scene.tracker.accumulate("anna", "owls", 1).accepted_seconds for _ in range(18))

    assert sum(in_threads(*[beat] * 16)) == 288.0
    assert scene.state().cumulative_read_time_seconds == 288.0


def test_heartbeats_and_reports_of_many_threads_agree(scene: Scene):
    """ReadTimeTracker: "Thread-safe": beats, partials, finalizes, flushes and sweeps at once: each second once."""
    scene.tracker.accumulate(ANNA, OWLS, 0)
    scene.clock.advance(300)

    def beats():
        for _ in range(40):
            scene.tracker.accumulate("anna", "owls", 1.5)

    def reports(send):
        for _ in range(15):
            send()

    in_threads(
        *[beats] * 4,
        lambda: reports(lambda: scene.tracker.partial("anna", "owls")),
        lambda: reports(lambda: scene.tracker.finalize("anna", "owls")),
        lambda: reports(lambda: scene.tracker.flush_reader("anna")),
        lambda: reports(lambda: scene.tracker.sweep(idle_seconds=0)),
    )
    scene.tracker.finalize(ANNA, OWLS)
    assert scene.state().cumulative_read_time_seconds == 240.0
    assert sum(scene.sent) == 240
    assert len({event["id"] for event in scene.emitter.events}) == len(scene.emitter.events)
    assert sum(report.delta_seconds for report in scene.reports) == 240.0


def test_trackers_of_different_policies_share_a_state(scene: Scene):
    """Hosts during a deployment: rules of the caller apply, and nothing is lost between them."""
    scene.read(seconds=30)
    other = scene.another(policy=ReadTimePolicy(max_delta_seconds=5))
    scene.clock.advance(10)
    assert other.accumulate(ANNA, OWLS, 10).accepted_seconds == 5.0
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 35.0
