"""Commit, release and renew, on the pure transitions (chapters K and L)."""

from __future__ import annotations

import attrs
import pytest

from caliper_readtime import Reader
from caliper_readtime._rules import AcquireResult, Caller, CommitResult, ParkResult
from caliper_readtime._rules.state import Phase
from tests.unit.builders import DAY, Life, ms, span

MENDED = Reader("anna", "mended@example.org")
EXPLICIT, HEARTBEAT, SWEEP = Caller


# Commit


def test_a_commit_moves_the_reported_total():
    """K1: a commit moves the reported total to the end of its range, and nothing else."""
    life = Life()
    claim = life.claimed(42.5)
    meter = life.meter
    assert life.commit(claim) is CommitResult.SENT
    assert (life.state.reported_read_time_seconds, life.state.unreported_seconds) == (42.0, 0.5)
    assert life.meter is meter  # reports never move the last sync
    assert life.state.history[-1].kind == "sent"
    assert (life.state.history[-1].seconds, life.state.history[-1].event_id) == (42.0, claim.event_id)


def test_a_commit_is_idempotent_by_event_id():
    """K3: a commit that finds its event committed says so; no total moves twice."""
    life = Life()
    claim = life.claimed()
    assert life.commit(claim) is CommitResult.SENT
    before = life.state
    assert [life.commit(claim) for _ in range(3)] == [CommitResult.BEFORE] * 3
    assert life.state is before
    life.sent(20)
    assert life.commit(claim) is CommitResult.BEFORE


def test_history_is_not_consulted():
    """K5: what ends at or below the pointer was committed before, whatever the history holds."""
    life = Life()
    claim = life.claimed()
    life.commit(claim)
    for _ in range(40):
        life.sent(2)
    assert claim.event_id not in {entry.event_id for entry in life.state.history}
    assert len(life.state.history) == 32
    assert life.commit(claim) is CommitResult.BEFORE


@pytest.mark.parametrize("then", ["taken over", "released", "released and taken over"])
def test_a_late_commit_still_counts_once(then):
    """K2, K3: a commit by an owner that lost its lease still counts, once."""
    life = Life()
    claim = life.claimed()
    life.wait(31)
    if "released" in then:
        life.release(claim)
    if "taken over" in then:
        life.take("b")
    assert life.commit(claim) is CommitResult.SENT
    assert life.commit(claim) is CommitResult.BEFORE
    assert (life.state.reported_read_time_seconds, life.state.in_flight) == (30.0, False)


def test_the_generation_is_checked():
    """K4: after forget, expiry or rebirth a commit is a no-op and never recreates a state."""
    life = Life()
    claim = life.claimed()
    generation = life.ledger.generation
    life.state = None
    assert (life.commit(claim, generation), life.state) == (CommitResult.GONE, None)
    life.read()
    before = life.state
    assert life.commit(claim, generation) is CommitResult.GONE
    assert life.state is before


def test_a_commit_finds_parked_events():
    """K2: a late acceptance takes a parked event out of the list."""
    life = Life()
    claim = life.rejected()
    life.read(20)
    assert life.state.reported_read_time_seconds == 0.0
    assert life.commit(claim) is CommitResult.SENT
    assert (life.state.parked, life.state.reported_read_time_seconds) == ((), 30.0)
    assert life.state.unreported_seconds == 20.0


def test_a_commit_never_lowers_the_pointer():
    """K1: the pointer never goes back: a parked event sent again lies below later reported time."""
    life = Life()
    life.rejected()
    life.sent(20)
    claim = life.wait(DAY).take().claim
    assert span(claim) == (0.0, 30.0)
    assert life.commit(claim) is CommitResult.SENT
    assert life.ledger.pointer_ms == 50_000
    assert span(life.read(5).take().claim) == (50.0, 55.0)


def test_a_commit_beyond_the_pointer_shows_that_the_store_lost_the_claim():
    """K6: the store lost the claim; what was accepted is not reported under a new id."""
    life = Life().read()
    before = life.state
    claim = life.take().claim
    life.state = before  # a fail-over
    assert life.commit(claim) is CommitResult.LOST
    assert life.state.reported_read_time_seconds == 30.0
    assert life.take().result is AcquireResult.NOTHING


def test_a_lost_claim_moves_the_pointer_no_further_than_the_time_that_is_left():
    """K6: the store lost heartbeats too: the pointer never passes what was accepted."""
    life = Life().read(20)
    older = life.state
    claim = life.claimed(10)
    life.state = older
    assert life.commit(claim) is CommitResult.LOST
    assert life.state.reported_read_time_seconds == life.total == 20.0
    assert life.state.history[-1].seconds == 30.0


def test_totals_that_climb_back_are_not_sent_again():
    """K6: 90 s were accepted, the store fell back to 40 s; at 70 s nothing is sent, at 95 s the 5 s that are new."""
    life = Life().read(40)
    older = life.state
    claim = life.claimed(50)
    life.state = older
    assert life.commit(claim) is CommitResult.LOST
    assert life.state.reported_read_time_seconds == life.total == 40.0
    assert life.read(30).take().result is AcquireResult.NOTHING
    assert life.state.reported_read_time_seconds == life.total == 70.0
    assert span(life.read(25).take().claim) == (90.0, 95.0)


