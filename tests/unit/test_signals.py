"""What accumulate and observe accept, on the pure transition (chapters S and B)."""

from __future__ import annotations

import logging
from datetime import timedelta

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime import (
    InMemoryStateStore,
    MissingField,
    Reader,
    ReadTimeTracker,
)
from caliper_readtime._policy import MAX_DELTA_SECONDS
from caliper_readtime._rules.state import MOST_CLAMPED_MS
from caliper_readtime.testing import ManualClock
from tests.scenes import ANNA, OWLS, START
from tests.unit.builders import DAY, NOW, Life, ms

TEN_YEARS = 10 * 365 * DAY


def counted(answer):
    """Accepted and clamped seconds."""
    return answer.accepted_ms / 1000, answer.clamped_ms / 1000


# What is claimed


def test_a_view_claims_what_its_total_has_grown_by():
    """S1: a view claims max(0, total - known); known is the stored total."""
    life = Life()
    steps = [(3, 3.0), (10, 7.0), (10, 0.0), (4, 0.0), (12.5, 2.5)]
    assert [life.wait(10).view(total).accepted_ms / 1000 for total, _ in steps] == [grown for _, grown in steps]
    assert life.total == 12.5


def test_an_unknown_view_claims_what_is_not_acknowledged():
    """S2: a view that the state does not know claims what the client does not know to be acknowledged."""
    life = Life().read(60)
    assert life.wait(60).view(50, "late", acknowledged=30).accepted_ms == 20_000
    assert life.wait(60).view(40, "all of it", acknowledged=40).accepted_ms == 0
    assert life.wait(60).view(40, "less", acknowledged=70).accepted_ms == 0


def test_a_known_view_is_judged_by_the_stored_total_alone():
    """S2: known is the stored total, whatever the client says is acknowledged."""
    life = Life()
    life.view(10)
    assert life.wait(60).view(30, acknowledged=29).accepted_ms == 20_000
    assert life.wait(60).view(50, acknowledged=0).accepted_ms == 20_000


def test_a_first_signal_honours_what_is_acknowledged():
    """S2: at a birth, too, only what the client does not know to be acknowledged is claimed."""
    assert counted(Life().view(10, acknowledged=8)) == (2.0, 0.0)


def test_a_page_that_outlives_its_state_is_counted_from_its_opening():
    """X6: a birth counts the whole total of a view whose opening is known, within the time since then."""
    life = Life()
    life.wait(120)
    assert counted(life.view(120, acknowledged=60, opened=life.now - 120_000)) == (120.0, 0.0)
    assert life.wait(10).view(130, acknowledged=120, opened=life.now - 130_000).accepted_ms == 10_000
    # No ticket makes more of it than wall time, and none that an earlier life may have paid for.
    short, old = Life(), Life()
    assert counted(short.wait(120).view(120, acknowledged=60, opened=short.now - 40_000)) == (45.0, 0.0)
    old.wait(old.policy.state_ttl_seconds)
    assert counted(old.view(120, acknowledged=60, opened=old.now - old.policy.state_ttl_ms)) == (0.0, 0.0)


def test_clamped_time_does_not_grow_beyond_what_stores_can_keep():
    """B4: what is clamped in all stays at the largest number that every store keeps."""
    life = Life().read(10)
    life.state = attrs.evolve(life.state, meter=life.meter._replace(clamped_ms=MOST_CLAMPED_MS - 5000))
    life.beat(1000)
    assert life.meter.clamped_ms == MOST_CLAMPED_MS


def test_an_id_that_merely_ends_as_a_drawn_one_is_remembered():
    """S4: an id of the client's own is known, though the nonce of its signal ends in it."""
    life = Life().read(10)
    for digit in "0123456789abcdef":
        life.beat(0, name=digit)
        assert digit in life.meter.heartbeats


