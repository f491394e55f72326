"""What a run of kills has come to: every accepted second arrived, and none of them under two ids."""

from __future__ import annotations

from collections import Counter

from caliper_readtime import Outcome
from tests.concurrency.arrivals import distinct, repeats, seconds_of
from tests.concurrency.roles import READERS
from tests.scenes import ANNA, OWLS, ROSTER, until


def heartbeats(notes):
    """What workers noted: the accepted milliseconds of every state, and those that a death left in doubt."""
    accepted, doubtful = Counter(), {}
    for file in notes:
        begun = None
        for line in file.read_text().splitlines():
            word, *name, ms = line.split()
            if word == "saw":
                continue
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
    swept, left = [], []

    def quiet():
        swept[:] = [tracker.sweep(idle_seconds=0)]
        states = [state for reader in READERS for state in tracker.states(reader)]
        left[:] = [state for state in states if state.unreported_seconds >= 1 or state.in_flight]
        return not left

    try:
        until(quiet)
    except AssertionError:
        found = [(state, state.due, state.meter, state.ledger) for state in left]
        raise AssertionError(f"not drained at {tracker.now()}: {swept}, {found}") from None


def ids_of(state):
    """The actor and activity ids of a state's events."""
    base = f"{ROSTER}/ims/oneroster/rostering/v1p2"
    return f"{base}/users/{state.reader_sourced_id}", f"{base}/resources/{state.resource_id}"


def judged(tracker, endpoint, notes, kills):
    """Drain what is left, judge all of it, and return the figures; a fresh probe goes through."""
    drained(tracker)
    for reader in READERS:
        tracker.flush_reader(reader).raise_unless_settled()
    states = [state for reader in READERS for state in tracker.states(reader)]
    tracker.accumulate(ANNA, OWLS, 7)
    assert tracker.partial(ANNA, OWLS).outcome is Outcome.SENT
    probed = tracker.state(ANNA, OWLS)
    accepted, doubtful = heartbeats(notes)
    assert len(doubtful) <= kills
    assert set(accepted) <= {tuple(state.key) for state in states}
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
    return (
        f"heartbeats {sum(accepted.values()) / 1000:.1f} s, in doubt {len(doubtful)}, "
        f"events {len(distinct(endpoint))}, sent again {repeats(endpoint)}, lost 0, doubled 0"
    )
