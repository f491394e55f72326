"""The incident that this package answers, played over a real socket: read, navigate away, and be paid for it."""

from __future__ import annotations

import threading
from contextlib import ExitStack, closing, contextmanager

import pytest

from caliper_readtime import (
    Article,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    HttpCaliperEmitter,
    InvalidInput,
    MissingField,
    Outcome,
    PageView,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
)
from caliper_readtime.testing import CaliperEndpoint, ManualClock, banked_minutes
from caliper_readtime.testing._endpoint import AcceptThen, Answer, Drop, Reject
from tests.backends import STORES
from tests.scenes import ANNA, BEN, OWLS, START, WAIT_SECONDS, article, events, in_threads, of_reader, value


class PageCounter:
    """A host application: a tracker on a store, reporting to an endpoint over HTTP."""

    def __init__(self, store, endpoint, clock, deadline_seconds):
        self.store = store
        self.endpoint = endpoint
        self.clock = clock
        self.emitter = HttpCaliperEmitter(
            endpoint.url, timeout=deadline_seconds, attempts=1, deadline_seconds=deadline_seconds
        )
        self.tracker = ReadTimeTracker(store, self.emitter, events(), ReadTimePolicy(), clock)

    def read(self, reader, what, seconds):
        """Heartbeats every ten seconds, and one for the rest."""
        self.tracker.accumulate(reader, what, 0)
        while seconds > 0:
            step = min(10, seconds)
            self.clock.advance(step)
            assert self.tracker.accumulate(reader, what, step).clamped_seconds == 0
            seconds -= step

    def minutes(self, reader, articles, expected_xp=10):
        """What would be banked."""
        actor = events().actor_id(reader.sourced_id)
        return banked_minutes(self.endpoint.events, actor, [what.resource_id for what in articles], expected_xp)


@contextmanager
def hosts(make_store, path, count=1, deadline_seconds=5):
    """That many hosts on one store and one endpoint, all closed afterwards."""
    with ExitStack() as closing_all, CaliperEndpoint() as endpoint:
        store = closing_all.enter_context(closing(make_store(path)))
        clock = ManualClock(START)
        made = [PageCounter(store, endpoint, clock, deadline_seconds) for _ in range(count)]
        for host in made:
            closing_all.enter_context(closing(host.emitter))
        yield made


@contextmanager
def another(host, **more):
    """A tracker of another host on the same store, which has not heard of any failure."""
    with closing(HttpCaliperEmitter(host.endpoint.url, **more)) as emitter:
        yield ReadTimeTracker(host.store, emitter, events(), clock=host.clock)


@pytest.fixture(params=STORES.values(), ids=STORES)
def host(request, tmp_path):
    """One host, on every store."""
    with hosts(request.param, tmp_path) as (only,):
        yield only


def test_a_heartbeat_then_navigating_at_once(host: PageCounter):
    """The seed incident: one heartbeat, then away at once: the partial is recorded at the endpoint."""
    host.tracker.accumulate(ANNA, OWLS, 5)
    report = host.tracker.partial(ANNA, OWLS)
    (event,) = host.endpoint.events
    assert (report.outcome, report.delta_seconds) == (Outcome.SENT, 5.0)
    assert report.event_ids == (event["id"],)
    assert value(event) == 5
    assert event["actor"] == {
        "id": "https://roster.example.org/ims/oneroster/rostering/v1p2/users/anna",
        "type": "TimebackUser",
        "email": "anna@example.org",
    }
    assert event["object"]["activity"]["id"].endswith("/resources/owls")
    assert host.tracker.state(ANNA, OWLS).reported_read_time_seconds == 5.0


def test_a_view_that_ends_before_its_second_heartbeat(host: PageCounter):
    """The seed incident with running totals: the leave signal brings the seconds, the partial reports them."""
    host.tracker.observe(ANNA, OWLS, PageView("v", 0))
    host.clock.advance(7)
    host.tracker.observe(ANNA, OWLS, PageView("v", 7))
    assert host.tracker.partial("anna", "owls").delta_seconds == 7.0
    assert host.endpoint.seconds() == 7


def test_a_long_dwell_then_finalize(host: PageCounter):
    """The seed incident: long dwell -> finalize with the right delta."""
    host.read(ANNA, OWLS, 754.4)
    report = host.tracker.finalize(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds) == (Outcome.SENT, 754.0)
    assert [value(event) for event in host.endpoint.events] == [754]
    assert report.state.finalized_at == host.clock()
    assert host.minutes(ANNA, [OWLS], 20) == {"owls": 13}