def test_sixteen_views_are_remembered_and_the_least_recently_used_goes_first():
    """S3: sixteen views are remembered; the least recently used goes first."""
    life = Life(catch_up_seconds=DAY).read(3600)
    for number in range(16):
        life.wait(10).view(10, f"v{number}")
    assert all(life.wait(1).view(10, f"v{number}").duplicate for number in range(16))
    life.wait(10).view(20, "v0")  # used again, so v1 is the oldest
    life.wait(10).view(10, "v16")
    assert life.wait(10).view(20, "v0").duplicate
    before = life.total
    answer = life.wait(10).view(10, "v1", acknowledged=10)
    assert (answer.duplicate, answer.accepted_ms, life.total) == (False, 0, before)  # evicted, and not paid twice


def test_a_known_heartbeat_id_is_a_duplicate_whatever_its_delta():
    """S4: a known id is a duplicate whatever its delta."""
    life = Life()
    assert not life.beat(5, name="h").duplicate
    for delta in (5, 9, 0, 0.001):
        before = life.meter
        answer = life.wait(30).beat(delta, name="h")
        assert (answer.duplicate, counted(answer), life.meter) == (True, (0.0, 0.0), before)


def test_sixteen_heartbeat_ids_are_remembered_apart_from_views():
    """S4: sixteen heartbeat ids are remembered, apart from the views."""
    life = Life()
    for number in range(16):
        life.wait(5).beat(1, name=f"h{number}")
    for number in range(20):
        life.wait(5).view(1, f"v{number}")
    assert all(life.beat(1, name=f"h{number}").duplicate for number in range(16))
    assert not life.wait(5).view(2, "h0").duplicate  # a view of that name is something else


def test_a_heartbeat_without_an_id_is_never_a_duplicate():
    """S4: where the caller gives no heartbeat id one is drawn per call."""
    life = Life()
    life.beat()
    assert [life.wait(5).beat(5).duplicate for _ in range(20)] == [False] * 20
    assert life.total == 100


def test_a_signal_that_claims_nothing_new_moves_no_time():
    """S5: it moves no time (total, last sync, budget, views), but brings position, duration and context."""
    reader = Reader("anna", "new@example.org")
    life = Life()
    life.view(5)
    before = life.meter
    for answer in (
        life.wait(10).view(5, position=30, duration=200, reader=reader),
        life.wait(10).view(2, reader=None),
        life.wait(10).view(0, "other", reader=None),
        life.wait(10).beat(0, reader=None),
    ):
        assert counted(answer) == (0.0, 0.0)
    assert life.meter == before._replace(position_ms=30_000)
    assert (life.ledger.duration_ms, life.ledger.context.reader) == (200_000, reader)


def test_idle_signals_do_not_spend_wall_time():
    """S5: a signal that claims nothing leaves last sync, so the next claim has all the time since then."""
    life = Life(catch_up_seconds=0)
    life.beat()
    for _ in range(6):
        life.wait(10).beat(0)
    assert counted(life.beat(60)) == (60.0, 0.0)


def test_a_first_signal_of_nothing_starts_the_clock():
    """S5, S10: zero seconds are allowed, and a state's first signal starts the clock."""
    for first in (lambda life: life.beat(0), lambda life: life.view(0), lambda life: life.view(3, acknowledged=3)):
        life = Life()
        answer = first(life)
        assert (counted(answer), answer.duplicate, life.total) == ((0.0, 0.0), False, 0.0)
        assert life.state.first_server_sync_at == life.state.last_server_sync_at == START
        assert counted(life.wait(40).beat(45)) == (45.0, 0.0)


def test_duplicate_says_that_view_or_id_was_known():
    """S6: ``duplicate`` is true where view or id was known and nothing new was claimed."""
    life = Life()
    answers = [
        life.view(5),
        life.view(5),
        life.view(4),
        life.wait(5).view(6),
        life.view(0, "w"),
        life.beat(1, name="h"),
    ]
    assert [answer.duplicate for answer in (*answers, life.beat(1, name="h"))] == [
        False,
        True,
        True,
        *[False] * 3,
        True,
    ]


