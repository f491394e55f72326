"""Park and unpark, on the pure transitions (chapter P)."""

from __future__ import annotations

import pytest

from caliper_readtime import Reader
from caliper_readtime._rules import AcquireResult, Caller, ParkResult
from caliper_readtime._rules.state import MAX_PARKED, Phase
from tests.unit.builders import DAY, Broken, Life, body, item, ms, span

MENDED = Reader("anna", "mended@example.org")
EXPLICIT, HEARTBEAT, SWEEP = Caller


def test_a_refused_event_is_set_aside():
    """P1: a refused event is set aside with the context it was built from, unreported."""
    life = Life()
    claim = life.rejected()
    (parked,) = life.state.parked
    assert (parked.event_id, parked.seconds, parked.status, parked.reason) == (claim.event_id, 30.0, 422, "bad")
    assert (parked.reader_sourced_id, parked.resource_id, parked.claimable) == ("anna", "owls", False)
    assert life.ledger.parked[0].context == claim.context
    assert (life.state.reported_read_time_seconds, life.state.unreported_seconds) == (0.0, 30.0)
    assert (life.state.in_flight, life.state.last_error, life.kinds[-1]) == (False, "bad", "parked")


def test_later_time_is_not_stuck_behind_it():
    """P2: the pointer steps over its range, so later time is not stuck behind it."""
    life = Life()
    life.rejected()
    claim = life.claimed(20)
    assert span(claim) == (30.0, 50.0)
    life.commit(claim)
    assert (life.state.reported_read_time_seconds, life.state.unreported_seconds) == (20.0, 30.0)


@pytest.mark.parametrize(
    "make", ["the context differs", "its retry time has come", "unparked"], ids=["context", "time", "unparked"]
)
def test_when_a_parked_event_is_claimable(make):
    """P4: claimable when the context differs from its own, when its retry time has come, or unparked."""
    life = Life()
    claim = life.rejected()
    assert life.take().result is AcquireResult.NOTHING
    more = {}
    if make == "unparked":
        assert life.unpark() == 1
    elif make == "its retry time has come":
        assert life.wait(DAY - 0.001).take().result is AcquireResult.NOTHING
        life.wait(0.001)
    else:
        more = {"reader": MENDED}
    assert life.state.parked_events(life.now)[0].claimable is (not more)
    acquired = life.take(**more)
    assert (acquired.result, acquired.again, acquired.retry) == (AcquireResult.CLAIMED, True, True)
    assert (acquired.claim.event_id, span(acquired.claim)) == (claim.event_id, span(claim))


def test_a_context_that_is_set_back_is_no_correction():
    """P4: the context is compared with the one the event was built from, not with whether it ever changed."""
    life = Life()
    life.rejected()
    life.beat(0, reader=MENDED)
    life.beat(0)
    assert life.take().result is AcquireResult.NOTHING


def test_a_claimed_retry_is_rebuilt_under_its_id_and_stays_listed():
    """P7: a retry is rebuilt under the same id, and stays in the list while it is claimed."""
    life = Life()
    first = life.rejected()
    claim = life.take(reader=MENDED).claim
    assert (claim.event_id, body(claim)["generated"]["id"]) == (first.event_id, body(first)["generated"]["id"])
    assert (body(claim)["actor"]["email"], body(first)["actor"]["email"]) == ("mended@example.org", "anna@example.org")
    times = ("startDate", "endDate", "value")
    assert [item(claim)[name] for name in times] == [item(first)[name] for name in times]
    assert [parked.event_id for parked in life.state.parked] == [first.event_id]
    assert life.state.unreported_seconds == 30.0


def test_a_retry_goes_before_new_time():
    """P7: a retry goes through the claim slot before new time."""
    life = Life()
    claim = life.rejected()
    life.read(20).unpark()
    first = life.take().claim
    assert first.event_id == claim.event_id
    life.commit(first)
    assert span(life.take().claim) == (30.0, 50.0)


