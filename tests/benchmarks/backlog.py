"""Benchmark: the way back from an outage that has left very many states unreported: time for 1,000, and memory.

They were left by other processes; the sweeper begins afresh, sweeps 1,000 at a time, and shares its core with the
endpoint (and Redis). Run: ``python -m tests.benchmarks.backlog [--deep] [states]``; --deep is a million.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from caliper_readtime import HttpCaliperEmitter, ReadTimeTracker, RedisStateStore, SqliteStateStore
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.testing import ManualClock
from caliper_readtime.testing._redis_server import RedisServer
from tests.benchmarks.delivery import EVENTS, serving
from tests.benchmarks.harness import pin
from tests.benchmarks.sweep import POLICY, fill

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection

    from caliper_readtime import StateStore

SWEEP = 1000
LOOKS = 10


def resident_bytes() -> int:
    """Return what this process holds in memory."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def left_behind(make: Callable[[], StateStore], count: int) -> None:
    """Be the workers: count, and report nothing."""
    with closing(make()) as store:
        fill(store, "r", count, to_epoch_ms(ManualClock()(), "clock"))


def drain(make: Callable[[], StateStore], url: str, count: int, answer: Connection) -> None:
    """Be the sweeper: send all of it; tell at ten moments how much CPU and time 1,000 took, and the memory."""
    clock = ManualClock()
    clock.advance(3600)
    with closing(HttpCaliperEmitter(url)) as emitter, closing(make()) as store:
        tracker = ReadTimeTracker(store, emitter, EVENTS, POLICY, clock)
        sent, step = 0, max(SWEEP, count // LOOKS)
        began, used = time.perf_counter(), time.process_time()
        more = True
        while more:
            report = tracker.sweep(limit=SWEEP)
            sent, more = sent + report.events_sent, report.more
            if sent and sent % step == 0:
                thousands = step / 1000
                took, cpu = time.perf_counter() - began, time.process_time() - used
                answer.send((sent, took / thousands, cpu / thousands, resident_bytes()))
                began, used = time.perf_counter(), time.process_time()
        assert sent == count
        assert tracker.status().unreported_states == 0
    answer.send(None)


def show(name: str, make: Callable[[], StateStore], url: str, count: int) -> None:
    """Measure and print one store."""
    filling = multiprocessing.Process(target=left_behind, args=(make, count))
    filling.start()
    filling.join()
    ours, theirs = multiprocessing.Pipe()
    sweeper = multiprocessing.Process(target=drain, args=(make, url, count, theirs))
    sweeper.start()
    theirs.close()  # so that a sweeper that dies is heard of
    looks = []
    for sent, took, cpu, resident in iter(ours.recv, None):
        looks.append((cpu, resident))
        print(
            f"{name:<7} {sent:>9} sent: 1,000 in {took * 1e3:5.0f} ms, {cpu * 1e3:4.0f} ms of the sweeper's CPU;"
            f" {resident / 2**20:5.1f} MB resident",
            flush=True,
        )
    sweeper.join()
    (first, before), (last, after) = looks[0], looks[-1]
    print(
        f"{name:<7} last tenth ÷ first: CPU {last / first:.2f} (target 1.1), memory {after / before:.2f} (target 1.1)"
    )


def main(count: int) -> None:
    """Measure and print."""
    pin()
    with serving() as url, RedisServer() as server, tempfile.TemporaryDirectory() as folder:
        show("SQLite", lambda: SqliteStateStore(Path(folder) / "backlog.db"), url, count)
        show("Redis", lambda: RedisStateStore.from_url(server.url), url, count)


if __name__ == "__main__":
    deep, rest = "--deep" in sys.argv, [word for word in sys.argv[1:] if word != "--deep"]
    main(int(rest[0]) if rest else 1_000_000 if deep else 50_000)
