"""Benchmark: a sweep of many due states, on every store, against one POST for each event; and how it grows.

The endpoint runs in a process of its own, and Redis too; all share one core.
Run: ``python -m tests.benchmarks.sweep``
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import requests

from caliper_readtime import (
    Article,
    HttpCaliperEmitter,
    InMemoryStateStore,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
    RedisStateStore,
    SqliteStateStore,
)
from caliper_readtime._rules import Signal
from caliper_readtime._rules.event import envelope
from caliper_readtime._rules.state import Key
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.errors import EmitterUnavailable
from caliper_readtime.testing import ManualClock
from caliper_readtime.testing._redis_server import RedisServer
from tests.benchmarks.delivery import EVENTS, events_of, serving
from tests.benchmarks.harness import pin

if TYPE_CHECKING:
    from caliper_readtime import StateStore

ARTICLE = Article("nice_x1", "How leaves eat light", "https://app.example.org/leaves")
POLICY = ReadTimePolicy(retry_backoff_seconds=1.0, max_retry_backoff_seconds=1.0)
CHUNK = 1000


class SwitchableEmitter:
    """Delivers, or says that the endpoint is away."""

    def __init__(self, url: str) -> None:
        self.inner = HttpCaliperEmitter(url)
        self.away = False

    @property
    def deadline_seconds(self) -> float:
        return self.inner.deadline_seconds

    def bind_sensor(self, sensor: str, /) -> None:
        self.inner.bind_sensor(sensor)

    def emit(self, events, /) -> None:
        if self.away:
            raise EmitterUnavailable("away")
        self.inner.emit(events)

    def close(self) -> None:
        self.inner.close()


def fill(store: StateStore, name: str, count: int, now: int, seconds: int = 10) -> None:
    """Give so many readers some seconds each."""
    for start in range(0, count, CHUNK):
        changes = [
            (
                Key(f"{name}{number}", "nice_x1"),
                Signal(
                    POLICY,
                    os.urandom(16).hex(),
                    seconds * 1000,
                    Reader(f"{name}{number}", "s@example.org"),
                    ARTICLE,
                    "h",
                ),
            )
            for number in range(start, min(start + CHUNK, count))
        ]
        many = getattr(store, "update_many", None)
        if many is not None:
            many(changes, now)
        else:
            for key, change in changes:
                store.update(key, change, now)


def timed(call) -> tuple[float, object]:
    """Return how long a call took, and its answer."""
    start = time.perf_counter()
    answer = call()
    return time.perf_counter() - start, answer


def posts(url: str, count: int) -> float:
    """Return the seconds of one bare POST for each event."""
    made = events_of(count)
    with requests.Session() as session:
        session.trust_env = False

        def each() -> None:
            for event in made:
                session.post(url, json=envelope(EVENTS.sensor, [event], sent_ms=0), timeout=5)

        return timed(each)[0]


def sweep(store: StateStore, url: str, count: int) -> tuple[float, float]:
    """Return the seconds of a sweep of so many due states, and of the way back from an outage."""
    clock = ManualClock()
    with closing(SwitchableEmitter(url)) as emitter:
        tracker = ReadTimeTracker(store, emitter, EVENTS, POLICY, clock)
        fill(store, "first", count, to_epoch_ms(clock(), "clock"))
        clock.advance(300)
        taken, report = timed(lambda: tracker.sweep(limit=count))
        assert (report.events_sent, report.more) == (count, False)
        fill(store, "later", count, to_epoch_ms(clock(), "clock"))
        clock.advance(300)
        emitter.away = True
        tracker.sweep(limit=count)
        clock.advance(1)
        emitter.away = False

        def come_back() -> None:
            while tracker.sweep(limit=count).more:
                clock.advance(1)

        back, _ = timed(come_back)
        assert tracker.status().unreported_states == 0
    return taken, back


def growth(store: StateStore, url: str, few: int, many: int) -> float:
    """Return how a sweep of a few due states slows down among many that are not."""
    clock = ManualClock()
    with closing(HttpCaliperEmitter(url)) as emitter:
        tracker = ReadTimeTracker(store, emitter, EVENTS, POLICY, clock)

        def once(name: str) -> float:
            fill(store, name, few, to_epoch_ms(clock(), "clock"))
            clock.advance(300)
            taken, report = timed(lambda: tracker.sweep(limit=few))
            assert report.events_sent == few
            return taken

        once("warm")
        alone = statistics.median(once(f"alone{number}-") for number in range(5))
        fill(store, "settled", many, to_epoch_ms(clock(), "clock"), seconds=0)
        among = statistics.median(once(f"among{number}-") for number in range(5))
    return among / alone


def main(count: int = 10_000, few: int = 1000, many: int = 200_000) -> None:
    """Measure and print."""
    pin()
    with serving() as url, RedisServer() as server, tempfile.TemporaryDirectory() as folder:
        one = posts(url, count)
        print(f"{count} events, one POST each: {one:.2f} s")
        for name, make in {
            "memory": lambda number: InMemoryStateStore(),
            "SQLite": lambda number: SqliteStateStore(Path(folder) / f"{number}.db"),
            "Redis": lambda number: RedisStateStore.from_url(server.url, namespace=f"n{number}"),
        }.items():
            with closing(make(1)) as store:
                taken, back = sweep(store, url, count)
            print(
                f"  {name:<7} one sweep {taken:6.2f} s: {one / taken:5.1f} times faster (target 15),"
                f" {taken / count * 1e6:4.0f} µs each; nothing unreported {back:.2f} s after the endpoint's return"
            )
            with closing(make(2)) as store:
                ratio = growth(store, url, few, many)
            print(f"  {name:<7} {few} due among {few + many} states ÷ alone: {ratio:.2f} (target 1.2)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
