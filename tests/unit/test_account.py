"""What a state remembers of the events that were made of its time (J1, J2)."""

from __future__ import annotations

import json

import attrs
import pytest

from caliper_readtime import Reader
from caliper_readtime._rules.account import MAX_CUTS, MAX_RECENT, NO_ACCOUNT, cut, digest, recent, spans
from caliper_readtime._rules.outcome import Commit, CommitResult
from caliper_readtime._rules.reconcile import MarkShown, SendAgain, committed, id_of, rebuilt
from caliper_readtime._rules.state import Context
from caliper_readtime.stores import dump_ledger
from tests.scenes import ANNA, OWLS
from tests.unit.builders import EVENTS, Broken, Life, ms

MENDED = Reader("anna", "mended@example.org")


def with_account(life, **changes):
    """The state with another account."""
    account = attrs.evolve(life.ledger.account, **changes)
    return attrs.evolve(life.state, ledger=attrs.evolve(life.ledger, account=account))


def test_every_id_of_a_life_is_known():
    """J1: 200 events later every one of their ids is worked out from a few bytes each, long after history forgot."""
    life, ids = Life(), {}
    for number in range(200):
        claim = life.claimed(20.0 + number % 7)
        life.commit(claim)
        ids[claim.event_id] = claim.end_ms - claim.start_ms
    assert committed(life.state) == (ids, 0)
    assert len(life.ledger.account.cuts) == 3 * 200 - 1


def test_a_parked_event_is_no_accepted_one_until_it_is():
    """J1, P2: the pointer steps over a refused range, which is cut there; it counts once it was accepted."""
    life = Life().sent(30.0)
    claim = life.rejected(12.0)
    life.sent(9.0)
    known, _ = committed(life.state)
    assert (sum(known.values()), claim.event_id in known) == (39_000, False)
    life.unpark()
    life.commit(life.take().claim)
    known, untold = committed(life.state)
    assert (sum(known.values()), known[claim.event_id], untold) == (51_000, 12_000, 0)


def test_an_event_whose_claim_was_lost_is_known():
    """J1, K6: its range may begin below the pointer and end above the total."""
    life = Life().sent(30.0).read(10.0)
    ids = Commit(life.ledger.generation, "urn:uuid:x", ms(20), ms(45))
    assert life.do(ids) is CommitResult.LOST
    assert life.ledger.account.cuts == "30 20000:45000:40000"
    known, untold = committed(life.state)
    assert (sorted(known.values()), untold) == ([25_000, 30_000], 0)


def test_what_a_lost_claim_covers_is_told_once_totals_have_climbed_back():
    """J1, K6: the pointer steps over the rest of its range, and none of that is untold."""
    life = Life().sent(30.0).read(10.0)
    life.do(Commit(life.ledger.generation, "urn:uuid:x", ms(20), ms(45)))
    life.wait(60.0).beat(2.0)
    assert life.take().claim is None
    assert committed(life.state)[1] == 0
    life.sent(20.0)
    assert life.ledger.account.cuts == "30 20000:45000:40000 ~45000 17"
    known, untold = committed(life.state)
    assert (sorted(known.values()), untold) == ([17_000, 25_000, 30_000], 0)


def test_what_an_older_version_reported_is_untold():
    """J1: cut points that nobody wrote down cannot be told apart; what comes later can."""
    life = Life().sent(30.0)
    life.state = with_account(life, cut_at_ms=0, cuts="", recent="", contexts=())
    assert committed(life.state) == ({}, 30_000)
    claim = life.claimed(12.0)
    life.commit(claim)
    assert life.ledger.account.cuts == "~30000 12"
    assert committed(life.state) == ({claim.event_id: 12_000}, 30_000)


def test_cut_points_are_bounded():
    """J1: of more than 1,024 the older half is merged, and the sum of all stays what was reported."""
    account = NO_ACCOUNT
    for number in range(5000):
        account = cut(account, (ms(20 * number), ms(20 * number + 20)), ms(20 * number), ms(20 * number + 20))
    words = account.cuts.split()
    assert MAX_CUTS // 2 <= len(words) <= MAX_CUTS
    assert len(account.cuts) < 4 * MAX_CUTS
    found = list(spans(account, ms(100_000)))
    assert sum(span.end_ms - span.start_ms for span in found) == ms(100_000)
    assert [span.known for span in found].count(False) == 1


