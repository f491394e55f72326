"""``status``: what waits in a store, how old it is, and which claims are too old to be trusted."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caliper_readtime import CorruptState, EmitterUnavailable, EventRejected, Status
from caliper_readtime._inspection import status_of
from caliper_readtime._logs import logger
from caliper_readtime.testing import RecordingEmitter
from tests.backends import STORES
from tests.scenes import ANNA, BEES, BEN, OWLS, START, Scene
from tests.unit.builders import DAY, NOW, Life, ms

DOUBT = "more than a day after its first claim"


class ReadBack(RecordingEmitter):
    """Knows nothing of what it is asked for."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def held(self, event_ids, /):
        self.asked.extend(event_ids)
        return frozenset()


def test_an_empty_store_waits_for_nothing(scene: Scene):
    """No state, no age, no sweep."""
    assert scene.tracker.status() == Status(0, 0.0, None, 0, None)


def test_what_waits_is_counted_with_its_age(scene: Scene):
    """Unreported, in flight and parked time is waiting; what was sent, or is less than a second, is not."""
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 20)
    scene.emitter.fail(EmitterUnavailable("down"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, BEES)
    scene.read(BEN, OWLS, 12)
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(BEN, OWLS)
    scene.read(BEN, BEES, 7)
    scene.tracker.partial(BEN, BEES)
    assert scene.tracker.status() == Status(3, 62.0, START, 1, None)
    scene.tracker.partial(ANNA, OWLS)
    scene.tracker.sweep(idle_seconds=0)
    status = scene.tracker.status()
    waiting = [state for reader in (ANNA, BEN) for state in scene.tracker.states(reader) if state.due_at]
    assert (status.unreported_states, status.unreported_seconds) == (
        len(waiting),
        sum(state.unreported_seconds for state in waiting),
    )
    assert status.last_sweep_at == scene.clock()
    # Only BEN's refused time is left, which began after ANNA had read both articles.
    assert status.oldest_unreported_at == START + timedelta(seconds=50)


def test_the_rest_below_a_second_is_no_state_that_waits(scene: Scene):
    """Nobody can report it, so nobody has to look at it."""
    scene.read(seconds=30.5)
    scene.tracker.partial(ANNA, OWLS)
    assert scene.tracker.status() == Status(0, 0.0, None, 0, None)


def test_it_looks_at_one_state_after_the_other():
    """A store with a hundred thousand waiting states must not be held in memory."""
    seen = 0

    def states():
        nonlocal seen
        for number in range(1000):
            seen += 1
            life = Life()
            life.read(10 + number % 3)
            yield life.state

    found = status_of(states(), now=NOW, last_sweep=None)
    assert (found.unreported_states, found.unreported_seconds, seen) == (1000, 10_999.0, 1000)


def test_one_state_that_cannot_be_read_hides_no_other(tmp_path, caplog):
    """It is logged with its ids and left out; here a file is damaged, and Redis in tests/faults."""
    scene = Scene(lambda: STORES["sqlite"](tmp_path))
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 20)
    scene.store._file.connection().sqlite.execute("UPDATE state SET ledger = 'torn' WHERE resource = 'owls'")
    with caplog.at_level("ERROR", logger.name):
        status = scene.tracker.status()
    assert (status.unreported_states, status.unreported_seconds) == (1, 20.0)
    assert "anna" in caplog.text
    assert "owls" in caplog.text
    with pytest.raises(CorruptState):
        scene.tracker.explain(ANNA, OWLS)
    scene.store.close()


def lost_answer(scene):
    """Claim an event, and die before its answer is known."""
    scene.read(seconds=30)

    class Dies(RecordingEmitter):
        def emit(self, events, /):
            super().emit(events)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scene.another(Dies()).partial(ANNA, OWLS)