# opened_at


@pytest.mark.parametrize(
    ("opened", "total", "accepted", "clamped"),
    [(-60, 60, 60, 0), (-60, 65, 65, 0), (-60, 66, 65, 0), (-3, 100, 8, 0), (0, 100, 5, 0), (500, 100, 5, 0)],
)
def test_a_total_is_capped_by_the_time_since_the_page_was_opened(opened, total, accepted, clamped):
    """S8: a total counts up to the time since the opening and the leeway; a future opening counts as now."""
    life = Life()
    assert counted(life.view(total, opened=NOW + ms(opened))) == (accepted, clamped)
    assert life.meter.views == (("v", ms(accepted)),)  # "the view's known total becomes the (capped) total"


def test_the_cap_holds_for_later_signals_too():
    """S8: the cap comes before the budget, which alone would have allowed more."""
    life = Life().read(10)
    life.wait(200)
    assert counted(life.view(200, "new tab", opened=life.now - 20_000)) == (25.0, 0.0)
    assert counted(life.wait(5).view(200, "new tab", opened=life.now - 25_000)) == (5.0, 0.0)


def test_a_page_opened_long_ago_may_claim_its_time_at_once():
    """B2: a first signal may claim the time since the opening, and the leeway."""
    assert counted(Life().view(1800, opened=NOW - ms(1800))) == (1800.0, 0.0)
    assert counted(Life().view(1800)) == (15.0, 1785.0)
    assert counted(Life().view(12, opened=NOW - ms(2))) == (7.0, 0.0)  # the cap, though a heartbeat would allow 12


@pytest.mark.parametrize(("age", "accepted"), [(0, 0.0), (1, 0.0), (-0.001, 100.0)])
def test_a_reborn_state_takes_the_total_as_known(age, accepted):
    """S9: a view opened state_ttl ago or earlier takes the total so far as known and accepts nothing."""
    life = Life(state_ttl_seconds=1000)
    assert counted(life.view(100, opened=NOW - ms(1000 + age))) == (accepted, 0.0)
    assert counted(life.wait(10).view(110, opened=NOW - ms(1000 + age))) == (10.0, 0.0)


def test_a_living_state_does_not_mind_an_old_page():
    """S9: only a *birth* takes the total of a page opened state_ttl ago as known."""
    life = Life(state_ttl_seconds=1000, catch_up_seconds=2000)
    life.beat()
    life.wait(900).beat(1)
    assert life.wait(300).view(500, opened=life.now - ms(1100)).accepted_ms == ms(500)


# Budget


def test_the_first_signal_may_claim_a_heartbeat_and_the_leeway():
    """B2: a first signal may claim one heartbeat and the leeway."""
    for delta, accepted, clamped in ((10, 10, 0), (15, 15, 0), (15.001, 15, 0.001), (99, 15, 84)):
        life = Life()
        assert counted(life.beat(delta)) == (accepted, clamped)
        assert life.state.clamped_seconds == clamped
        assert counted(Life().view(delta)) == (accepted, clamped)


def test_a_later_signal_may_claim_wall_time_and_what_was_carried():
    """B3, B5: a later one may claim the time since the last sync and the budget left, up to catch_up."""
    life = Life(heartbeat_seconds=10, leeway_seconds=5, catch_up_seconds=20)
    life.beat(4)
    carries = [life.meter.budget_ms]
    for wait, delta, expected in ((10, 10, (10, 0)), (5, 20, (16, 4)), (100, 10, (10, 0)), (1, 50, (21, 29))):
        assert counted(life.wait(wait).beat(delta)) == expected
        carries.append(life.meter.budget_ms)
    assert carries == [11_000, 11_000, 0, 20_000, 0]
    assert life.state.clamped_seconds == 33


