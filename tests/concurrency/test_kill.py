"""Death at any moment: workers are killed or stopped while they read, report and sweep."""

from __future__ import annotations

import random
import signal
import time
from contextlib import closing

import pytest

from caliper_readtime import JsonLinesEmitter, Outcome
from tests.concurrency.arrivals import distinct, lines_of
from tests.concurrency.children import Child, child
from tests.concurrency.judging import judged
from tests.concurrency.roles import tracker_on
from tests.scenes import ANNA, OWLS, until

WORKERS = 4
LEASE_SECONDS = 0.5


@pytest.fixture
def kill_seconds(request):
    """For how long workers are killed."""
    return request.config.getoption("kill_seconds")


def test_no_second_is_lost_or_doubled_by_kills(tmp_path, kill_seconds):
    """A worker killed at any moment leaves at most its last heartbeat in doubt; all else is reported exactly once.

    The endpoint fails before and after accepting, meanwhile, and others take over what the dead have claimed.
    """
    path, endpoint, dice = tmp_path / "readtime.db", tmp_path / "events.jsonl", random.Random()
    notes, alive, kills = [], [], 0

    def start():
        notes.append(tmp_path / f"notes{len(notes)}")
        alive.append(Child("mortal", path=path, endpoint=endpoint, notes=notes[-1], seed=len(notes)))

    try:
        for _ in range(WORKERS):
            start()
        end = time.monotonic() + kill_seconds
        while time.monotonic() < end:
            victim = alive.pop(0)  # the oldest: it has had time to get to work
            victim.expect("ready")
            time.sleep(dice.uniform(0.02, 0.4))  # the moment of death is what is random here
            victim.kill()
            victim.end()
            kills += 1
            start()
        for worker in alive:
            worker.expect("ready")
            assert worker.result() == "stopped"
    finally:
        for worker in alive:
            worker.end()

    tracker, store = tracker_on(path, JsonLinesEmitter(endpoint))
    with closing(store):
        print(f"kills {kills}, {judged(tracker, endpoint, notes, kills)}")


@pytest.mark.parametrize("where", ["claimed", "sending", "sent"])
def test_an_owner_that_sleeps_past_its_lease(tmp_path, where):
    """SIGSTOP while it holds a claim, somebody else takes over, SIGCONT: the same event, counted once.

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
        owner.say()
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
