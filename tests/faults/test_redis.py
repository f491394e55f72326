"""What a Redis server may do: die and come back, hang, refuse. The host is told what to do; no second is lost."""

from __future__ import annotations

import random
import re
import threading
import time
from contextlib import closing, contextmanager

import attrs
import pytest

from caliper_readtime import Outcome, RedisStateStore, StoreUnavailable
from caliper_readtime.stores._redis import connection
from caliper_readtime.testing._redis_server import RedisServer
from tests.redis_scenes import GENEROUS, VERBS, WRITING, content, reloaded, tracker_on
from tests.redis_topologies import Node, Replicated, program, wait
from tests.scenes import ANNA, OWLS, article, running, until

pytestmark = pytest.mark.redis

AOF = {"appendonly": "yes", "appendfsync": "always"}
SHORT = {"connect_timeout_seconds": 0.5, "timeout_seconds": 0.5}
OVERHEAD = 10.0  # a busy machine's


@contextmanager
def store_on(url, **more):
    """A store of one's own, closed afterwards."""
    with closing(RedisStateStore.from_url(url, **more)) as store:
        yield store


def raised(verb, tracker):
    """The StoreUnavailable that a verb raises, and how long it took."""
    since = time.monotonic()
    with pytest.raises(StoreUnavailable) as error:
        VERBS[verb](tracker)
    return str(error.value), time.monotonic() - since


# It dies


@pytest.mark.parametrize("node", [AOF], indirect=True)
def test_a_kill_between_calls_costs_nothing(node, redis):
    """Killed and restarted: what was answered is there, what was not is repeated by its id, and counts once."""
    redis.read(seconds=30)
    node.server.kill()
    redis.clock.advance(10)
    for verb in VERBS:
        if verb != "forget":
            message, _ = raised(verb, redis.tracker)
            assert "cannot be reached" in message
    node.server.start()
    assert redis.tracker.accumulate(ANNA, OWLS, 10, heartbeat_id="again").accepted_seconds == 10
    assert redis.tracker.finalize(ANNA, OWLS).delta_seconds == 40
    assert redis.sent == [40]


@pytest.mark.parametrize("node", [AOF], indirect=True)
def test_kills_in_the_middle_of_heartbeats_lose_and_double_nothing(node):
    """Killed wherever it may be, five times: repeated heartbeats count once, and every second is reported once."""
    dice, stop = random.Random(), threading.Event()
    with store_on(node.server.url) as store:
        tracker, emitter = tracker_on(store, policy=attrs.evolve(GENEROUS, lock_seconds=0.5))
        beats, trouble = [0], [0]

        def persistently(verb):
            while True:
                try:
                    return verb()
                except StoreUnavailable:
                    trouble[0] += 1
                    time.sleep(0.005)

        def reads():
            while not stop.is_set():
                name = f"beat{beats[0]}"
                persistently(lambda name=name: tracker.accumulate(ANNA, OWLS, 1, heartbeat_id=name))
                beats[0] += 1
                if beats[0] % 7 == 0:
                    persistently(lambda: tracker.partial(ANNA, OWLS))

        with running(reads) as results:
            for _ in range(5):
                seen = beats[0]
                wait(lambda seen=seen: beats[0] > seen + 20, "heartbeats go on")
                time.sleep(dice.uniform(0, 0.02))  # the moment of death is what is random here
                node.server.kill()
                node.server.start()
            stop.set()
        assert results == [None]
        assert trouble[0] > 0
        # A claim whose owner was told that the store is away still has its lease.
        persistently(lambda: tracker.flush_reader(ANNA, wait_seconds=5).raise_unless_settled())
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == beats[0]
        assert emitter.seconds(ANNA, OWLS) == beats[0]


# It forgets, cuts and hangs


def test_scripts_that_redis_has_forgotten_are_sent_again(node, redis):
    """SCRIPT FLUSH before every verb: nobody notices."""
    redis.read(seconds=30)
    before = reloaded(node.admin)
    for verb in VERBS:
        node.admin.script_flush()
        VERBS[verb](redis.tracker)
    assert redis.sent == [30 + 10 + 5]  # what was left of the wall time
    assert reloaded(node.admin) - before >= len(VERBS)


class Forgetful(RedisStateStore):
    """Has Redis forget its scripts, and its clients, between the reading and the writing of each update."""

    admin = None

    def _transition(self, *args):
        self.admin.script_flush()
        self.admin.client_kill_filter(_type="normal", skipme=True)
        return super()._transition(*args)


def test_scripts_and_connections_that_are_lost_between_read_and_write(node):
    """SCRIPT FLUSH and CLIENT KILL between the two halves of every update, alone or of many: nobody notices."""
    with closing(Forgetful.from_url(node.server.url)) as store:
        store.admin = node.admin
        tracker, emitter = tracker_on(store)
        for what in ("owls", "bees", "ants"):
            tracker.accumulate(ANNA, article(what), 30)
        assert tracker.finalize(ANNA, OWLS).outcome is Outcome.SENT
        assert tracker.flush_reader(ANNA).seconds_sent == 60
        assert tracker.sweep(idle_seconds=0).events_sent == 0
        assert [emitter.seconds(ANNA, what) for what in ("owls", "bees", "ants")] == [30, 30, 30]
        assert tracker.forget(ANNA) == 3


