"""What tests say of a reader's minutes, and what they are told when that is not so."""

from __future__ import annotations

from contextlib import closing

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, HttpCaliperEmitter, InMemoryStateStore, ReadTimeTracker
from caliper_readtime.testing import CaliperEndpoint, FlakyEmitter, assert_banked, assert_reported
from tests.scenes import ANNA, BEES, BEN, OWLS, ROSTER, Scene, events

USER = f"{ROSTER}/ims/oneroster/rostering/v1p2/users/anna"


@pytest.fixture
def scene():
    """Anna read half a minute and then a minute of owls, half a minute of bees; Ben read of owls too."""
    scene = Scene(InMemoryStateStore)
    for reader, article, seconds in ((ANNA, OWLS, 30), (ANNA, OWLS, 60), (ANNA, BEES, 30), (BEN, OWLS, 45)):
        scene.read(reader, article, seconds=seconds)
        scene.tracker.finalize(reader, article)
    return scene


@pytest.mark.parametrize("reader", [ANNA, "anna", USER])
@pytest.mark.parametrize("article", [OWLS, "owls", f"{ROSTER}/resources/owls"])
def test_what_is_so_passes(scene, reader, article):
    """However reader and article are named."""
    assert_reported(scene.emitter, reader, OWLS if article is OWLS else "owls", 90)
    assert_banked(scene.emitter, reader, article, 2)
    assert_banked(scene.emitter, reader, article, 1, expected_xp=1)
    assert_banked(scene.emitter, reader, article, 9, rounding=lambda seconds: int(seconds // 10))


def test_what_is_not_so_shows_the_timeline(scene):
    """The reader's events on it, by time, with seconds and ids; below them who or what else got time."""
    with pytest.raises(AssertionError) as caught:
        assert_reported(scene.emitter, ANNA, OWLS, 120)
    first, second, bees, bens = scene.emitter.events
    assert str(caught.value).splitlines() == [
        "anna on owls: 90 s are reported, not 120 s",
        "Arrived:",
        f"  2026-03-02T08:00:00.000Z to 2026-03-02T08:00:30.000Z  30 s  {first['id']}",
        f"  2026-03-02T08:00:30.000Z to 2026-03-02T08:01:30.000Z  60 s  {second['id']}",
        "Arrived for others, or on others:",
        f"  2026-03-02T08:01:30.000Z to 2026-03-02T08:02:00.000Z  30 s  {bees['id']}",
        f"    {USER} on {bees['object']['activity']['id']}",
        f"  2026-03-02T08:02:00.000Z to 2026-03-02T08:02:45.000Z  45 s  {bens['id']}",
        f"    {bens['actor']['id']} on {bens['object']['activity']['id']}",
        "Was time clamped, or not sent yet? Pass the tracker in place of its endpoint: it knows.",
    ]


def test_what_would_not_be_banked(scene):
    """The minutes, and the article's limit where one was given."""
    with pytest.raises(AssertionError, match=r"^anna on owls: 2 min would be banked, not 3 min\nArrived:"):
        assert_banked(scene.emitter, ANNA, OWLS, 3)
    with pytest.raises(AssertionError, match=r"1 min would be banked, not 2 min \(the article pays at most 1 min\)"):
        assert_banked(scene.emitter, ANNA, OWLS, 2, expected_xp=1)


def test_nothing_has_arrived(scene):
    """It says so, and that something else has."""
    with pytest.raises(AssertionError, match=r"^carl on owls: 0 s are reported, not 1 s\nNothing of theirs on it"):
        assert_reported(scene.emitter, "carl", OWLS, 1)
    with pytest.raises(AssertionError, match=r"Nothing has arrived\. Was it finalized, flushed or swept"):
        assert_reported(FlakyEmitter(), ANNA, OWLS, 1)
    assert_reported(FlakyEmitter(), ANNA, OWLS, 0)
    assert_banked(FlakyEmitter(), ANNA, OWLS, 0)


def failure(tracker, reader=ANNA, article=OWLS, seconds=120):
    """What a test is told that expects too much."""
    with pytest.raises(AssertionError) as caught:
        assert_reported(tracker, reader, article, seconds)
    return str(caught.value).splitlines()


def test_a_tracker_is_asked_what_its_emitter_holds(scene):
    """A tracker stands for where its events arrive."""
    assert_reported(scene.tracker, ANNA, OWLS, 90)
    assert_banked(scene.tracker, ANNA, OWLS, 2)
    assert failure(scene.tracker)[:2] == ["anna on owls: 90 s are reported, not 120 s", "Arrived:"]


def test_a_tracker_says_why_less_has_arrived(scene):
    """Clamped time is named with the cure, and so is what waits, what is in flight and what was refused."""
    assert failure(scene.tracker, "carl")[-1] == "Nothing is stored of them: no heartbeat was accepted."
    scene.clock.advance(10)
    scene.tracker.accumulate(ANNA, OWLS, 600)
    clamped = scene.state().clamped_seconds
    *_, said, waits = failure(scene.tracker)
    assert said.startswith(f"Clamped: {clamped:g} s, claimed beyond the time that has passed. Let the test's clock")
    assert waits.startswith("Not sent yet: ")
    scene.emitter.fail(EmitterUnavailable("h is down"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert failure(scene.tracker, seconds=999)[-1].startswith("In flight: ")
    scene.read(ANNA, BEES, seconds=10)
    scene.emitter.fail(EventRejected("the course is not known", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, BEES)
    assert failure(scene.tracker, article=BEES)[-1] == "Refused: 10 s, EventRejected: the course is not known"


def test_more_than_expected_is_no_matter_of_clamping(scene):
    """Hints are for what is missing."""
    scene.tracker.accumulate(ANNA, OWLS, 600)
    assert not any("lamped" in line for line in failure(scene.tracker, seconds=1))


def test_a_tracker_whose_emitter_keeps_nothing(scene):
    """Its own word of what was accepted counts; minutes are banked from events alone."""
    with CaliperEndpoint() as endpoint, closing(HttpCaliperEmitter(endpoint.url)) as emitter:
        tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events())
        tracker.accumulate(ANNA, OWLS, 10)
        assert failure(tracker, seconds=10)[:2] == [
            "anna on owls: 0 s are reported, not 10 s",
            "The emitter keeps no events.",
        ]
        tracker.finalize(ANNA, OWLS)
        assert_reported(tracker, ANNA, OWLS, 10)
        with pytest.raises(TypeError, match="keeps no events"):
            assert_banked(tracker, ANNA, OWLS, 0)


def test_an_event_that_came_twice_counts_once(scene):
    """And is said to have come twice."""
    scene.read(ANNA, BEES, seconds=10)
    scene.emitter.fail(EmitterUnavailable("lost"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.finalize(ANNA, BEES)
    scene.clock.advance(60)
    scene.tracker.finalize(ANNA, BEES)
    assert_reported(scene.emitter, ANNA, BEES, 40)
    with pytest.raises(AssertionError, match=r"10 s  urn:uuid:[0-9a-f-]+, came 2 times"):
        assert_reported(scene.emitter, ANNA, BEES, 50)


def test_a_roster_that_has_moved_is_not_one_actor(scene):
    """A calculator knows one actor by the whole URL: minutes under two are not added up."""
    moved = Scene(InMemoryStateStore)
    moved.tracker = ReadTimeTracker(
        InMemoryStateStore(), scene.emitter, events(oneroster_url="https://new.example.org"), clock=moved.clock
    )
    moved.read(ANNA, OWLS)
    moved.tracker.finalize(ANNA, OWLS)
    assert_reported(scene.emitter, ANNA, OWLS, 120)
    assert_banked(scene.emitter, USER, OWLS, 2)
    with pytest.raises(AssertionError, match="0 min would be banked"):
        assert_banked(scene.emitter, ANNA, OWLS, 2)


def test_at_a_real_endpoint():
    """A ``CaliperEndpoint`` is asked the same."""
    with CaliperEndpoint() as endpoint, closing(HttpCaliperEmitter(endpoint.url)) as emitter:
        tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events())
        tracker.accumulate(ANNA, OWLS, 10)
        tracker.finalize(ANNA, OWLS)
        assert_reported(endpoint, ANNA, OWLS, 10)
        assert_banked(endpoint, ANNA, OWLS, 0)
