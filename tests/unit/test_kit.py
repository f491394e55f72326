"""``caliper_readtime.testing``: the emitters and the clock that hosts use in their own tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from caliper_readtime import Article, EmitterUnavailable, InMemoryStateStore, InvalidInput, Reader, testing
from caliper_readtime.testing import FlakyEmitter, ManualClock, RecordingEmitter
from tests.scenes import ANNA, BEN, OWLS, ROSTER, START, Scene, in_threads


def sent(emitter, reader=ANNA, what=OWLS, seconds=30):
    """Read and report through this emitter."""
    scene = Scene(InMemoryStateStore)
    scene.use(emitter)
    scene.read(reader, what, seconds)
    scene.tracker.partial(reader, what)
    return emitter


def test_the_public_names():
    """What caliper_readtime.testing offers; contracts load only when they are asked for."""
    wanted = {
        "RecordingEmitter",
        "FlakyEmitter",
        "ManualClock",
        "banked_minutes",
        "StateStoreContract",
        "EmitterContract",
    }
    assert wanted | {"CaliperEndpoint"} <= set(testing.__all__)
    assert sorted(testing.__all__) == list(testing.__all__)
    with pytest.raises(AttributeError):
        _ = testing.NoSuchThing


# Clock


def test_the_clock_stands_still_until_it_is_moved():
    """ManualClock(start): callable; .advance(seconds), forward and back, by fractions."""
    clock = ManualClock(START)
    assert (clock(), clock()) == (START, START)
    assert clock.advance(1.5) == clock() == START + timedelta(seconds=1.5)
    assert clock.advance(-2) == START - timedelta(seconds=0.5)
    assert ManualClock()().tzinfo is UTC


@pytest.mark.parametrize("start", [datetime(2026, 3, 2), "2026-03-02T08:00:00Z", 0, None])  # noqa: DTZ001 - naive
def test_a_clock_is_aware(start):
    """ManualClock: a naive start is refused at once, not at the first heartbeat."""
    with pytest.raises(InvalidInput):
        ManualClock(start)


def test_a_clock_may_be_moved_by_many_threads():
    """ManualClock: no advance is lost."""
    clock = ManualClock(START)
    in_threads(*[lambda: [clock.advance(1) for _ in range(200)]] * 4)
    assert clock() == START + timedelta(seconds=800)


# Recording


def test_it_keeps_what_arrives():
    """RecordingEmitter: .events in order, .batches, and .held for read-back."""
    emitter = RecordingEmitter()
    emitter.emit([{"id": "a"}, {"id": "b"}])
    emitter.emit([{"id": "a"}])
    assert [event["id"] for event in emitter.events] == ["a", "b", "a"]
    assert emitter.batches == [2, 1]
    assert emitter.held(["a", "c"]) == {"a"}
    emitter.close()
    assert len(emitter.events) == 3


def test_it_keeps_copies():
    """RecordingEmitter: what the caller does to an event afterwards does not change what arrived."""
    emitter, event = RecordingEmitter(), {"id": "a", "generated": {"items": [1]}}
    emitter.emit([event])
    event["generated"]["items"].clear()
    assert emitter.events == [{"id": "a", "generated": {"items": [1]}}]


@pytest.mark.parametrize(
    ("reader", "what"),
    [
        (ANNA, OWLS),
        (Reader("a/b é?", "a@example.org"), Article("x:y é/#", "T", OWLS.url)),
        (Reader("https://id.example.org/é/7", "a@example.org"), Article("https://cms.example.org/é/7", "T", OWLS.url)),
        (Reader(f"{ROSTER}/ims/oneroster/rostering/v1p2/users/u1", "a@example.org"), OWLS),
    ],
)
def test_seconds_by_objects_and_by_ids(reader, what):
    """RecordingEmitter.seconds(reader, article): for objects, and for ids as they were given."""
    emitter = sent(RecordingEmitter(), reader, what)
    for asked in ((reader, what), (reader.sourced_id, what.resource_id)):
        assert emitter.seconds(*asked) == 30.0
    assert emitter.seconds(BEN, what) == emitter.seconds(reader, "bees") == 0.0
    assert isinstance(emitter.seconds(BEN, "bees"), float)


def test_seconds_by_the_reduced_id():
    """RecordingEmitter.seconds: a URL's id, and the wire's own URL, name the same reader."""
    url = f"{ROSTER}/ims/oneroster/rostering/v1p2/users/u1"
    emitter = sent(RecordingEmitter(), Reader(url, "a@example.org"))
    assert emitter.seconds("u1", "owls") == emitter.seconds(url, OWLS) == 30.0


def test_an_event_that_came_twice_counts_once():
    """RecordingEmitter.seconds: a repeated id is one event, as the endpoint would see it."""
    emitter = sent(RecordingEmitter())
    emitter.emit(emitter.events)
    assert (len(emitter.events), emitter.seconds(ANNA, OWLS)) == (2, 30.0)


def test_many_threads_may_emit():
    """RecordingEmitter: nothing is lost."""
    emitter = RecordingEmitter()
    in_threads(*[lambda: [emitter.emit([{"id": "x"}]) for _ in range(200)]] * 4)
    assert (len(emitter.events), emitter.batches) == (800, [1] * 800)


# Flaky


def test_it_fails_as_often_as_it_is_told():
    """FlakyEmitter.fail(*errors): one for each of the next calls, then it delivers again."""
    emitter = FlakyEmitter()
    first, second = EmitterUnavailable("one"), KeyError("two")
    emitter.fail(first, second)
    for error in (first, second):
        with pytest.raises(type(error)) as caught:
            emitter.emit([{"id": "a"}])
        assert caught.value is error
    assert emitter.events == []
    emitter.emit([{"id": "a"}])
    assert emitter.events == [{"id": "a"}]


def test_a_lost_answer_is_a_failure_after_delivery():
    """FlakyEmitter.fail(delivered=True): the events arrive, and only the answer is lost."""
    emitter = FlakyEmitter()
    emitter.fail(EmitterUnavailable("lost"), delivered=True)
    emitter.fail(EmitterUnavailable("down"))
    for _ in range(2):
        with pytest.raises(EmitterUnavailable):
            emitter.emit([{"id": "a"}])
    assert emitter.events == [{"id": "a"}]


def test_it_stands_in_front_of_another():
    """FlakyEmitter(inner): what it delivers, counts and closes is the inner emitter's."""

    class Inner(RecordingEmitter):
        closed = False

        def close(self):
            self.closed = True

    inner = Inner()
    emitter = sent(FlakyEmitter(inner))
    emitter.close()
    assert (emitter.inner, emitter.events, inner.closed) == (inner, inner.events, True)
    assert emitter.seconds(ANNA, OWLS) == emitter.seconds("anna", "owls") == 30.0
