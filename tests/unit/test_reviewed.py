"""What a hostile reading of the contract found, kept as tests."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from caliper_readtime import (
    Article,
    ConfigurationError,
    EmitterUnavailable,
    EventRejected,
    InMemoryStateStore,
    InvalidInput,
    Outcome,
    PageView,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
    StoreUnavailable,
    TimeSpentEvents,
)
from caliper_readtime._rules import Commit
from caliper_readtime.testing import FlakyEmitter, ManualClock, RecordingEmitter
from tests.backends import STORES

READER = Reader("u1", "s@example.org")
ARTICLE = Article("x1", "X", "https://app.example.org/x")
ROSTER = "https://or.example.org"
USERS = "/ims/oneroster/rostering/v1p2/users/"


def events(sensor="https://app.example.org"):
    return TimeSpentEvents(sensor, "App", ROSTER)


def tracker_of(emitter=None, policy=ReadTimePolicy(), store=None, builder=None, **more):  # noqa: B008 - frozen
    clock = ManualClock()
    emitter = RecordingEmitter() if emitter is None else emitter
    store = InMemoryStateStore() if store is None else store
    return ReadTimeTracker(store, emitter, builder or events(), policy, clock, **more), clock, emitter


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
def test_store_verbs_take_the_names_that_the_contract_gives(make_store, tmp_path):
    """T2: due(limit, now=None), swept(now=None), keys(reader), now(key), parked(limit)."""
    store = make_store(tmp_path)
    assert store.due(limit=10, now=1) == ()
    store.swept(now=7)
    assert store.last_sweep() == 7
    assert store.keys(reader="u1") == store.parked(limit=1) == ()
    assert store.now(key=None) > 0
    store.close()


class PickyAboutMail(RecordingEmitter):
    """Refuses one address."""

    def emit(self, found, /):
        if any(event["actor"]["email"] == "bad@example.org" for event in found):
            raise EventRejected("bad address", status=422)
        super().emit(found)


def test_a_flush_with_a_corrected_reader_heals():
    """S15: an object refreshes the stored context, in every verb; the event keeps its id."""
    tracker, _, emitter = tracker_of(PickyAboutMail())
    tracker.accumulate(Reader("u1", "bad@example.org"), ARTICLE, 10.0)
    with pytest.raises(EventRejected):
        tracker.partial("u1", "x1")
    (parked,) = tracker.parked()
    flushed = tracker.flush_reader(Reader("u1", "good@example.org"))
    assert flushed.settled
    assert [event["id"] for event in emitter.events] == [parked.event_id]


def test_a_flush_steps_over_what_cannot_be_built():
    """C5, F1: everything is flushed; later time is not stuck behind what cannot be built."""

    class Ten(TimeSpentEvents):
        def event(self, *args, seconds, **more):
            if seconds == 10:
                raise ValueError("not ten")
            return super().event(*args, seconds=seconds, **more)

    tracker, clock, emitter = tracker_of(builder=Ten("https://app.example.org", "App", ROSTER))
    tracker.accumulate(READER, ARTICLE, 10.0)
    with pytest.raises(EventRejected):
        tracker.partial(READER, ARTICLE)
    clock.advance(10)
    tracker.accumulate(Reader("u1", "new@example.org"), ARTICLE, 7.0)
    assert tracker.flush_reader("u1").seconds_sent == 7.0
    assert emitter.seconds("u1", "x1") == 7.0


def test_what_is_parked_is_a_reports_last_word():
    """F1: one report for each article; where something waits, it does not end with SENT."""
    tracker, clock, _ = tracker_of(PickyAboutMail())
    tracker.accumulate(Reader("u1", "bad@example.org"), ARTICLE, 10.0)
    assert [report.outcome for report in tracker.flush_reader("u1").reports] == [Outcome.PARKED]
    clock.advance(10)
    tracker.accumulate("u1", "x1", 10.0)
    flushed = tracker.flush_reader("u1")
    assert not flushed.settled
    assert [report.outcome for report in flushed.reports] == [Outcome.PARKED]


def test_a_read_back_that_answers_nonsense_breaks_nothing():
    """S14: a failed emission never fails the heartbeat, whatever an emitter's read-back answers."""

    class Nonsense(FlakyEmitter):
        def held(self, _event_ids, /):
            return None

    tracker, clock, emitter = tracker_of(Nonsense(), ReadTimePolicy(completion_dwell_seconds=10))
    emitter.fail(EmitterUnavailable("down"))
    assert tracker.accumulate(READER, ARTICLE, 10.0).report.outcome is Outcome.FAILED
    clock.advance(60)
    assert tracker.accumulate(READER, ARTICLE, 10.0).report.outcome is Outcome.SENT
    assert emitter.seconds("u1", "x1") == 20.0


def test_a_sweep_says_what_stopped_it_first():
    """W11: stops early on EmitterUnavailable, also where refusals came before."""

    class TwoRefusedThenDown:
        max_batch = 1

        def __init__(self):
            self.calls = 0

        def emit(self, _events, /):
            self.calls += 1
            raise EventRejected("no", status=422) if self.calls < 3 else EmitterUnavailable("down")

        def close(self):
            """Hold nothing."""

    tracker, _, _ = tracker_of(TwoRefusedThenDown())
    for number in range(4):
        tracker.accumulate(Reader(f"u{number}", "s@example.org"), ARTICLE, 10.0)
    swept = tracker.sweep(idle_seconds=0)
    assert (swept.stopped_by, swept.parked) == ("unavailable", 0)


