"""A cluster: traffic while a slot moves, while a master dies, hangs or is away; each shard by the clock of its node."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager

import attrs
import pytest

from caliper_readtime import PageView, Reader, RedisStateStore, StoreUnavailable
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._redis import cluster as link
from tests.concurrency.children import child
from tests.interrupting import Interrupted, interrupt
from tests.redis_scenes import GENEROUS, VERBS, names_of, tracker_on
from tests.redis_topologies import Cluster, wait
from tests.scenes import ANNA, OWLS, in_threads, running

pytestmark = pytest.mark.redis

READERS = [Reader(f"r{number}", f"r{number}@example.org") for number in range(24)]
SHORT_LEASES = attrs.evolve(GENEROUS, lock_seconds=1.0)
PARTIAL_COVER = {"cluster-require-full-coverage": "no", "appendonly": "yes", "appendfsync": "always"}
THREADS = 3


@pytest.fixture(scope="module")
def cluster():
    """Three masters and three replicas, for tests that kill none."""
    with Cluster() as made:
        yield made


@contextmanager
def store_on(cluster, **more):
    """A store that knows every node of a cluster without content."""
    for node in cluster.nodes:
        if node.admin.info("replication")["role"] == "master":
            node.admin.flushall()
    with closing(RedisStateStore.from_url(cluster.url, **more)) as store:
        cluster.sees_replicas(store.client)
        yield store


class Traffic:
    """Readers in some threads: running totals, and a report now and then; each thread has its own readers."""

    def __init__(self, tracker, emitter):
        self.tracker, self.emitter = tracker, emitter
        self.totals, self.errors = Counter(), []
        self.stop = threading.Event()

    def _read(self, mine):
        beats = 0
        while not self.stop.is_set():
            reader = mine[beats % len(mine)]
            beats += 1
            try:
                total = self.totals[reader.sourced_id] + 1
                self.tracker.observe(reader, OWLS, PageView("view", total))
                self.totals[reader.sourced_id] = total
                if beats % 5 == 0:
                    self.tracker.partial(reader, OWLS)
            except StoreUnavailable as error:
                self.errors.append(error)

    @contextmanager
    def flowing(self):
        """Traffic, until the end of the block."""
        parts = [READERS[place::THREADS] for place in range(THREADS)]
        with running(*(lambda part=part: self._read(part) for part in parts)) as results:
            try:
                self.grows()
                yield
            finally:
                self.stop.set()
        assert results == [None] * THREADS

    def grows(self, reader=None):
        """Wait until some more has been read."""
        count = self.totals.total if reader is None else lambda: self.totals[reader]
        before = count()
        wait(lambda: count() > before + (60 if reader is None else 1), "traffic goes on")

    def judge(self):
        """Stop the faults, drain: every second that was read has been reported once."""
        for reader in READERS:
            total = self.totals[reader.sourced_id]
            if total:
                self.tracker.observe(reader, OWLS, PageView("view", total))
                wait(lambda reader=reader: self._settles(reader), "everything is reported")
                assert self.tracker.state(reader, OWLS).cumulative_read_time_seconds == total
                assert self.emitter.seconds(reader, OWLS) == total

    def _settles(self, reader):
        try:
            return self.tracker.flush_reader(reader, wait_seconds=2).settled
        except StoreUnavailable:
            return False


def test_traffic_while_a_slot_moves(cluster):
    """Half of a slot's keys here, half there, and then all of it there: nobody is told, and no second is lost."""
    key = names_of(READERS[0], OWLS).state
    with store_on(cluster) as store:
        traffic = Traffic(*tracker_on(store, policy=SHORT_LEASES))
        before = cluster.master_of(key)
        with traffic.flowing():
            with cluster.moving(key) as migrate:
                traffic.grows()
                assert migrate(1) == 1
                time.sleep(0.3)  # for that long the slot is torn, which no single call has to outwait
            traffic.grows(READERS[0].sourced_id)
        assert traffic.errors == []
        assert cluster.master_of(key) is not before
        traffic.judge()


def test_a_slot_that_is_torn_for_long(cluster, monkeypatch):
    """StoreUnavailable after two seconds; the other shards go on, and so does this one once the slot has arrived."""
    names = names_of(READERS[0], OWLS)
    with store_on(cluster) as store:
        tracker, emitter = tracker_on(store)
        for reader in READERS:
            tracker.accumulate(reader, OWLS, 10)
        with cluster.moving(names.state) as migrate:
            assert migrate(1) == 1
            since = time.monotonic()
            with pytest.raises(StoreUnavailable):
                tracker.partial(READERS[0], OWLS)
            assert 1 < time.monotonic() - since < 20
            monkeypatch.setattr(link, "MOVING_SECONDS", 0.2)  # a sweep asks several times
            swept = tracker.sweep(idle_seconds=0)
            same_shard = [reader for reader in READERS if names_of(reader, OWLS).due == names.due]
            assert swept.events_sent == len(READERS) - len(same_shard)
        assert tracker.sweep(idle_seconds=0).events_sent == len(same_shard)
        assert sum(emitter.seconds(reader, OWLS) for reader in READERS) == 10 * len(READERS)


def test_each_shard_is_timed_by_its_own_node(cluster):
    """T3: the clock is that of the node which holds the key, and of no other."""
    with store_on(cluster) as store:
        for reader in READERS:
            names = names_of(reader, OWLS)
            asked = cluster.master_of(names.state)
            before = _times(cluster)
            store.now(Key(reader.sourced_id, OWLS.resource_id))
            assert [node for node, times in _times(cluster).items() if times > before[node]] == [asked]


