"""Benchmark: one heartbeat in Redis against INCRBY, and against the read-modify-write flow that it replaces.

Client and server share one core. The floors are measured through the same driver in the same run.
Run: ``python -m tests.benchmarks.redis_heartbeat``
"""

from __future__ import annotations

import json
import multiprocessing
import os
import sys
from itertools import count
from typing import TYPE_CHECKING

from redis import Redis

from caliper_readtime import Article, PageView, Reader, ReadTimePolicy, ReadTimeTracker
from caliper_readtime._rules import Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._redis import scripts
from caliper_readtime.stores._redis.encoding import beat_args
from caliper_readtime.stores._redis.store import RedisStateStore
from caliper_readtime.testing._redis_server import RedisServer
from tests.benchmarks.harness import medians, pin, show

if TYPE_CHECKING:
    from collections.abc import Callable

READER = Reader("u1", "s@example.org")
ARTICLE = Article("nice_x1", "How leaves eat light", "https://app.example.org/leaves")
# Everything that is claimed is accepted, as an honest reader's time is: clamping would write log lines.
POLICY = ReadTimePolicy(leeway_seconds=1e8, catch_up_seconds=1e8)
WEEK = 7 * 86400
CLIENTS = 8


def replaced(client: Redis) -> Callable[[], None]:
    """Return the flow that is replaced: read a JSON state, refresh its expiry, write it back."""
    name = "caliper_article_state:u1:nice_x1"
    client.set(name, json.dumps({"cumulativeReadTimeSeconds": 0, "reportedReadTimeSeconds": 0, "finalizedAt": None}))

    def flow() -> None:
        state = json.loads(client.get(name) or "{}")
        client.expire(name, WEEK)
        state["cumulativeReadTimeSeconds"] += 1
        state["lastServerSyncAt"] = "2026-11-25T07:00:00.000Z"
        client.set(name, json.dumps(state), ex=WEEK)

    return flow


def heartbeats(server: RedisServer, rounds: int, number: int) -> None:
    """Whole calls, and the script alone."""
    client = Redis(port=server.port)
    store = RedisStateStore.from_url(server.url)
    tracker = ReadTimeTracker(store, policy=POLICY)
    one = client.script_load("return 1")
    totals = count(10_000, 1000)
    key = Key("u1", "nice_x1")
    names = store._layout.names(key)

    def script() -> None:
        nonce = os.urandom(16).hex()
        signal = Signal(POLICY, nonce, 1000, None, None, nonce[16:])
        store._redis.run(beat, names.beat, beat_args(names, signal, known, None))

    tracker.accumulate(READER, ARTICLE, 10.0)
    tracker.accumulate("u1", "nice_x1", 10.0)
    beat, (known, _) = scripts.beat(POLICY), store._beats.ledgers[names.member]
    tracker.observe(READER, Article("nice_x2", "Volcanoes", "https://app.example.org/v"), PageView("v", 10.0))
    subjects: dict[str, Callable[[], object]] = {
        "INCRBY": lambda: client.incrby("counter", 1),
        "EVALSHA of return 1": lambda: client.evalsha(one, 1, "counter"),
        "replaced flow: GET, EXPIRE, SET": replaced(client),
        "heartbeat script alone": script,
        "accumulate(ids)": lambda: tracker.accumulate("u1", "nice_x1", 1.0),
        "accumulate(Reader, Article)": lambda: tracker.accumulate(READER, ARTICLE, 1.0),
        "observe(ids), 1 view": lambda: tracker.observe("u1", "nice_x2", PageView("v", next(totals) / 1000)),
    }
    seconds_by_name = medians(subjects, number=number, rounds=rounds)
    show("against INCRBY", seconds_by_name, "INCRBY", 1.35)
    show("against the replaced flow", seconds_by_name, "replaced flow: GET, EXPIRE, SET", 0.42)
    show("against EVALSHA of return 1", seconds_by_name, "EVALSHA of return 1")
    for name in ("INCRBY", "accumulate(ids)", "observe(ids), 1 view"):
        cpu = server_cpu(client, lambda name=name: [subjects[name]() for _ in range(number * 10)]) / (number * 10)
        print(f"  Redis' CPU for {name:<24} {cpu * 1e6:8.1f} µs")
    store.close()


