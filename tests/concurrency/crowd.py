"""A crowd of processes and threads on the same few states of one store: every second counts, and arrives once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

from caliper_readtime import JsonLinesEmitter
from tests.concurrency.arrivals import seconds_of
from tests.concurrency.children import children
from tests.concurrency.roles import ARTICLES, READERS, reading, tracker_on

PROCESSES, THREADS, BEATS = 8, 16, 20


def all_count(path, endpoint):
    """Eight processes of two threads, and sixteen threads here, on the same four states.

    Nobody is told that the store is unavailable or contended, every accepted millisecond is in the totals, and every
    whole second arrives once.
    """
    tracker, store = tracker_on(path, JsonLinesEmitter(endpoint, fsync=False))
    with (
        closing(store),
        children(PROCESSES, "worker", path=path, endpoint=endpoint, threads=2, beats=BEATS) as workers,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        for worker in workers:
            worker.expect("ready")
        for worker in workers:
            worker.log()
        accepted = sum(pool.map(lambda place: reading(tracker, BEATS, place), range(THREADS)))
        accepted += sum(worker.result() for worker in workers)
        states = [state for reader in READERS for state in tracker.states(reader)]
        assert len(states) == len(READERS) * len(ARTICLES)
        assert sum(state.meter.cumulative_ms for state in states) == accepted
        for reader in READERS:
            tracker.flush_reader(reader).raise_unless_settled()
        states = [state for reader in READERS for state in tracker.states(reader)]
        assert all(state.meter.cumulative_ms - state.reported_ms < 1000 for state in states)
        assert sum(seconds_of(endpoint).values()) * 1000 == sum(state.reported_ms for state in states)
