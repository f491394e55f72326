"""Benchmark: one heartbeat in memory against a dict and a lock, and in SQLite against a bare UPDATE and commit.

Run: ``python -m tests.benchmarks.heartbeat``
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import threading
from itertools import count
from pathlib import Path

from caliper_readtime import Article, PageView, Reader, ReadTimePolicy, ReadTimeTracker
from caliper_readtime._rules import Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._memory import InMemoryStateStore
from caliper_readtime.stores._sqlite.store import SqliteStateStore
from tests.benchmarks.harness import medians, pin, show

READER = Reader("u1", "s@example.org")
ARTICLE = Article("nice_x1", "Title", "https://app.example.org/a")
VIEWS = [f"view-{n:019d}" for n in range(16)]


def memory(rounds: int, number: int) -> dict[str, float]:
    """Whole ``accumulate`` and ``observe`` calls, and the store level alone."""
    lock, table = threading.Lock(), {"a": 1}

    def floor() -> None:
        with lock:
            table["a"] += 1

    # A second passes between any two calls, so that the time is accepted, as an honest reader's is.
    clock = count(1_700_000_000_000, 1000)
    store = InMemoryStateStore()
    store.now = lambda _=None: next(clock)  # type: ignore[method-assign]
    tracker = ReadTimeTracker(store)
    key, policy, ids, totals = Key("u2", "nice_x1"), ReadTimePolicy(), count(), count()

    def beat() -> None:
        store.update(key, Signal(policy, "0" * 32, 1000, READER, ARTICLE, f"h{next(ids)}"))

    return medians(
        {
            "dict + lock": floor,
            "store.update(Signal)": beat,
            "accumulate(Reader, Article)": lambda: tracker.accumulate(READER, ARTICLE, 1.0),
            "accumulate(ids)": lambda: tracker.accumulate("u1", "nice_x1", 1.0),
            "observe(ids), 1 view": lambda: tracker.observe("u1", "nice_x1", PageView("v", next(totals))),
        },
        number=number,
        rounds=rounds,
    )


def sqlite(rounds: int, number: int, directory: Path, views: int) -> dict[str, float]:
    """The store level, with so many views in the state, against the least that SQLite can do."""
    bare = sqlite3.connect(directory / f"bare{views}.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode=WAL")
    bare.execute("PRAGMA synchronous=NORMAL")
    bare.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n INTEGER)")
    bare.execute("INSERT INTO t VALUES (1, 0)")

    def floor() -> None:
        bare.execute("BEGIN IMMEDIATE")
        bare.execute("UPDATE t SET n = n + 1 WHERE id = 1")
        bare.execute("COMMIT")

    store, key, policy = SqliteStateStore(directory / f"readtime{views}.db"), Key("u1", "nice_x1"), ReadTimePolicy()
    totals = count(10_000)

    def beat() -> None:
        total = next(totals)
        store.update(key, Signal(policy, "0" * 32, total, None, None, "", VIEWS[total % views]))

    for view in VIEWS[:views]:
        store.update(key, Signal(policy, "0" * 32, 5000, READER, ARTICLE, "", view))
    store.update(key, Signal(policy, "0" * 32, 6000, None, None, "", VIEWS[0]))
    result = medians({"bare UPDATE + commit": floor, f"heartbeat, {views} views": beat}, number=number, rounds=rounds)
    bare.close()
    store.close()
    return result


def main(rounds: int = 31, number: int = 2000) -> None:
    """Measure and print."""
    pin()
    show("in memory", memory(rounds, number * 5), "dict + lock", 12)
    with tempfile.TemporaryDirectory() as directory:
        for views in (1, 4, 16):
            show(
                "SQLite (WAL, NORMAL)",
                sqlite(rounds, number, Path(directory), views),
                "bare UPDATE + commit",
                2.0 if views == 1 else 2.2,
            )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
