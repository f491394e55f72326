"""Park and unpark, at the public verbs (chapter P)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EventRejected,
    InvalidInput,
    Outcome,
    ParkedEvent,
    Reader,
    ReadTimePolicy,
)
from tests.scenes import (
    ANNA,
    BEES,
    BEN,
    OWLS,
    WAIT_SECONDS,
    HeldEmitter,
    Scene,
    SelectiveEmitter,
    everything,
    nothing,
    running,
    until,
)

RIGHT = Reader("anna", "right@example.org")
DAY = 86_400


def park(scene, seconds=30, *, status=422):
    """Read, and have the event refused."""
    scene.read(seconds=seconds)
    scene.emitter.fail(EventRejected("bad e-mail", status=status))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)


def fill_list(scene):
    """Have eight events refused: the parked list is full."""
    for number in range(8):
        park(scene, 10 + number)
    assert len(scene.state().parked) == 8


def test_a_refused_event_is_set_aside(scene: Scene):
    """P1: a refused event is set aside; ParkedEvent tells what an operator must know."""
    park(scene)
    (parked,) = scene.state().parked
    assert parked == ParkedEvent(
        reader_sourced_id="anna",
        resource_id="owls",
        event_id=scene.state().history[-1].event_id,
        seconds=30.0,
        parked_at=scene.clock(),
        status=422,
        reason=parked.reason,
        claimable=False,
    )
    assert "bad e-mail" in parked.reason
    assert scene.tracker.parked() == (parked,)
    assert scene.state().last_error == parked.reason


def test_later_time_is_not_stuck_behind_it(scene: Scene):
    """P2: the pointer steps over its range, so later time is not stuck behind it."""
    park(scene, 30)
    scene.read(seconds=12)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 12.0
    state = scene.state()
    assert (state.reported_read_time_seconds, state.unreported_seconds) == (12.0, 30.0)
    assert scene.emitter.seconds(ANNA, OWLS) == 12.0


def test_parked_seconds_never_expire(scene: Scene):
    """P3: parked seconds stay unreported, never expire, keep finalized_at unset."""
    scene.use(policy=ReadTimePolicy(state_ttl_seconds=3600))
    park(scene)
    scene.clock.advance(365 * DAY)
    assert scene.state().unreported_seconds == 30.0
    scene.emitter.fail(EventRejected("still", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.finalize(ANNA, OWLS)
    assert scene.state().finalized_at is None


def test_an_unchanged_event_is_not_sent_again_at_once(scene: Scene):
    """P4: before its context differs or its retry time has come, partial sends nothing."""
    park(scene)
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.NOTHING_TO_SEND
    assert scene.tracker.partial("anna", "owls").outcome is Outcome.NOTHING_TO_SEND
    assert scene.sent == []


@pytest.mark.parametrize("verb", ["partial", "finalize"])
def test_a_corrected_e_mail_heals_itself(scene: Scene, verb):
    """P4, P7: a corrected e-mail heals itself; rebuilt under the same id, and before new time."""
    park(scene, 30)
    parked = scene.state().parked[0].event_id
    scene.read(seconds=12)
    report = getattr(scene.tracker, verb)(RIGHT, OWLS)
    assert scene.emitter.events[0]["id"] == parked
    assert [event["actor"]["email"] for event in scene.emitter.events] == ["right@example.org"] * 2
    assert scene.sent == [30, 12]
    assert (report.outcome, report.delta_seconds) == (Outcome.SENT, 42.0)
    assert report.state.parked == ()
    assert report.state.last_error is None


def test_a_heartbeat_brings_the_correction(scene: Scene):
    """P4: a heartbeat brings the correction: then it is due at once."""
    park(scene)
    scene.tracker.accumulate(RIGHT, OWLS, 0)
    assert scene.tracker.parked()[0].claimable
    assert scene.state().due_at <= scene.clock()
    assert scene.tracker.sweep().seconds_sent == 30.0


def test_the_retry_comes_a_day_later_with_jitter(scene: Scene):
    """P4: the retry comes a day later, with jitter, and again a day after the next refusal."""
    park(scene)
    for _ in range(3):
        wait = (scene.state().due_at - scene.clock()).total_seconds()
        assert 0.9 * DAY <= wait <= DAY
        scene.clock.advance(wait - 1)
        assert scene.tracker.sweep().reports == ()
        assert not scene.tracker.parked()[0].claimable
        scene.clock.advance(1)
        assert scene.tracker.parked()[0].claimable
        scene.emitter.fail(EventRejected("still bad", status=400))
        assert scene.tracker.sweep().parked == 1
        (parked,) = scene.tracker.parked()
        assert (parked.status, parked.parked_at) == (400, scene.clock())  # P8: a new refusal replaces its entry
    scene.clock.advance(DAY)
    assert scene.tracker.sweep().seconds_sent == 30.0
    assert scene.tracker.parked() == ()


def test_a_wrong_correction_is_parked_with_its_own_context(scene: Scene):
    """P1: parked with the context it was built from: the same wrong correction is not sent for ever."""
    park(scene)
    scene.emitter.fail(EventRejected("still", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(RIGHT, OWLS)
    assert len(scene.state().parked) == 1
    assert not scene.state().parked[0].claimable
    assert scene.tracker.partial(RIGHT, OWLS).outcome is Outcome.NOTHING_TO_SEND


def test_unpark_sends_at_once(scene: Scene):
    """P6: ``unpark`` makes it claimable now, durably, and goes on as a partial, later time included."""
    park(scene, 30)
    park(scene, 20)
    scene.read(seconds=12)
    report = scene.tracker.unpark("anna", "owls")
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.SENT, 62.0, [30, 20, 12])
    assert report.state.parked == ()


def test_unpark_raises_what_is_refused_again(scene: Scene):
    """P6: unpark sends as partial does: a refusal is raised, the event stays parked for another day."""
    park(scene)
    scene.emitter.fail(EventRejected("still", status=422))
    with pytest.raises(EventRejected, match="still"):
        scene.tracker.unpark(ANNA, OWLS)
    assert not scene.state().parked[0].claimable


def test_unpark_is_durable_where_the_endpoint_is_gone(scene: Scene):
    """P6, P9: unpark is durable: the failed retry is back in the list, and both go once its back-off ends."""
    park(scene, 30)
    park(scene, 20)
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.unpark(ANNA, OWLS)
    assert (len(scene.state().parked), scene.state().in_flight) == (2, False)
    assert scene.state().unreported_seconds == 50.0
    scene.clock.advance(5)
    assert scene.tracker.sweep().seconds_sent == 50.0


def test_unpark_works_whoever_holds_a_claim(scene: Scene):
    """P6: whoever holds a claim, unpark works: IN_FLIGHT now, claimable as soon as the other one is done."""
    park(scene, 30)
    scene.read(seconds=12)
    gate = HeldEmitter()
    with running(lambda: scene.another(gate).partial(ANNA, OWLS)):
        assert gate.arrived.wait(WAIT_SECONDS)
        assert scene.tracker.unpark(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
        gate.open.set()
    assert scene.tracker.parked()[0].claimable
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30.0


def test_unpark_where_nothing_is_parked_is_a_partial(scene: Scene):
    """P6: unpark goes on as a partial, where nothing is parked too."""
    scene.read()
    assert scene.tracker.unpark(ANNA, OWLS).delta_seconds == 30.0


def test_park_needs_the_current_owner(scene: Scene):
    """P1: a refusal that comes after the lease does not park another owner's claim."""
    scene.read()
    slow, fast = HeldEmitter(), HeldEmitter()
    slow.error = EventRejected("no", status=422)
    with running(lambda: scene.another(slow).partial(ANNA, OWLS)) as loser:
        assert slow.arrived.wait(WAIT_SECONDS)
        scene.clock.advance(31)
        with running(lambda: scene.another(fast).partial(ANNA, OWLS)) as winner:
            assert fast.arrived.wait(WAIT_SECONDS)
            slow.open.set()
            until(lambda: loser[0])
            assert scene.state().parked == ()
            fast.open.set()
    assert winner[0].outcome is Outcome.SENT
    assert scene.state().unreported_seconds == 0.0


