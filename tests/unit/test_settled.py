"""``settled`` is true only where nothing of the reader's is left, whoever wrote it and when (F5, F6, I2)."""

from __future__ import annotations

import pytest

from caliper_readtime import InvalidInput, Reader, ReadTimeTracker
from tests.scenes import ANNA, BEES, OWLS, ROSTER, Hooked, Scene, article

URL = f"{ROSTER}/ims/oneroster/rostering/v1p2"


def test_an_article_born_during_a_flush_is_flushed_too(scene: Scene):
    """F5: the keys are listed again until a listing adds none: 30 s and the 10 s that came meanwhile."""
    scene.use(Hooked(lambda: scene.tracker.accumulate(ANNA, BEES, 10)))
    scene.read(ANNA, OWLS, 30)
    flushed = scene.tracker.flush_reader(ANNA)
    assert (flushed.settled, flushed.seconds_sent) == (True, 40.0)
    assert {report.resource_id for report in flushed.reports} == {"owls", "bees"}


def test_births_one_after_the_other_are_all_found(scene: Scene):
    """F5: also those that come with each further envelope, and no other article than was asked for."""
    names = iter(f"a{number}" for number in range(5))

    def another():
        name = next(names, None)
        if name is not None:
            scene.tracker.accumulate(ANNA, article(name), 10)
            scene.emitter.meanwhile = another

    scene.use(Hooked(another))
    scene.read(ANNA, OWLS, 30)
    flushed = scene.tracker.flush_reader(ANNA)
    assert (flushed.settled, flushed.seconds_sent) == (True, 80.0)
    scene.use(Hooked(lambda: scene.tracker.accumulate(ANNA, article("later"), 10)))
    scene.read(ANNA, OWLS, 30)
    flushed = scene.tracker.flush_reader(ANNA, resource_ids=["owls"])
    assert (flushed.settled, flushed.seconds_sent) == (True, 30.0)


def test_a_tracker_without_events_names_states_as_the_others_do(scene: Scene):
    """I2: a web host without ``events=`` takes the OneRoster URL that the store has on record: one state, 40 s."""
    scene.read(ANNA, OWLS, 30)
    web = ReadTimeTracker(scene.store, clock=scene.clock)
    reader = Reader(f"{URL}/users/anna", "anna@example.org")
    assert web.state(reader, f"{URL}/resources/owls").cumulative_read_time_seconds == 30.0
    scene.clock.advance(10)
    web.accumulate(reader, OWLS, 10)
    web.accumulate(reader.sourced_id, f"{URL}/resources/owls", 0)
    flushed = scene.tracker.flush_reader("anna")
    assert (flushed.settled, flushed.seconds_sent) == (True, 40.0)
    assert web.states(f"{URL}/users/anna")[0].unreported_seconds == 0.0


def test_where_nothing_is_on_record_a_url_is_refused(scene: Scene):
    """I2: rather than name a state that nobody else will find; once there is a record the same call works."""
    web = ReadTimeTracker(scene.store, clock=scene.clock)
    with pytest.raises(InvalidInput):
        web.accumulate(Reader(f"{URL}/users/anna", "anna@example.org"), OWLS, 10)
    scene.tracker.partial(ANNA, OWLS)
    web.accumulate(Reader(f"{URL}/users/anna", "anna@example.org"), OWLS, 10)
    assert scene.tracker.flush_reader(ANNA).seconds_sent == 10.0
