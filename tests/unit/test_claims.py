"""Claim, defer, wanted finalizes and history, on the pure transitions (chapters C and V)."""

from __future__ import annotations

import attrs
import pytest

from caliper_readtime import Reader
from caliper_readtime._rules import AcquireResult, Caller, CommitResult, ParkResult
from tests.scenes import ANNA, OWLS
from tests.unit.builders import DAY, NOW, Broken, Life, body, item, ms, span

MENDED = Reader("anna", "mended@example.org")
EXPLICIT, HEARTBEAT, SWEEP = Caller


# Claim


def test_a_claim_covers_the_whole_seconds_above_the_pointer():
    """C3, V2: a new claim covers the whole seconds from the pointer on; the rest below one second is carried."""
    life = Life().read(42.7)
    acquired = life.take()
    assert (acquired.result, span(acquired.claim), acquired.again) == (AcquireResult.CLAIMED, (0.0, 42.0), False)
    assert (life.state.reported_read_time_seconds, life.state.in_flight) == (0.0, True)
    life.commit(acquired.claim)
    life.read(10.5)
    assert span(life.take().claim) == (42.0, 53.0)


def test_a_claim_covers_at_most_a_day():
    """C3: a claim covers at most 86,400 s; what is above waits for the next."""
    life = Life().read(2.5 * DAY)
    spans = []
    while (acquired := life.take()).claim:
        spans.append(span(acquired.claim))
        life.commit(acquired.claim)
    assert spans == [(0, DAY), (DAY, 2 * DAY), (2 * DAY, 2.5 * DAY)]


def test_a_claim_holds_the_finished_event_from_the_newest_context():
    """C3: it holds the finished event, built from the newest context, refreshed by this very call."""
    life = Life().read()
    claim = life.take(reader=MENDED, article=attrs.evolve(OWLS, title="Owls, revised")).claim
    assert claim == life.ledger.claim
    assert body(claim)["actor"]["email"] == "mended@example.org"
    assert body(claim)["object"]["activity"]["name"] == "Owls, revised"
    assert item(claim)["value"] == 30


@pytest.mark.parametrize("caller", list(Caller))
def test_anothers_live_lease_is_in_flight(caller):
    """C1: another owner's live lease: IN_FLIGHT, to the last millisecond of it."""
    life = Life()
    claim = life.claimed()
    life.wait(29.999)
    acquired = life.take("b", caller)
    assert (acquired.result, life.ledger.claim) == (AcquireResult.IN_FLIGHT, claim)


@pytest.mark.parametrize("released", [False, True])
def test_an_older_claim_is_taken_over_as_it_is(released):
    """C2: a claim whose lease has run out, or that was released, is handed on as it is under a new token."""
    life = Life()
    claim = life.claimed()
    if released:
        life.release(claim)
    life.wait(30).beat(30, reader=MENDED)
    acquired = life.take("b", reader=MENDED)
    assert (acquired.result, acquired.again) == (AcquireResult.CLAIMED, True)
    assert (acquired.claim.owner, acquired.claim.until_at_ms) == ("b", life.now + ms(30))
    assert (acquired.claim.event_id, span(acquired.claim)) == (claim.event_id, span(claim))
    assert acquired.claim.event == claim.event  # the same bytes, whatever the context has become


def test_one_owner_gets_its_claim_back():
    """C4: the same owner claiming again gets its claim back, lease renewed."""
    life = Life()
    claim = life.claimed()
    for wait in (10, 25, 300):
        acquired = life.wait(wait).take("a")
        assert acquired.claim == attrs.evolve(claim, until_at_ms=life.now + ms(30))
    assert life.kinds.count("claimed") == 1


def test_a_claim_may_be_replayed_after_time_has_come_in():
    """C4: a driver's replay gets the same range, though more could be claimed by now."""
    life = Life()
    claim = life.claimed()
    life.wait(10).beat(10)
    assert span(life.take("a").claim) == span(claim)


@pytest.mark.parametrize("caller", list(Caller))
def test_less_than_a_second_is_nothing(caller):
    """V2: whole seconds; where there is none, nothing is claimed and nothing changes."""
    life = Life()
    life.beat(0.999)
    before = life.state
    assert life.take(caller=caller).result is AcquireResult.NOTHING
    assert life.state is before


