"""What accumulate and observe refuse and what they answer, at the public verbs (chapter S)."""

from __future__ import annotations

from datetime import datetime, timedelta
from fractions import Fraction

import pytest

from caliper_readtime import (
    Article,
    InMemoryStateStore,
    InvalidInput,
    PageView,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
)
from caliper_readtime.testing import ManualClock
from tests.scenes import ANNA, OWLS, START, events
from tests.unit.builders import DAY, NOW

TEN_YEARS = 10 * 365 * DAY


def counted(answer):
    """Accepted and clamped seconds."""
    return answer.accepted_ms / 1000, answer.clamped_ms / 1000


BAD_TIMES = [-0.001, -1, float("nan"), float("inf"), float("-inf"), True, False, "5", None, b"5", 5j, [], 10**400]
BAD_TEXTS = ["", "x" * 65, "a\x00b", "a\nb", "a\x7fb", "a\x9fb", "\udc00", " ", 7]


def refused_calls():
    """Every bad argument of both verbs, by name."""
    calls = {}
    for bad in (*BAD_TIMES, TEN_YEARS + 1):
        calls[f"delta {bad!r:.20}"] = lambda tracker, bad=bad: tracker.accumulate(ANNA, OWLS, bad)
        calls[f"total {bad!r:.20}"] = lambda tracker, bad=bad: tracker.observe(ANNA, OWLS, PageView("v", bad))
        calls[f"acknowledged {bad!r:.20}"] = lambda tracker, bad=bad: tracker.observe(ANNA, OWLS, PageView("v", 1, bad))
    for bad in BAD_TIMES:
        if bad is not None:
            for name in ("position_seconds", "duration_seconds"):
                calls[f"{name} {bad!r:.20}"] = lambda tracker, bad=bad, name=name: tracker.accumulate(
                    ANNA, OWLS, 1, **{name: bad}
                )
                calls[f"observe {name} {bad!r:.20}"] = lambda tracker, bad=bad, name=name: tracker.observe(
                    ANNA, OWLS, PageView("v", 1), **{name: bad}
                )
    for bad in BAD_TEXTS:
        calls[f"heartbeat id {bad!r:.20}"] = lambda tracker, bad=bad: tracker.accumulate(
            ANNA, OWLS, 1, heartbeat_id=bad
        )
        calls[f"view id {bad!r:.20}"] = lambda tracker, bad=bad: tracker.observe(ANNA, OWLS, PageView(bad, 1))
    for bad in (datetime(2026, 3, 2), "2026-03-02T08:00:00Z", 1_772_438_400, START.date()):  # noqa: DTZ001 - naive
        calls[f"opened_at {bad!r:.20}"] = lambda tracker, bad=bad: tracker.observe(
            ANNA, OWLS, PageView("v", 1), opened_at=bad
        )
    calls["no view"] = lambda tracker: tracker.observe(ANNA, OWLS, 5)
    calls["no reader"] = lambda tracker: tracker.accumulate({"id": "anna"}, OWLS, 5)
    calls["no article"] = lambda tracker: tracker.accumulate(ANNA, ["owls"], 5)
    return calls


REFUSED = refused_calls()


@pytest.mark.parametrize("call", REFUSED.values(), ids=REFUSED)
def test_bad_signals_are_refused_and_change_nothing(call):
    """S10: InvalidInput, state byte-for-byte unchanged, with the field's name; and no state is born."""
    for born in (False, True):
        store = InMemoryStateStore()
        tracker = ReadTimeTracker(store, clock=ManualClock(START))
        if born:
            tracker.observe(ANNA, OWLS, PageView("v", 1), position_seconds=3, duration_seconds=100)
        before = store.load(("anna", "owls"), NOW)
        with pytest.raises(InvalidInput) as caught:
            call(tracker)
        assert isinstance(caught.value, ValueError)
        assert caught.value.field
        assert store.load(("anna", "owls"), NOW) is before


