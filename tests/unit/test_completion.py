"""What a heartbeat that completes an article does (S12 to S14)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EventRejected,
    Outcome,
    ReadTimePolicy,
    ReadTimeTracker,
    StoreUnavailable,
)
from tests.scenes import ANNA, OWLS, WAIT_SECONDS, HeldEmitter, Scene, events, running


def complete(scene, seconds=0.0, **more):
    """A heartbeat at the end of a hundred-second article."""
    scene.clock.advance(seconds)
    return scene.tracker.accumulate(ANNA, OWLS, seconds, position_seconds=95, duration_seconds=100, **more)


def test_reaching_the_ratio_finalizes_at_once(scene: Scene):
    """S12, S13: reaching the ratio of position and duration finalizes at once where ``send`` is set."""
    scene.read(seconds=30)
    counted = complete(scene, 10)
    assert (counted.accepted_seconds, counted.report.outcome, counted.report.delta_seconds) == (10, Outcome.SENT, 40.0)
    assert counted.state.finalized_at == scene.clock()
    assert counted.state == scene.state()
    assert scene.sent == [40]


def test_below_the_ratio_nothing_happens(scene: Scene):
    """S12: 94.9 of 100 is not completed; without a position or a duration nothing is."""
    for position, duration in ((94.999, 100), (None, 100), (94, None)):
        counted = scene.tracker.accumulate(ANNA, OWLS, 0, position_seconds=position, duration_seconds=duration)
        assert counted.report is None
    assert scene.state().finalized_at is None


def test_the_canonical_duration_decides(scene: Scene):
    """S11, S12: position / canonical duration: a later, shorter duration completes nothing."""
    scene.tracker.accumulate(ANNA, OWLS, 0, duration_seconds=200)
    counted = scene.tracker.accumulate(ANNA, OWLS, 0, position_seconds=99, duration_seconds=100)
    assert counted.report is None
    assert counted.state.canonical_duration_seconds == 200.0


def test_dwelling_completes_where_it_is_set(scene: Scene):
    """S12: a total of completion_dwell_seconds completes, where that is set."""
    scene.use(policy=ReadTimePolicy(completion_dwell_seconds=20))
    assert scene.read(seconds=19.9).report is None
    counted = scene.read(seconds=0.1)
    assert (counted.report.outcome, scene.sent) == (Outcome.SENT, [20])


def test_completion_is_judged_where_no_time_is_claimed(scene: Scene):
    """S5: new context, position and duration it brings are stored, and completion is judged."""
    scene.read(seconds=30)
    before = scene.state()
    counted = complete(scene, 0)
    assert counted.report.outcome is Outcome.SENT
    assert counted.state.last_server_sync_at == before.last_server_sync_at


def test_completion_with_nothing_to_send_stamps(scene: Scene):
    """D8: finalize wanted, no claim, nothing whole, nothing parked -> finalized_at."""
    counted = complete(scene, 0)
    assert counted.report.outcome is Outcome.NOTHING_TO_SEND
    assert counted.state.finalized_at == scene.clock()


def test_a_finalized_state_is_not_completed_again(scene: Scene):
    """S12: a finalized state is not completed again: later heartbeats only count."""
    scene.read(seconds=30)
    complete(scene, 10)
    counted = complete(scene, 10)
    assert (counted.accepted_seconds, counted.report) == (10.0, None)
    assert scene.sent == [40]
    assert scene.state().unreported_seconds == 10.0


def test_defer_leaves_it_to_the_sweeper(scene: Scene):
    """S13: ``defer`` leaves it to the sweeper, due at once whatever the idle time."""
    scene.use(policy=ReadTimePolicy(completion="defer"))
    scene.read(seconds=30)
    counted = complete(scene, 10)
    assert (counted.report.outcome, scene.sent) == (Outcome.DEFERRED, [])
    assert counted.state.due_at == scene.clock()
    assert scene.tracker.sweep(idle_seconds=3600).seconds_sent == 40.0
    assert scene.state().finalized_at == scene.clock()


def test_send_without_an_emitter_leaves_it_to_the_sweeper(scene: Scene):
    """S13: ``send`` without an emitter leaves it to the sweeper, who may be another host."""
    silent = ReadTimeTracker(scene.store, clock=scene.clock)
    silent.accumulate(ANNA, OWLS, 10)
    counted = silent.accumulate(ANNA, OWLS, 0, position_seconds=100, duration_seconds=100)
    assert counted.report.outcome is Outcome.DEFERRED
    assert scene.tracker.sweep(idle_seconds=3600).seconds_sent == 10.0
    assert scene.state().finalized_at is not None


def test_a_failed_emission_never_fails_the_heartbeat(scene: Scene):
    """S14: a failed emission never fails the heartbeat: logged, report.outcome FAILED, time stays due."""
    scene.read(seconds=30)
    error = EmitterUnavailable("gone")
    scene.emitter.fail(error)
    counted = complete(scene, 10)
    state = scene.state()
    assert counted.accepted_seconds == 10.0
    assert counted.report.outcome is Outcome.FAILED
    assert counted.report.error is error
    assert counted.report.delta_seconds == 0.0
    assert counted.report.event_ids == (state.history[-1].event_id,)
    assert counted.report.retry_at == state.due_at
    assert counted.report.state == counted.state == state
    assert state.unreported_seconds == 40.0
    assert scene.clock() < state.due_at <= scene.clock() + timedelta(seconds=5)


def test_a_refused_event_never_fails_the_heartbeat(scene: Scene):
    """S14: a refusal is told as PARKED inside the result."""
    scene.read(seconds=30)
    scene.emitter.fail(EventRejected("bad", status=422))
    counted = complete(scene, 10)
    assert counted.report.outcome is Outcome.PARKED
    assert counted.report.event_ids == (counted.state.parked[0].event_id,)
    assert counted.report.error.status == 422
    assert scene.state().unreported_seconds == 40.0


def test_while_a_back_off_runs_heartbeats_send_nothing(scene: Scene):
    """S14: while a back-off runs, further heartbeats answer DEFERRED and send nothing."""
    scene.use(policy=ReadTimePolicy(retry_backoff_seconds=600))
    scene.read(seconds=30)
    scene.emitter.fail(EmitterUnavailable("gone"))
    complete(scene, 10)
    due = scene.state().due_at
    for _ in range(3):
        counted = complete(scene, 10)
        assert (counted.accepted_seconds, counted.report.outcome) == (10.0, Outcome.DEFERRED)
    assert scene.sent == []
    assert scene.state().due_at == due  # never shortened
    scene.clock.advance(600)
    assert complete(scene, 10).report.delta_seconds == 80.0
    assert scene.sent == [40, 40]


def test_while_an_event_is_parked_heartbeats_send_nothing(scene: Scene):
    """S14: while an event is parked, further heartbeats answer DEFERRED and send nothing."""
    scene.read(seconds=30)
    scene.emitter.fail(EventRejected("bad", status=422))
    complete(scene, 10)
    for _ in range(3):
        counted = complete(scene, 10)
        assert (counted.accepted_seconds, counted.report.outcome) == (10.0, Outcome.DEFERRED)
    assert scene.sent == []
    scene.clock.advance(60)
    assert scene.tracker.sweep().seconds_sent == 30.0


def test_a_heartbeat_meets_another_owner(scene: Scene):
    """S14, C1: a heartbeat that completes while another owner sends answers IN_FLIGHT, and its time stays."""
    scene.read(seconds=30)
    gate = HeldEmitter()
    sender = scene.another(gate)
    with running(lambda: sender.partial(ANNA, OWLS)):
        assert gate.arrived.wait(WAIT_SECONDS)
        counted = complete(scene, 10)
        gate.open.set()
    assert (counted.accepted_seconds, counted.report.outcome) == (10.0, Outcome.IN_FLIGHT)
    assert scene.tracker.finalize(ANNA, OWLS).delta_seconds == 10.0


def test_a_completion_never_shortens_a_lease(scene: Scene):
    """D4: a deferral or a completion never shortens a lease or a back-off."""
    scene.use(policy=ReadTimePolicy(completion="defer"))
    scene.read(seconds=30)
    scene.emitter.fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        scene.tracker.partial(ANNA, OWLS)
    lease = scene.state().due_at
    complete(scene, 10)
    assert scene.state().due_at == lease


def test_a_store_that_fails_after_the_heartbeat_does_not_fail_it(scene: Scene):
    """S14: the heartbeat has been accepted once its time is stored, whatever comes of the report."""

    class Breaks:
        """The store, until it breaks after the first update."""

        def __init__(self, inner):
            self.inner = inner
            self.updates = 0

        def __getattr__(self, name):
            return getattr(self.inner, name)

        def update(self, *args):
            self.updates += 1
            if self.updates > 1:
                raise StoreUnavailable("gone")
            return self.inner.update(*args)

    scene.read(seconds=30)
    broken = ReadTimeTracker(Breaks(scene.store), scene.emitter, events(), clock=scene.clock)
    scene.clock.advance(10)
    counted = broken.accumulate(ANNA, OWLS, 10, position_seconds=100, duration_seconds=100)
    assert (counted.accepted_seconds, counted.report.outcome) == (10.0, Outcome.FAILED)
    assert isinstance(counted.report.error.__cause__, StoreUnavailable)
    assert scene.tracker.sweep(idle_seconds=3600).seconds_sent == 40.0
