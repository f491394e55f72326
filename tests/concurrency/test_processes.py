"""Many processes and threads on one SQLite file."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from caliper_readtime import SqliteStateStore
from caliper_readtime.testing import RecordingEmitter
from tests.concurrency.children import children
from tests.concurrency.crowd import all_count
from tests.concurrency.roles import READERS, reading, tracker_on


def test_nothing_is_lost_between_processes_and_threads(tmp_path):
    """T1: defects 1 and 3: eight processes of two threads, and sixteen threads here, on the same four states.

    Nobody is told that the store is unavailable, every accepted millisecond is in the totals, and every whole second
    arrives once.
    """
    all_count(tmp_path / "readtime.db", tmp_path / "events.jsonl")


def test_a_new_file_may_be_opened_by_several_processes_at_once(tmp_path):
    """Workers that start together all get the store, though SQLite tells one of them at once that it is locked."""
    files = 25
    with children(3, "opener", folder=tmp_path, files=files) as openers:
        for _ in range(files):
            for opener in openers:
                opener.expect("ready")
            for opener in openers:
                opener.log()
        assert [opener.result() for opener in openers] == [[]] * 3


def test_a_new_file_may_be_opened_by_several_threads_at_once(tmp_path):
    """The same for threads that each build a store of their own."""
    barrier = threading.Barrier(4)

    def build(_):
        for number in range(25):
            barrier.wait(20)
            SqliteStateStore(tmp_path / f"{number}.db").close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(build, range(4)))


def test_one_store_may_be_closed_while_threads_use_it(tmp_path):
    """A call that meets a close opens the file again; nobody is told that it is unavailable."""
    tracker, store = tracker_on(tmp_path / "readtime.db", RecordingEmitter())
    stop = threading.Event()

    def closes(_):
        while not stop.is_set():
            store.close()

    with closing(store), ThreadPoolExecutor(5) as pool:
        closing_all_the_time = pool.submit(closes, None)
        try:
            accepted = sum(pool.map(lambda place: reading(tracker, 25, place), range(4)))
        finally:
            stop.set()
        closing_all_the_time.result()
        assert sum(s.meter.cumulative_ms for reader in READERS for s in tracker.states(reader)) == accepted
