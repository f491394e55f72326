"""Redaction on Redis: whatever it does, no address, password or stored text comes out, nor what the driver quotes."""

from __future__ import annotations

import logging
from contextlib import closing

import pytest
import redis as driver

from caliper_readtime import ReadTimeTracker, RedisStateStore, StoreError, StoreUnavailable
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._redis import cluster as link
from caliper_readtime.stores._redis.encoding import Layout
from caliper_readtime.testing import FlakyEmitter, ManualClock
from tests.redaction import ARTICLE, EVENTS, MAIL, READER, SECRET, drive, silent, texts
from tests.redis_topologies import Cluster
from tests.tcp_proxy import TcpProxy

pytestmark = [pytest.mark.redis, pytest.mark.usefixtures("heard")]

NAMES = Layout("readtime", 16).names(Key(READER.sourced_id, ARTICLE.resource_id))


def _forbid(*rules):
    return lambda node, _: node.admin.execute_command("ACL", "SETUSER", "default", *rules)


FAULTS = {
    "dead": lambda node, _: node.server.kill(),
    "replica": lambda node, _: node.follow(1),
    "out of memory": lambda node, _: node.admin.config_set("maxmemory", 1),
    "no hset": _forbid("-hset"),
    "no eval": _forbid("-@scripting"),
    "no keys": _forbid("resetkeys"),
    "no password": lambda node, proxy: (node.admin.config_set("requirepass", SECRET), proxy.cut()),
    "refusing": lambda _, proxy: proxy.park(),
    "losing": lambda _, proxy: proxy.lose_next_reply(b"*", times=999),
    "hanging": lambda node, _: node.server.pause(),
    "string": lambda node, _: (node.admin.delete(NAMES.state), node.admin.set(NAMES.state, MAIL)),
    "index": lambda node, _: (node.admin.delete(NAMES.idle), node.admin.set(NAMES.idle, MAIL)),
    "no text": lambda node, _: node.admin.hset(NAMES.state, "ledger", b"\xff" + MAIL.encode()),
    "no ledger": lambda node, _: node.admin.hset(NAMES.state, "ledger", '{"schema": [1, 0], "' + MAIL),
    "no meter": lambda node, _: node.admin.hset(NAMES.state, "meter", f"{MAIL} 0"),
}


@pytest.mark.parametrize("decodes", [False, True], ids=["bytes", "text"])
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_canary_sings(request, node, fault, decodes):
    """Every verb while Redis is like this: typed errors that quote nothing, nor does what stands behind them."""
    said = request.getfixturevalue("heard")
    with TcpProxy(node.port) as proxy:
        options = {"socket_timeout": 0.05, "decode_responses": decodes}
        client = driver.Redis.from_url(f"redis://127.0.0.1:{proxy.port}/0", **options)
        clock = ManualClock()
        with closing(RedisStateStore.from_url(node.server.url, timeout_seconds=10)) as patient:
            ReadTimeTracker(patient, events=EVENTS, clock=clock).accumulate(READER, ARTICLE, 10)
        with closing(client), closing(RedisStateStore(client)) as store:
            tracker = ReadTimeTracker(store, FlakyEmitter(), EVENTS, clock=clock)
            del said[:]
            fault(node, proxy)
            seen = drive(tracker, clock)
            proxy.heal()
            assert any(isinstance(value, StoreError) for value in seen)
            silent(*[text for value in seen for text in texts(value)], repr(store), *said)


@pytest.mark.parametrize("kind", ["redis", "redis+sentinel", "redis+cluster"])
def test_a_password_in_a_url_is_not_shown(request, node, kind):
    """Neither a store, nor what it raises, shows the password of its URL, be it right or wrong."""
    said = request.getfixturevalue("heard")
    service = "/mymaster/0" if kind == "redis+sentinel" else "/0"
    shown = []
    try:
        with closing(RedisStateStore.from_url(f"{kind}://user:{SECRET}@127.0.0.1:{node.port}{service}")) as store:
            shown.append(repr(store))
            ReadTimeTracker(store).accumulate(READER, ARTICLE, 10)
    except StoreUnavailable as error:
        shown += texts(error)
    assert shown
    silent(*shown, *said)


def test_a_cluster_that_loses_its_nodes(request, monkeypatch):
    """Node by node a cluster goes away: the driver quotes commands then, which hold addresses; nobody hears them."""
    said = request.getfixturevalue("heard")
    monkeypatch.setattr(link, "MOVING_SECONDS", 0.3)
    with Cluster(1) as cluster, closing(RedisStateStore.from_url(cluster.url, timeout_seconds=0.2)) as store:
        logging.getLogger("redis").setLevel(logging.INFO)
        clock = ManualClock()
        tracker = ReadTimeTracker(store, FlakyEmitter(), EVENTS, clock=clock)
        tracker.accumulate(READER, ARTICLE, 10)
        seen = []
        for node in cluster.nodes:
            node.server.kill()
            try:
                tracker.accumulate(READER, ARTICLE, 10)
            except StoreError as error:
                seen.append(error)
        logging.getLogger("redis").setLevel(logging.NOTSET)
        assert seen
        silent(*[text for error in seen for text in texts(error)], *said)