@pytest.mark.parametrize("reclaimed", [False, True])
def test_a_lost_claim_never_moves_the_pointer_over_what_was_not_sent(reclaimed):
    """K6: a lost claim whose range is claimed anew, or begins above the pointer, changes nothing."""
    life = Life().read()
    older = life.state
    first = life.take().claim
    life.commit(first)
    claim = first if reclaimed else life.claimed(20)
    life.state = older
    if reclaimed:
        life.read(5).take("b")
    before = life.state
    assert life.commit(claim) is CommitResult.LOST
    assert life.state is before


def test_a_commit_forgets_the_last_error():
    """State: last_error and attempts speak of what is still wrong."""
    life = Life()
    claim = life.claimed()
    life.release(claim, error="down")
    assert (life.state.last_error, life.state.attempts) == ("down", 1)
    life.commit(claim)
    assert (life.state.last_error, life.state.attempts) == (None, 0)


# Release


@pytest.mark.parametrize("verb", ["release", "park", "renew"])
def test_only_the_current_owner_may_let_go(verb):
    """L1, P1, C11: releasing, parking and renewing need the current owner's token."""
    life = Life()
    claim = life.claimed()
    life.wait(31).take("b")
    before = life.state
    assert getattr(life, verb)(claim, "a") in (False, ParkResult.NOT_OWNER, None)
    assert life.state is before
    assert getattr(life, verb)(claim, "b")


@pytest.mark.parametrize("verb", ["release", "park", "renew"])
def test_a_token_ends_with_its_claim(verb):
    """L1, P1: a token is worth nothing once its claim was released or committed, nor for another event."""
    life = Life()
    claim = life.claimed()
    stranger = attrs.evolve(claim, event_id="urn:uuid:another")
    for end in (lambda: None, lambda: life.release(claim), lambda: life.commit(claim), lambda: life.claimed(5)):
        end()
        before = life.state
        mine = stranger if before.phase is Phase.CLAIMED and claim.end_ms > life.ledger.pointer_ms else claim
        assert getattr(life, verb)(mine) in (False, ParkResult.NOT_OWNER, None)
        assert life.state is before


def test_the_back_off_doubles_up_to_its_maximum():
    """L2: each attempt doubles the back-off, up to its maximum, and leaves the error."""
    life = Life()
    claim = life.claimed()
    waits = []
    for attempt in range(1, 14):
        life.release(claim, error=f"down {attempt}")
        assert (life.state.attempts, life.state.last_error) == (attempt, f"down {attempt}")
        waits.append((life.state.due.at_ms - life.now) / 1000)
        claim = life.take().claim
    assert waits == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600, 3600]


@pytest.mark.parametrize("jitter", [0.0, 0.5, 0.999])
def test_jitter_only_shortens_the_back_off(jitter):
    """L2: jitter leaves between half and the whole of the doubled wait, never beyond the maximum."""
    life = Life()
    claim = life.claimed()
    for expected in (5.0, 10.0, 20.0):
        life.release(claim, jitter=jitter)
        assert expected / 2 <= (life.state.due.at_ms - life.now) / 1000 <= expected
        claim = life.take().claim


def test_a_refusing_endpoint_waits_for_the_maximum_at_once():
    """L3, W10: EndpointRefused: the maximum at once, less the jitter that keeps a group from coming back together."""
    life = Life()
    life.release(life.claimed(), jitter=0.5, at_maximum=True)
    assert life.state.due == (life.now + ms(2700), False)


@pytest.mark.parametrize(("asked", "waited"), [(0, 0), (60, 60), (10**6, 3600)])
def test_what_was_not_tried_waits_for_as_long_as_the_endpoint_asked(asked, waited):
    """L6, H10: an open circuit breaker counts no attempt, and says when to come back, within the longest back-off."""
    life = Life()
    life.release(life.claimed(), counted=False, wait_ms=ms(asked))
    assert life.state.due.at_ms == life.now + ms(waited)
    assert life.state.attempts == 0


def test_an_emission_that_was_never_started_is_no_attempt():
    """L6: what was not tried counts no attempt: free at once, no error, no history."""
    life = Life()
    claim = life.claimed()
    history = life.state.history
    assert life.release(claim, counted=False)
    assert (life.state.attempts, life.state.last_error, life.state.history) == (0, None, history)
    assert life.take("b", SWEEP).result is AcquireResult.CLAIMED


def test_a_claim_that_nobody_releases_is_left_to_its_lease():
    """L5: a BaseException leaves the claim to its lease."""
    life = Life()
    life.claimed()
    assert life.state.due == (life.now + ms(30), False)
    assert life.wait(30).take("b", SWEEP).result is AcquireResult.CLAIMED


def test_renewing_starts_the_lease_anew():
    """C11: renewing starts a lease anew, also one that has run out and was not taken over."""
    life = Life()
    claim = life.claimed()
    for wait in (20, 20, 100):
        assert life.wait(wait).renew(claim).until_at_ms == life.now + ms(30)
    assert life.state.due == (life.now + ms(30), False)
