"""Connections to Redis: none is hoarded, waits for one are bounded, and a change of roles renews all of them."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing
from itertools import count

import pytest
import redis as driver

from caliper_readtime import PageView, RedisStateStore, StoreUnavailable
from caliper_readtime.stores._redis import connection
from tests.redis_scenes import VERBS, tracker_on
from tests.redis_topologies import Replicated, wait
from tests.scenes import ANNA, OWLS, article
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.redis


def crowd(tracker, threads, heartbeats):
    """So many threads, each with a page of its own; what they raised."""
    together, raised = threading.Barrier(threads), []

    def reads(number):
        together.wait()
        try:
            for total in range(heartbeats):
                tracker.observe(ANNA, article(f"page{number}"), PageView(f"v{number}", total))
        except Exception as error:  # noqa: BLE001 - the test looks at it
            raised.append(error)

    running = [threading.Thread(target=reads, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()
    return raised


@pytest.mark.parametrize("owned", [True, False], ids=["from_url", "own client"])
@pytest.mark.parametrize(("limit", "threads", "heartbeats"), [(1, 3, 50), (2, 2, 200), (100, 120, 5)])
def test_no_connection_is_hoarded(node, owned, limit, threads, heartbeats):
    """More threads than connections: every heartbeat is counted, and afterwards every verb finds a connection."""
    url = f"{node.server.url}?max_connections={limit}"
    with ExitStack() as stack:
        if owned:
            store = RedisStateStore.from_url(url, timeout_seconds=10)
        else:
            store = RedisStateStore(stack.enter_context(closing(driver.Redis.from_url(url, socket_timeout=10))))
        stack.enter_context(closing(store))
        tracker, emitter = tracker_on(store)
        assert crowd(tracker, threads, heartbeats) == []
        assert tracker.sweep(idle_seconds=0, limit=10_000).seconds_sent == threads * (heartbeats - 1)
        for verb in VERBS.values():
            verb(tracker)
        assert node.admin.info("clients")["connected_clients"] <= limit + 2
        assert len(emitter.events) >= threads


def test_a_wait_for_a_connection_is_bounded(node, monkeypatch):
    """Others hold all connections: StoreUnavailable that says so; nothing was asked, and the next call is served."""
    monkeypatch.setattr(connection, "CONNECTION_WAIT_SECONDS", 0.05)
    with closing(RedisStateStore.from_url(f"{node.server.url}?max_connections=2")) as store:
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 10)
        pool = store.client.connection_pool
        store.close()
        held = [pool.get_connection() for _ in range(2)]
        for verb in ("accumulate", "sweep", "state"):
            with pytest.raises(StoreUnavailable, match="max_connections"):
                VERBS[verb](tracker)
        for one in held:
            pool.release(one)
        assert tracker.accumulate(ANNA, OWLS, 10).accepted_seconds == 10


class Pair:
    """A master and its replica behind one name; connections that are open stay open when their roles change."""

    def __init__(self, stack):
        self.pair = stack.enter_context(Replicated())
        self.name = stack.enter_context(TcpProxy(self.pair.master.port))
        self.url = f"redis://127.0.0.1:{self.name.port}/0"

    def swap(self):
        """Change roles, as an orderly fail-over does: nothing is lost, and the name leads to the new master."""
        self.pair.wait_for_replicas()
        old, (new,) = self.pair.master, self.pair.replicas
        new.promote()
        old.follow(new.port)
        self.name.target = new.port
        self.pair.master, self.pair.replicas = new, [old]
        wait(lambda: old.replicates(new.port), "the old master follows")


@pytest.mark.parametrize("owned", [True, False], ids=["from_url", "own client"])
def test_a_demoted_master_is_left(owned):
    """READONLY on connections that stay open: each verb goes on with the new master, at once."""
    with ExitStack() as stack:
        site = Pair(stack)
        client = stack.enter_context(closing(driver.Redis.from_url(site.url, socket_timeout=10)))
        store = RedisStateStore.from_url(site.url, timeout_seconds=10) if owned else RedisStateStore(client)
        stack.enter_context(closing(store))
        tracker, emitter = tracker_on(store)
        totals = count(1)

        def reads():
            for verb in ("accumulate", "observe"):
                VERBS[verb](tracker)
            tracker.accumulate(ANNA, OWLS, 1, heartbeat_id=f"beat{next(totals)}")

        reads()
        assert crowd(tracker, 8, 10) == []  # several warm connections
        for verb in ("accumulate", "sweep", "defer", "partial", "flush", "unpark", "forget"):
            site.swap()
            VERBS[verb](tracker)
            reads()
            assert tracker.finalize(ANNA, OWLS).state.unreported_seconds == 0
        assert emitter.events


def test_a_batch_meets_a_demoted_master():
    """READONLY in the middle of a flush of many: all of it is claimed, sent and committed on the new master, once."""
    with ExitStack() as stack:
        site = Pair(stack)
        store = stack.enter_context(closing(RedisStateStore.from_url(site.url, timeout_seconds=10)))
        tracker, emitter = tracker_on(store)
        for number in range(20):
            tracker.accumulate(ANNA, article(f"page{number}"), 30)
        site.swap()
        assert tracker.flush_reader(ANNA).seconds_sent == 600
        assert len({event["id"] for event in emitter.events}) == len(emitter.events) == 20


def test_a_server_that_loads_is_left_as_well(node, monkeypatch):
    """LOADING that lasts: connections are renewed, so that a name that leads elsewhere meanwhile is resolved again."""
    with (
        TcpProxy(node.port) as name,
        closing(RedisStateStore.from_url(f"redis://127.0.0.1:{name.port}/0")) as store,
    ):
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 10)
        loads = [True]

        def answers(one):
            if loads:
                raise driver.BusyLoadingError("Redis is loading the dataset in memory")
            return original(one)

        (warm,) = store._redis._free
        original = type(warm).read_response
        monkeypatch.setattr(type(warm), "read_response", lambda one, *_, **__: answers(one))
        with pytest.raises(StoreUnavailable, match="loading"):
            tracker.accumulate(ANNA, OWLS, 10)
        loads.clear()
        assert store._redis._free == []
        assert tracker.accumulate(ANNA, OWLS, 10).accepted_seconds == 10