def test_commit_finds_a_parked_event(scene: Scene):
    """K2: refused to one owner, accepted from the slow other, a parked event is reported."""
    scene.read()
    slow = HeldEmitter()
    with running(lambda: scene.another(slow).partial(ANNA, OWLS)) as results:
        assert slow.arrived.wait(WAIT_SECONDS)
        scene.clock.advance(31)
        scene.emitter.fail(EventRejected("no", status=422))
        with pytest.raises(EventRejected):
            scene.tracker.partial(ANNA, OWLS)
        slow.open.set()
    assert (results[0].outcome, results[0].delta_seconds) == (Outcome.SENT, 30.0)
    assert (scene.state().parked, scene.state().unreported_seconds) == ((), 0.0)


def test_when_the_list_is_full_new_time_is_not_due(scene: Scene):
    """P10: behind eight parked events only explicit calls claim new time, and such time makes nothing due."""
    fill_list(scene)
    retry = scene.state().due_at
    scene.read(seconds=50)
    assert scene.state().due_at == retry
    assert scene.tracker.sweep(idle_seconds=0).reports == ()
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 50.0


def test_when_the_list_is_full_a_refused_event_stays_in_the_slot(scene: Scene):
    """P11: refused behind a full list it stays in the claim slot, released at the maximum back-off."""
    fill_list(scene)
    scene.read(seconds=50)
    scene.emitter.fail(EventRejected("no", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    state = scene.state()
    assert (len(state.parked), state.in_flight) == (8, True)
    assert timedelta(seconds=1800) <= state.due_at - scene.clock() <= timedelta(seconds=3600)
    assert scene.reports[-1].outcome is Outcome.FAILED


def test_the_refused_event_in_the_slot_is_rebuilt(scene: Scene):
    """P11: its next claim rebuilds it if the context has changed, under the same id."""
    fill_list(scene)
    scene.read(seconds=50)
    scene.emitter.fail(EventRejected("no", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    stuck = scene.state().history[-1].event_id
    report = scene.tracker.finalize(RIGHT, OWLS)
    assert scene.emitter.events[0]["id"] == stuck
    assert {event["actor"]["email"] for event in scene.emitter.events} == {"right@example.org"}
    assert len(scene.emitter.events) == 9
    assert report.state.finalized_at is not None
    assert report.state.unreported_seconds == 0.0


def test_parked_lists_every_readers_events(scene: Scene):
    """ReadTimeTracker.parked(limit): refused events of all states, at most so many."""
    emitter = SelectiveEmitter(everything)
    scene.use(emitter)
    for reader, what in ((ANNA, OWLS), (ANNA, BEES), (BEN, OWLS)):
        scene.read(reader, what)
        with pytest.raises(EventRejected):
            scene.tracker.partial(reader, what)
    assert {(event.reader_sourced_id, event.resource_id) for event in scene.tracker.parked()} == {
        ("anna", "owls"),
        ("anna", "bees"),
        ("ben", "owls"),
    }
    assert len(scene.tracker.parked(limit=2)) == 2
    emitter.bad = nothing
    scene.tracker.unpark(BEN, OWLS)
    assert {event.reader_sourced_id for event in scene.tracker.parked()} == {"anna"}


@pytest.mark.parametrize("limit", [0, -1, True, 1.5, "3"])
def test_a_limit_that_is_no_number_is_refused(scene: Scene, limit):
    """InvalidInput names the field."""
    with pytest.raises(InvalidInput) as raised:
        scene.tracker.parked(limit=limit)
    assert raised.value.field == "limit"
