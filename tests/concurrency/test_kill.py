"""Death at any moment: workers are killed or stopped while they read, report and sweep."""

from __future__ import annotations

import signal
import time
from contextlib import closing

import pytest

from caliper_readtime import JsonLinesEmitter, Outcome
from tests.concurrency.arrivals import distinct, lines_of
from tests.concurrency.children import child
from tests.concurrency.judging import judged
from tests.concurrency.killed import KilledWorkers
from tests.concurrency.roles import tracker_on
from tests.scenes import ANNA, OWLS, until

LEASE_SECONDS = 0.5


@pytest.fixture
def kill_seconds(request):
    """For how long workers are killed."""
    return request.config.getoption("kill_seconds")


def test_no_second_is_lost_or_doubled_by_kills(tmp_path, kill_seconds):
    """C2: a worker killed at any moment leaves at most its last heartbeat in doubt; all else is reported exactly once.

    The endpoint fails before and after accepting, meanwhile, and others take over what the dead have claimed.
    """
    path, endpoint = tmp_path / "readtime.db", tmp_path / "events.jsonl"
    workers = KilledWorkers(tmp_path, path=path, endpoint=endpoint)
    end = time.monotonic() + kill_seconds
    workers.die(lambda: time.monotonic() < end)
    tracker, store = tracker_on(path, JsonLinesEmitter(endpoint))
    with closing(store):
        print(f"kills {workers.kills}, {judged(tracker, endpoint, workers.notes, workers.kills)}")


@pytest.mark.parametrize("where", ["claimed", "sending", "sent"])
def test_an_owner_that_sleeps_past_its_lease(tmp_path, where):
    """K2, L1: SIGSTOP while it holds a claim, somebody else takes over, SIGCONT: the same event, counted once.

    One that has not begun to send finds that too little of its lease is left, and sends nothing.
    """
    path, endpoint = tmp_path / "readtime.db", tmp_path / "events.jsonl"
    tracker, store = tracker_on(path, JsonLinesEmitter(endpoint), lock_seconds=LEASE_SECONDS)
    with (
        closing(store),
        child("slow_owner", path=path, endpoint=endpoint, lock_seconds=LEASE_SECONDS, where=where) as owner,
    ):
        owner.expect(where)
        owner.send(signal.SIGSTOP)
        assert tracker.partial(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
        reports = []

        def taken_over():
            reports.append(tracker.partial(ANNA, OWLS))
            return reports[-1].outcome is Outcome.SENT

        until(taken_over)
        assert reports[-1].delta_seconds == 30
        owner.log()
        owner.send(signal.SIGCONT)
        answer = owner.result()
        state = tracker.state(ANNA, OWLS)
    if where == "claimed":
        assert answer["outcome"] == "raised"
    else:
        assert answer == {"outcome": Outcome.NOTHING_TO_SEND, "delta": 0.0}
    assert (state.reported_ms, state.in_flight, state.attempts) == (30_000, False, 0)
    (event_id,) = distinct(endpoint)
    assert reports[-1].event_ids == (event_id,)
    assert len(lines_of(endpoint)) == (1 if where == "claimed" else 2)
