"""Benchmark: a sweep of many due states, on every store, against one POST for each event; and how it grows.

The endpoint runs in a process of its own, and Redis too; all share one core.
Run: ``python -m tests.benchmarks.sweep``
"""

from __future__ import annotations

import multiprocessing
import os
import statistics
import sys
import tempfile
import time
from contextlib import closing
from functools import partial
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
from caliper_readtime._rules.event_text import takes_texts
from caliper_readtime._rules.state import Key
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.errors import EmitterUnavailable
from caliper_readtime.testing import ManualClock
from caliper_readtime.testing._redis_server import RedisServer
from tests.benchmarks.delivery import EVENTS, events_of, serving
from tests.benchmarks.harness import pin

if TYPE_CHECKING:
    from collections.abc import Callable

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

    @takes_texts  # as the emitter itself, which would else be given each event to write it again
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


def sweep(store: StateStore, url: str, count: int, cpu: Callable[[], float]) -> tuple[float, float, float]:
    """Return the seconds of a sweep of so many due states, by the clock and by CPU, and of the way back from outage."""
    clock = ManualClock()
    with closing(SwitchableEmitter(url)) as emitter:
        tracker = ReadTimeTracker(store, emitter, EVENTS, POLICY, clock)
        fill(store, "first", count, to_epoch_ms(clock(), "clock"))
        clock.advance(300)
        used = cpu()
        taken, report = timed(lambda: tracker.sweep(limit=count))
        used = cpu() - used
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
    return taken, used, back


def growth(store: StateStore, url: str, few: int, many: int, cpu: Callable[[], float]) -> dict[str, float]:
    """Return by how much more CPU a sweep of a few due states takes among many settled ones, and many being read."""
    clock = ManualClock()
    with closing(HttpCaliperEmitter(url)) as emitter:
        tracker = ReadTimeTracker(store, emitter, EVENTS, POLICY, clock)

        def once(name: str) -> float:
            fill(store, name, few, to_epoch_ms(clock(), "clock"))
            clock.advance(300)
            before = cpu()
            assert tracker.sweep(limit=few).events_sent == few
            return cpu() - before

        once("warm")
        alone = statistics.median(once(f"alone{number}-") for number in range(5))
        fill(store, "settled", many, to_epoch_ms(clock(), "clock"), seconds=0)
        settled = statistics.median(once(f"settled{number}-") for number in range(5))
        # Whoever reads on has an entry that has not come: here all of them will have been idle in some hours.
        fill(store, "reading", many, to_epoch_ms(clock(), "clock") + 6 * 3_600_000)
        reading = statistics.median(once(f"reading{number}-") for number in range(5))
    return {"settled": settled / alone, "settled and as many being read": reading / alone}


def cpu_seconds(*pids: int) -> float:
    """Return the CPU time of this process and of others; of this one alone where the system does not tell."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def main(count: int = 10_000, few: int = 1000, many: int = 200_000) -> None:
    """Measure and print: by the clock, and by the CPU time of all processes, which others on the core bend less."""
    pin()
    with serving() as url, RedisServer() as server, tempfile.TemporaryDirectory() as folder:
        used = partial(cpu_seconds, multiprocessing.active_children()[0].pid, server.pid)
        for name, (make, target) in {
            "memory": (lambda number: InMemoryStateStore(), 15),
            "SQLite": (lambda number: SqliteStateStore(Path(folder) / f"{number}.db"), 8),
            "Redis": (lambda number: RedisStateStore.from_url(server.url, namespace=f"n{number}"), 8),
        }.items():
            before = used()
            one = posts(url, count // 5) * 5
            one_cpu = (used() - before) * 5
            with closing(make(1)) as store:
                taken, cpu, back = sweep(store, url, count, used)
            print(
                f"{name:<7} one sweep of {count}: {one / taken:4.1f} times faster than one POST each, by CPU"
                f" {one_cpu / cpu:4.1f} (target {target}); {cpu / count * 1e6:.0f} µs of CPU a state;"
                f" nothing unreported {back:.2f} s after the endpoint's return"
            )
            with closing(make(2)) as store:
                for among, ratio in growth(store, url, few, many, used).items():
                    print(f"{name:<7} {few} due among {many} {among} ÷ alone: {ratio:.2f} (target 1.1)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
