"""When a state is due, and when it may expire: one pure function, applied last by every verb (D and X)."""

from __future__ import annotations

from datetime import timedelta

import attrs
import pytest

from caliper_readtime import Reader
from caliper_readtime._rules import AcquireResult, Caller
from caliper_readtime._rules.state import Due
from tests.scenes import ANNA, OWLS, START
from tests.unit.builders import DAY, Broken, Life, ms

MENDED = Reader("anna", "mended@example.org")
TTL = 30 * DAY


# Due


def test_less_than_a_second_is_not_due():
    """D3: only a whole second of new time is due; 0.999 s are not."""
    life = Life()
    life.beat(0.999)
    assert life.state.due_at is None
    life.wait(1).beat(0.001)
    assert life.state.due == Due(life.now, soft=True)
    assert life.state.due_at == START + timedelta(seconds=1)


def test_unclaimed_time_is_due_since_the_last_sync():
    """D3: a whole second of new time is due from its last sync, which an active reader moves on."""
    life = Life().read(30)
    assert life.state.due == Due(life.now, soft=True)
    synced = life.now
    life.wait(20).beat(0)
    assert life.state.due == Due(synced, soft=True)
    life.beat(20)
    assert life.state.due == Due(life.now, soft=True)


def test_a_deferral_is_due_at_once_and_activity_leaves_it_alone():
    """D3, D7: deferred time is due at once, and activity leaves it alone."""
    life = Life().read(30).wait(5)
    assert life.defer()
    deferred = life.now
    assert life.state.due == Due(deferred, soft=False)
    life.wait(20).beat(20)
    life.wait(1).defer()
    assert life.state.due == Due(deferred, soft=False)
    assert life.kinds.count("deferred") == 1


def test_a_claim_is_due_at_its_leases_end():
    """D2: a claim is due when its lease or its back-off ends, whatever else there is."""
    life = Life()
    claim = life.claimed()
    lease = Due(life.now + ms(30), soft=False)
    assert life.state.due == lease
    life.wait(10).beat(10)
    assert life.state.due == lease
    life.release(claim)
    assert life.state.due == Due(life.now + ms(5), soft=False)


@pytest.mark.parametrize("finalize", [False, True])
@pytest.mark.parametrize("released", [False, True])
def test_deferral_and_completion_never_shorten_a_lease_or_a_back_off(finalize, released):
    """D4: a deferral or a completion never shortens a lease or a back-off."""
    life = Life()
    claim = life.claimed()
    if released:
        life.release(claim)
    due = life.state.due
    life.wait(2).defer(finalize=finalize)
    assert life.state.due == due
    life.wait(1).beat(1, position=100, duration=100)
    assert life.state.due == due
    life.defer(finalize=finalize)
    assert life.state.due == due


def test_a_deferral_of_claimed_time_does_not_hurry_later_time():
    """D7: what is deferred is what is there; a mark on claimed time does not outlive its claim."""
    life = Life()
    claim = life.claimed()
    life.defer()
    life.commit(claim)
    life.read(20)
    assert life.state.due == Due(life.now, soft=True)


def test_a_claim_takes_the_deferral_with_it():
    """D7: once deferred time is claimed, later time waits for its reader to be idle again."""
    life = Life().read()
    life.defer()
    life.commit(life.take().claim)
    assert life.state.due is None
    life.read(20)
    assert life.state.due == Due(life.now, soft=True)


def test_a_parked_event_is_due_at_its_retry_time():
    """D3: a parked event is due at its retry time, whatever its reader does meanwhile."""
    life = Life()
    life.rejected()
    assert life.state.due == Due(life.now + ms(DAY), soft=False)
    due = life.state.due
    life.wait(5).beat(0.5)
    assert life.state.due == due


def test_the_earliest_of_new_and_parked_time_counts():
    """D3: without a claim the earliest of new time and parked events counts."""
    life = Life()
    life.rejected()
    retry = life.now + ms(DAY)
    life.read(20)
    assert life.state.due == Due(life.now, soft=True)
    life.wait(DAY).beat(20)
    assert life.state.due == Due(retry, soft=False)


@pytest.mark.parametrize(("first", "moves"), [(0.0, True), (0.999, True), (1.0, False)])
def test_new_time_beside_a_parked_event_moves_the_due_entry(first, moves):
    """D1, D3: a store writes the entry anew where the ledger is another object, and only then."""
    life = Life()
    life.rejected()
    life.wait(5).beat(first)
    ledger = life.ledger
    life.wait(5).beat(5)
    assert (life.ledger is not ledger) is moves
    ledger = life.ledger
    life.wait(5).beat(0)
    assert life.ledger is ledger


def test_a_corrected_context_makes_a_parked_event_due_at_once():
    """D3: a parked event is due at once when its context has changed, however the correction arrives."""
    for correct in (
        lambda life: life.beat(0, reader=MENDED),
        lambda life: life.take(caller=Caller.HEARTBEAT, reader=MENDED),
        lambda life: life.defer(article=attrs.evolve(OWLS, title="Owls, corrected")),
    ):
        life = Life()
        life.rejected()
        life.wait(60)
        correct(life)
        assert life.state.due.at_ms <= life.now
        assert not life.state.due.soft


