"""ReadTimeTracker: on_report hears of each commit or failure, by whichever verb, and can never break it."""

from __future__ import annotations

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, Outcome
from tests.scenes import (
    ANNA,
    BEES,
    BEN,
    OWLS,
    WAIT_SECONDS,
    HeldEmitter,
    Scene,
    SelectiveEmitter,
    events,
    everything,
    running,
)


def outcomes(scene):
    """What on_report heard."""
    return [report.outcome for report in scene.reports]


@pytest.mark.parametrize(
    "send",
    [
        lambda tracker: tracker.partial(ANNA, OWLS),
        lambda tracker: tracker.finalize(ANNA, OWLS),
        lambda tracker: tracker.unpark(ANNA, OWLS),
        lambda tracker: tracker.flush_reader(ANNA),
        lambda tracker: tracker.sweep(idle_seconds=0),
        lambda tracker: tracker.accumulate(ANNA, OWLS, 0, position_seconds=9, duration_seconds=9),
    ],
    ids=["partial", "finalize", "unpark", "flush", "sweep", "completion"],
)
def test_every_verb_tells(scene: Scene, send):
    """V11: on_report hears of each commit, by whichever verb, with the state that it left."""
    scene.read()
    send(scene.tracker)
    (report,) = scene.reports
    assert (report.outcome, report.delta_seconds, report.error) == (Outcome.SENT, 30.0, None)
    assert (report.reader_sourced_id, report.resource_id) == ("anna", "owls")
    assert report.event_ids == (scene.emitter.events[0]["id"],)
    assert report.state.reported_read_time_seconds == 30.0


def test_failures_are_told(scene: Scene):
    """V11: of failures too: FAILED with the error and the next try, PARKED with the refusal."""
    scene.read()
    for error in (EmitterUnavailable("gone"), EventRejected("bad", status=422)):
        scene.emitter.fail(error)
        with pytest.raises(type(error)):
            scene.tracker.partial(ANNA, OWLS)
    failed, parked = scene.reports
    assert (failed.outcome, str(failed.error), failed.delta_seconds) == (Outcome.FAILED, "gone", 0.0)
    assert failed.retry_at > scene.clock()
    assert (parked.outcome, parked.error.status) == (Outcome.PARKED, 422)
    assert parked.event_ids == failed.event_ids
    assert parked.state.unreported_seconds == 30.0


def test_an_event_that_cannot_be_built_is_told(scene: Scene):
    """C5, V11: an event that cannot be built is parked: a failure like others, raised by partial and told once."""

    class Broken:
        """A builder that cannot build."""

        def __getattr__(self, name):
            return getattr(events(), name)

        def event(self, *_args, **_more):
            raise ZeroDivisionError

    scene.use(events=Broken())
    scene.read()
    with pytest.raises(EventRejected) as raised:
        scene.tracker.partial(ANNA, OWLS)
    assert outcomes(scene) == [Outcome.PARKED]
    assert raised.value.event_ids == scene.reports[0].event_ids == (scene.state().parked[0].event_id,)


def test_what_sends_nothing_is_not_told(scene: Scene):
    """V11: only commits and failures are told: no deferral, nothing to send, no IN_FLIGHT."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS, defer=True)
    gate = HeldEmitter()
    with running(lambda: scene.another(gate).partial(ANNA, OWLS)):
        assert gate.arrived.wait(WAIT_SECONDS)
        scene.tracker.partial(ANNA, OWLS)
        assert scene.reports == []
        gate.open.set()
    scene.tracker.partial(ANNA, OWLS)
    assert outcomes(scene) == [Outcome.SENT]


def test_each_event_is_told_once(scene: Scene):
    """V11: a sweep and a flush tell of each event."""
    for reader, what in ((ANNA, OWLS), (ANNA, BEES), (BEN, OWLS)):
        scene.read(reader, what)
    scene.tracker.flush_reader(ANNA)
    scene.tracker.sweep(idle_seconds=0)
    assert outcomes(scene) == [Outcome.SENT] * 3
    assert sum(report.delta_seconds for report in scene.reports) == 90.0


def test_a_systemic_refusal_is_told(scene: Scene):
    """V11: of every event that a systemic refusal held back."""
    scene.use(SelectiveEmitter(everything))
    for reader in (ANNA, BEN):
        scene.read(reader)
    scene.tracker.sweep(idle_seconds=0)
    assert outcomes(scene) == [Outcome.FAILED] * 2


@pytest.mark.parametrize("error", [None, EmitterUnavailable("gone"), EventRejected("bad", status=422)])
def test_it_can_never_break_a_report(scene: Scene, error, caplog):
    """V11: it can never break a report: what it raises is logged, the report stands."""

    def broken(_report):
        raise RuntimeError("metrics are down for anna@example.org")

    scene.use(on_report=broken)
    scene.read()
    if error is None:
        assert scene.tracker.finalize(ANNA, OWLS).outcome is Outcome.SENT
        assert scene.state().finalized_at is not None
    else:
        scene.emitter.fail(error)
        with pytest.raises(type(error)):
            scene.tracker.finalize(ANNA, OWLS)
        assert scene.state().unreported_seconds == 30.0
    assert "on_report raised" in caplog.text
    assert "anna@example.org" not in caplog.text


def test_it_may_call_the_tracker(scene: Scene):
    """V11: it is called after the commit, with no lock held: it may look at the tracker, and even report."""
    seen = []

    def look(report):
        seen.append(scene.tracker.state(report.reader_sourced_id, report.resource_id).unreported_seconds)
        seen.append(scene.tracker.partial(ANNA, OWLS).outcome)

    scene.use(on_report=look)
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    assert seen == [0.0, Outcome.NOTHING_TO_SEND]
