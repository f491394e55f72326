"""``CrowdRules``: the part of the store contract about many threads and many objects on the same data."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Final

import pytest

from caliper_readtime._rules import AcquireResult, Commit, CommitResult, Signal
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.testing._store_driver import NOW, POLICY, SECOND, Slow, StoreDriver, nonce, persistently, take

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime.protocols import StateStore

    Reopen = Callable[[], StateStore]

_THREADS: Final = 16
_BEATS: Final = 25


class ConcurrencyRules:
    """What threads do at once, and what one object wrote and another reads."""

    def test_two_handles_share_everything(self, store: StateStore, reopen: Reopen) -> None:
        """What one object wrote, another one sees at once: states, due entries, parked events, facts, sweeps."""
        second = reopen()
        try:
            one, two = StoreDriver(store), StoreDriver(second)
            for driver, other in ((one, two), (two, one)) * 2:
                driver.now = max(driver.now, other.now)
                driver.read()
                assert other.state == driver.state
                assert second.due(10, driver.now) == store.due(10, driver.now) == (driver.key,)
                driver.park()
                assert other.store.parked(10) == (driver.state,)
                other.now = driver.now
                other.unpark().settle()
                assert driver.due() == ()
            store.meta({"sensor": "a"})
            with pytest.raises(ConfigurationError):
                second.meta({"sensor": "b"})
            second.swept(NOW)
            assert store.last_sweep() == NOW
            assert second.delete("reader") == 1
            assert one.loaded is None
        finally:
            second.close()

    def test_states_outlive_the_object_that_wrote_them(self, store: StateStore, reopen: Reopen) -> None:
        """A claim that was made before everything was closed is found by whoever opens the store next."""
        driver = StoreDriver(store, now=store.now()).read()
        driver.take()
        state = driver.state
        store.close()
        second = reopen()
        try:
            assert second.load(driver.key, driver.now) == state
            assert second.due(10, driver.now + POLICY.lock_ms) == (driver.key,)
        finally:
            second.close()

    def test_threads_lose_no_heartbeat(self, store: StateStore) -> None:
        """Sixteen threads on one key: each heartbeat is accepted in full, once, and all are in the total."""
        driver = StoreDriver(store)
        driver.beat(0)

        def beats(thread: int) -> int:
            accepted = 0
            for place in range(_BEATS):
                signal = Signal(POLICY, nonce(), SECOND, None, None, f"{thread} {place}")
                verb = Slow(signal) if place % 2 else signal  # by the general path, and natively where there is one
                accepted += persistently(partial(store.update, driver.key, verb, NOW))[0].accepted_ms
            return accepted

        with ThreadPoolExecutor(_THREADS) as pool:
            accepted = sum(pool.map(beats, range(_THREADS)))
        assert accepted == driver.state.meter.cumulative_ms == _THREADS * _BEATS * SECOND
        assert driver.due() == (driver.key,)

    def test_handles_and_threads_lose_no_heartbeat(self, store: StateStore, reopen: Reopen) -> None:
        """The same through four objects, with a report between the heartbeats: nothing lost, no range sent twice."""
        driver = StoreDriver(store)
        driver.beat(0)
        handles = [store, *(reopen() for _ in range(3))]

        def work(thread: int) -> tuple[int, list[tuple[int, int]]]:
            own, sent, accepted = handles[thread % len(handles)], [], 0
            for place in range(_BEATS // 2):
                signal = Signal(POLICY, nonce(), SECOND, None, None, f"{thread} {place}")
                accepted += persistently(partial(own.update, driver.key, signal, NOW))[0].accepted_ms
                acquired, state = persistently(partial(own.update, driver.key, take(f"owner {thread}"), NOW))
                if acquired.result is AcquireResult.CLAIMED and acquired.claim is not None and state is not None:
                    span = (acquired.claim.start_ms, acquired.claim.end_ms)
                    commit = Commit(state.ledger.generation, acquired.claim.event_id, *span)
                    if persistently(partial(own.update, driver.key, commit, NOW))[0] is CommitResult.SENT:
                        sent.append(span)
            return accepted, sent

        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                answers = list(pool.map(work, range(_THREADS)))
        finally:
            for handle in handles[1:]:
                handle.close()
        spans = sorted(span for _, sent in answers for span in sent)
        assert sum(accepted for accepted, _ in answers) == driver.state.meter.cumulative_ms
        assert [0, *(end for _, end in spans)] == [*(start for start, _ in spans), driver.state.reported_ms]

    def test_one_of_many_threads_gets_the_claim(self, store: StateStore) -> None:
        """Sixteen owners ask at once: one gets the claim, the others see it in flight; of their commits one counts."""
        driver = StoreDriver(store).read()

        def ask(thread: int) -> AcquireResult:
            return persistently(partial(store.update, driver.key, Slow(take(f"owner {thread}")), driver.now))[0].result

        with ThreadPoolExecutor(_THREADS) as pool:
            acquired = list(pool.map(ask, range(_THREADS)))
            committing = driver.committing()
            answers = list(
                pool.map(
                    lambda _: persistently(partial(store.update, driver.key, Slow(committing), driver.now))[0],
                    range(_THREADS),
                )
            )
        assert sorted(acquired) == [AcquireResult.CLAIMED] + [AcquireResult.IN_FLIGHT] * (_THREADS - 1)
        assert sorted(answers) == [CommitResult.BEFORE] * (_THREADS - 1) + [CommitResult.SENT]