def test_views_and_deltas_share_one_budget():
    """B1: wall time is spent once, whatever tabs claim."""
    life = Life()
    life.beat()
    life.wait(60)
    answers = [life.view(60, f"tab{number}") for number in range(5)] + [life.beat(60)]
    assert sum(answer.accepted_ms for answer in answers) == 75_000


def test_what_was_clamped_is_gone():
    """B4: the view's known total becomes the (capped) total: what was clamped is gone, and counted."""
    life = Life()
    assert counted(life.view(100)) == (15.0, 85.0)
    assert counted(life.wait(500).view(100)) == (0.0, 0.0)
    assert counted(life.view(101)) == (1.0, 0.0)
    assert life.state.clamped_seconds == 85.0


def test_max_delta_bounds_a_single_signal():
    """B6: no signal adds more than max_delta."""
    life = Life(max_delta_seconds=7)
    assert counted(life.beat(9)) == (7.0, 2.0)
    assert counted(life.wait(60).view(30)) == (7.0, 23.0)
    assert counted(life.beat(7)) == (7.0, 0.0)  # the allowance was kept


def test_a_clock_that_steps_back_counts_as_no_time():
    """B9: a clock that steps back counts as no elapsed time and never moves last sync back."""
    life = Life(catch_up_seconds=0)
    life.beat(5)
    assert counted(life.wait(-100).beat(5)) == (0.0, 5.0)
    assert life.state.last_server_sync_at == START
    assert counted(life.wait(90).beat(5)) == (0.0, 5.0)
    assert counted(life.wait(15).beat(9)) == (5.0, 4.0)
    assert life.state.last_server_sync_at == START + timedelta(seconds=5)


def test_a_claim_that_is_clamped_to_nothing_is_gone_too():
    """B4: without any allowance the claim is clamped whole, and its view knows the total."""
    life = Life(catch_up_seconds=0)
    life.view(3)
    assert counted(life.view(9)) == (0.0, 6.0)
    assert life.meter.views == (("v", 9000),)


@given(st.data())
def test_time_never_outruns_the_clock(data):
    """B8: cumulative <= last sync - min(where the budget begins, earliest opening) + leeway over any history."""
    seconds = st.integers(0, 90_000).map(lambda milli: milli / 1000)
    life = Life(
        heartbeat_seconds=data.draw(st.sampled_from([0.001, 10.0])),
        leeway_seconds=data.draw(st.sampled_from([0.0, 5.0])),
        catch_up_seconds=data.draw(st.sampled_from([0.0, 3.0, 300.0])),
        max_delta_seconds=data.draw(st.sampled_from([None, 4.0])),
        state_ttl_seconds=60.0,
        completion="defer",
    )
    earliest = 2 * life.now
    for _ in range(data.draw(st.integers(1, 12))):
        life.now += ms(data.draw(seconds)) - data.draw(st.sampled_from([0, 0, 0, 40_000]))
        if data.draw(st.booleans()):
            life.beat(data.draw(seconds), name=data.draw(st.sampled_from([None, "h1", "h2"])))
        else:
            opened = life.now - ms(data.draw(seconds)) if data.draw(st.booleans()) else None
            earliest = min(earliest, life.now if opened is None else opened)
            more = {"acknowledged": data.draw(seconds), "opened": opened}
            life.view(data.draw(seconds), data.draw(st.sampled_from("vw")), **more)
        began, policy = life.ledger.counts_from_at_ms, life.policy
        longest = life.meter.last_sync_at_ms - min(began, earliest) + policy.leeway_ms
        granted = life.meter.last_sync_at_ms - began + policy.leeway_ms + life.ledger.widened_ms
        assert 0 <= life.meter.cumulative_ms <= granted - life.meter.budget_ms
        assert granted <= longest
        assert life.ledger.widened_ms <= policy.catch_up_ms


# An older page that is heard second