def test_partials_on_the_way_then_finalize(host: PageCounter):
    """The seed incident: finalize sends what the partials before it have not: the right delta, no second twice."""
    for _ in range(3):
        host.read(ANNA, OWLS, 25)
        host.tracker.partial(ANNA, OWLS)
    host.read(ANNA, OWLS, 30)
    assert host.tracker.finalize(ANNA, OWLS).delta_seconds == 30.0
    assert [value(event) for event in host.endpoint.events] == [25, 25, 25, 30]
    assert host.endpoint.duplicates == ()


def test_five_eligible_articles_are_all_banked(host: PageCounter):
    """The seed incident: five eligible articles -> banked minutes above 0 for each, whatever ended each of them."""
    articles = [article(f"a{number}") for number in range(5)]
    for what in articles:
        host.read(ANNA, what, 45)
    host.tracker.finalize(ANNA, articles[0])
    host.tracker.partial(ANNA, articles[1])
    host.tracker.partial(ANNA, articles[2], defer=True)
    flushed = host.tracker.flush_reader(ANNA, confirm=True)  # and nothing at all for the last two
    flushed.raise_unless_settled()
    assert (flushed.settled, flushed.confirmed) == (True, True)
    assert host.minutes(ANNA, articles) == {what.resource_id: 1 for what in articles}


def test_five_articles_whose_tabs_died_are_swept(host: PageCounter):
    """The seed incident: nobody said goodbye: the sweep reports all five in one envelope."""
    articles = [article(f"a{number}") for number in range(5)]
    for what in articles:
        host.read(ANNA, what, 61)
    host.clock.advance(60)
    assert host.tracker.sweep().events_sent == 5
    assert len(host.endpoint.requests) == 1
    assert set(host.minutes(ANNA, articles).values()) == {2}


@pytest.mark.parametrize(("seconds", "minutes"), [(5, 0), (20, 0), (20.9, 0), (21, 1), (60, 1), (61, 2)])
def test_twenty_seconds_are_not_paid(host: PageCounter, seconds, minutes):
    """The seed incident: dwell <= 20 s -> 0 minutes, though the time itself is recorded."""
    host.read(ANNA, OWLS, seconds)
    host.tracker.finalize(ANNA, OWLS)
    assert host.endpoint.seconds() == int(seconds)
    assert host.minutes(ANNA, [OWLS]) == {"owls": minutes}


def page(resource_id="owls", title="Owls", url="https://reader.example.org/owls"):
    """An article from a host's row, which may lack anything."""
    return Article(resource_id, title, url)


@pytest.mark.parametrize(
    ("signal", "error"),
    [
        (lambda tracker: tracker.accumulate(Reader("anna", None), OWLS, 10), MissingField),
        (lambda tracker: tracker.accumulate(Reader("anna", ""), OWLS, 10), MissingField),
        (lambda tracker: tracker.accumulate(Reader("anna", "not an address"), OWLS, 10), InvalidInput),
        (lambda tracker: tracker.accumulate(Reader(None, "anna@example.org"), OWLS, 10), MissingField),
        (lambda tracker: tracker.accumulate(None, OWLS, 10), MissingField),
        (lambda tracker: tracker.accumulate("", OWLS, 10), MissingField),
        (lambda tracker: tracker.accumulate("anna", OWLS, 10), MissingField),
        (lambda tracker: tracker.observe("anna", OWLS, PageView("v", 10)), MissingField),
        (lambda tracker: tracker.accumulate(ANNA, page(resource_id=None), 10), MissingField),
        (lambda tracker: tracker.accumulate(ANNA, page(title=""), 10), MissingField),
        (lambda tracker: tracker.accumulate(ANNA, page(url="/owls"), 10), InvalidInput),
        (lambda tracker: tracker.finalize(None, OWLS), MissingField),
        (lambda tracker: tracker.partial(Reader("anna", None), OWLS), MissingField),
        (lambda tracker: tracker.flush_reader(None), MissingField),
    ],
)
def test_a_missing_e_mail_or_actor_is_a_typed_error(host: PageCounter, signal, error):
    """The seed incident: missing e-mail or actor -> typed error, nothing stored, nothing sent."""
    with pytest.raises(error) as raised:
        signal(host.tracker)
    assert isinstance(raised.value, InvalidInput)
    assert raised.value.field
    assert host.tracker.states("anna") == ()
    assert host.tracker.sweep(idle_seconds=0).reports == ()
    assert host.endpoint.requests == ()


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
def test_lock_contention_has_one_winner(make_store, tmp_path):
    """C1: the seed incident: lock contention over real threads and hosts -> one winner, the others IN_FLIGHT."""
    with hosts(make_store, tmp_path, count=8, deadline_seconds=25) as everybody:
        first = everybody[0]
        first.read(ANNA, OWLS, 42)
        turned_away = threading.Semaphore(0)

        def refuses(_event):
            """The endpoint answers the winner only once everybody else has been turned away."""
            return not all(turned_away.acquire(timeout=WAIT_SECONDS) for _ in everybody[1:])

        first.endpoint.misbehave_always(Reject(refuses))

        def finalize(host):
            report = host.tracker.finalize(ANNA, OWLS)
            if report.outcome is Outcome.IN_FLIGHT:
                turned_away.release()
            return report

        reports = in_threads(*(lambda host=host: finalize(host) for host in everybody))
        outcomes = [report.outcome for report in reports]
        assert (outcomes.count(Outcome.SENT), outcomes.count(Outcome.IN_FLIGHT)) == (1, 7)
        assert sum(report.delta_seconds for report in reports) == 42.0
        assert [value(event) for event in first.endpoint.deliveries] == [42]
        assert first.tracker.state(ANNA, OWLS).finalized_at is not None


