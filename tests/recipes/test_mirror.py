"""The OneRoster recipe: a result holds the total that was reported, whatever is lost, doubled, late or out of order."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import permutations

import pytest
import requests

from caliper_readtime import EmitterUnavailable, EventRejected, InMemoryStateStore, StoreUnavailable
from tests.recipes.gradebook import LOSE_ANSWER, UNAVAILABLE, Gradebook, Held, time_spent
from tests.recipes.pages import ran
from tests.scenes import ANNA, BEES, BEN, OWLS, WAIT_SECONDS, article, events, running


@pytest.fixture(scope="module")
def page():
    """What the page defines."""
    with ran("mirror-to-oneroster") as names:
        yield names


@pytest.fixture
def gradebook():
    """A results service, which found nothing wrong with any request."""
    with Gradebook() as gradebook:
        yield gradebook
    assert gradebook.problems == []


@pytest.fixture
def host(page, gradebook):
    """Makes a mirror of one host, whose connections are closed afterwards."""
    sessions = []

    def make():
        sessions.append(requests.Session())
        sessions[-1].trust_env = False
        mirror = page["ResultMirror"](gradebook.url, sessions[-1], lambda article: f"{article}_reading")
        mirror.timeout = WAIT_SECONDS
        return mirror

    yield make
    for session in sessions:
        session.close()


@pytest.fixture
def mirror(host, scene):
    """The mirror of the scene's tracker."""
    mirror = host()
    scene.use(on_report=lambda report: (scene.reports.append(report), mirror.note(report)))
    return mirror


@contextmanager
def held_put(gradebook, write):
    """A write whose PUT has arrived and is not applied; it is let go and waited for at the end."""
    held = Held()
    gradebook.faults.append(held)
    with running(write) as results:
        assert held.arrived.wait(WAIT_SECONDS)
        try:
            yield
        finally:
            held.go.set()
    assert results == [None]


def test_the_total_is_written(scene, mirror, gradebook):
    """Each report is followed by the whole total, in a result whose id and references are always the same."""
    for total in (30.0, 60.0, 90.0):
        scene.read()
        scene.tracker.partial(ANNA, OWLS)
        assert mirror.write_noted(scene.tracker) == 1
        assert gradebook.time() == total
    (result,) = gradebook.results.values()
    assert (result["student"], result["lineItem"]) == ({"sourcedId": "anna"}, {"sourcedId": "owls_reading"})
    assert result["scoreDate"] == "2026-03-02T08:00:30.000Z"
    assert (result["sourcedId"], result["score"]) == ("nice_anna_owls_reading", 100)
    assert "@" not in str(gradebook.results)


def test_each_reader_and_article_has_a_result(scene, mirror, gradebook):
    """Nothing of one is counted for another; a flush and a sweep are mirrored as a report is."""
    for reader, what, seconds in ((ANNA, OWLS, 30), (ANNA, BEES, 20), (BEN, OWLS, 10)):
        scene.read(reader, what, seconds)
    scene.tracker.flush_reader(ANNA)
    scene.tracker.sweep(idle_seconds=0)
    assert mirror.write_noted(scene.tracker) == 3
    held = gradebook.results.values()
    assert {
        (result["student"]["sourcedId"], result["lineItem"]["sourcedId"]): time_spent(result) for result in held
    } == {
        ("anna", "owls_reading"): 30.0,
        ("anna", "bees_reading"): 20.0,
        ("ben", "owls_reading"): 10.0,
    }


@pytest.mark.parametrize("order", list(permutations(range(3))), ids=str)
def test_reports_may_come_twice_and_in_any_order(scene, mirror, host, gradebook, order):
    """An older report never lowers the time, and none is counted twice."""
    for _ in range(3):
        scene.read()
        scene.tracker.partial(ANNA, OWLS)
    late = host()
    for place in (*order, *order):
        late.note(scene.reports[place])
        late.write_noted(scene.tracker)
    assert gradebook.times() == [90.0]


def test_one_writer_never_lowers_a_time(scene, mirror, gradebook):
    """Written after each report or after several, with the same news again in between, the time only grows."""
    for round_ in range(6):
        scene.read()
        scene.tracker.partial(ANNA, OWLS)
        mirror.note(scene.reports[0])
        if round_ % 2:
            mirror.write_noted(scene.tracker)
            mirror.write_reader(scene.tracker, ANNA)
    assert gradebook.times() == [60.0, 120.0, 180.0]


@pytest.mark.parametrize("heal", ["next report", "before banking"])
def test_a_crash_between_event_and_result_is_healed(page, scene, mirror, host, gradebook, heal):
    """The process that reported dies with its notes: the next report, or write_reader, writes what was missed too."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    restarted = host()  # nothing was noted there
    assert restarted.write_noted(scene.tracker) == 0
    assert gradebook.results == {}
    if heal == "next report":
        scene.use(on_report=restarted.note)
        scene.read(seconds=12)
        scene.tracker.partial(ANNA, OWLS)
        restarted.write_noted(scene.tracker)
        assert gradebook.times() == [42.0]
    else:
        restarted.write_reader(scene.tracker, "anna")
        assert gradebook.times() == [30.0]


def test_a_crash_in_on_report_is_healed(scene, mirror, gradebook):
    """The event has arrived, and on_report never hears of it to its end; the report stands and the total is found."""

    def dies(_report):
        raise MemoryError

    scene.use(on_report=dies)
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    mirror.write_reader(scene.tracker, ANNA)
    assert gradebook.time() == scene.emitter.seconds(ANNA, OWLS) == 30.0


def test_what_is_lost_on_the_way_counts_once(scene, mirror, gradebook):
    """A lost answer and a service that is away: the total stays noted, is tried again, and is written once."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    gradebook.faults += [UNAVAILABLE, LOSE_ANSWER]
    for error in (requests.HTTPError, requests.ConnectionError):
        with pytest.raises(error):
            mirror.write_noted(scene.tracker)
    assert mirror.write_noted(scene.tracker) == 1
    assert mirror.write_noted(scene.tracker) == 0
    assert gradebook.times() == [30.0]