def test_on_report_hears_of_a_finalize_that_failed_at_the_store():
    """V11: on_report after each commit or failure, by whichever verb."""

    class CommitsNothing(InMemoryStateStore):
        def update(self, key, transition, now=None, /):
            if isinstance(transition, Commit):
                raise StoreUnavailable("gone")
            return super().update(key, transition, now)

    reports = []
    policy = ReadTimePolicy(completion_dwell_seconds=5)
    tracker, _, _ = tracker_of(policy=policy, store=CommitsNothing(), on_report=reports.append)
    assert tracker.accumulate(READER, ARTICLE, 10.0).report.outcome is Outcome.FAILED
    assert [report.outcome for report in reports] == [Outcome.FAILED]


def test_two_tenants_cannot_mix():
    """T6: a store that is in use for another sensor is a ConfigurationError for every verb that writes."""
    store = InMemoryStateStore()
    tracker, _, _ = tracker_of(store=store)
    tracker.accumulate(READER, ARTICLE, 10.0)
    other = ReadTimeTracker(store, RecordingEmitter(), events("https://other.example.org"))
    for verb, args in (
        ("forget", ("u1",)),
        ("sweep", ()),
        ("flush_reader", ("u1",)),
    ):
        with pytest.raises(ConfigurationError):
            getattr(other, verb)(*args)
    assert tracker.state("u1", "x1").unreported_seconds == 10.0


def test_a_roster_url_needs_a_tracker_that_knows_the_roster():
    """I1: u1 and its URL are one key; a tracker that cannot tell says so before anything is stored."""
    store = InMemoryStateStore()
    with pytest.raises(InvalidInput):
        ReadTimeTracker(store).accumulate(Reader(f"{ROSTER}{USERS}u1", "s@example.org"), ARTICLE, 10.0)
    assert store.due(9, 10**13) == ()


@pytest.mark.parametrize("url", [f"https://OR.example.org:443{USERS}u1", f"https://or.example.org{USERS}u1?q=1#f"])
def test_one_reader_by_any_spelling_of_the_url(url):
    """I1: ids that are URLs under oneroster_url are reduced, host case and default port aside."""
    tracker, _, _ = tracker_of()
    tracker.accumulate(Reader(url, "s@example.org"), ARTICLE, 10.0)
    assert tracker.state("u1", "x1").cumulative_read_time_seconds == 10.0


def test_a_reborn_state_does_not_pay_an_old_tab_again():
    """S9: an opening of long ago gives other old tabs no budget either."""
    tracker, clock, emitter = tracker_of()
    opened = clock()
    tracker.observe(READER, ARTICLE, PageView("one", 0.0), opened_at=opened)
    clock.advance(300)
    tracker.observe("u1", "x1", PageView("one", 150.0), opened_at=opened)
    tracker.observe("u1", "x1", PageView("two", 150.0), opened_at=opened)
    tracker.finalize("u1", "x1")
    clock.advance(31 * 86_400)
    assert tracker.state("u1", "x1") is None
    assert tracker.observe(READER, ARTICLE, PageView("one", 150.0), opened_at=opened).accepted_seconds == 0
    again = tracker.observe("u1", "x1", PageView("two", 150.0), opened_at=opened)
    assert again.accepted_seconds <= 15.0  # one heartbeat and one leeway, as for any birth
    assert emitter.seconds("u1", "x1") == 300.0


def test_completion_is_a_ratio():
    """S12: position / canonical duration >= completion_ratio, to the millisecond."""
    tracker, _, _ = tracker_of(policy=ReadTimePolicy(completion_ratio=0.55))
    assert tracker.accumulate(READER, ARTICLE, 2.0, position_seconds=1.65, duration_seconds=3.0).report is not None


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_batch", 0), ("max_batch", None), ("deadline_seconds", None), ("deadline_seconds", float("nan"))],
)
def test_capabilities_are_checked(name, value):
    """An emitter that states what cannot be is refused when the tracker is built, not found out in a sweep."""
    emitter = RecordingEmitter()
    setattr(emitter, name, value)
    with pytest.raises(ConfigurationError, match=name):
        ReadTimeTracker(InMemoryStateStore(), emitter, events())


def test_names_of_settings_may_be_lower_case():
    """Settings: upper or lower case is the same, with the prefix and without."""
    names = {"store_url": "memory://", "oneroster_url": ROSTER, "sensor": "https://a.example", "app_name": "A"}
    for prefix in ("caliper_readtime_", "CALIPER_READTIME_", ""):
        settings = {prefix + name: value for name, value in names.items()}
        with ReadTimeTracker.from_settings(settings, emitter=None) as made:
            assert made.states("u1") == ()


def test_recorded_seconds_tell_ids_from_urls_elsewhere():
    """RecordingEmitter.seconds: a URL elsewhere is an id of its own."""
    tracker, _, emitter = tracker_of()
    tracker.accumulate(READER, Article("https://other.example/leaf", "L", "https://a.example/1"), 10.0)
    tracker.accumulate(READER, Article("leaf", "L", "https://a.example/2"), 7.0)
    tracker.flush_reader("u1")
    assert emitter.seconds("u1", "leaf") == 7.0
    assert emitter.seconds("u1", "https://other.example/leaf") == 10.0


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
def test_a_clock_may_start_at_the_epoch(make_store, tmp_path):
    """A host's test clock that stands at 1970 is a clock like any other, on every store."""
    store, emitter, clock = make_store(tmp_path), RecordingEmitter(), ManualClock(datetime(1970, 1, 1, tzinfo=UTC))
    tracker = ReadTimeTracker(store, emitter, events(), clock=clock)
    for _ in range(3):
        tracker.accumulate(READER, ARTICLE, 5.0)
        clock.advance(5)
    assert tracker.finalize("u1", "x1").delta_seconds == 15.0
    assert emitter.seconds("u1", "x1") == 15.0
    store.close()
