"""Claim, commit, release and partial, at the public verbs (chapters C, K, L and V)."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    Outcome,
    Reader,
    ReadTimePolicy,
)
from tests.scenes import ANNA, BEES, BEN, OWLS, WAIT_SECONDS, HeldEmitter, Scene, article, running, until, value

DAY = 86_400


def test_a_partial_sends_one_event_and_moves_the_reported_total(scene: Scene):
    """V1, K1: one round: accepted whole seconds arrive as one event."""
    scene.read(seconds=42)
    report = scene.tracker.partial(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, report.error) == (Outcome.SENT, 42.0, None)
    assert (report.reader_sourced_id, report.resource_id) == ("anna", "owls")
    assert report.event_ids == (scene.emitter.events[0]["id"],)
    assert scene.sent == [42]
    assert report.state == scene.state()
    assert report.state.reported_read_time_seconds == 42.0
    assert report.state.unreported_seconds == 0.0
    assert report.state.finalized_at is None
    assert not report.state.in_flight


def test_partials_add_up_to_what_was_read(scene: Scene):
    """V2: whole seconds; the rest below one second is carried."""
    for _ in range(5):
        scene.read(seconds=10.7)
        scene.tracker.partial(ANNA, OWLS)
    state = scene.state()
    assert sum(scene.sent) == 53
    assert (state.cumulative_read_time_seconds, state.unreported_seconds) == (53.5, 0.5)
    assert all(isinstance(sent, int) for sent in scene.sent)


def test_less_than_a_second_is_nothing_to_send(scene: Scene):
    """V2, V7: 0.999 s send nothing and stay."""
    scene.read(seconds=0.999)
    report = scene.tracker.partial(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, report.event_ids) == (Outcome.NOTHING_TO_SEND, 0.0, ())
    assert scene.sent == []
    assert scene.state().unreported_seconds == 0.999


@pytest.mark.parametrize("verb", ["partial", "finalize", "unpark"])
def test_no_state_is_nothing_to_send_and_nothing_is_created(scene: Scene, verb):
    """V7: no state: NOTHING_TO_SEND and nothing is created, for objects and for ids."""
    for reader, what in ((ANNA, OWLS), ("anna", "owls")):
        report = getattr(scene.tracker, verb)(reader, what)
        assert (report.outcome, report.state) == (Outcome.NOTHING_TO_SEND, None)
    assert scene.tracker.states("anna") == ()
    assert scene.reports == []


def test_a_second_partial_has_nothing_to_send(scene: Scene):
    """K1: a commit moves the total: what was sent is not sent again."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.NOTHING_TO_SEND
    assert scene.sent == [30]


def test_a_partial_sends_at_most_a_day(scene: Scene):
    """C3, V1: a claim covers at most 86,400 s, and a partial makes one round."""
    scene.read(seconds=DAY + 100)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == DAY
    assert scene.state().unreported_seconds == 100.0
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 100.0
    assert scene.sent == [DAY, 100]


def test_the_event_is_built_from_the_newest_context(scene: Scene):
    """C3: the finished event, built from the newest context: partial with objects refreshes it first."""
    scene.read()
    scene.tracker.partial(Reader("anna", "new@example.org"), article("owls", title="Owls, revised"))
    event = scene.emitter.events[0]
    assert event["actor"]["email"] == "new@example.org"
    assert event["object"]["activity"]["name"] == "Owls, revised"


def test_a_failed_partial_raises_and_leaves_the_state_unharmed(scene: Scene):
    """L2, V3: attempts + 1, last_error, a next due time; partial raises EmitterUnavailable, nothing is reported."""
    scene.read()
    error = EmitterUnavailable("gone")
    scene.emitter.fail(error)
    with pytest.raises(EmitterUnavailable) as raised:
        scene.tracker.partial(ANNA, OWLS)
    assert raised.value is error
    state = scene.state()
    assert state.reported_read_time_seconds == 0.0
    assert state.unreported_seconds == 30.0
    assert state.in_flight
    assert state.attempts == 1
    assert "gone" in state.last_error
    assert scene.clock() < state.due_at <= scene.clock() + timedelta(seconds=5)


