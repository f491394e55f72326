"""Benchmark: what ``reader_budget`` costs a claim, in each store; a heartbeat pays nothing.

Each round reads, claims and commits: one article of a reader who has a full record, and a batch of 30 of one reader.
Run: ``python -m tests.benchmarks.claim [redis://…]``
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import closing
from itertools import count
from pathlib import Path

from caliper_readtime import InMemoryStateStore, ReadTimePolicy, RedisStateStore, SqliteStateStore
from caliper_readtime._rules import AcquireClaim, AcquireResult, Caller, Commit, Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.protocols import UpdatesMany
from caliper_readtime.testing._redis_server import RedisServer
from tests.benchmarks.harness import medians, pin, show
from tests.scenes import ANNA, article, events

BUDGETS = ("off", "measure", "enforce")
EVENTS = events()
ARTICLES = [article(f"a{number}") for number in range(30)]
START = 1_790_000_000_000
_NONCES = count(1)


class Life:
    """A reader who reads 30 s on one article after the other, and is claimed from."""

    def __init__(self, store, budget):
        self.store = store
        self.policy = ReadTimePolicy(reader_budget=budget)
        self.now = START
        self.reader = f"anna {budget}"
        for _ in range(3):
            for number in range(len(ARTICLES)):
                self.one(number)

    def beat(self, number):
        nonce = f"{next(_NONCES):032x}"
        self.now += 30_000
        key = Key(self.reader, ARTICLES[number].resource_id)
        self.store.update(key, Signal(self.policy, nonce, 30_000, ANNA, ARTICLES[number], nonce), self.now)
        return key

    def claiming(self):
        return AcquireClaim("owner", self.policy, EVENTS, Caller.EXPLICIT, 0.0)

    def commit(self, key, acquired, state):
        if acquired.result is AcquireResult.CLAIMED:
            claim = acquired.claim
            self.store.update(
                key, Commit(state.ledger.generation, claim.event_id, claim.start_ms, claim.end_ms), self.now
            )

    def one(self, number=0):
        """Read, claim, commit."""
        key = self.beat(number)
        self.commit(key, *self.store.update(key, self.claiming(), self.now))

    def batch(self):
        """Thirty articles are read one after the other and claimed together."""
        keys = [self.beat(number) for number in range(len(ARTICLES))]
        for key, answer in zip(
            keys, self.store.update_many([(key, self.claiming()) for key in keys], self.now), strict=True
        ):
            self.commit(key, *answer)


def measured(name, store, number):
    """Print what a store's claims cost."""
    lives = {budget: Life(store, budget) for budget in BUDGETS}
    singles = {budget: life.one for budget, life in lives.items()}
    show(f"{name}: heartbeat, claim, commit", medians(singles, number=number, rounds=41), "off")
    if isinstance(store, UpdatesMany):
        batches = {budget: life.batch for budget, life in lives.items()}
        show(f"{name}: the same of 30 articles, claimed together", medians(batches, number=1, rounds=41), "off")


def main():
    """Measure every store that there is."""
    pin()
    measured("memory", InMemoryStateStore(), 50)
    with tempfile.TemporaryDirectory() as folder:
        with closing(SqliteStateStore(Path(folder) / "readtime.db")) as store:
            measured("SQLite", store, 10)
        urls = sys.argv[1:]
        if urls:
            with closing(RedisStateStore.from_url(urls[0], namespace="benchmark")) as store:
                measured("Redis", store, 10)
        else:
            with RedisServer() as server, closing(RedisStateStore.from_url(server.url)) as store:
                measured("Redis", store, 10)


if __name__ == "__main__":
    main()
