"""L5: a call that is interrupted from outside, wherever that is, costs later calls neither lock nor answer."""

import gc
import sys
from contextlib import closing
from functools import partial

import pytest
import redis as driver

from caliper_readtime import (
    InMemoryStateStore,
    MissingField,
    PageView,
    Reader,
    RedisStateStore,
    SqliteStateStore,
)
from caliper_readtime.testing import ManualClock, RecordingEmitter
from tests.interrupting import Interrupted, interrupt, interrupted
from tests.redis_scenes import tracker_on
from tests.scenes import ANNA, BEN, OWLS

# What the driver has in hand when it is interrupted, it leaves to Python to close.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

# Where most of what interrupts a heartbeat, a look and a report comes upon a store, and what the driver pipelines.
VERBS = {
    "heartbeat": lambda tracker, turn: tracker.observe(ANNA, OWLS, PageView("hers", turn)),
    "state": lambda tracker, _: tracker.state(ANNA, OWLS),
    "last sweep": lambda tracker, _: tracker._store.last_sweep(),
    "reports": lambda tracker, _: tracker._store.due(10, None, 0),
}
PLACES = ("redis", "sqlite", "_memory", "_due_index")


@pytest.fixture(params=["from_url", "own client"])
def in_redis(request, node):
    """A store in Redis; few connections, so that none may be lost."""
    url = f"{node.server.url}?max_connections=2"
    if request.param == "from_url":
        with closing(RedisStateStore.from_url(url, timeout_seconds=10)) as store:
            yield store
    else:
        with closing(driver.Redis.from_url(node.server.url, socket_timeout=10, max_connections=9999)) as client:
            yield RedisStateStore(client)


@pytest.fixture
def in_sqlite(tmp_path):
    """A store in a file, whose lock nobody waits long for."""
    with closing(SqliteStateStore(tmp_path / "readtime.db", busy_seconds=0.2)) as store:
        yield store


def interrupt_everywhere(store, verb):
    """After each interruption another reader gets their own answers, and time goes on."""
    tracker, emitter = tracker_on(store, RecordingEmitter())
    tracker.observe(ANNA, OWLS, PageView("hers", 0))
    tracker.observe(BEN, OWLS, PageView("his", 0))
    turn = 1
    while interrupted(lambda turn=turn: verb(tracker, turn), turn, PLACES):
        assert tracker.observe(BEN, OWLS, PageView("his", turn)).state.cumulative_read_time_seconds == turn
        assert tracker.state(BEN, OWLS).reader_sourced_id == BEN.sourced_id
        assert store.last_sweep() is None
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds in (turn - 1, turn, 0)
        assert tracker.observe(ANNA, OWLS, PageView("hers", turn)).state.cumulative_read_time_seconds == turn
        turn += 1
    assert turn > 5
    gc.collect()
    tracker.partial(ANNA, OWLS)
    assert emitter.seconds(ANNA.sourced_id, OWLS.resource_id) == tracker.state(ANNA, OWLS).cumulative_read_time_seconds


@pytest.mark.redis
@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_an_interruption_crosses_no_answers_and_loses_no_connection(in_redis, verb):
    """L5: an answer that nobody has read is not taken for another's, and a connection is there for every call."""
    interrupt_everywhere(in_redis, verb)


class OlderPool(driver.BlockingConnectionPool):
    """As before redis-py 7: it closes all of its connections, whoever uses them, or none."""

    def disconnect(self):
        super().disconnect()


@pytest.mark.redis
@pytest.mark.parametrize("kind", [driver.ConnectionPool, driver.BlockingConnectionPool, OlderPool])
def test_an_interruption_passes_through_a_hosts_pool_of_any_kind(node, kind, monkeypatch):
    """L5: what was raised from outside stays what it is, and connections that others use go on."""
    pool = kind.from_url(node.server.url, max_connections=3)
    store = RedisStateStore(driver.Redis(connection_pool=pool))
    others = pool.get_connection()
    others.send_command("PING")
    with monkeypatch.context() as patch:
        patch.setattr(driver.Redis, "parse_response", interrupt)
        with pytest.raises(Interrupted):
            store.last_sweep()
    assert store.last_sweep() is None
    assert others.read_response() == b"PONG"
    pool.release(others)
    pool.disconnect()