@pytest.mark.parametrize(("seconds", "doubtful"), [(DAY - 1, 0), (DAY, 1)])
def test_a_claim_is_doubtful_after_a_day(scene: Scene, seconds, doubtful):
    """R3: past a day an ambiguous claim needs a read-back, or a warning in the log and in status."""
    lost_answer(scene)
    scene.clock.advance(seconds)
    assert scene.tracker.status().doubtful_claims == doubtful


def test_sending_a_doubtful_claim_again_is_warned_of(scene: Scene, caplog):
    """R3: the line says whose it is, which event, and what to do; a claim of yesterday noon needs none."""
    lost_answer(scene)
    event_id = scene.state().history[-1].event_id
    scene.clock.advance(DAY)
    with caplog.at_level("WARNING", logger.name):
        scene.tracker.sweep()
    (line,) = [record.getMessage() for record in caplog.records if DOUBT in record.getMessage()]
    for part in ("anna", "owls", event_id, "read_back"):
        assert part in line
    assert "@" not in line
    assert scene.tracker.status() == Status(0, 0.0, None, 0, scene.clock())


def test_a_young_claim_is_sent_again_without_a_warning(scene: Scene, caplog):
    """The endpoint still knows its id."""
    lost_answer(scene)
    scene.clock.advance(DAY - 1)
    with caplog.at_level("WARNING", logger.name):
        scene.tracker.sweep()
    assert DOUBT not in caplog.text
    assert scene.sent == [30]


def test_who_reads_back_is_not_warned(scene: Scene, caplog):
    """The endpoint was asked; that it knows nothing is its word."""
    lost_answer(scene)
    scene.clock.advance(DAY)
    emitter = ReadBack()
    with caplog.at_level("WARNING", logger.name):
        scene.another(emitter).sweep()
    assert emitter.asked == [emitter.events[0]["id"]]
    assert DOUBT not in caplog.text


def test_an_endpoint_that_could_not_be_asked_leaves_the_doubt(scene: Scene, caplog):
    """Read-back that failed is none: the event is sent again, and the warning comes after all."""
    lost_answer(scene)
    scene.clock.advance(DAY)

    class Deaf(RecordingEmitter):
        def held(self, event_ids, /):
            raise EmitterUnavailable("no answer")

    with caplog.at_level("WARNING", logger.name):
        assert scene.another(Deaf()).sweep().events_sent == 1
    assert DOUBT in caplog.text


def test_a_refused_event_that_is_tried_again_is_not_doubtful(scene: Scene, caplog):
    """The endpoint said that it does not hold it, however long ago."""
    scene.read()
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(2 * DAY)
    assert scene.tracker.status().doubtful_claims == 0
    with caplog.at_level("WARNING", logger.name):
        assert scene.tracker.sweep().events_sent == 1
    assert DOUBT not in caplog.text


@pytest.mark.parametrize("wait", ["unclaimed", "in flight", "parked"])
def test_the_oldest_time_is_when_it_began_to_be_read(scene: Scene, wait):
    """Wherever it waits: not when it was claimed or refused, and not what has been read since."""
    scene.read(BEN, BEES, 50)
    scene.tracker.partial(BEN, BEES)
    scene.read(ANNA, OWLS, 40)
    if wait != "unclaimed":
        scene.emitter.fail(EmitterUnavailable("down") if wait == "in flight" else EventRejected("bad", status=422))
        with pytest.raises((EmitterUnavailable, EventRejected)):
            scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, OWLS, 9)
    scene.read(BEN, BEES, 5)
    assert scene.tracker.status().oldest_unreported_at == START + timedelta(seconds=50)


def test_doubt_is_the_first_claims_age_and_not_the_last_ones():
    """Claimed again and again, a claim does not become younger."""
    life = Life()
    claim = life.claimed(30)
    life.release(claim)
    life.wait(DAY).take("b")
    assert life.ledger.claim.doubtful(life.now)
    assert not life.ledger.claim.doubtful(life.now - ms(1))