def test_connections_that_an_administrator_kills(node, redis):
    """CLIENT KILL before every verb: each goes on with a connection of its own."""
    redis.read(seconds=30)
    for verb in VERBS:
        assert node.admin.client_kill_filter(_type="normal", skipme=True) > 0
        VERBS[verb](redis.tracker)
    assert redis.sent == [30 + 10 + 5]


@pytest.fixture
def brisk(monkeypatch):
    """Calls fail fast for so short that a test need not wait."""
    monkeypatch.setattr(connection, "FAIL_FAST_SECONDS", 0.02)
    monkeypatch.setattr(connection, "MAX_FAIL_FAST_SECONDS", 0.02)


@pytest.mark.usefixtures("brisk")
@pytest.mark.parametrize("verb", VERBS)
def test_a_hang_is_over_within_the_time_outs(node, verb):
    """SIGSTOP: StoreUnavailable within the time-outs, at once while it is known to hang; then it goes on."""
    with store_on(node.server.url, **SHORT) as store:
        tracker, emitter = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 30)
        node.server.pause()
        message, seconds = raised(verb, tracker)
        assert "did not answer in time" in message
        assert seconds < 0.2 + 0.2 + OVERHEAD
        for _ in range(3):  # now and then one of them probes
            message, seconds = raised(verb, tracker)
            assert re.search("did not answer in time|a moment ago", message)
            assert seconds < 0.5 + 0.5 + OVERHEAD
        node.server.resume()
        until(lambda: goes_on(tracker))
        VERBS[verb](tracker)
        if verb != "forget":
            tracker.flush_reader(ANNA, wait_seconds=1)
            assert emitter.seconds(ANNA, OWLS) == (40 if verb in ("accumulate", "observe") else 30)


def goes_on(tracker):
    """Whether the store answers."""
    try:
        tracker.state(ANNA, OWLS)
    except StoreUnavailable:
        return False
    return True


def test_a_hang_is_over_within_the_default_time_outs(node, redis):
    """The same with what ``from_url`` sets: connect 1 s, read 2 s."""
    redis.read(seconds=30)
    node.server.pause()
    message, seconds = raised("accumulate", redis.tracker)
    assert "did not answer in time" in message
    assert 1.9 < seconds < 3 + OVERHEAD
    message, seconds = raised("accumulate", redis.tracker)
    assert "did not answer a moment ago" in message
    node.server.resume()


def test_one_at_a_time_probes_a_server_that_hangs(node, redis, monkeypatch):
    """Of many threads one waits for a server that hangs, and for a quarter of a second; the others fail at once."""
    monkeypatch.setattr(connection, "FAIL_FAST_SECONDS", 0.05)
    monkeypatch.setattr(connection, "MAX_FAIL_FAST_SECONDS", 0.05)
    with store_on(node.server.url) as store:
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 30)
        node.server.pause()
        raised("accumulate", tracker)
        probes, stop, waited = [0], time.monotonic() + 2, []
        probe = store._redis._probe

        def counted():
            probes[0] += 1
            probe()

        store._redis._probe = counted

        def asks():
            while time.monotonic() < stop:
                _, seconds = raised("accumulate", tracker)
                waited.append(seconds)
                time.sleep(0.002)

        with running(*[asks] * 8) as results:
            pass
        assert results == [None] * 8
        node.server.resume()
        assert 1 <= probes[0] <= 2 / connection.PROBE_SECONDS + 1
        assert len(waited) > 20 * probes[0]
        until(lambda: goes_on(tracker))


def test_a_slow_server_is_no_dead_one(node, monkeypatch):
    """A server that answers within the time-outs, but too late for a brief probe, is found by a patient one."""
    monkeypatch.setattr(connection, "FAIL_FAST_SECONDS", 0.001)
    monkeypatch.setattr(connection, "MAX_FAIL_FAST_SECONDS", 0.001)
    monkeypatch.setattr(connection, "PROBE_SECONDS", 1e-6)  # no server answers as fast
    with store_on(node.server.url, **SHORT) as store:
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 30)
        node.server.pause()
        raised("accumulate", tracker)
        node.server.resume()
        until(lambda: goes_on(tracker))


# It refuses