def test_a_new_refusal_replaces_its_entry():
    """P8: a new refusal replaces the entry, a day from now on; commit removes it."""
    life = Life()
    first = life.rejected()
    claim = life.wait(DAY).take(reader=MENDED).claim
    assert life.park(claim, status=400, reason="still bad") is ParkResult.PARKED
    (parked,) = life.state.parked
    assert (parked.event_id, parked.status, parked.reason) == (first.event_id, 400, "still bad")
    assert life.ledger.parked[0].context.reader == MENDED
    assert life.state.due == (life.now + ms(DAY), False)
    life.commit(life.wait(DAY).take().claim)
    assert (life.state.parked, life.state.reported_read_time_seconds) == ((), 30.0)


def test_retry_times_are_spread():
    """P4: retry times are a day after each refusal, with jitter."""
    retries = []
    for jitter in (0.0, 0.5, 0.999):
        life = Life()
        life.park(life.claimed(), jitter=jitter)
        retries.append((life.ledger.parked[0].retry_at_ms - life.now) / 1000)
    assert retries == sorted(set(retries), reverse=True)
    assert all(0.9 * DAY <= retry <= DAY for retry in retries)


def test_unparking_needs_no_claim_and_disturbs_none():
    """P6: unpark sets the retry time to now, durably, whoever holds a claim."""
    life = Life()
    parked = life.rejected()
    claim = life.claimed(20, owner="b")
    assert life.unpark() == 1
    assert life.ledger.claim == claim
    assert life.ledger.parked[0].retry_at_ms == life.now
    life.commit(claim)
    assert life.take().claim.event_id == parked.event_id


@pytest.mark.parametrize("before", ["its retry time has come", "unparked"])
def test_unparking_is_not_undone_by_a_try_that_was_under_way(before):
    """P6: unparked while a retry was under way, whatever had let that begin: its refusal leaves it claimable now."""
    life = Life()
    life.rejected()
    if before == "unparked":
        life.unpark()
    claim = life.wait(DAY).take().claim
    life.wait(1).unpark()
    life.wait(1)
    assert life.park(claim) is ParkResult.PARKED
    assert life.state.due.at_ms == life.now
    assert life.take("b", SWEEP).claim.event_id == claim.event_id


def test_unparking_holds_through_a_lost_retry():
    """P6, P9: an unparked event whose retry was lost goes again once its back-off has ended."""
    life = Life()
    life.rejected()
    life.unpark()
    claim = life.take().claim
    life.wait(300).take("b")
    assert life.release(claim, "b")
    assert (life.ledger.claim, life.state.due.at_ms) == (None, life.now + ms(5))
    assert life.wait(5).take("c").claim.event_id == claim.event_id


def test_the_list_holds_eight():
    """P1: the list holds eight, oldest first."""
    life = Life()
    claims = life.fill()
    assert MAX_PARKED == 8
    assert [parked.event_id for parked in life.state.parked] == [claim.event_id for claim in claims]
    assert life.state.unreported_seconds == 240.0


@pytest.mark.parametrize(
    ("caller", "result"),
    [(EXPLICIT, AcquireResult.CLAIMED), (HEARTBEAT, AcquireResult.WAITING), (SWEEP, AcquireResult.WAITING)],
)
def test_a_full_list_leaves_new_time_to_explicit_calls(caller, result):
    """P10: when the list is full only explicit calls claim new time."""
    life = Life()
    life.fill()
    assert life.read(20).take("b", caller).result is result


def test_what_is_refused_beyond_the_list_stays_in_the_claim_slot():
    """P11: refused behind a full list it stays in the claim slot, released at the maximum back-off."""
    life = Life()
    life.fill()
    claim = life.claimed(20)
    assert life.park(claim, jitter=0.5) is ParkResult.STUCK
    assert (life.state.phase, len(life.state.parked)) == (Phase.RELEASED, 8)
    assert life.state.due == (life.now + ms(2700), False)
    assert (life.ledger.claim.rejections, life.state.last_error) == (1, "bad")
    same = life.take("b").claim
    assert (same.event_id, same.event) == (claim.event_id, claim.event)  # nothing was corrected
    assert life.park(same, "b") is ParkResult.STUCK