@pytest.mark.parametrize(
    "make",
    [
        *(
            lambda bad=bad: Reader("r", bad)
            for bad in ("", None, "a", "a@", "@b", "a b@c", "a@b c", "a@b@c", "a@-b", 7)
        ),
        *(
            lambda bad=bad: Reader("r", bad)
            for bad in ("a@b.example\n", "ä@b.example", "a@b..c", "a@b.", "a" * 320 + "@b")
        ),
        *(
            lambda bad=bad: Article("r", bad, "https://h.example/")
            for bad in ("", None, " ", "a\rb", "\ud83d", "\x1b[31m")
        ),
        *(
            lambda bad=bad: Article("r", "T", bad)
            for bad in ("", None, "/a", "h.example/a", "//h/a", "https://", "mailto:a@b")
        ),
        *(
            lambda bad=bad: Article("r", "T", bad)
            for bad in ("https:///a", "https://h/a b", "https://h/%zz", "https://h:x/")
        ),
        *(lambda bad=bad: Article("r", "T", bad) for bad in ("https://h:70000/", "https://[::1/", "https://h/\\", 7)),
    ],
)
def test_bad_readers_and_articles_are_refused(make):
    """S10: empty ids or titles, control characters, lone surrogates, bad e-mails and relative URLs are refused."""
    with pytest.raises(InvalidInput):
        make()


@pytest.mark.parametrize(
    ("given", "milliseconds"),
    [
        (0, 0),
        (5, 5000),
        (Fraction(1, 2), 500),
        (0.0005, 0),
        (0.0015, 2),
        (0.0025, 2),
        (0.0035, 4),
        (1.2344, 1234),
        (1.2346, 1235),
    ],
)
def test_seconds_become_whole_milliseconds(given, milliseconds):
    """B1: seconds become whole milliseconds, half to even at the border."""
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=ManualClock(START))
    assert tracker.accumulate(ANNA, OWLS, given).state.meter.cumulative_ms == milliseconds
    assert tracker.observe("anna", "owls", PageView("v", given)).accepted_seconds == milliseconds / 1000


def test_ten_years_are_the_limit():
    """S10: above ten years is refused; ten years exactly are only clamped."""
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=ManualClock(START))
    assert tracker.accumulate(ANNA, OWLS, TEN_YEARS).accepted_seconds == 15.0
    assert tracker.observe(ANNA, OWLS, PageView("x" * 64, TEN_YEARS)).accepted_seconds == 0.0


def test_the_answer_of_a_heartbeat():
    """S6: Accumulation says accepted, clamped, duplicate, and the state as it now is."""
    clock = ManualClock(START)
    tracker = ReadTimeTracker(InMemoryStateStore(), events=events(), clock=clock)
    tracker.accumulate(ANNA, OWLS, 0)
    clock.advance(10)
    answer = tracker.observe("anna", "owls", PageView("v", 40.5), opened_at=START - timedelta(seconds=30))
    assert (answer.accepted_seconds, answer.clamped_seconds, answer.duplicate) == (40.5, 0.0, False)
    assert answer.report is None
    assert answer.state == tracker.state(ANNA, OWLS)
    assert answer.state.unreported_seconds == answer.state.cumulative_read_time_seconds == 40.5
    assert answer.state.last_server_sync_at == clock()
    assert tracker.observe("anna", "owls", PageView("v", 40.5)).duplicate
    answer = tracker.observe("anna", "owls", PageView("w", 40.5))
    assert (answer.accepted_seconds, answer.clamped_seconds, answer.duplicate) == (4.5, 36.0, False)


@pytest.mark.parametrize("policy", [{"completion": "defer"}, {"completion": "send"}])
def test_completion_without_sending_is_left_to_the_sweeper(policy):
    """S13: ``defer``, and ``send`` without an emitter, leave it to the sweeper."""
    tracker = ReadTimeTracker(InMemoryStateStore(), policy=ReadTimePolicy(**policy), clock=ManualClock(START))
    answer = tracker.accumulate(ANNA, OWLS, 5, position_seconds=95, duration_seconds=100)
    assert (answer.report.outcome, answer.state.due_at, answer.state.finalized_at) == ("deferred", START, None)