def test_a_read_only_replica_says_so():
    """A URL that names a replica: StoreUnavailable that says so; what may be read is read, nothing is written."""
    with Replicated() as pair:
        with store_on(pair.master.server.url) as store:
            tracker_on(store)[0].accumulate(ANNA, OWLS, 30)
        pair.wait_for_replicas()
        (replica,) = pair.replicas
        before = content(replica.admin)
        with store_on(replica.server.url) as store:
            tracker, emitter = tracker_on(store)
            tracker._compared = True  # or the very first step would be the only one that is tried
            for verb in WRITING:
                if verb != "unpark":  # nothing is parked here, so that it has nothing to write before it claims
                    message, _ = raised(verb, tracker)
                    assert "read-only replica" in message
            assert tracker.state(ANNA, OWLS).unreported_seconds == 30
            assert emitter.events == []
        assert content(replica.admin) == before


def test_a_server_that_is_out_of_memory(node, redis):
    """OOM with noeviction: new time is refused and nothing is half-written; what is there can still be reported."""
    redis.read(seconds=30)
    node.admin.config_set("maxmemory-policy", "noeviction")
    node.admin.config_set("maxmemory", 1)
    before = content(node.admin)
    redis.clock.advance(10)
    for refused in (
        lambda: VERBS["accumulate"](redis.tracker),
        lambda: VERBS["observe"](redis.tracker),
        lambda: redis.tracker.accumulate(ANNA, article("new"), 10),
    ):
        with pytest.raises(StoreUnavailable, match="out of memory"):
            refused()
        assert content(node.admin) == before
    assert redis.tracker.finalize(ANNA, OWLS).delta_seconds == 30
    node.admin.config_set("maxmemory", 0)
    assert VERBS["accumulate"](redis.tracker).accepted_seconds == 10
    assert redis.tracker.finalize(ANNA, OWLS).delta_seconds == 10


@pytest.mark.parametrize("node", [{"min-replicas-to-write": "1"}], indirect=True)
def test_a_server_that_writes_only_with_replicas(node, redis):
    """NOREPLICAS: StoreUnavailable with the word by which Redis' manual knows it; nothing is written."""
    message, _ = raised("accumulate", redis.tracker)
    assert "NOREPLICAS" in message
    assert content(node.admin) == {}


def test_a_wrong_password(node):
    """StoreUnavailable that says so, and does not say the password."""
    node.admin.config_set("requirepass", "right")
    for user in ("", "nobody"):
        with store_on(f"redis://{user}:wrong-canary@127.0.0.1:{node.port}/0") as store:
            message, _ = raised("accumulate", tracker_on(store)[0])
            assert "refused the user name or password" in message
            assert "canary" not in message
    with store_on(f"redis://127.0.0.1:{node.port}/0") as store:
        message, _ = raised("accumulate", tracker_on(store)[0])
        assert "refused the user name or password" in message


@pytest.mark.parametrize(
    "rules",
    [
        ("~*", "+@all", "-@scripting"),
        ("~*", "+@all", "-eval"),
        ("~other:*", "+@all"),
        ("~*", "+@all", "-hset"),
        ("~*", "+@all", "-zadd"),
        ("~*", "+@all", "-time"),
    ],
    ids="".join,
)
def test_a_user_without_the_rights(node, rules):
    """ACL: StoreUnavailable that says where the rules are."""
    node.admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", *rules)
    with store_on(f"redis://reader:pw@127.0.0.1:{node.port}/0") as store:
        message, _ = raised("accumulate", tracker_on(store)[0])
        assert "ACL" in message, message


@pytest.mark.parametrize("command", ["EVAL", "EVALSHA", "TIME", "HSET", "HGET", "ZADD"])
def test_a_command_that_was_renamed(command):
    """rename-command: StoreUnavailable that says what it is and where to look, and quotes no argument."""
    options = {f"rename-command {command}": f"readtime-renamed-{command}"}
    with Node(RedisServer(options, program=program())) as node, store_on(node.server.url) as store:
        for verb in ("accumulate", "sweep"):
            with pytest.raises(StoreUnavailable, match="does not know the command") as error:
                VERBS[verb](tracker_on(store)[0])
                tracker_on(store)[0].accumulate(ANNA, OWLS, 5)  # for what a sweep of nothing does not need
            assert "renamed" in str(error.value)
            assert "anna" not in f"{error.value} {error.value.__cause__}"
            if command.startswith("EVAL"):
                assert f"command {command}," in str(error.value)


def test_a_server_that_is_loading_its_data(node):
    """LOADING: StoreUnavailable that says so, and once it has loaded all is there."""
    options = {"key-load-delay": "2000", "loading-process-events-interval-bytes": "1024", "dbfilename": "dump.rdb"}
    with Node(RedisServer(options, program=program())) as slow, store_on(slow.server.url) as store:
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 30)
        slow.admin.mset({f"other{number}": random.randbytes(2048) for number in range(400)})
        slow.admin.save()
        slow.server.kill()

        def loads():
            with pytest.raises(StoreUnavailable) as error:
                tracker.accumulate(ANNA, OWLS, 10)
            return "loading its data" in str(error.value)

        with running(slow.server.start) as results:
            wait(loads, "it is loading")
        assert results == [None]
        assert tracker.state(ANNA, OWLS).unreported_seconds == 30