@pytest.mark.parametrize("verb", VERBS.values(), ids=VERBS)
def test_an_interruption_leaves_no_lock(in_sqlite, verb):
    """L5: the file's lock is free for the next call, and what was under way is done or undone."""
    interrupt_everywhere(in_sqlite, verb)


@pytest.mark.parametrize("within", ["heartbeat", "close"])
def test_a_call_in_the_midst_of_another_leaves_no_lock(in_sqlite, within):
    """L5: wherever a signal handler or a finalizer uses the store, what it counts is kept, and the file is free."""
    tracker, _ = tracker_on(in_sqlite, RecordingEmitter())
    tracker.observe(ANNA, OWLS, PageView("hers", 0))
    tracker.observe(BEN, OWLS, PageView("his", 0))
    turn, reached = 0, True
    while reached:
        turn += 1
        by = in_sqlite.close if within == "close" else partial(tracker.observe, BEN, OWLS, PageView("his", turn))
        heartbeat = partial(tracker.observe, ANNA, OWLS, PageView("hers", turn))
        reached = interrupted(heartbeat, turn, PLACES, by)
        assert tracker.observe(BEN, OWLS, PageView("his", turn)).state.cumulative_read_time_seconds == turn
        assert heartbeat().state.cumulative_read_time_seconds == turn
    assert turn > 5


CLEO = Reader("cleo", "cleo@example.org")
MEANWHILE = {
    "heartbeat": lambda tracker, turn: tracker.observe(ANNA, OWLS, PageView("hers", turn)),
    "sweep": lambda tracker, _: tracker.sweep(),
    "report": lambda tracker, _: tracker.partial(BEN, OWLS),
    "forget": lambda tracker, _: tracker.forget(CLEO.sourced_id),
}


@pytest.mark.parametrize("verb", MEANWHILE.values(), ids=MEANWHILE)
def test_an_interruption_in_memory_hides_no_state_from_the_sweep(verb):
    """L5: what a call was about to write down beside a state is made anew, so that all that was counted is reported."""
    place, reached = 0, True
    while reached:
        place += 1
        store, clock = InMemoryStateStore(), ManualClock()
        tracker, emitter = tracker_on(store, RecordingEmitter(), clock=clock)
        tracker.observe(BEN, OWLS, PageView("his", 5))
        tracker.observe(CLEO, OWLS, PageView("hers, too", 5))
        clock.advance(300)
        reached = interrupted(lambda tracker=tracker: verb(tracker, 5), place, PLACES)
        for _ in range(3):  # a claim of the interrupted call has to come to the end of its lease
            clock.advance(600)
            tracker.sweep()
        for reader in (ANNA, BEN, CLEO):
            state = tracker.state(reader, OWLS)
            counted = 0 if state is None else state.cumulative_read_time_seconds
            assert emitter.seconds(reader.sourced_id, OWLS.resource_id) == counted
            assert reader is not BEN or counted == 5
        assert not tracker.status().unreported_states
    assert place > 5


def test_a_refused_signal_costs_the_same_however_many_states_there_are():
    """A transition that refuses has left nothing half done, so nothing is made anew: every first visit asks so."""
    costs = []
    for states in (1, 200):
        tracker, _ = tracker_on(InMemoryStateStore(), RecordingEmitter())
        for number in range(states):
            tracker.observe(Reader(f"r{number}", "r@example.org"), OWLS, PageView("view", 5))
        with pytest.raises(MissingField):  # the first one draws and compiles what later ones have
            tracker.observe("nobody", "owls", PageView("view", 5))
        costs.append(0)

        def count(_frame, event, _, costs=costs):
            costs[-1] += event == "call"

        sys.setprofile(count)
        try:
            with pytest.raises(MissingField):
                tracker.observe("nobody", "owls", PageView("view", 5))
        finally:
            sys.setprofile(None)
    assert costs[0] == costs[1]
