"""T8: a claim is settled without a look before, and what others did to its state meanwhile is respected."""

from __future__ import annotations

from contextlib import closing

import pytest

from caliper_readtime import Outcome, SqliteStateStore
from caliper_readtime._rules import Commit, CommitResult
from caliper_readtime._rules.state import Key
from caliper_readtime.stores import _claimed
from caliper_readtime.testing import RecordingEmitter
from tests.backends import redis_store
from tests.scenes import ANNA, BEN, OWLS, Hooked, Scene, article

OPENED = {
    "sqlite": lambda tmp_path: SqliteStateStore(tmp_path / "readtime.db"),
    "redis": redis_store,
}


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=pytest.mark.redis)])
def opened(request):
    """Opens a store on the same file or namespace each time."""
    return OPENED[request.param]


@pytest.fixture
def scene(tmp_path, opened):
    """A scene on a store that is empty; half a minute has been read."""
    scene = Scene(lambda: opened(tmp_path))
    with closing(scene.store):
        scene.read()
        yield scene


def kept(store):
    """What a store remembers of claims."""
    return (store._claimed if isinstance(store, SqliteStateStore) else store._remembered.claimed).kept


@pytest.mark.parametrize("opened", ["sqlite"], indirect=True)
def test_a_sweep_looks_at_each_state_once(scene):
    """In SQLite: a batch is claimed, and settled without a look; and nothing is kept of what is settled."""
    for number in range(20):
        scene.read(BEN, article(f"page{number}"))
    scene.clock.advance(3600)
    looks = []
    connection = scene.store._file.connection()
    connection.sqlite.set_trace_callback(
        lambda statement: looks.append(statement) if statement.startswith("SELECT cumulative_ms") else None
    )
    assert scene.tracker.sweep().events_sent == 21
    connection.sqlite.set_trace_callback(None)
    assert len(looks) == 21
    assert kept(scene.store) == {}


def test_time_that_is_read_meanwhile_is_kept(scene, tmp_path, opened):
    """Another process counts while the event is on its way: the row is another one, and the commit reads it first."""
    with closing(opened(tmp_path)) as store:
        other = scene.another(RecordingEmitter(), store=store)
        scene.use(Hooked(lambda: scene.read(seconds=12, tracker=other)))
        assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30
        state = scene.state()
        assert (state.cumulative_read_time_seconds, state.reported_read_time_seconds) == (42, 30)
        assert scene.tracker.finalize(ANNA, OWLS).delta_seconds == 12
        assert scene.sent == [30, 12]


def test_a_position_that_comes_meanwhile_is_kept(scene, tmp_path, opened):
    """A heartbeat that moves no time is seen all the same."""
    with closing(opened(tmp_path)) as store:
        other = scene.another(RecordingEmitter(), store=store)
        scene.use(Hooked(lambda: other.accumulate(ANNA, OWLS, 0, position_seconds=7)))
        assert scene.tracker.partial(ANNA, OWLS).state.position_seconds == 7
        assert scene.state().position_seconds == 7


def test_what_is_forgotten_meanwhile_stays_forgotten(scene, tmp_path, opened):
    """K4: the commit finds no state, nor takes another that was born in its place for it."""
    with closing(opened(tmp_path)) as store:
        other = scene.another(RecordingEmitter(), store=store)

        def born_again():
            other.forget(ANNA)
            scene.read(seconds=30, tracker=other)

        scene.use(Hooked(born_again))
        assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.NOTHING_TO_SEND
        assert scene.state().reported_read_time_seconds == 0


def test_another_owner_has_settled_it_meanwhile(scene, tmp_path, opened):
    """K3: the lease had run out, and another process sent the same event: committed once."""
    with closing(opened(tmp_path)) as store:
        other = scene.another(RecordingEmitter(), store=store)

        def late():
            scene.clock.advance(31)
            assert other.partial(ANNA, OWLS).outcome is Outcome.SENT

        scene.use(Hooked(late))
        assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.NOTHING_TO_SEND
        assert scene.state().reported_read_time_seconds == 30
        assert [entry.kind for entry in scene.state().history] == ["claimed", "claimed", "sent"]


def test_an_answer_is_never_from_memory_alone(scene, tmp_path, opened):
    """A transition that wants nothing written is decided by what is stored."""
    key = Key("anna", "owls")
    gone = Commit("of an earlier life", "urn:uuid:0", 0, 30_000)
    with closing(opened(tmp_path)) as store:
        other = scene.another(RecordingEmitter(), store=store)
        answers = []

        def settled():
            other.forget(ANNA)
            answers.extend((scene.store.update(key, gone), *scene.store.update_many([(key, gone)])))

        scene.use(Hooked(settled))
        scene.tracker.partial(ANNA, OWLS)
        assert answers == [(CommitResult.GONE, None)] * 2


def test_memory_is_bounded(scene, monkeypatch):
    """Claims that are never settled here do not pile up."""
    monkeypatch.setattr(_claimed, "MOST", 5)
    for number in range(12):
        scene.read(BEN, article(f"page{number}"))
    answers = []
    scene.use(Hooked(lambda: answers.append(len(kept(scene.store)))))
    scene.clock.advance(3600)
    assert scene.tracker.sweep().events_sent == 13
    assert answers[0] <= 5
