"""Death at any moment, of workers and of Redis: no second is lost, none is doubled."""

from __future__ import annotations

import random
import time
from collections import Counter
from contextlib import closing

import pytest

from caliper_readtime import JsonLinesEmitter
from caliper_readtime.testing._redis_server import RedisServer
from tests.concurrency.arrivals import repeats
from tests.concurrency.judging import judged
from tests.concurrency.killed import KilledWorkers
from tests.concurrency.roles import tracker_on
from tests.redis_scenes import reloaded
from tests.redis_topologies import Node, program

pytestmark = pytest.mark.redis

SOMETIMES = ("taken-over", "lost-race", "unavailable")
AOF = {"appendonly": "yes", "appendfsync": "always"}


def seen_by(notes):
    """What workers saw, and how often."""
    lines = [line.split() for file in notes for line in file.read_text().splitlines()]
    return Counter({name: sum(int(line[2]) for line in lines if line[:2] == ["saw", name]) for name in SOMETIMES})


def test_no_second_is_lost_or_doubled_by_kills_of_workers_and_redis(tmp_path, request):
    """Workers are killed at any moment, every fifth time Redis is, too, and the endpoint fails before and after.

    A worker's death leaves at most its last heartbeat in doubt, that of Redis none: all else is reported exactly once.
    What happens only sometimes has happened: events sent again, claims taken over, races lost, scripts sent again.
    """
    endpoint, dice, sometimes = tmp_path / "events.jsonl", random.Random(), Counter()
    with Node(RedisServer(AOF, program=program())) as node:
        workers = KilledWorkers(tmp_path, "redis_roles", url=node.server.url, endpoint=endpoint)

        def restart():
            if workers.kills % 5 == 2:
                sometimes["reloaded"] += reloaded(node.admin)
                node.server.kill()
                node.server.start()
                node.admin.connection_pool.disconnect()
                sometimes["restarted"] += 1
                time.sleep(dice.uniform(0, 0.2))

        end = time.monotonic() + request.config.getoption("kill_seconds")
        workers.die(lambda: time.monotonic() < end or sometimes["restarted"] < 2, restart)
        tracker, store = tracker_on(node.server.url, JsonLinesEmitter(endpoint))
        with closing(store):
            figures = judged(tracker, endpoint, workers.notes, workers.kills)
        sometimes["reloaded"] += reloaded(node.admin)
    sometimes += seen_by(workers.notes)
    sometimes["sent-again"] = repeats(endpoint)
    assert all(sometimes[what] for what in (*SOMETIMES, "reloaded", "sent-again")), sometimes
    print(f"kills {workers.kills}, {figures}; {dict(sometimes)}")