def test_the_last_events_are_built_again_byte_for_byte():
    """J2: context, times and digest of the last 32 events; contexts that came and went among them."""
    life, bodies = Life(), {}
    for number in range(40):
        claim = life.read(20.0 + number % 3).take(reader=MENDED if number // 3 % 2 else ANNA).claim
        bodies[claim.event_id] = claim.event
        life.commit(claim)
    events = recent(life.ledger.account)
    assert len(events) == MAX_RECENT
    again = {id_of(life.state, event): rebuilt(EVENTS, life.state, event) for event in events}
    assert again == dict(list(bodies.items())[-MAX_RECENT:])
    assert len(life.ledger.account.contexts) == 12
    assert {context.reader.email for context in life.ledger.account.contexts} == {ANNA.email, MENDED.email}


def test_bytes_that_would_differ_are_not_built():
    """J6, I7: another builder, or one that fails, has other bytes, and there are none for an event nobody kept."""
    life = Life().sent(30.0)
    (event,) = recent(life.ledger.account)
    assert rebuilt(EVENTS, life.state, event) is not None
    assert rebuilt(attrs.evolve(EVENTS, app="Another"), life.state, event) is None
    assert rebuilt(Broken(), life.state, event) is None
    assert rebuilt(EVENTS, life.state, event._replace(digest="-")) is None


def test_a_commit_without_the_claim_knows_no_bytes():
    """J2: an event that is committed from the parked list is known, and cannot be built again for certain."""
    life = Life()
    claim = life.rejected(12.0)
    life.commit(claim)
    (event,) = recent(life.ledger.account)
    assert (event.digest, event.context) == ("-", Context(ANNA, OWLS))


def test_only_one_may_send_an_event_again():
    """J6: of two who have looked, one may; and nobody once it was shown, or after a rebirth."""
    life = Life().sent(30.0)
    (event,) = recent(life.ledger.account)
    again = SendAgain(life.ledger.generation, id_of(life.state, event), event.sent_at_ms)
    life.wait(400)
    assert [life.do(again), life.do(again)] == [True, False]
    (after,) = recent(life.ledger.account)
    assert after == event._replace(sent_at_ms=life.now)
    later = attrs.evolve(again, sent_at_ms=life.now)
    assert life.do(attrs.evolve(later, generation="another")) is False
    assert life.do(attrs.evolve(later, event_id="another")) is False
    life.do(MarkShown(life.ledger.generation, frozenset({again.event_id})))
    assert life.do(later) is False
    assert later(None, 0) == (None, False)


def test_marking_what_is_marked_writes_nothing():
    """J6: a reconciliation that finds nothing new leaves the state alone."""
    life = Life().sent(30.0)
    (event,) = recent(life.ledger.account)
    mark = MarkShown(life.ledger.generation, frozenset({id_of(life.state, event)}))
    life.do(mark)
    before = life.state
    life.do(mark)
    life.do(MarkShown("another", mark.event_ids))
    assert life.state is before
    assert recent(life.ledger.account) == (event._replace(shown=True),)


def test_what_it_costs():
    """J1, J2: a thousand events of an article add less than six kilobytes to what is stored of it."""
    life = Life()
    for number in range(MAX_CUTS):
        life.sent(20.0 + number % 50)
    account = json.loads(dump_ledger(life.ledger).partition("\n")[0])["account"]
    assert len(json.dumps(account)) < 6 * 1024


@pytest.mark.parametrize("text", ["30 x", "30:x:1", "~", "5:6"])
def test_an_account_that_cannot_be_read_says_so(text):
    """A cut that is no cut is a ValueError, which is told as a state that cannot be read."""
    life = Life().sent(30.0)
    with pytest.raises(ValueError):
        committed(with_account(life, cuts=text))


def test_a_digest_tells_bytes_apart():
    """Equal bytes, equal digests."""
    assert digest("a") == digest("a") != digest("b")
