"""Deferring, and when a deferred state is due (V9)."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, Outcome, Reader, ReadTimeTracker
from tests.scenes import ANNA, BEN, OWLS, Scene


@pytest.mark.parametrize("verb", ["partial", "finalize"])
def test_deferring_sends_nothing_and_makes_it_due_at_once(scene: Scene, verb):
    """V9: deferring sends nothing, answers DEFERRED, and makes new time due at once."""
    scene.read(seconds=30)
    scene.clock.advance(2)
    report = getattr(scene.tracker, verb)(ANNA, OWLS, defer=True)
    assert (report.outcome, report.delta_seconds, report.event_ids) == (Outcome.DEFERRED, 0.0, ())
    assert scene.sent == []
    assert scene.state().due_at == scene.clock() == report.retry_at
    assert scene.tracker.sweep(idle_seconds=3600).seconds_sent == 30.0


def test_a_deferred_finalize_wants_finalizing(scene: Scene):
    """V9: a deferred finalize leaves its wish; a deferred partial has none."""
    for reader, verb, stamped in ((ANNA, "finalize", True), (BEN, "partial", False)):
        scene.read(reader)
        getattr(scene.tracker, verb)(reader, OWLS, defer=True)
        scene.tracker.sweep(idle_seconds=3600)
        assert (scene.state(reader).finalized_at is not None) is stamped
    assert scene.sent == [30, 30]


@pytest.mark.parametrize("verb", ["partial", "finalize"])
def test_nothing_whole_is_nothing_to_send(scene: Scene, verb):
    """V7: NOTHING_TO_SEND when nothing whole is there; a finalize stamps."""
    scene.read(seconds=0.9)
    report = getattr(scene.tracker, verb)(ANNA, OWLS, defer=True)
    assert report.outcome is Outcome.NOTHING_TO_SEND
    assert scene.state().due_at is None
    assert (scene.state().finalized_at is not None) is (verb == "finalize")


def test_no_state_is_nothing_to_send(scene: Scene):
    """V7: no state: NOTHING_TO_SEND and nothing is created, deferred too."""
    assert scene.tracker.partial(ANNA, OWLS, defer=True).outcome is Outcome.NOTHING_TO_SEND
    assert scene.tracker.states(ANNA) == ()


def test_activity_leaves_a_deferral_alone(scene: Scene):
    """D7: deferred and failed times are explicit and activity leaves them alone."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS, defer=True)
    due = scene.state().due_at
    scene.read(seconds=10)
    assert scene.state().due_at == due
    assert scene.tracker.sweep(idle_seconds=3600).seconds_sent == 40.0


def test_a_deferral_never_shortens_a_back_off(scene: Scene):
    """D4: a deferral or a completion never shortens a lease or a back-off: a back-off."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    due = scene.state().due_at
    assert scene.tracker.finalize(ANNA, OWLS, defer=True).outcome is Outcome.DEFERRED
    assert scene.state().due_at == due
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 0


def test_a_deferral_never_shortens_a_lease(scene: Scene):
    """D4: a deferral or a completion never shortens a lease or a back-off: a lease."""
    scene.read()
    scene.emitter.fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(seconds=10)
    assert scene.tracker.partial(ANNA, OWLS, defer=True).outcome is Outcome.DEFERRED
    assert scene.state().due_at == scene.clock() + timedelta(seconds=20)  # the lease is ten seconds old


def test_deferring_with_objects_refreshes_the_context(scene: Scene):
    """Reader | str: an object refreshes the stored context, in a deferral too."""
    scene.read()
    scene.tracker.partial(Reader("anna", "new@example.org"), OWLS, defer=True)
    scene.tracker.sweep(idle_seconds=0)
    assert scene.emitter.events[0]["actor"]["email"] == "new@example.org"


def test_a_corrected_context_makes_a_parked_event_due_at_once(scene: Scene):
    """D3: a parked event is due at once when its context has changed."""
    scene.read()
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.tracker.partial(Reader("anna", "new@example.org"), OWLS, defer=True)
    assert scene.state().due_at <= scene.clock()
    assert scene.tracker.sweep(idle_seconds=3600).seconds_sent == 30.0


def test_a_tracker_without_an_emitter_defers(scene: Scene):
    """ReadTimeTracker: emitter None = may accumulate and defer."""
    silent = ReadTimeTracker(scene.store, clock=scene.clock)
    scene.read(tracker=silent)
    assert silent.finalize(ANNA, OWLS, defer=True).outcome is Outcome.DEFERRED
    scene.tracker.sweep(idle_seconds=3600)
    assert scene.state().finalized_at is not None


def warnings(caplog):
    """The lines that say that nobody sweeps."""
    return [record for record in caplog.records if "no sweep has run" in record.getMessage()]


def test_a_warning_says_that_nobody_sweeps(scene: Scene, caplog):
    """V10: when no sweep has run recently a rate-limited warning says so."""
    scene.read()
    for _ in range(3):
        scene.tracker.partial(ANNA, OWLS, defer=True)
    assert [record.levelno for record in warnings(caplog)] == [logging.WARNING]


def test_no_warning_where_a_sweep_has_run(scene: Scene, caplog):
    """V10: a sweep by whatever host of this store counts as recent."""
    scene.another().sweep()
    scene.read()
    scene.tracker.partial(ANNA, OWLS, defer=True)
    assert warnings(caplog) == []


def test_a_warning_says_that_nobody_sweeps_any_more(scene: Scene, caplog):
    """V10: a sweep of an hour ago is not a recent one."""
    scene.tracker.sweep()
    scene.read(seconds=3600)
    scene.tracker.partial(ANNA, OWLS, defer=True)
    assert len(warnings(caplog)) == 1