def server_cpu(client: Redis, work: Callable[[], object]) -> float:
    """Return the CPU seconds that the server has spent on some work."""
    before = client.info("cpu")
    work()
    after = client.info("cpu")
    return sum(after[name] - before[name] for name in ("used_cpu_user", "used_cpu_sys"))


def growth(server: RedisServer, rounds: int, number: int, states: int) -> None:
    """A heartbeat of one state alone, and of one among many, all of them due."""
    client = Redis(port=server.port)
    few = RedisStateStore.from_url(server.url, namespace="few")
    many = RedisStateStore.from_url(server.url, namespace="many")
    for number_of_state in range(states):
        reader = Reader(f"reader-{number_of_state % (states // 4)}", "s@example.org")
        article = Article(f"article-{number_of_state}", "Title", "https://app.example.org/a")
        birth = Signal(POLICY, os.urandom(16).hex(), 5000, reader, article, "h")
        many.update(Key(reader.sourced_id, article.resource_id), birth)
    alone, among = ReadTimeTracker(few, policy=POLICY), ReadTimeTracker(many, policy=POLICY)
    for tracker in (alone, among):
        tracker.accumulate(READER, ARTICLE, 10.0)
    seconds_by_name = medians(
        {
            "1 state": lambda: alone.accumulate("u1", "nice_x1", 1.0),
            f"{states} states": lambda: among.accumulate("u1", "nice_x1", 1.0),
        },
        number=number,
        rounds=rounds,
    )
    show("growth", seconds_by_name, "1 state", 1.15)
    print(
        f"  memory of {states} states: {client.info('memory')['used_memory'] / states:.0f} bytes each, indexes included"
    )
    few.close()
    many.close()


def sizes(server: RedisServer) -> None:
    """Bytes of one state's hash."""
    client = Redis(port=server.port)
    store = RedisStateStore.from_url(server.url, namespace="sizes")
    tracker = ReadTimeTracker(store, policy=POLICY)
    for views in (1, 16):
        for view in range(views):
            tracker.observe(READER, ARTICLE, PageView(f"{view:024d}", 40.0))
        name = store._layout.names(Key("u1", "nice_x1")).state
        print(f"  a state with {views:>2} views: {client.memory_usage(name)} bytes")
    store.close()


def _client(url: str, number: int, calls: int, bare: bool) -> None:
    if bare:
        with Redis.from_url(url) as client:
            for _ in range(calls):
                client.incrby(f"counter{number}", 1)
        return
    store = RedisStateStore.from_url(url, namespace="crowd")
    tracker = ReadTimeTracker(store, policy=POLICY)
    tracker.accumulate(Reader(f"r{number}", "s@example.org"), ARTICLE, 10.0)
    for _ in range(calls):
        tracker.accumulate(f"r{number}", "nice_x1", 1.0)
    store.close()


def crowd(server: RedisServer, calls: int) -> None:
    """How many heartbeats, and how many INCRBY, a CPU second of Redis serves, with several client processes at once."""
    client = Redis(port=server.port)
    spawn = multiprocessing.get_context("spawn")

    def work(bare: bool) -> None:
        clients = [spawn.Process(target=_client, args=(server.url, number, calls, bare)) for number in range(CLIENTS)]
        for process in clients:
            process.start()
        for process in clients:
            process.join()

    for name, bare in (("INCRBY", True), ("heartbeats", False)):
        cpu = server_cpu(client, lambda bare=bare: work(bare))
        print(f"  {CLIENTS} clients: {CLIENTS * calls / cpu:,.0f} {name} for each CPU second of Redis")


def main(rounds: int = 41, number: int = 300, states: int = 100_000) -> None:
    """Measure and print."""
    pin()
    with RedisServer({"appendonly": "no"}) as server:
        heartbeats(server, rounds, number)
        sizes(server)
        growth(server, rounds, number, states)
    with RedisServer({"appendonly": "no"}) as server:
        crowd(server, number * 50)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
