"""``explain``: each sentence says what the state holds, in words that an operator understands at night."""

from __future__ import annotations

import attrs
import pytest

from caliper_readtime import Explanation, ReadTimePolicy
from caliper_readtime._inspection import MAX_NAMED, explained
from caliper_readtime._rules import Caller
from caliper_readtime._rules.state import Key
from caliper_readtime._units import to_clock_time, to_datetime
from caliper_readtime.testing import banked_minutes
from tests.scenes import ANNA, BEES, OWLS, ROSTER, Scene, article, events
from tests.unit.builders import DAY, EVENTS, NOW, Life, ms

KEY = Key("anna", "owls")
RIGHT = attrs.evolve(ANNA, email="right@example.org")


def clock(now):
    """A moment as the lines write it."""
    return to_clock_time(to_datetime(now))


def said(life, *, last_sweep=None, builder=EVENTS, known=("owls",), now=None):
    """What is said of a life; in no sentence is there an address."""
    explanation = explained(
        KEY,
        life.state,
        known,
        now=life.now if now is None else now,
        policy=life.policy,
        events=builder,
        last_sweep=last_sweep,
    )
    text = str(explanation)
    assert "@" not in text
    assert text.splitlines() == list(explanation.lines)
    return text


# What is paid


@pytest.mark.parametrize(
    ("seconds", "minutes"), [(1, 0), (20, 0), (20.9, 0), (21, 1), (60, 1), (61, 2), (125, 3)], ids=str
)
def test_the_minutes_are_those_that_the_calculator_pays(scene: Scene, seconds, minutes):
    """The first sentence answers the question, by the very rule of ``banked_minutes``."""
    scene.read(seconds=seconds)
    scene.tracker.partial(ANNA, OWLS)
    (line, *_) = scene.tracker.explain(ANNA, OWLS).lines
    assert f": {minutes} min would be banked now, for the {int(seconds)} s" in line
    actor = events().actor_id("anna")
    assert banked_minutes(scene.emitter.events, actor, ["owls"], 5) == {"owls": minutes}


def test_what_waits_would_be_paid_too():
    """0 minutes now, and what it would be once everything has arrived."""
    life = Life()
    life.sent(10).read(51)
    text = said(life)
    assert "0 min would be banked now, for the 10 s" in text
    assert "51 s still wait; once they have arrived it would be 2 min." in text


def test_no_whole_second_is_nothing_to_report():
    """A reader who only opened the page."""
    life = Life()
    life.beat(0.9)
    text = said(life)
    assert "No whole second was ever accepted" in text
    assert "0.9 s do not make a whole second and are carried until more arrives." in text
    assert "still wait" not in text


def test_events_are_matched_by_exactly_these_ids():
    """The calculator's two keys, as this host sends them; a tracker without events cannot know them."""
    life = Life()
    life.sent()
    assert f"{ROSTER}/ims/oneroster/rostering/v1p2/users/anna and {ROSTER}" in said(life)
    assert "SpentTime" not in said(life, builder=None)


# What came in


def test_accepted_and_clamped_time():
    """How much, when its signals arrived, since when it can have been read, and why the rest is gone."""
    life = Life()
    life.beat(100)
    life.wait(30).beat(2000)
    text = said(life)
    # 40 s of wall time from there to the last signal, and the leeway.
    assert (
        f"Accepted 45 s. The first signal arrived at {clock(NOW)}, wall time counts from {clock(NOW - ms(10))}" in text
    )
    assert "and 5 s of leeway on top; the last that brought time arrived at" in text
    assert f"arrived at {clock(NOW + ms(30))}. What" in text
    assert "Clamped 2055 s, which are gone" in text
    assert "first signal may bring 15 s" in text
    assert "at most 300 s saved up" in text
    assert "No single signal may bring more than 14400 s." in text
    calm = Life()
    calm.read()
    assert "Clamped" not in said(calm)


@pytest.mark.parametrize(
    ("openings", "counts_from"),
    [((None,), 10), ((0,), 10), ((40,), 40), ((40, 70), 70), ((40, 900), 340), ((31 * 86400,), 10)],
    ids=["unknown", "just opened", "opened before", "an older tab", "no more than catch_up before", "reborn"],
)
def test_wall_time_counts_from_where_the_budget_begins(openings, counts_from):
    """B8: what is accepted never exceeds the wall time from there to the last signal and the leeway."""
    life = Life()
    for view, opened in enumerate(openings):
        life.view(10_000, f"v{view}", opened=None if opened is None else NOW - ms(opened))
    begins = NOW - ms(counts_from)
    assert f"arrived at {clock(NOW)}, wall time counts from {clock(begins)} on (the opening" in said(life)
    assert life.meter.cumulative_ms <= life.meter.last_sync_at_ms - begins + ms(5)


def test_an_older_release_has_not_said_where_wall_time_begins():
    """B7: a state of before that rule tells of no beginning."""
    life = Life()
    life.read()
    older_schema = attrs.evolve(life.state.ledger, counts_from_at_ms=None, widened_ms=0)
    life.state = attrs.evolve(life.state, ledger=older_schema)
    assert f"arrived at {clock(NOW)}, and told of what was read before; the last" in said(life)


