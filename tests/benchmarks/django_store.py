"""Benchmark: the store in Django's database (PostgreSQL): a heartbeat against one UPDATE … RETURNING; a sweep.

The server runs on the same core. Run: ``python -m tests.benchmarks.django_store``
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import closing

from caliper_readtime import InMemoryStateStore, ReadTimePolicy, ReadTimeTracker, SqliteStateStore
from caliper_readtime._rules import Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.testing import ManualClock, RecordingEmitter
from tests.benchmarks.harness import medians, pin, show
from tests.benchmarks.sweep import fill
from tests.django_databases import database
from tests.postgresql_server import PostgresqlServer
from tests.scenes import ANNA, OWLS, events

HEARTBEAT_TARGET = 1.6
STATES = 10_000


def heartbeat(store, alias) -> None:
    """A steady heartbeat through ``update``, and the cheapest thing that a database can do for one."""
    from django.db import connections  # noqa: PLC0415

    connection, table = connections[alias], "caliper_readtime_state"
    policy, key = ReadTimePolicy(leeway_seconds=1e6, catch_up_seconds=1e6), Key("u1", "nice_x1")
    store.update(key, Signal(policy, os.urandom(16).hex(), 5000, ANNA, OWLS, "", "v"))
    total = [5000]

    def beat():
        total[0] += 1
        store.update(key, Signal(policy, os.urandom(16).hex(), total[0], ANNA, OWLS, "", "v"))

    def floor():
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET cumulative_ms = cumulative_ms + %s, last_sync_at_ms = %s WHERE key = %s"  # noqa: S608
                " RETURNING cumulative_ms, last_sync_at_ms, budget_ms, views, ledger",
                [1, total[0], "u1\nnice_x1"],
            )
            cursor.fetchone()

    def lazy_floor():
        with connection.cursor() as cursor:
            cursor.execute(
                f"UPDATE {table} SET cumulative_ms = cumulative_ms + %s, last_sync_at_ms = %s WHERE key = %s"  # noqa: S608
                " AND set_config('synchronous_commit', 'off', true) IS NOT NULL"
                " RETURNING cumulative_ms, last_sync_at_ms, budget_ms, views, ledger",
                [1, total[0], "u1\nnice_x1"],
            )
            cursor.fetchone()

    subjects = {"UPDATE … RETURNING": floor, "the same, not waiting for the disk": lazy_floor, "heartbeat": beat}
    show("A steady heartbeat", medians(subjects, number=100, rounds=15), "UPDATE … RETURNING", HEARTBEAT_TARGET)


def sweep(name, store, states) -> None:
    """A sweep of many due states, sent to a list."""
    clock = ManualClock()
    tracker = ReadTimeTracker(store, RecordingEmitter(), events(), ReadTimePolicy(), clock)
    started = time.perf_counter()
    fill(store, "u", states, int(clock().timestamp() * 1000))
    filled = time.perf_counter() - started
    clock.advance(120)
    started = time.perf_counter()
    report = tracker.sweep(idle_seconds=60, limit=states)
    taken = time.perf_counter() - started
    assert report.events_sent == states, report
    print(
        f"  {name:<12} {states} births {filled:6.2f} s, sweep {taken:6.2f} s = {taken / states * 1e6:6.0f} µs a state"
    )


def main() -> None:
    """Measure."""
    states = int(sys.argv[1]) if len(sys.argv) > 1 else STATES
    pin()
    with closing(PostgresqlServer()) as server, database(server.database) as alias:
        from django.conf import settings  # noqa: PLC0415

        from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415

        settings.DEBUG = False  # Django keeps the text of every statement for it
        store = DjangoStateStore(alias)
        heartbeat(store, alias)
        store.delete("u1")
        print("A sweep")
        sweep("memory", InMemoryStateStore(), states)
        with closing(SqliteStateStore(server.folder / "bench.db")) as file:
            sweep("SQLite", file, states)
        sweep("PostgreSQL", store, states)


if __name__ == "__main__":
    main()