def test_an_older_page_that_is_heard_second_loses_nothing():
    """B7: the budget opens with the earliest page: both tabs' honest time counts, whichever is heard first."""
    life = Life()
    opened = life.now
    life.wait(130)
    assert counted(life.view(30, "younger", opened=opened + ms(100))) == (30.0, 0.0)
    assert counted(life.view(100, "older", opened=opened)) == (100.0, 0.0)
    assert life.total == 130.0
    assert life.ledger.widened_ms == ms(100)


def test_all_older_pages_share_one_widening():
    """B7: a page as old as another adds nothing, an older one the difference, all of them at most catch_up."""
    life = Life()
    life.beat(10.0)
    heard = [(100, 105.0), (100, 0.0), (150, 50.0), (4000, 150.0), (9000, 0.0)]
    for number, (earlier, accepted) in enumerate(heard):
        opened = life.ledger.counts_from_at_ms - ms(earlier)
        assert life.view(4000, f"v{number}", opened=opened).accepted_ms == ms(accepted), number
    assert life.ledger.widened_ms == life.policy.catch_up_ms


@pytest.mark.parametrize(("opened", "widens"), [(-60.0, False), (-59.999, True)])
def test_a_page_from_an_earlier_life_widens_nothing(opened, widens):
    """B7: a page that was opened a whole state_ttl before the birth may have been paid for by an earlier life."""
    life = Life(state_ttl_seconds=60.0)
    life.beat(0.0)
    life.view(100, opened=life.now + ms(opened))
    assert (life.ledger.widened_ms > 0) is widens


def test_signals_that_claim_nothing_and_deltas_widen_nothing():
    """B7: only a view that claims something widens the budget; the younger page's opening never does."""
    life = Life()
    life.view(0, "v", opened=life.now)
    life.view(0, "w", opened=life.now - ms(100))
    life.wait(5).beat(5)
    life.view(5, "v", opened=life.now - ms(3))
    assert life.ledger.widened_ms == 0


def test_widening_needs_one_write_of_the_ledger():
    """B7: once a page has widened the budget its further signals leave the ledger alone, and so stay cheap."""
    life = Life()
    life.beat(0.0)
    opened = life.now - ms(100)
    life.wait(10).view(50, opened=opened)
    before = life.ledger
    life.wait(10).view(60, opened=opened)
    assert life.ledger is before


def test_a_first_signal_is_bounded_by_max_delta_as_well():
    """B6: a page that was opened days ago cannot claim days by its first signal."""
    life = Life()
    answer = life.view(3 * DAY, opened=life.now - ms(3 * DAY))
    assert answer.accepted_ms == ms(MAX_DELTA_SECONDS) == ms(4 * 3600)


# Context


def test_a_birth_needs_a_reader_and_an_article():
    """S15: where nothing is stored, MissingField asks for a Reader and an Article once."""
    for more, field in (({"reader": None}, "reader"), ({"article": None}, "article")):
        life = Life()
        with pytest.raises(MissingField, match="pass a Reader and an Article once") as caught:
            life.beat(5, **more)
        assert (caught.value.field, life.state) == (field, None)


def test_objects_refresh_the_context_and_ids_rely_on_it():
    """S15: an object refreshes the stored context; a string relies on it, also where no time moves."""
    newer = attrs.evolve(OWLS, title="Owls, revised")
    life = Life()
    life.beat(5)
    ledger = life.ledger
    life.wait(5).beat(5, reader=None, article=None)
    assert life.ledger is ledger
    life.beat(0, reader=None, article=newer)
    assert (life.ledger.context.reader, life.ledger.context.article) == (ANNA, newer)


# Duration and position


def test_the_first_duration_stays():
    """S11: the first duration given stays; later ones within the tolerance are ignored."""
    life = Life()
    life.beat(1)
    durations = [(None, False), (0, False), (100, False), (105, False), (95, False), (105.001, True), (40, True)]
    answers = [life.wait(5).beat(5, duration=duration) for duration, _ in durations]
    assert [answer.other_duration for answer in answers] == [other for _, other in durations]
    assert [answer.accepted_ms for answer in answers] == [5000] * len(answers)  # "the time is still accepted"
    assert life.state.canonical_duration_seconds == 100.0