def test_the_most_of_one_signal_is_named_where_there_is_one():
    """A policy's own limit is a reason, too."""
    life = Life(max_delta_seconds=7.5)
    life.beat(10)
    assert "No single signal may bring more than 7.5 s." in said(life)


def test_where_the_reader_was():
    """Position, duration, and from where on an article counts as read."""
    life = Life()
    life.beat(5, position=30, duration=200)
    assert "last at 30 s of 200 s; the article counts as read from 190 s on." in said(life)
    unknown = Life()
    unknown.beat(5, position=30)
    assert "was last at" not in said(unknown)


# What happened


def test_each_step_of_its_life_is_a_line():
    """Claimed, failed, claimed again, sent, set aside, deferred, finalized: with seconds, event id and time."""
    life = Life()
    first = life.claimed(30)
    life.release(first, error="503 for anna@example.org")
    life.wait(5).take("b")
    life.commit(first)
    life.read(12).defer()
    second = life.wait(1).take("c").claim
    life.park(second, "c", reason="anna@example.org is unknown")
    text = said(life)
    for line in (
        f"{clock(NOW + ms(30))} claimed 30 s to be sent as {first.event_id}",
        f"{clock(NOW + ms(30))} failed to deliver 30 s ({first.event_id}): 503 for (e-mail address)",
        f"{clock(NOW + ms(35))} claimed 30 s to be sent as {first.event_id} again, as it may not have arrived",
        f"{clock(NOW + ms(35))} sent 30 s as {first.event_id}",
        f"{clock(NOW + ms(47))} left to the sweeper: 12 s",
        f"{clock(NOW + ms(48))} claimed 12 s to be sent as {second.event_id}",
        f"{clock(NOW + ms(48))} set 12 s aside ({second.event_id}): (e-mail address) is unknown",
    ):
        assert line in text.splitlines()
    done = Life()
    done.read().take(finalize=True)
    done.commit(done.ledger.claim)
    assert f"{clock(done.now)} finalized: no whole second was left" in said(done).splitlines()
    assert f"Finalized at {clock(done.now)}." in said(done)


def test_a_step_of_a_newer_version_is_still_told():
    """A kind that this version does not know hides nothing."""
    life = Life()
    life.sent()
    strange = attrs.evolve(life.state.history[-1], kind="audited", detail="by hand")
    state = attrs.evolve(life.state, ledger=attrs.evolve(life.ledger, history=(strange,)))
    life.state = state
    assert f"audited 30 s {strange.event_id} by hand" in said(life)


def test_a_long_history_says_where_it_begins():
    """Only 32 steps are kept."""
    life = Life()
    for _ in range(15):
        life.sent(2)
    assert "are remembered" not in said(life)
    life.sent(2)
    assert f"Only the last 32 steps are remembered, from {clock(NOW + ms(2))} on; earlier ones" in said(life)


# What waits, and until when


def test_a_claim_in_flight_says_by_whom_and_until_when():
    """Until the lease ends only its owner sends; after that, anybody, under the same id."""
    life = Life()
    claim = life.claimed(30, "worker-7")
    until = clock(claim.until_at_ms)
    assert f"In flight: 30 s ({claim.event_id}), being sent by worker-7, who holds it until {until}." in said(life)
    life.wait(30)
    text = said(life)
    assert "claimed by worker-7, who died or was too slow" in text
    assert f"since {until} anybody may send it" in text


def test_an_undelivered_event_says_why_and_when_next():
    """After a failure it waits for its back-off, and then is due."""
    life = Life()
    claim = life.claimed(30)
    life.release(claim, error="503 for anna@example.org")
    until = life.ledger.claim.until_at_ms
    text = said(life)
    begin = f"Undelivered: 30 s ({claim.event_id}); "
    assert f"{begin}1 attempt failed, the last with 503 for (e-mail address). " in text
    assert f"Sweeps try again from {clock(until)} on" in text
    assert f"It is due since {clock(until)}." in said(life, now=until)
    life.take("b")
    life.release(claim, "b", error="still")
    assert f"{begin}2 attempts failed, the last with still. " in said(life)


def test_an_event_that_was_given_back_is_not_blamed_for_an_older_failure():
    """A claim that was released unsent has no error of its own: the state's last one is a refused event's."""
    life = Life()
    life.rejected(30)
    claim = life.claimed(12)
    life.release(claim, counted=False)
    assert life.state.last_error == "bad"
    assert f"Undelivered: 12 s ({claim.event_id}); no attempts failed. It is due since" in said(life)


def test_a_claim_that_cannot_be_trusted_says_so():
    """After a day the endpoint may have forgotten the id."""
    life = Life()
    life.claimed(30)
    assert "may have arrived" not in said(life, now=NOW + ms(30 + DAY - 1))
    text = said(life, now=NOW + ms(30 + DAY))
    assert f"first made at {clock(NOW + ms(30))}: its event may have arrived" in text


