"""Finalize, at the public verb (chapter V)."""

from __future__ import annotations

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, Outcome, Reader
from tests.scenes import ANNA, BEES, OWLS, WAIT_SECONDS, HeldEmitter, Hooked, Scene, running, value

DAY = 86_400


def test_a_first_finalize_sends_and_stamps(scene: Scene):
    """D8: a first finalize that leaves nothing whole stamps finalized_at."""
    scene.read(seconds=42.5)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.SENT, 42.0, [42])
    assert report.state.finalized_at == scene.clock()
    assert report.state.unreported_seconds == 0.5
    assert scene.state() == report.state


def test_a_finalize_with_nothing_to_send_stamps_too(scene: Scene):
    """D8, V7: a finalize with nothing to send stamps too, and says NOTHING_TO_SEND."""
    scene.tracker.accumulate(ANNA, OWLS, 0)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert (report.outcome, scene.sent) == (Outcome.NOTHING_TO_SEND, [])
    assert scene.state().finalized_at == scene.clock()


def test_a_later_finalize_sends_new_time_and_leaves_the_stamp(scene: Scene):
    """V5: a later one sends new time and leaves the stamp."""
    scene.read()
    scene.tracker.finalize(ANNA, OWLS)
    stamp = scene.clock()
    scene.read(seconds=15)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.SENT, 15.0, [30, 15])
    assert scene.state().finalized_at == stamp
    assert scene.tracker.finalize(ANNA, OWLS).outcome is Outcome.NOTHING_TO_SEND
    assert scene.state().finalized_at == stamp


def test_a_finalize_sends_the_older_claim_first(scene: Scene):
    """V1: an older claim goes first, under its own id."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("lost"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(seconds=12)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert scene.sent == [30, 30, 12]
    assert scene.emitter.events[0] == scene.emitter.events[1]
    assert report.delta_seconds == 42.0
    assert report.state.finalized_at is not None


def test_a_finalize_goes_on_for_time_that_arrives_meanwhile(scene: Scene):
    """V1: what is read while a finalize sends is sent as well, in up to three rounds more."""
    scene.read()
    hooked = Hooked(lambda: scene.read(seconds=7))
    report = scene.use(hooked).finalize(ANNA, OWLS)
    assert [value(event) for event in hooked.events] == [30, 7]
    assert report.delta_seconds == 37.0
    assert report.state.finalized_at is not None


def test_a_finalize_makes_at_most_four_rounds(scene: Scene):
    """V1: five days are four events in four rounds; the rest stays due and wanted."""
    scene.read(seconds=5 * DAY)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert scene.sent == [DAY] * 4
    assert (report.outcome, report.delta_seconds) == (Outcome.SENT, 4.0 * DAY)
    assert report.state.finalized_at is None
    assert scene.tracker.partial(ANNA, OWLS).state.finalized_at is not None
    assert scene.sent == [DAY] * 5


def test_a_finalize_that_fails_is_finished_by_whoever_comes_next(scene: Scene):
    """V6: a finalize that cannot finish leaves finalize_wanted: a partial's commit stamps."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.finalize(ANNA, OWLS)
    assert scene.state().finalized_at is None
    report = scene.tracker.partial(ANNA, OWLS)
    assert report.state.finalized_at == scene.clock()


def test_a_finalize_that_fails_is_finished_by_the_sweep(scene: Scene):
    """V6: a finalize that cannot finish leaves finalize_wanted: the sweep stamps."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.finalize(ANNA, OWLS)
    scene.clock.advance(60)
    assert scene.tracker.sweep().events_sent == 1
    assert scene.state().finalized_at == scene.clock()


def test_a_finalize_that_met_another_owner_is_finished_by_that_owner(scene: Scene):
    """V6: a finalize that meets another owner leaves its wish: the winner's commit stamps."""
    scene.read()
    gate = HeldEmitter()
    winner = scene.another(gate)
    with running(lambda: winner.partial(ANNA, OWLS)) as results:
        assert gate.arrived.wait(WAIT_SECONDS)
        assert scene.tracker.finalize(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
        gate.open.set()
    assert results[0].state.finalized_at is not None
    assert scene.sent == []


def test_a_partial_never_stamps_on_its_own(scene: Scene):
    """D8: partial is no finalize: without finalize_wanted nothing is stamped."""
    scene.read()
    assert scene.tracker.partial(ANNA, OWLS).state.finalized_at is None


def test_time_after_finalize_counts_and_is_reported(scene: Scene):
    """V5: time after finalize keeps counting; the next partial reports it."""
    scene.read()
    scene.tracker.finalize(ANNA, OWLS)
    scene.read(seconds=20)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 20.0
    assert scene.emitter.seconds(ANNA, OWLS) == 50.0


def test_a_finalize_with_only_parked_seconds_raises_the_oldest(scene: Scene):
    """V8: nothing but waiting parked events left: the oldest one's EventRejected is raised."""
    for seconds, status in ((30, 422), (20, 400)):
        scene.read(seconds=seconds)
        scene.emitter.fail(EventRejected("bad", status=status))
        with pytest.raises(EventRejected):
            scene.tracker.partial(ANNA, OWLS)
    oldest = scene.state().parked[0]
    with pytest.raises(EventRejected) as raised:
        scene.tracker.finalize(ANNA, OWLS)
    assert raised.value.event_ids == (oldest.event_id,)
    assert raised.value.status == 422
    assert scene.state().finalized_at is None
    assert scene.sent == []


def test_a_finalize_sends_new_time_behind_parked_seconds(scene: Scene):
    """P2, P3: later time is not stuck behind it; parked seconds keep finalized_at unset."""
    scene.read()
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.finalize(ANNA, OWLS)
    scene.read(seconds=20)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.SENT, 20.0, [20])
    assert report.state.finalized_at is None
    assert report.state.unreported_seconds == 30.0


def test_a_corrected_reader_finalizes_parked_seconds(scene: Scene):
    """P4: a corrected e-mail heals itself; partial and finalize with objects refresh the context first."""
    scene.read()
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.finalize(ANNA, OWLS)
    parked = scene.state().parked[0].event_id
    report = scene.tracker.finalize(Reader("anna", "right@example.org"), OWLS)
    assert (report.outcome, report.delta_seconds, report.event_ids) == (Outcome.SENT, 30.0, (parked,))
    assert report.state.finalized_at is not None
    assert scene.emitter.events[0]["actor"]["email"] == "right@example.org"


def test_finalizing_one_article_leaves_the_other(scene: Scene):
    """I1: finalizing concerns one article."""
    scene.read(ANNA, OWLS)
    scene.read(ANNA, BEES)
    scene.tracker.finalize(ANNA, OWLS)
    assert scene.state(ANNA, BEES).finalized_at is None