def test_another_duration_is_logged(caplog):
    """S11: beyond the tolerance a warning is logged; within it there is none."""
    with ReadTimeTracker(InMemoryStateStore(), clock=ManualClock(START)) as tracker:
        for duration in (0, 100, 104, 200):
            tracker.accumulate(ANNA, OWLS, 1, duration_seconds=duration)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert (warnings[0].canonical, warnings[0].duration) == (100.0, 200.0)


def test_a_duration_of_zero_counts_as_not_given():
    """S11: duration 0 counts as not given, on a first signal and on a later one."""
    life = Life()
    life.beat(1, duration=0)
    assert life.state.canonical_duration_seconds is None
    life.beat(0, duration=0)
    life.beat(0, duration=60)
    assert life.state.canonical_duration_seconds == 60.0


def test_the_position_is_the_newest_one():
    """S5: the position a signal brings is stored; it may go back, and stays where none is given."""
    life = Life()
    seen = []
    for position in (None, 30, None, 10, 0):
        life.wait(5).beat(1, position=position)
        seen.append(life.state.position_seconds)
    assert seen == [None, 30.0, 30.0, 10.0, 0.0]


# Completion


@pytest.mark.parametrize(
    ("policy", "signal", "completed"),
    [
        ({}, {"position": 95, "duration": 100}, True),
        ({}, {"position": 94.999, "duration": 100}, False),
        ({}, {"position": 95}, False),
        ({}, {"duration": 100}, False),
        ({}, {"position": 0, "duration": 0}, False),
        ({"completion_ratio": 1.0}, {"position": 99.9, "duration": 100}, False),
        ({"completion_ratio": 1.0}, {"position": 100, "duration": 100}, True),
        ({"completion_dwell_seconds": 5.0}, {}, True),
        ({"completion_dwell_seconds": 5.001}, {}, False),
    ],
)
def test_when_an_article_counts_as_read(policy, signal, completed):
    """S12: position / canonical duration >= completion_ratio, or cumulative >= completion_dwell_seconds."""
    at_birth = Life(**policy)
    assert at_birth.beat(5, **signal).completed is completed
    later = Life(**policy)
    later.beat(0)
    answer = later.wait(5).beat(5, **signal)
    assert answer.completed is completed
    assert later.ledger.finalize_wanted is completed
    assert later.state.due == ((later.now, False) if completed else (later.now, True))


def test_a_finalized_article_does_not_complete_again():
    """S12: a finalized article does not complete again; one with nothing whole is stamped on the spot."""
    life = Life()
    assert life.beat(0, position=95, duration=100).completed
    assert life.state.finalized_at == START
    for delta in (0, 20):
        assert not life.wait(20).beat(delta, position=100).completed
    assert life.state.finalized_at == START


def test_completion_is_judged_until_it_is_finalized():
    """S12: a state that still waits to be finalized completes with every signal, which asks only once."""
    life = Life(completion="defer")
    life.beat(5, position=95, duration=100, defers=True)
    history = life.state.history
    assert life.wait(5).beat(5, defers=True).completed
    assert (life.state.history, history[0].kind) == (history, "deferred")


@pytest.mark.parametrize("first", [0.0, 3.0])
def test_a_given_heartbeat_id_is_known_even_where_it_brought_nothing(first):
    """S4: a known heartbeat id is a duplicate whatever its delta, also after one of zero seconds."""
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=ManualClock())
    tracker.accumulate(ANNA, OWLS, 1.0)
    assert not tracker.accumulate(ANNA, OWLS, first, heartbeat_id="h").duplicate
    again = tracker.accumulate(ANNA, OWLS, 5.0, heartbeat_id="h")
    assert again.duplicate
    assert again.accepted_seconds == 0
    assert again.state.cumulative_read_time_seconds == 1.0 + first
