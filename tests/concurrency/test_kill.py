"""Death at any moment: workers are killed or stopped while they read, report and sweep."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from contextlib import closing

import pytest

from caliper_readtime import JsonLinesEmitter, Outcome
from tests.concurrency.arrivals import distinct, lines_of, repeats, seconds_of
from tests.concurrency.children import Child, child
from tests.concurrency.roles import READERS, tracker_on
from tests.scenes import ANNA, OWLS, ROSTER, until

WORKERS = 4
LEASE_SECONDS = 0.5


@pytest.fixture
def kill_seconds(request):
    """For how long workers are killed."""
    return request.config.getoption("kill_seconds")


def heartbeats(notes):
    """What workers noted: the accepted milliseconds of every state, and those that a death left in doubt."""
    accepted, doubtful = Counter(), {}
    for file in notes:
        begun = None
        for line in file.read_text().splitlines():
            word, *name, ms = line.split()
            if word == "done":
                accepted[tuple(name)] += int(ms)
                begun = None
            else:
                begun = tuple(name), int(ms)
        if begun is not None:
            doubtful[file] = begun
    return accepted, doubtful


def drained(tracker):
    """Sweep until nothing whole is left: leases end and back-offs pass."""

    def quiet():
        tracker.sweep(idle_seconds=0)
        states = [state for reader in READERS for state in tracker.states(reader)]
        return all(state.unreported_seconds < 1 and not state.in_flight for state in states)

    until(quiet)


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
        drained(tracker)
        for reader in READERS:
            tracker.flush_reader(reader).raise_unless_settled()
        states = [state for reader in READERS for state in tracker.states(reader)]
        # A fresh probe goes through.
        tracker.accumulate(ANNA, OWLS, 7)
        assert tracker.partial(ANNA, OWLS).outcome is Outcome.SENT
        probed = tracker.state(ANNA, OWLS)
    accepted, doubtful = heartbeats(notes)
    assert len(doubtful) <= kills
    arrived = seconds_of(endpoint)
    for state in states:
        doubt = sum(ms for name, ms in doubtful.values() if name == tuple(state.key))
        assert accepted[state.key] <= state.meter.cumulative_ms <= accepted[state.key] + doubt
        assert state.reported_ms == state.meter.cumulative_ms // 1000 * 1000
        final = probed if state.key == probed.key else state
        assert arrived[ids_of(state)] * 1000 == final.reported_ms
    assert (
        sum(arrived.values()) * 1000 == sum(s.reported_ms for s in states if s.key != probed.key) + probed.reported_ms
    )
    assert kills > 0
    assert repeats(endpoint) > 0
    print(
        f"kills {kills}, heartbeats {sum(accepted.values()) / 1000:.1f} s, in doubt {len(doubtful)}, "
        f"events {len(distinct(endpoint))}, sent again {repeats(endpoint)}, lost 0, doubled 0"
    )


def ids_of(state):
    """The actor and activity ids of a state's events."""
    base = f"{ROSTER}/ims/oneroster/rostering/v1p2"
    return f"{base}/users/{state.reader_sourced_id}", f"{base}/resources/{state.resource_id}"


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