def test_what_comes_next_sends_the_same_event_again(scene: Scene):
    """C2: an older claim whose lease was released: the same claim again: the same bytes."""
    scene.read(seconds=30)
    scene.emitter.fail(EmitterUnavailable("lost answer"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(seconds=12)
    report = scene.tracker.partial(ANNA, OWLS)
    first, again, rest = scene.emitter.events
    assert first == again
    assert rest["id"] != first["id"]
    assert scene.sent == [30, 30, 12]
    assert scene.emitter.seconds(ANNA, OWLS) == 42.0
    assert report.delta_seconds == 42.0
    assert report.event_ids == (first["id"], rest["id"])


def test_the_same_event_again_even_if_the_context_has_changed(scene: Scene):
    """I7: the bytes differ only after a refusal: a corrected title waits for the next range."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("lost answer"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    scene.tracker.partial(ANNA, article("owls", title="New title"))
    first, again = scene.emitter.events
    assert first == again


@pytest.mark.parametrize("raised", [RuntimeError("boom"), OSError("no route"), ValueError("x")])
def test_any_other_exception_of_an_emitter_counts_as_unavailable(scene: Scene, raised):
    """L4: any other exception of an emitter counts as unavailable, chained."""
    scene.read()
    scene.emitter.fail(raised)
    with pytest.raises(EmitterUnavailable) as caught:
        scene.tracker.partial(ANNA, OWLS)
    assert caught.value.__cause__ is raised
    assert caught.value.event_ids
    assert scene.state().attempts == 1


def test_a_base_exception_leaves_the_claim_to_its_lease(scene: Scene):
    """L5: a BaseException leaves the claim to its lease: nobody else sends before it ends."""
    scene.read()
    scene.emitter.fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        scene.tracker.partial(ANNA, OWLS)
    state = scene.state()
    assert (state.in_flight, state.attempts) == (True, 0)
    assert state.due_at == scene.clock() + timedelta(seconds=30)
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
    scene.clock.advance(30)
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.SENT


def test_back_off_doubles_with_jitter_up_to_an_hour(scene: Scene):
    """L2: exponential backoff with jitter (5 s doubling to 3,600 s by default); explicit calls ignore it."""
    scene.read()
    waits = []
    for _ in range(14):
        scene.emitter.fail(EmitterUnavailable("gone"))
        with pytest.raises(EmitterUnavailable):
            scene.tracker.partial(ANNA, OWLS)
        waits.append((scene.state().due_at - scene.clock()).total_seconds())
    for attempt, wait in enumerate(waits):
        full = min(3600, 5 * 2**attempt)
        assert full / 2 <= wait <= full
    assert scene.state().attempts == 14


def test_an_endpoint_that_refuses_waits_for_the_maximum_at_once(scene: Scene):
    """L3: EndpointRefused: the maximum at once."""
    scene.read()
    scene.emitter.fail(EndpointRefused("who are you", status=403))
    with pytest.raises(EndpointRefused):
        scene.tracker.partial(ANNA, OWLS)
    assert timedelta(seconds=1800) <= scene.state().due_at - scene.clock() <= timedelta(seconds=3600)
    assert scene.state().unreported_seconds == 30.0


@pytest.mark.parametrize(("tried", "attempts", "shortest", "longest"), [(True, 1, 2.5, 5), (False, 0, 60, 60)])
def test_retry_after_binds_the_endpoint_and_not_the_event(scene: Scene, tried, attempts, shortest, longest):
    """H10, L6: what was tried has its own back-off; what an open breaker did not try waits as long as was asked."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("busy", retry_after_seconds=60, tried=tried))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert shortest <= (scene.state().due_at - scene.clock()).total_seconds() <= longest
    assert scene.state().attempts == attempts


def test_explicit_calls_ignore_the_back_off(scene: Scene):
    """V3: explicit calls ignore the back-off."""
    scene.read()
    scene.emitter.fail(EndpointRefused("no"))
    with pytest.raises(EndpointRefused):
        scene.tracker.partial(ANNA, OWLS)
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.SENT
    state = scene.state()
    assert (state.attempts, state.last_error) == (0, None)


def test_a_rejected_event_is_raised_and_its_time_stays_unreported(scene: Scene):
    """V3: EmitterUnavailable and EventRejected are raised to the caller with the state unharmed."""
    scene.read()
    scene.emitter.fail(EventRejected("bad e-mail", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    state = scene.state()
    assert (state.cumulative_read_time_seconds, state.unreported_seconds, state.in_flight) == (30.0, 30.0, False)


def test_another_owners_live_lease_is_in_flight(scene: Scene):
    """C1: another owner's live lease: IN_FLIGHT, for partial and finalize, by the same tracker or another."""
    scene.read()
    gate = HeldEmitter()
    sender = scene.use(gate)
    with running(lambda: sender.partial(ANNA, OWLS)) as results:
        assert gate.arrived.wait(WAIT_SECONDS)
        others = [scene.another().partial(ANNA, OWLS), sender.partial("anna", "owls"), sender.finalize(ANNA, OWLS)]
        gate.open.set()
    assert [report.outcome for report in others] == [Outcome.IN_FLIGHT] * 3
    assert all(report.delta_seconds == 0.0 and report.retry_at for report in others)
    assert results[0].outcome is Outcome.SENT
    assert [value(event) for event in gate.events] == [30]


def test_a_lease_that_has_run_out_is_taken_over_with_the_same_event(scene: Scene):
    """C2: an older claim whose lease has run out: the same claim again under a new owner token."""
    scene.read()
    late = HeldEmitter()
    sender = scene.another(late)
    with running(lambda: sender.partial(ANNA, OWLS)) as results:
        assert late.arrived.wait(WAIT_SECONDS)
        scene.clock.advance(30)
        takes_over = scene.tracker.partial(ANNA, OWLS)
        late.open.set()
    assert takes_over.outcome is Outcome.SENT
    assert scene.emitter.events == late.events
    assert (results[0].outcome, results[0].delta_seconds) == (Outcome.NOTHING_TO_SEND, 0.0)
    assert sum(report.delta_seconds for report in scene.reports) == 30.0
    assert scene.state().reported_read_time_seconds == 30.0


def test_a_commit_by_an_owner_that_lost_its_lease_counts_once(scene: Scene):
    """K2, K3: an owner that lost its lease still counts, once; whoever comes second reports delta 0."""
    scene.read()
    slow, fast = HeldEmitter(), HeldEmitter()
    with running(lambda: scene.another(slow).partial(ANNA, OWLS)) as loser:
        assert slow.arrived.wait(WAIT_SECONDS)
        scene.clock.advance(31)
        with running(lambda: scene.another(fast).partial(ANNA, OWLS)) as winner:
            assert fast.arrived.wait(WAIT_SECONDS)
            slow.open.set()
            until(lambda: loser[0])
            fast.open.set()
    assert (loser[0].outcome, loser[0].delta_seconds) == (Outcome.SENT, 30.0)
    assert (winner[0].outcome, winner[0].delta_seconds) == (Outcome.NOTHING_TO_SEND, 0.0)
    assert scene.state().reported_read_time_seconds == 30.0
    assert sum(report.delta_seconds for report in scene.reports) == 30.0


def test_a_release_needs_the_current_owner(scene: Scene):
    """L1: a slow loser cannot free the claim of who took it over."""
    scene.read()
    slow, fast = HeldEmitter(), HeldEmitter()
    slow.error = EmitterUnavailable("timed out")
    with running(lambda: scene.another(slow).partial(ANNA, OWLS)) as loser:
        assert slow.arrived.wait(WAIT_SECONDS)
        scene.clock.advance(31)
        with running(lambda: scene.another(fast).partial(ANNA, OWLS)) as winner:
            assert fast.arrived.wait(WAIT_SECONDS)
            slow.open.set()
            until(lambda: loser[0])
            held = scene.tracker.partial(ANNA, OWLS)
            fast.open.set()
    assert held.outcome is Outcome.IN_FLIGHT
    assert isinstance(loser[0], EmitterUnavailable)
    assert winner[0].outcome is Outcome.SENT
    assert scene.state().attempts == 0


def test_a_small_partial_is_left_to_the_next_trigger(scene: Scene):
    """V9: a partial below partial_min_seconds sends nothing: the state becomes due at once, DEFERRED."""
    scene.use(policy=ReadTimePolicy(partial_min_seconds=20))
    scene.read(seconds=19)
    report = scene.tracker.partial(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.DEFERRED, 0.0, [])
    assert scene.state().due_at == scene.clock()
    scene.read(seconds=1)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 20.0


def test_a_small_partial_with_nothing_whole_is_nothing_to_send(scene: Scene):
    """V7: NOTHING_TO_SEND when nothing whole is there, below partial_min_seconds too."""
    scene.use(policy=ReadTimePolicy(partial_min_seconds=20))
    scene.read(seconds=0.5)
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.NOTHING_TO_SEND
    assert scene.state().due_at is None


def test_an_older_claim_goes_out_though_new_time_is_small(scene: Scene):
    """V1: an older claim goes out, whatever partial_min_seconds says of the time behind it."""
    scene.use(policy=ReadTimePolicy(partial_min_seconds=20))
    scene.read(seconds=25)
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(seconds=5)
    report = scene.tracker.partial(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds, scene.sent) == (Outcome.SENT, 25.0, [25])


def test_partial_leaves_other_articles_and_readers_alone(scene: Scene):
    """I1: a report concerns one reader and one article."""
    for reader, what in ((ANNA, OWLS), (ANNA, BEES), (BEN, OWLS)):
        scene.read(reader, what, 30)
    scene.tracker.partial(ANNA, OWLS)
    assert scene.sent == [30]
    assert scene.state(ANNA, BEES).unreported_seconds == 30.0
    assert scene.state(BEN, OWLS).unreported_seconds == 30.0


def test_the_event_says_when(scene: Scene):
    """E1: eventTime and endDate are the last sync, startDate = min(…, endDate - value)."""
    scene.read(seconds=30)
    read_at = scene.clock()
    scene.clock.advance(3600)
    scene.tracker.partial(ANNA, OWLS)
    event = scene.emitter.events[0]
    item = event["generated"]["items"][0]
    stamp = read_at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert (event["eventTime"], item["endDate"]) == (stamp, stamp)
    assert item["startDate"] == (read_at - timedelta(seconds=30)).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def test_history_tells_the_steps(scene: Scene):
    """ReadTimeState.history: claims, sends and failures with event id, seconds and time."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    scene.tracker.finalize(ANNA, OWLS)
    history = scene.state().history
    assert [entry.kind for entry in history] == ["claimed", "failed", "claimed", "sent", "finalized"]
    assert {entry.event_id for entry in history[:4]} == {scene.emitter.events[0]["id"]}
    assert all(entry.seconds == 30.0 and entry.at == scene.clock() for entry in history[:4])


def test_history_keeps_the_last_thirty_two(scene: Scene):
    """ReadTimeState.history: the last 32."""
    for _ in range(40):
        scene.read(seconds=2)
        scene.tracker.partial(ANNA, OWLS)
    assert len(scene.state().history) == 32