def test_a_refused_event_says_what_heals_it():
    """A corrected reader, its hour, or unpark; and the status that refused it."""
    life = Life()
    claim = life.rejected(30)
    retry = life.ledger.parked[0].retry_at_ms
    begin = f"Refused with status 422 at {clock(life.now)}: 30 s ({claim.event_id}), bad; "
    heals = f"it is sent again once the reader or article is corrected, by unpark, or from {clock(retry)} on."
    assert begin + heals in said(life)
    assert f"{begin}it may be sent again since {clock(retry)}." in said(life, now=retry)
    life.wait(1).beat(0, reader=RIGHT)
    assert f"{begin}the reader or article was corrected since, so the next report or sweep sends it again." in said(
        life
    )
    life.take("b", reader=RIGHT)
    assert f"{begin}it is on its way again." in said(life)
    other = Life()
    other.park(other.claimed(30), status=None)
    assert f"Refused at {clock(other.now)}: " in said(other)


def test_time_that_nobody_has_claimed_says_who_will():
    """Explicit calls at once; a sweep once the reader is idle, or at once where it was deferred."""
    life = Life()
    life.read(30)
    text = said(life)
    assert "Not claimed yet: 30 s. partial, finalize and flush_reader send them" in text
    assert f"counted from {clock(life.now)}." in text
    life.wait(2).defer()
    assert f"Not claimed yet: 30 s, left to the next sweep since {clock(life.now)}." in said(life)
    behind = Life()
    behind.claimed(30)
    behind.read(11)
    assert "Not claimed yet: 11 s, which wait for the event in flight." in said(behind)


def test_a_full_list_of_refused_events_stops_the_sweeps():
    """Then only explicit calls claim new time, and the operator must hear of it."""
    life = Life()
    life.fill(5)
    life.read(9)
    assert "Not claimed yet: 9 s. 8 refused events are set aside, which is the most" in said(life)


def test_a_small_partial_waits():
    """The policy's own threshold is a reason why nothing was sent."""
    life = Life(partial_min_seconds=60)
    life.read(59)
    assert "A partial leaves less than 60 s to the sweeper." in said(life)
    life.read(1)
    assert "A partial leaves" not in said(life)


def test_whether_a_sweep_ever_came():
    """Without sweeps nobody comes for what closed tabs leave behind."""
    life = Life()
    life.read()
    assert "No sweep has ever run on this store" in said(life)
    assert f"The last sweep ran at {clock(NOW)}." in said(life, last_sweep=NOW)
    life.commit(life.take().claim)
    text = said(life)
    assert "Nothing waits." in text
    assert "sweep" not in text


def test_a_finalize_that_has_not_ended():
    """Wanted, never wanted."""
    life = Life()
    life.read()
    assert "Never finalized." in said(life)
    life.take(finalize=True)
    assert "A finalize was asked for and has not ended yet" in said(life)


# Where nothing is stored


def test_an_unknown_article_lists_the_known_ones(scene: Scene):
    """The commonest mistake is a wrong id."""
    scene.read(ANNA, OWLS)
    scene.read(ANNA, BEES)
    found = scene.tracker.explain(ANNA, article("wasps"))
    assert (found.state, found.known_articles) == (None, ("bees", "owls"))
    assert "Nothing is stored of reader anna on article wasps: 0 min." in found.lines
    assert "Known articles of this reader: bees, owls." in found.lines


def test_an_unknown_reader_is_told_apart():
    """Then it is the reader's id that is wrong."""
    text = str(explained(KEY, None, (), now=NOW, policy=ReadTimePolicy(), events=None, last_sweep=None))
    assert "any other article either: compare the reader's id." in text
    assert "expired 30 days after its last use" in text
    short = ReadTimePolicy(state_ttl_seconds=86400)
    text = str(explained(KEY, None, (), now=NOW, policy=short, events=None, last_sweep=None))
    assert "expired 1 day after its last use" in text


def test_a_long_list_of_articles_is_cut():
    """And says how many more there are."""
    known = tuple(f"a{number}" for number in range(MAX_NAMED + 3))
    text = str(explained(KEY, None, known, now=NOW, policy=ReadTimePolicy(), events=None, last_sweep=None))
    assert f"a{MAX_NAMED - 1} and 3 more." in text


# All of it


def test_the_same_state_gives_the_same_words(scene: Scene):
    """And a host that only knows ids may ask as well as one with objects."""
    scene.read()
    first = scene.tracker.explain(ANNA, OWLS)
    assert isinstance(first, Explanation)
    assert first == scene.tracker.explain("anna", "owls")
    assert first.state == scene.state()
    assert first.known_articles == ("owls",)


def test_a_sweeps_claim_is_one_like_any_other():
    """Whoever claimed it is named."""
    life = Life()
    life.read(30).wait(100)
    life.take("sweeper", Caller.SWEEP)
    assert "being sent by sweeper" in said(life)