def test_no_state_is_nothing_and_nothing_is_created():
    """V7: no state: NOTHING_TO_SEND and nothing is created, for every verb but a signal."""
    life = Life()
    claim = Life().claimed()
    assert life.take(reader=ANNA, article=OWLS, finalize=True).result is AcquireResult.NOTHING
    answers = [life.commit(claim, "g"), life.release(claim), life.park(claim), life.renew(claim), life.unpark()]
    assert answers == [CommitResult.GONE, False, ParkResult.NOT_OWNER, None, 0]
    assert not life.defer(finalize=True, reader=ANNA, article=OWLS)
    assert life.state is None


@pytest.mark.parametrize(
    ("caller", "took"),
    [(EXPLICIT, AcquireResult.CLAIMED), (HEARTBEAT, AcquireResult.WAITING), (SWEEP, AcquireResult.WAITING)],
)
def test_explicit_calls_ignore_the_back_off(caller, took):
    """V3, S14: explicit calls ignore the back-off; while it runs, further heartbeats send nothing."""
    life = Life()
    life.release(life.claimed())
    life.wait(4.999)
    assert life.take("b", caller).result is took
    assert life.wait(0.001).take("b", caller).result is AcquireResult.CLAIMED


@pytest.mark.parametrize("build_again", [False, True])
def test_an_event_that_cannot_be_built_is_parked(build_again):
    """C5: an event that cannot be built is parked until it can; later time is not stuck behind it."""
    life = Life().read()
    acquired = life.take(builder=Broken())
    (parked,) = life.state.parked
    assert (acquired.result, parked.event_id, parked.seconds) == (
        AcquireResult.UNBUILDABLE,
        acquired.claim.event_id,
        30.0,
    )
    assert parked.status is None
    assert "RuntimeError" in parked.reason
    assert "example.org" not in repr(life.state.history) + parked.reason  # the builder's words may hold an address
    assert not life.state.in_flight
    if build_again:  # nobody has refused it, so an explicit call does not wait
        assert life.take().claim.event_id == parked.event_id
    else:
        assert span(life.read(5).take(tried=frozenset({parked.event_id})).claim) == (30.0, 35.0)


@pytest.mark.parametrize("made", [{"id": "urn:uuid:x"}, {}, [{"id": 1}], "event", None])
def test_an_event_that_is_not_the_one_asked_for_cannot_be_built(made):
    """C5, I6: a builder that gives it another id, or makes no object: no claim holds what it is not known by."""

    class Other(Broken):
        """Such a builder."""

        def event(self, *_args, **_more):
            return made

    life = Life().read()
    assert life.take(builder=Other()).result is AcquireResult.UNBUILDABLE
    assert life.take().claim.event_id == life.state.parked[0].event_id


@pytest.mark.parametrize(
    ("said", "result"),
    [
        ("\ud83d", AcquireResult.UNBUILDABLE),
        (float("nan"), AcquireResult.UNBUILDABLE),
        ("🦉 \\ud83d", AcquireResult.CLAIMED),
    ],
    ids=["lone surrogate", "NaN", "owl"],
)
def test_an_event_that_cannot_be_sent_cannot_be_built(said, result):
    """C5: what no request can hold would fail every envelope that it is put in; it is set aside alone."""

    class Odd(Broken):
        """A builder that says it."""

        def event(self, *_args, event_id, **_more):
            return {"id": event_id, "extensions": {"said": said}}

    assert Life().read().take(builder=Odd()).result is result


def test_an_event_that_cannot_be_built_waits_where_the_list_is_full():
    """C5, P10: the list's eight holds for such an event too: its time stays unclaimed, and nothing is lost."""
    life = Life()
    life.fill()
    assert life.read(20).take(builder=Broken()).result is AcquireResult.UNBUILDABLE
    assert (len(life.state.parked), life.state.in_flight, life.state.unreported_seconds) == (8, False, 260.0)
    assert "RuntimeError" in life.state.last_error
    assert span(life.take().claim) == (240.0, 260.0)
    retry = Life()
    claims = retry.fill()
    retry.unpark()
    assert retry.take(builder=Broken()).claim.event_id == claims[0].event_id
    assert [parked.event_id for parked in retry.state.parked][-1] == claims[0].event_id
    assert len(retry.state.parked) == 8


def test_a_sweep_leaves_an_active_reader_alone():
    """D7, W1: sweep takes what is due and idle, new time at once where it was deferred."""
    life = Life().read().wait(59.999)
    assert life.take(caller=SWEEP, idle_ms=60_000).result is AcquireResult.WAITING
    assert life.wait(0.001).take(caller=SWEEP, idle_ms=60_000).result is AcquireResult.CLAIMED
    deferred = Life().read()
    deferred.defer()
    assert deferred.take(caller=SWEEP, idle_ms=60_000).result is AcquireResult.CLAIMED


