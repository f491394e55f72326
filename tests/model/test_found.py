"""What the explorer found, kept as short histories over every store."""

from __future__ import annotations

import pytest

from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules import AcquireClaim, Caller, Commit, Defer, Park, Signal
from caliper_readtime._rules.state import Key
from tests.backends import STORES
from tests.model.world import ARTICLE, EVENTS, READERS, START

POLICY = ReadTimePolicy(heartbeat_seconds=10)
KEY = Key("reader", "article")
IDLE_MS = 60_000


def signal(total_ms):
    return Signal(POLICY, f"{0:032x}", total_ms, READERS[0], ARTICLE, "", "view")


def take(owner):
    return AcquireClaim(owner, POLICY, EVENTS, Caller.EXPLICIT, 0.0)


@pytest.fixture(params=STORES.values(), ids=STORES)
def store(request, tmp_path):
    store = request.param(tmp_path)
    yield store
    store.close()


def test_time_behind_a_parked_event_does_not_wait_for_its_retry(store):
    """D3: the earliest of a whole unclaimed second (last sync) and a parked event (its retry time, a day later)."""
    store.update(KEY, signal(5000), START)
    acquired, _ = store.update(KEY, take("one"), START)
    store.update(KEY, Park("one", acquired.claim.event_id, POLICY, 0.0, 422, "refused"), START)
    assert store.due(9, START + IDLE_MS, IDLE_MS) == ()
    store.update(KEY, signal(9000), START + 5000)
    assert store.due(9, START + 5000 + IDLE_MS, IDLE_MS) == (KEY,)


def test_a_deferral_does_not_outlive_its_time(store):
    """D7: sweep takes what is due and idle: a deferral made while its time is in flight does not hurry later time."""
    store.update(KEY, signal(5000), START)
    acquired, state = store.update(KEY, take("one"), START)
    waits, _ = store.update(KEY, Defer(finalize=False), START)
    assert waits
    claim = acquired.claim
    store.update(KEY, Commit(state.ledger.generation, claim.event_id, claim.start_ms, claim.end_ms), START)
    store.update(KEY, signal(9000), START + 5000)
    assert store.due(9, START + 5000, IDLE_MS) == ()
    assert store.due(9, START + 5000 + IDLE_MS, IDLE_MS) == (KEY,)