@pytest.mark.parametrize("fault", [AcceptThen(Answer(503)), Drop(after="accept")])
def test_a_lost_answer_sends_the_same_bytes_again(host: PageCounter, fault):
    """C2, I7: what arrives twice is recognisably the same event: same id, same seconds, same bytes."""
    host.read(ANNA, OWLS, 42)
    host.endpoint.misbehave(fault)
    with pytest.raises(EmitterUnavailable):
        host.tracker.partial(ANNA, OWLS)
    host.read(ANNA, OWLS, 12)
    with another(host) as tracker:
        assert tracker.finalize(ANNA, OWLS).delta_seconds == 54.0
    assert [value(event) for event in host.endpoint.deliveries] == [42, 42, 12]
    assert host.endpoint.conflicts == ()
    assert host.endpoint.seconds() == 54


def test_a_lost_answer_is_read_back(host: PageCounter):
    """R1: an ambiguous claim is asked for first and, if held, committed without a second send."""
    host.read(ANNA, OWLS, 42)
    host.endpoint.misbehave(AcceptThen(Answer(503)))
    with pytest.raises(EmitterUnavailable):
        host.tracker.partial(ANNA, OWLS)
    with another(host, read_back=True) as tracker:
        assert tracker.partial(ANNA, OWLS).delta_seconds == 42.0
    assert len(host.endpoint.deliveries) == 1
    assert host.endpoint.requests[-1].method == "GET"


def test_an_outage_loses_nothing(host: PageCounter):
    """The endpoint is away while everybody reads: typed errors, and all of it arrives afterwards, once."""
    host.endpoint.close()
    for reader in (ANNA, BEN):
        host.read(reader, OWLS, 33)
        with pytest.raises(EmitterUnavailable):
            host.tracker.finalize(reader, OWLS)
    host.endpoint.start()
    host.clock.advance(3600)
    with another(host) as tracker:
        swept = tracker.sweep()
    assert (swept.events_sent, swept.seconds_sent, swept.states_settled) == (2, 66.0, 2)
    assert host.endpoint.duplicates == ()
    assert host.tracker.state(ANNA, OWLS).finalized_at is not None


def test_wrong_credentials_park_nothing(host: PageCounter):
    """H6: 401 is EndpointRefused: it says nothing about the event, which waits and arrives later."""
    host.read(ANNA, OWLS, 33)
    host.endpoint.token = "another"  # noqa: S105 - that we do not have
    with pytest.raises(EndpointRefused):
        host.tracker.finalize(ANNA, OWLS)
    assert host.tracker.parked() == ()
    host.endpoint.token = None
    assert host.tracker.finalize(ANNA, OWLS).delta_seconds == 33.0


def test_one_bad_reader_does_not_hold_up_the_others(host: PageCounter):
    """W3: over HTTP the envelope is halved, the poisonous event parked, a corrected e-mail heals it."""
    everybody = [Reader(f"r{number}", f"r{number}@example.org") for number in range(9)]
    for reader in everybody:
        host.read(reader, OWLS, 30)
    host.endpoint.misbehave_always(Reject(of_reader("r4")))
    host.clock.advance(60)
    swept = host.tracker.sweep()
    assert (swept.events_sent, swept.parked, swept.stopped_by) == (8, 1, "drained")
    with pytest.raises(EventRejected):
        host.tracker.finalize("r4", "owls")
    host.endpoint.misbehave_always(None)
    assert host.tracker.finalize(Reader("r4", "corrected@example.org"), OWLS).delta_seconds == 30.0
    assert host.endpoint.seconds() == 270
    assert host.endpoint.duplicates == ()