def test_one_failure_keeps_back_nothing_else(scene, mirror, gradebook):
    """The first result cannot be written: the others are, and it alone stays noted."""
    for what in (OWLS, BEES, article("wasps")):
        scene.read(ANNA, what)
        scene.tracker.partial(ANNA, what)
    gradebook.faults.append(UNAVAILABLE)
    with pytest.raises(requests.HTTPError):
        mirror.write_noted(scene.tracker)
    assert len(gradebook.results) == 2
    assert mirror.write_noted(scene.tracker) == 1
    assert len(gradebook.results) == 3


def test_a_store_that_is_away_costs_no_note(page, scene, mirror, gradebook):
    """The total cannot be read: it is written by a later round."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS)

    class Away:
        def state(self, *_):
            raise StoreUnavailable("gone")

    with pytest.raises(StoreUnavailable):
        mirror.write_noted(Away())
    assert mirror.write_noted(scene.tracker) == 1
    assert gradebook.time() == 30.0


def test_two_hosts_end_with_the_newer_total(scene, mirror, host, gradebook):
    """A PUT of an older total that lands after another host's newer one is mended by the one who sent it."""
    other = host()
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    with held_put(gradebook, lambda: other.write(scene.tracker, "anna", "owls")):
        scene.read()
        scene.tracker.partial(ANNA, OWLS)
        mirror.write_noted(scene.tracker)
        assert gradebook.times() == [60.0]
    assert gradebook.times() == [60.0, 30.0, 60.0]


def test_what_never_arrived_is_not_in_the_result(scene, mirror, gradebook):
    """Failed and parked seconds are no reported seconds; once corrected and accepted, they are."""
    scene.read()
    scene.emitter.fail(EventRejected("who are they?", status=422), EmitterUnavailable("gone"))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(seconds=12)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert mirror.write_noted(scene.tracker) == 0
    scene.tracker.partial(ANNA, OWLS)
    mirror.write_noted(scene.tracker)
    assert gradebook.time() == 12.0
    scene.tracker.unpark(ANNA, OWLS)
    mirror.write_noted(scene.tracker)
    assert gradebook.times() == [12.0, 42.0]


def test_a_state_that_was_forgotten_adds_to_what_it_had(scene, mirror, gradebook):
    """A reborn state counts from zero: its total stands beside the old one, and neither is paid twice or lost."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    mirror.write_noted(scene.tracker)
    scene.tracker.forget(ANNA)
    mirror.write(scene.tracker, "anna", "owls")  # nothing is stored: nothing is written
    scene.clock.advance(40 * 86400)
    for _ in range(2):
        scene.read(seconds=10)
        scene.tracker.partial(ANNA, OWLS)
        mirror.write_noted(scene.tracker)
    assert gradebook.times() == [30.0, 40.0, 50.0]


def test_a_store_that_went_back_lowers_nothing(scene, mirror, gradebook):
    """A fail-over that lost the last writes leaves an older total in the store; the result stays."""
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    older = scene.tracker.state(ANNA, OWLS)
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    mirror.write_noted(scene.tracker)

    class Back:
        def state(self, *_):
            return older

    mirror.write(Back(), "anna", "owls")
    assert gradebook.times() == [60.0]


def test_what_others_keep_in_the_result_stays(scene, mirror, gradebook):
    """A comment and metadata of the school's are kept when the total is written."""
    for _ in range(2):
        scene.read()
        scene.tracker.partial(ANNA, OWLS)
        mirror.write_noted(scene.tracker)
        (result,) = gradebook.results.values()
        result.setdefault("comment", f"well read at {time_spent(result):g}")
        result["metadata"].setdefault("colour", f"green at {time_spent(result):g}")
    assert (time_spent(result), result["comment"], result["metadata"]["colour"]) == (
        60,
        "well read at 30",
        "green at 30",
    )
    assert len(result["metadata"]["readingSeconds"]) == 1


def test_ids_that_are_paths_stay_apart(page, gradebook, host):
    """Ids with slashes and quotes have a result each, under an id that fits into a path."""
    from caliper_readtime import Article, Reader, ReadTimeTracker  # noqa: PLC0415
    from caliper_readtime.testing import RecordingEmitter  # noqa: PLC0415

    mirror = host()
    tracker = ReadTimeTracker(InMemoryStateStore(), RecordingEmitter(), events(), on_report=mirror.note)
    for reader, name in (('a/b","c', "d"), ("a/b", 'c","d'), ("?#%2F", "..")):
        tracker.accumulate(Reader(reader, "r@example.org"), Article(name, "T", "https://reader.example.org/"), 10)
        tracker.partial(reader, name)
    mirror.write_noted(tracker)
    assert gradebook.times() == [10.0] * 3
    assert len(gradebook.results) == 3
    assert gradebook.results.keys() == {
        page["result_id"](r["student"]["sourcedId"], r["lineItem"]["sourcedId"]) for r in gradebook.results.values()
    }