def test_a_stuck_event_is_rebuilt_once_its_context_has_changed():
    """P11: its next claim rebuilds it if the context has changed, under its id."""
    life = Life()
    life.fill()
    claim = life.claimed(20)
    life.park(claim)
    rebuilt = life.take("b", reader=MENDED).claim
    assert (rebuilt.event_id, span(rebuilt)) == (claim.event_id, span(claim))
    assert body(rebuilt)["actor"]["email"] == "mended@example.org"
    assert rebuilt.context.reader == MENDED
    life.commit(rebuilt)
    assert life.state.reported_read_time_seconds == 20.0


def test_an_event_that_was_never_refused_is_never_rebuilt():
    """I7: the bytes differ only after a refusal: EmitterUnavailable is none."""
    life = Life()
    claim = life.claimed()
    life.release(claim)
    assert life.take("b", reader=MENDED).claim.event == claim.event


def test_a_retry_that_finds_a_full_list_replaces_its_entry():
    """P8: one of eight that is refused again takes its own place."""
    life = Life()
    claims = life.fill()
    life.unpark()
    claim = life.take().claim
    assert claim.event_id == claims[0].event_id
    assert life.park(claim) is ParkResult.PARKED
    assert (len(life.state.parked), life.state.in_flight) == (8, False)


@pytest.mark.parametrize("when", ["unclaimed", "released", "lapsed"])
def test_while_an_event_is_parked_heartbeats_send_nothing(when):
    """S14: while an event is parked, further heartbeats answer DEFERRED and send nothing."""
    life = Life()
    life.rejected()
    life.unpark()
    if when != "unclaimed":
        claim = life.take().claim
        if when == "released":
            life.release(claim)
    life.wait(DAY)
    assert life.take("b", HEARTBEAT).result is AcquireResult.WAITING


def test_a_sweep_may_leave_retries_for_later():
    """W7, P7: retries of parked events go last: a first pass takes new time, then is told to wait."""
    life = Life()
    life.rejected()
    life.read(20).unpark()
    new = life.take(caller=SWEEP, retries=False)
    assert (new.retry, span(new.claim)) == (False, (30.0, 50.0))
    life.commit(new.claim)
    acquired = life.take(caller=SWEEP, retries=False)
    assert (acquired.result, acquired.claim) == (AcquireResult.RETRY_LAST, None)
    assert life.take(caller=SWEEP).retry


def test_a_finalize_hears_of_the_oldest_parked_event():
    """V8: with nothing but waiting parked events left a finalize is told of the oldest."""
    life = Life()
    first = life.rejected()
    life.rejected(20)
    acquired = life.take(finalize=True)
    assert (acquired.result, acquired.parked.event_id) == (AcquireResult.NOTHING, first.event_id)
    assert life.ledger.finalize_wanted


def test_a_parked_event_that_still_cannot_be_built_is_parked_anew():
    """P8, C5: a retry that cannot be built replaces its entry, and does not lose its range."""
    life = Life()
    claim = life.rejected()
    life.wait(DAY)
    assert life.take(builder=Broken()).result is AcquireResult.UNBUILDABLE
    (parked,) = life.state.parked
    assert (parked.event_id, parked.seconds, parked.status) == (claim.event_id, 30.0, None)
    at, soft = life.state.due  # once the builder works again, so does the event
    assert life.now + ms(1800) <= at <= life.now + ms(3600)
    assert not soft


def test_what_could_not_be_built_together_comes_back_apart():
    """W10: one jitter is drawn for a batch, of which each event makes a wait of its own."""
    waits = set()
    for seconds in (30, 31, 32):
        life = Life()
        life.read(seconds).take(builder=Broken(), jitter=0.5)
        waits.add(life.state.due.at_ms - life.now)
    assert len(waits) == 3
    assert all(ms(1800) <= wait <= ms(3600) for wait in waits)
