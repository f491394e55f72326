"""The doctor on real Redis servers: what they say of themselves, however little they are allowed to."""

from __future__ import annotations

from contextlib import closing

import pytest

from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.doctor import examine
from caliper_readtime.testing._redis_server import RedisServer
from tests.scenes import until

redis = pytest.importorskip("redis")
pytestmark = pytest.mark.redis


def found_on(store):
    """The findings, by their names."""
    return {found.id: found for found in examine(ReadTimeTracker(store))}


def store_of(client, **more):
    from caliper_readtime.stores._redis.store import RedisStateStore  # noqa: PLC0415 - without the driver all is skipped

    return RedisStateStore(client, **more)


@pytest.mark.parametrize("decodes", [False, True])
def test_a_sound_server(decodes):
    """Version, eviction, persistence, replication, time-outs and clock, through either kind of client."""
    with RedisServer({"appendonly": "yes"}) as server:
        client = redis.Redis(
            host=server.host, port=server.port, socket_timeout=2, socket_connect_timeout=1, decode_responses=decodes
        )
        with closing(client):
            found = found_on(store_of(client))
    assert {name: one.level for name, one in found.items() if name.startswith(("redis", "clock"))} == {
        "redis.version": "ok",
        "redis.eviction": "ok",
        "redis.persistence": "ok",
        "redis.replication": "ok",
        "redis.timeouts": "ok",
        "clock.skew": "ok",
    }
    assert "socket_timeout 2 s, socket_connect_timeout 1 s" in found["redis.timeouts"].text


def test_a_server_that_loses_time():
    """It evicts, writes nothing to a disk, has fewer replicas than a claim waits for, and its client never gives up."""
    with RedisServer({"maxmemory": "100mb", "maxmemory-policy": "allkeys-lru", "save": ""}) as server:
        client = redis.Redis(host=server.host, port=server.port, socket_timeout=None, socket_connect_timeout=None)
        with closing(client):
            found = found_on(store_of(client, claim_replicas=1))
    assert {name for name, one in found.items() if one.level == "error"} == {
        "redis.eviction",
        "redis.persistence",
        "redis.replication",
        "redis.timeouts",
    }


def test_a_server_that_says_little():
    """Managed Redis blocks CONFIG, and an ACL may block INFO: what is not known is a warning, not a failure."""
    with RedisServer({"appendonly": "yes"}) as server:
        client = redis.Redis(host=server.host, port=server.port, socket_timeout=2, socket_connect_timeout=1)
        with closing(client):
            client.execute_command("ACL", "SETUSER", "default", "-config")
            assert found_on(store_of(client))["redis.persistence"].level == "ok"
            client.execute_command("ACL", "SETUSER", "default", "-info")
            found = found_on(store_of(client))
    assert (found["redis.eviction"].level, found["redis.persistence"].level) == ("warn", "warn")
    assert found["redis.timeouts"].level == "ok"


def test_a_server_that_is_away():
    """Every check that needs it says so; none raises."""
    server = RedisServer()
    client = redis.Redis(host=server.host, port=server.port, socket_timeout=1, socket_connect_timeout=1)
    server.close()
    with closing(client):
        found = found_on(store_of(client))
    for name in ("store.store", "clock.store", "sweep.store"):
        assert found[name].level == "error"
        assert "cannot be reached" in found[name].text


def test_a_cluster():
    """Each master is asked for itself, through the cluster's own client and its time-outs."""
    from caliper_readtime.stores._redis.store import RedisStateStore  # noqa: PLC0415

    with RedisServer({"cluster-enabled": "yes", "appendonly": "yes"}) as server:
        with closing(redis.Redis(host=server.host, port=server.port)) as client:
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
            until(lambda: client.cluster("info").get("cluster_state") == "ok")
        with closing(RedisStateStore.from_url(f"redis+cluster://{server.host}:{server.port}")) as store:
            found = found_on(store)
    assert found["redis.version"].text.startswith(f"Redis at {server.host}:{server.port}: version ")
    assert found["redis.timeouts"].text.endswith("socket_timeout 2 s, socket_connect_timeout 1 s")
    assert {one.level for name, one in found.items() if name.startswith("redis")} == {"ok"}