def test_a_small_partial_is_deferred():
    """V9: a partial below partial_min_seconds sends nothing: the state becomes due at once."""
    life = Life().read(19.9)
    assert life.take(min_ms=20_000).result is AcquireResult.DEFERRED
    assert life.state.due == (life.now, False)
    life.wait(0.1).beat(0.1)
    assert life.take(min_ms=20_000).result is AcquireResult.CLAIMED


# Defer


@pytest.mark.parametrize("finalize", [False, True])
def test_a_deferral_makes_due_at_once(finalize):
    """V9: a deferral sends nothing, makes due at once, and for a finalize leaves the wish."""
    life = Life().read()
    meter = life.meter
    assert life.wait(7).defer(finalize=finalize)
    assert (life.state.due, life.ledger.finalize_wanted) == ((life.now, False), finalize)
    assert (life.state.in_flight, life.meter, life.kinds) == (False, meter, ["deferred"])


def test_nothing_whole_is_nothing_to_defer():
    """V7: NOTHING_TO_SEND when nothing whole is there; a finalize is stamped on the spot."""
    life = Life()
    life.beat(0.9)
    before = life.state
    assert not life.defer()
    assert life.state is before
    assert not life.defer(finalize=True)
    assert life.state.finalized_at is not None


def test_a_deferral_refreshes_the_context():
    """S15: an object refreshes the stored context, for a deferral too."""
    life = Life().read()
    life.defer(reader=MENDED)
    assert life.ledger.context.reader == MENDED


@pytest.mark.parametrize(("rest", "there"), [(0.999, False), (1.0, True)])
def test_a_whole_second_is_worth_deferring(rest, there):
    """V7: NOTHING_TO_SEND when nothing whole is there, whatever was reported before."""
    life = Life().sent()
    life.wait(5).beat(rest)
    assert life.defer() is there
    assert (life.ledger.deferred_at_ms is not None) is there


# finalize_wanted


def test_whoever_finishes_a_wanted_finalize_stamps_it():
    """V6: a finalize that cannot finish (IN_FLIGHT, failure) leaves its wish to whoever does."""
    for interrupt in (
        lambda life, claim: life.take("b", finalize=True),
        lambda life, claim: life.release(claim),
        lambda life, claim: life.defer(finalize=True),
    ):
        life = Life().read()
        claim = life.take("a", finalize=True).claim
        interrupt(life, claim)
        assert (life.ledger.finalize_wanted, life.state.finalized_at) == (True, None)
        life.commit(life.wait(31).take("sweeper", SWEEP).claim)
        assert (life.ledger.finalize_wanted, life.state.finalized_at is not None) == (False, True)


def test_a_partial_wants_no_finalize():
    """V1: it reports, and leaves the state open."""
    life = Life()
    life.commit(life.claimed())
    assert (life.ledger.finalize_wanted, life.state.finalized_at) == (False, None)


# History


def test_the_history_tells_the_last_32_steps():
    """Claims, sends, failures, parkings, finalizations, with event id, seconds, time."""
    life = Life()
    claim = life.claimed()
    life.release(claim, error="down")
    life.park(life.take("b").claim, "b", reason="bad")
    life.read(20).defer(finalize=True)
    life.commit(life.take("c").claim)
    life.commit(life.wait(DAY).take("d").claim)
    entries = [(entry.kind, entry.seconds, entry.detail) for entry in life.state.history]
    assert entries == [
        ("claimed", 30.0, ""),
        ("failed", 30.0, "down"),
        ("claimed", 30.0, "again"),
        ("parked", 30.0, "bad"),
        ("deferred", 20.0, ""),
        ("claimed", 20.0, ""),
        ("sent", 20.0, ""),
        ("claimed", 30.0, ""),
        ("sent", 30.0, ""),
        ("finalized", 0.0, ""),
    ]
    assert [entry.event_id for entry in life.state.history[:4]] == [claim.event_id] * 4
    assert life.state.history[0].at.timestamp() * 1000 == NOW + 30_000


def test_the_history_counts_each_range_by_itself():
    """Seconds of an entry are those of its event, wherever its range begins."""
    life = Life().sent(30)
    life.release(life.claimed(20))
    life.park(life.take("b").claim, "b")
    life.take("c", reader=attrs.evolve(ANNA, email="mended@example.org"))
    life.wait(31).take("d")
    entries = [(entry.kind, entry.seconds) for entry in life.state.history[2:]]
    assert entries == [(kind, 20.0) for kind in ("claimed", "failed", "claimed", "parked", "claimed", "claimed")]
    assert [parked.seconds for parked in life.state.parked] == [20.0]