def _times(cluster):
    return {node: node.admin.info("commandstats").get("cmdstat_time", {"calls": 0})["calls"] for node in cluster.nodes}


def test_many_threads_in_a_cluster(cluster):
    """Sixteen threads on one state and on many: no update is lost, and every second is reported once."""
    with store_on(cluster) as store:
        tracker, emitter = tracker_on(store)

        def reads(place):
            for number in range(20):
                tracker.accumulate(ANNA, OWLS, 1)
                tracker.accumulate(READERS[(place + number) % len(READERS)], OWLS, 1)

        in_threads(*(lambda place=place: reads(place) for place in range(16)))
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == 320
        assert tracker.sweep(idle_seconds=0).seconds_sent == 640
        assert emitter.seconds(ANNA, OWLS) == 320


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_while_another_thread_holds_the_drivers_locks(cluster):
    """As on one server, though a cluster has more of them."""
    with store_on(cluster), child("forked_while_locked", roles="redis_roles", url=cluster.url) as parent:
        assert parent.result() == {"status": 0, "total": 30}


# Masters that go


@pytest.fixture
def spare_cluster():
    """A cluster of which a test may kill a master: it serves what it can, and keeps on disk what it has."""
    with Cluster(options=PARTIAL_COVER) as made:
        yield made


def test_traffic_while_a_master_is_killed_and_failed_over(spare_cluster):
    """Typed errors until the replica has taken over, then everything goes on; claims are on replicas: nothing twice."""
    key = names_of(READERS[0], OWLS).state
    with store_on(spare_cluster, claim_replicas=1, claim_wait_seconds=0.5) as store:
        traffic = Traffic(*tracker_on(store, policy=SHORT_LEASES))
        with traffic.flowing():
            old = spare_cluster.master_of(key)
            old.server.kill()
            spare_cluster.wait_for_fail_over(key, old)
            traffic.grows(READERS[0].sourced_id)
            old.server.start()  # as the replica of what was its replica
        new = spare_cluster.master_of(key)
        wait(lambda: old.replicates(new.port), "the dead one follows")
        assert traffic.errors
        traffic.judge()


@pytest.mark.parametrize("how", ["kill", "pause"])
def test_a_sweep_goes_on_while_a_master_is_away(spare_cluster, monkeypatch, caplog, how):
    """Nobody takes over: other shards' readers are reported, an error says what waits, and that comes later."""
    monkeypatch.setattr(link, "MOVING_SECONDS", 0.5)
    with store_on(spare_cluster, timeout_seconds=0.5) as store:
        tracker, emitter = tracker_on(store)
        for node in spare_cluster.nodes:
            node.admin.config_set("cluster-replica-no-failover", "yes")
        for reader in READERS:
            tracker.accumulate(reader, OWLS, 10)
        victim = spare_cluster.master_of("readtime:meta")  # so that not even the sweep itself can be recorded
        away = [reader for reader in READERS if spare_cluster.master_of(names_of(reader, OWLS).state) is victim]
        assert 0 < len(away) < len(READERS)
        (victim.server.kill if how == "kill" else victim.server.pause)()
        since = time.monotonic()
        with pytest.raises(StoreUnavailable):
            tracker.accumulate(away[0], OWLS, 10, heartbeat_id="again")
        assert time.monotonic() - since < 20  # half a second of patience, or of silence; the rest is for a busy machine
        with caplog.at_level(logging.WARNING, "caliper_readtime"):
            swept = tracker.sweep(idle_seconds=0)
        assert (swept.events_sent, swept.seconds_sent) == (len(READERS) - len(away), 10 * (len(READERS) - len(away)))
        assert time.monotonic() - since < 60
        assert "shards without an answer" in caplog.text
        assert "could not record" in caplog.text
        (victim.server.start if how == "kill" else victim.server.resume)()
        wait(lambda: _answers(tracker), "it is back")
        assert tracker.accumulate(away[0], OWLS, 0, heartbeat_id="back").duplicate is False
        tracker.sweep(idle_seconds=0)
        # The heartbeat that was refused may have arrived all the same, once the node was awake.
        assert emitter.seconds(away[0], OWLS) in ((10,) if how == "kill" else (10, 20))
        assert all(emitter.seconds(reader, OWLS) == 10 for reader in READERS if reader is not away[0])
        assert len(emitter.events) == len({event["id"] for event in emitter.events})


def _answers(tracker):
    try:
        VERBS["accumulate"](tracker)
        return all(tracker.state(reader, OWLS) is not None for reader in READERS)
    except StoreUnavailable:
        return False


def test_an_interruption_leaves_no_answer_behind(cluster, monkeypatch):
    """L5: one between a command and its answer, on any node: the next call is given its own."""
    with store_on(cluster) as store:
        tracker, _ = tracker_on(store)
        for number, reader in enumerate(READERS):
            tracker.observe(reader, OWLS, PageView("view", number))
        with monkeypatch.context() as patch:
            patch.setattr("redis.Redis.parse_response", interrupt)
            for reader in READERS:
                with pytest.raises(Interrupted):
                    tracker.state(reader, OWLS)
        for number, reader in enumerate(READERS):
            state = tracker.state(reader, OWLS)
            assert (state.reader_sourced_id, state.cumulative_read_time_seconds) == (reader.sourced_id, number)
