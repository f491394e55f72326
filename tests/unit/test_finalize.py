"""PROTOCOL "Reports": finalize, at the public verb."""

from __future__ import annotations

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, Outcome, Reader
from tests.scenes import ANNA, BEES, OWLS, WAIT_SECONDS, CircuitBreaker, Hooked, Scene, running, value

DAY = 86_400


def test_a_first_finalize_sends_and_stamps(scene: Scene):
    """Finalize: "A first finalize that leaves nothing whole stamps finalized_at"."""
    scene.read(seconds=42.5)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.SENT, 42.0, [42])
    assert report.state.finalized_at == scene.clock()
    assert report.state.unreported_seconds == 0.5
    assert scene.state() == report.state


def test_a_finalize_with_nothing_to_send_stamps_too(scene: Scene):
    """Finalize: "(NOTHING_TO_SEND if there was nothing to send)"."""
    scene.tracker.accumulate(ANNA, OWLS, 0)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert (report.outcome, scene.sent) == (Outcome.NOTHING_TO_SEND, [])
    assert scene.state().finalized_at == scene.clock()


def test_a_later_finalize_sends_new_time_and_leaves_the_stamp(scene: Scene):
    """Finalize: "a later one sends new time and leaves the stamp"."""
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
    """Finalize: "the same [the older claim and one round]": an older claim goes first, under its own id."""
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
    """Finalize: "at most 3 rounds more": what is read while it sends is sent as well."""
    scene.read()
    hooked = Hooked(lambda: scene.read(seconds=7))
    report = scene.use(hooked).finalize(ANNA, OWLS)
    assert [value(event) for event in hooked.events] == [30, 7]
    assert report.delta_seconds == 37.0
    assert report.state.finalized_at is not None


def test_a_finalize_makes_at_most_four_rounds(scene: Scene):
    """Finalize: "at most 3 rounds more": five days are four events, the rest stays due and wanted."""
    scene.read(seconds=5 * DAY)
    report = scene.tracker.finalize(ANNA, OWLS)
    assert scene.sent == [DAY] * 4
    assert (report.outcome, report.delta_seconds) == (Outcome.SENT, 4.0 * DAY)
    assert report.state.finalized_at is None
    assert scene.tracker.partial(ANNA, OWLS).state.finalized_at is not None
    assert scene.sent == [DAY] * 5


def test_a_finalize_that_fails_is_finished_by_whoever_comes_next(scene: Scene):
    """Finalize: "A finalize that cannot finish leaves finalize_wanted (M)": a partial's commit stamps."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.finalize(ANNA, OWLS)
    assert scene.state().finalized_at is None
    report = scene.tracker.partial(ANNA, OWLS)
    assert report.state.finalized_at == scene.clock()


def test_a_finalize_that_fails_is_finished_by_the_sweep(scene: Scene):
    """Finalize: "A finalize that cannot finish leaves finalize_wanted (M)": the sweep stamps."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.finalize(ANNA, OWLS)
    scene.clock.advance(60)
    assert scene.tracker.sweep().events_sent == 1
    assert scene.state().finalized_at == scene.clock()


def test_a_finalize_that_met_another_owner_is_finished_by_that_owner(scene: Scene):
    """Finalize: "(IN_FLIGHT, failure) leaves finalize_wanted (M)": the winner's commit stamps."""
    scene.read()
    gate = CircuitBreaker()
    winner = scene.another(gate)
    with running(lambda: winner.partial(ANNA, OWLS)) as results:
        assert gate.arrived.wait(WAIT_SECONDS)
        assert scene.tracker.finalize(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
        gate.open.set()
    assert results[0].state.finalized_at is not None
    assert scene.sent == []


def test_a_partial_never_stamps_on_its_own(scene: Scene):
    """Partial is no finalize: without finalize_wanted nothing is stamped."""
    scene.read()
    assert scene.tracker.partial(ANNA, OWLS).state.finalized_at is None


def test_time_after_finalize_counts_and_is_reported(scene: Scene):
    """Time after finalize keeps counting; the next partial reports it."""
    scene.read()
    scene.tracker.finalize(ANNA, OWLS)
    scene.read(seconds=20)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 20.0
    assert scene.emitter.seconds(ANNA, OWLS) == 50.0


def test_a_finalize_with_only_parked_seconds_raises_the_oldest(scene: Scene):
    """Park: "finalize with nothing but unclaimable parked seconds left raises the oldest event's EventRejected"."""
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
    """Park: "later time is not stuck behind it (M)"; parked seconds "keep finalized_at unset"."""
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
    """Park: "a corrected e-mail heals itself; partial and finalize with objects refresh the context first"."""
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
    """Key: finalizing concerns one article."""
    scene.read(ANNA, OWLS)
    scene.read(ANNA, BEES)
    scene.tracker.finalize(ANNA, OWLS)
    assert scene.state(ANNA, BEES).finalized_at is None