def test_unparked_is_due_at_once():
    """P6: unparked is due at once, and no later call undoes it."""
    life = Life()
    life.rejected()
    life.wait(60)
    assert life.unpark() == 1
    assert life.state.due == Due(life.now, soft=False)
    unparked = life.now
    life.wait(60).unpark()
    assert life.state.due == Due(unparked, soft=False)


def test_a_full_list_keeps_new_time_from_being_due():
    """D3, P10: behind a full list new time is not due; the parked events stay due."""
    life = Life()
    life.fill()
    first_retry = min(parked.retry_at_ms for parked in life.ledger.parked)
    life.read(20)
    assert life.state.due == Due(first_retry, soft=False)
    life.defer()
    assert life.state.due == Due(first_retry, soft=False)
    synced = life.now
    life.commit(life.wait(DAY).take().claim)
    assert life.state.due == Due(synced, soft=False)  # the deferral of before, now that there is room


# Finalized


def test_the_stamp_is_set_by_whichever_verb_finishes():
    """D8: wanted, no claim, nothing whole, nothing parked: whichever verb finishes stamps, and clears the wish."""
    life = Life()
    claim = life.claimed()
    life.take("b", finalize=True)  # IN_FLIGHT: a finalize that cannot finish leaves finalize_wanted
    assert (life.ledger.finalize_wanted, life.state.finalized_at) == (True, None)
    life.wait(5).commit(claim)
    assert life.state.finalized_at == START + timedelta(seconds=35)
    assert (life.ledger.finalize_wanted, life.kinds[-1]) == (False, "finalized")


@pytest.mark.parametrize("left", ["claim", "whole second", "parked"])
def test_nothing_is_stamped_while_something_is_left(left):
    """D8, P3: a claim, a whole second or a parked event keeps finalized_at unset."""
    life = Life()
    if left == "parked":
        life.rejected()
        life.take(finalize=True)
    else:
        claim = life.claimed()
        life.defer(finalize=True)
        if left == "whole second":
            life.wait(1).beat(1)
            life.commit(claim)
    assert (life.state.finalized_at, life.ledger.finalize_wanted) == (None, True)
    assert life.state.due is not None


def test_a_parked_event_that_arrives_lets_the_stamp_be_set():
    """D8: the commit of the last parked event finishes a wanted finalize."""
    life = Life()
    life.rejected()
    life.defer(finalize=True)
    life.commit(life.wait(DAY).take().claim)
    assert life.state.finalized_at is not None


def test_the_first_stamp_stays():
    """V5: a later one sends new time and leaves the stamp."""
    life = Life()
    life.beat(0.5)
    assert life.take(finalize=True).result is AcquireResult.NOTHING
    life.read(20)
    life.commit(life.take(finalize=True).claim)
    life.defer(finalize=True)
    assert (life.state.finalized_at, life.kinds.count("finalized")) == (START, 1)


# Expires


def test_a_settled_state_expires_after_its_ttl():
    """X1: less than a whole second, no claim, nothing parked: gone state_ttl after its last use."""
    life = Life()
    life.beat(0.4)
    assert life.state.expires_at_ms == life.now + ms(TTL)
    life.sent()
    assert life.state.expires_at_ms == life.now + ms(TTL)
    life.wait(100).beat(0.5)
    assert life.state.expires_at_ms == life.now + ms(TTL)


def test_unreported_time_never_expires():
    """X1: a whole second, a claim, a released claim or a parked event keeps a state for good."""
    life = Life(state_ttl_seconds=1.0)
    life.beat(1)
    assert life.state.expires_at_ms is None
    claim = life.take().claim
    assert life.state.expires_at_ms is None
    life.release(claim)
    assert life.state.expires_at_ms is None
    claim = life.take().claim
    life.park(claim)
    assert life.state.expires_at_ms is None
    life.unpark()
    life.commit(life.take().claim)
    assert life.state.expires_at_ms == life.now + 1000


def test_a_full_list_and_new_time_never_expire():
    """X1: time that makes nothing due because the parked list is full is kept all the same."""
    life = Life()
    life.fill()
    life.read(20)
    assert life.state.expires_at_ms is None


def test_what_cannot_be_built_never_expires():
    """X1, C5: an event that cannot be built is parked, and stays."""
    life = Life().read()
    assert life.take(builder=Broken()).result is AcquireResult.UNBUILDABLE
    assert (life.state.expires_at_ms, life.state.unreported_seconds) == (None, 30.0)


def test_the_three_names_agree_with_the_phase():
    """D1, X1: in any state either something is due or the state may expire, except where the list is full."""
    life = Life()
    for step in (
        lambda: life.beat(0.5),
        lambda: life.read(10),
        life.take,
        lambda: life.release(life.ledger.claim),
        lambda: life.wait(60).take(),
        lambda: life.park(life.ledger.claim),
        lambda: life.defer(finalize=True, reader=ANNA),
        life.unpark,
        life.take,
        lambda: life.commit(life.ledger.claim),
    ):
        step()
        assert (life.state.due is None) == (life.state.expires_at_ms is not None), life.state.phase
    assert life.state.finalized_at is not None
