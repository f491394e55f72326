"""How the list of an actor's events is read over HTTP, and what a list that cannot be trusted comes to (J3)."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from caliper_readtime import (
    ConfigurationError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    HttpCaliperEmitter,
    InMemoryStateStore,
    InvalidInput,
    JsonLinesEmitter,
    ReadTimeTracker,
)
from caliper_readtime.emitters import _listing
from caliper_readtime.testing import ManualClock, RecordingEmitter
from caliper_readtime.testing.behaviours import Answer, Drop
from tests.scenes import ANNA, BEES, BEN, OWLS, START, events

ACTOR = events().actor_id("anna")


@pytest.fixture
def emitter(caliper_endpoint):
    """An emitter for the endpoint."""
    emitter = HttpCaliperEmitter(caliper_endpoint.url, attempts=1, timeout=2.0)
    yield emitter
    emitter.close()


@pytest.fixture
def clock():
    """The tracker's clock."""
    return ManualClock(START)


@pytest.fixture
def tracker(emitter, clock):
    """A tracker that sends there."""
    return ReadTimeTracker(InMemoryStateStore(), emitter, events(), clock=clock)


def read(tracker, clock, reader=ANNA, what=OWLS, seconds=30.0):
    """Half a minute, reported."""
    if tracker.state(reader, what) is None:
        tracker.accumulate(reader, what, 0)
    clock.advance(seconds)
    tracker.accumulate(reader, what, seconds)
    tracker.partial(reader, what)


def asked(endpoint):
    """Queries of the list."""
    return [request.path.partition("?")[2] for request in endpoint.requests if "/events?" in request.path]


def test_every_page_is_read(caliper_endpoint, tracker, clock, emitter, monkeypatch):
    """J3: pages are asked for until the total is there; other readers' events are not among them."""
    monkeypatch.setattr(_listing, "PAGE", 4)
    for _ in range(9):
        read(tracker, clock)
    read(tracker, clock, BEN)
    assert [event["externalId"] for event in emitter.listed(ACTOR)] == [
        event["id"] for event in caliper_endpoint.events[:9]
    ]
    assert [query.rpartition("=")[2] for query in asked(caliper_endpoint)] == ["0", "4", "8"]
    found = tracker.reconcile("anna")
    (one,) = found.articles
    assert (found.balanced, one.matching.seconds, one.held_seconds, one.missing.event_ids) == (True, 270.0, 270.0, ())


def test_a_long_page_is_read_whole(caliper_endpoint, tracker, clock, emitter):
    """J3: a hundred events are more than the emitter reads of any other answer."""
    for _ in range(100):
        read(tracker, clock)
    assert len(emitter.listed(ACTOR)) == 100
    assert len(asked(caliper_endpoint)) == 1


def test_an_endpoint_url_with_a_query_keeps_it(caliper_endpoint):
    """H14: a key in the endpoint's URL is sent along."""
    emitter = HttpCaliperEmitter(f"{caliper_endpoint.url}?key=7", attempts=1)
    emitter.listed(ACTOR)
    emitter.close()
    assert asked(caliper_endpoint)[0].startswith("key=7&actorId=http")


def page(total, *documents):
    """An answer with a page."""
    return Answer.json(200, {"events": list(documents), "pagination": {"total": total}})


@pytest.mark.parametrize(
    "answer",
    [
        page(1, {"id": "urn:uuid:x"}, {"id": "urn:uuid:y"}),
        page(2),
        page("2"),
        page(1, "urn:uuid:x"),
        Answer(200, b"<html>"),
        Answer.json(200, []),
        Answer.json(200, {"events": []}),
        Answer(503, b""),
        Drop(),
    ],
    ids=["too many", "none", "no number", "no event", "no JSON", "a list", "no pages", "503", "dropped"],
)
def test_a_list_that_is_not_whole_is_no_list(caliper_endpoint, tracker, clock, answer):
    """J3: what is left out would be taken for lost, so the call fails, and nothing is sent again."""
    read(tracker, clock)
    clock.advance(999)
    caliper_endpoint.misbehave_reads(answer)
    with pytest.raises(EmitterUnavailable):
        tracker.reconcile("anna", repair=True)
    assert len(caliper_endpoint.deliveries) == 1


@pytest.mark.parametrize("status", [401, 403, 404])
def test_an_endpoint_that_does_not_list(caliper_endpoint, tracker, clock, status):
    """J3: it is the endpoint or the credentials, and said so."""
    read(tracker, clock)
    caliper_endpoint.misbehave_reads(Answer(status, b""))
    with pytest.raises(EndpointRefused):
        tracker.reconcile("anna")


def test_a_list_that_changes_is_begun_again(monkeypatch):
    """J3: pages of two different lists are never put together; after three tries the call fails."""
    totals = iter([2, 3, 2, 2])
    offsets = []

    def ask(query):
        offsets.append(query["offset"])
        return Reply(json.dumps({"events": [{}], "pagination": {"total": next(totals)}}))

    assert _listing.EventList("x", ask).read(ACTOR) == [{}, {}]
    assert offsets == ["0", "1", "0", "1"]
    totals = iter([2, 3] * 3)
    with pytest.raises(EmitterUnavailable, match="changed"):
        _listing.EventList("x", ask).read(ACTOR)


def test_a_row_on_two_pages_is_no_second_delivery():
    """J3: a service whose order changes shows one row twice and another not at all: neither doubled nor missing."""
    first, second = ({"id": number, "externalId": f"urn:uuid:{number}"} for number in (1, 2))
    again = {**first, "id": 3}  # the same event, delivered twice
    pages = iter([[first], [first], [first], [second]])

    def ask(_query):
        return Reply(json.dumps({"events": next(pages), "pagination": {"total": 2}}))

    assert _listing.EventList("x", ask).read(ACTOR) == [first, second]
    pages = iter([[first, again]])
    assert _listing.EventList("x", ask).read(ACTOR) == [first, again]
    pages = iter([[first]] * 6)
    with pytest.raises(EmitterUnavailable, match="changed"):
        _listing.EventList("x", ask).read(ACTOR)


class Reply:
    """A page's answer."""

    status = 200

    def __init__(self, body):
        self.body = body


def test_what_is_missing_is_sent_again_once_it_is_certain(caliper_endpoint, tracker, clock):
    """J5, J6: not before it had its time to be shown; then once, byte for byte, and not again meanwhile."""
    for what in (OWLS, BEES):
        read(tracker, clock, what=what)
    sent = caliper_endpoint.events
    caliper_endpoint.reset()
    assert not tracker.reconcile("anna", repair=True).articles[0].missing
    clock.advance(301)
    found = tracker.reconcile("anna", repair=True)
    assert [one.repaired for one in found.articles] == [one.missing for one in found.articles]
    assert sorted(map(json.dumps, caliper_endpoint.events)) == sorted(map(json.dumps, sent))
    caliper_endpoint.hold_reads(True)
    found = tracker.reconcile("anna", repair=True)
    assert [len(one.pending.event_ids) for one in found.articles] == [1, 1]
    caliper_endpoint.hold_reads(False)
    assert tracker.reconcile("anna", repair=True).balanced
    assert len(caliper_endpoint.deliveries) == 2


def test_events_that_are_not_ours(caliper_endpoint, tracker, clock):
    """J4: an earlier life's, another sensor's, and those of an article without a state; none of them is a fault."""
    read(tracker, clock)
    read(tracker, clock, what=BEES)
    tracker.forget("anna")
    read(tracker, clock)
    other = HttpCaliperEmitter(caliper_endpoint.url, sensor="https://other.example.org")
    (event,) = (event for event in caliper_endpoint.events[:1])
    other.emit([{**event, "id": "urn:uuid:7c0d6f0e-6f8a-4e0c-9d0a-3f8f5b0f2a11"}])
    other.close()
    found = tracker.reconcile("anna")
    (one,) = found.articles
    assert (found.balanced, one.earlier.seconds, one.foreign.seconds, found.elsewhere.seconds) == (True, 30, 30, 30)
    assert (one.reported_seconds, one.held_seconds) == (30.0, 90.0)


def test_what_the_endpoint_lists_as_deleted_is_not_sent_again(caliper_endpoint, tracker, clock):
    """J4, J6: an endpoint that keeps deleted rows says so, and nobody puts back what somebody took away."""
    read(tracker, clock)
    (event,) = caliper_endpoint.events
    caliper_endpoint.misbehave_reads(page(1, {**event, "externalId": event["id"], "id": 7, "deleted_at": "now"}))
    clock.advance(999)
    (one,) = tracker.reconcile("anna", repair=True).articles
    assert (one.deleted.event_ids, one.missing.event_ids, one.held_seconds) == ((event["id"],), (), 0)
    assert len(caliper_endpoint.deliveries) == 1
    other = {**event, "object": BEES.url, "externalId": "urn:uuid:x", "id": 8}
    rows = {**other, "deleted_at": "now"}, {**other, "externalId": "urn:uuid:y", "id": 9, "deleted_at": None}
    caliper_endpoint.misbehave_reads(page(2, *rows))
    assert tracker.reconcile("anna").elsewhere.event_ids == ("urn:uuid:y",)


def test_since_leaves_out_what_is_older(caliper_endpoint, tracker, clock):
    """J4: ours and the endpoint's."""
    read(tracker, clock)
    clock.advance(1000)
    since = clock()
    read(tracker, clock)
    (one,) = tracker.reconcile("anna", since=since).articles
    assert (one.matching.seconds, one.held_seconds, one.reported_seconds) == (30.0, 30.0, 60.0)


@pytest.mark.parametrize("value", ["1e999", "-1e999", "NaN", "9" * 400, "1e308", "-5"])
def test_a_value_that_is_no_time_is_none(caliper_endpoint, tracker, clock, value):
    """J3: somebody's event with a value that is none does not hide the others."""
    read(tracker, clock)
    (event,) = caliper_endpoint.events
    other = json.dumps({**event, "id": "urn:uuid:of-another"}).replace('"value": 30', f'"value": {value}')
    text = f'{{"events": [{json.dumps(event)}, {other}], "pagination": {{"total": 2}}}}'
    caliper_endpoint.misbehave_reads(Answer(200, text.encode()))
    found = tracker.reconcile("anna")
    (one,) = found.articles
    assert (found.balanced, one.held_seconds, one.foreign.event_ids) == (True, 30.0, ("urn:uuid:of-another",))


def test_an_event_that_was_changed_there(caliper_endpoint, tracker, clock):
    """J4, J7: other seconds under the same id are reported, and never sent over."""
    read(tracker, clock)
    (event,) = caliper_endpoint.events
    event["generated"]["items"][0]["value"] = 12
    caliper_endpoint.misbehave_reads(page(1, event))
    clock.advance(999)
    found = tracker.reconcile("anna", repair=True)
    assert (found.balanced, found.articles[0].altered.seconds) == (False, 12.0)
    assert len(caliper_endpoint.deliveries) == 1
    assert "altered" in found._repr_html_()


def test_an_account_that_cannot_be_read_is_named(caliper_endpoint, tracker, clock):
    """T7: the others are compared, and the state stays as it is."""
    for what in (OWLS, BEES):
        read(tracker, clock, what=what)
    store = tracker.store
    key = tracker.state("anna", "owls").key
    ledger = store._states[key].ledger
    account = type(ledger.account)(cuts="x", recent="y")
    state = store._states[key]
    store._states[key] = type(state)(*key, state.meter, type(ledger)(**{**vars(ledger), "account": account}))
    found = tracker.reconcile("anna")
    assert (found.unread, found.balanced, [one.resource_id for one in found.articles]) == (("owls",), False, ["bees"])


class Failing(RecordingEmitter):
    """It raises each of these errors once."""

    errors = ()

    def emit(self, batch, /):
        if self.errors:
            raise self.errors.pop(0)
        super().emit(batch)


def failing(clock):
    """Such an emitter, and a tracker that sends by it."""
    emitter = Failing()
    return emitter, ReadTimeTracker(InMemoryStateStore(), emitter, events(), clock=clock)


@pytest.mark.parametrize("hours", [1, 5, 9, 20, 40])
def test_since_lies_among_events_that_can_no_longer_be_built_again(clock, hours):
    """J4: forty events, one an hour: what ended before is left out on both sides, and nothing passes for lost."""
    _, tracker = failing(clock)
    start = clock()
    for _ in range(40):
        clock.advance(3570)
        read(tracker, clock)
    clock.advance(1000)
    (one,) = tracker.reconcile("anna", since=start + timedelta(hours=hours)).articles
    assert (len(one.matching.event_ids), one.missing.event_ids, one.held_seconds) == (41 - hours, (), 30 * (41 - hours))


def test_since_with_an_old_event_that_was_accepted_late(clock):
    """J4: one that was set aside at first and accepted last says nothing of when the others ended."""
    emitter, tracker = failing(clock)
    emitter.errors = [EventRejected("refused", status=422)]
    with pytest.raises(EventRejected):
        read(tracker, clock)
    since = clock.advance(1)
    for _ in range(40):
        read(tracker, clock)
    tracker.unpark("anna", "owls")
    clock.advance(1000)
    lost = emitter.events.pop(3)["id"]
    (one,) = tracker.reconcile("anna", since=since).articles
    assert (one.missing.event_ids, len(one.matching.event_ids)) == ((lost,), 39)


def test_a_repair_that_fails_for_one_event_holds_up_no_other(clock):
    """J6: one that may have arrived waits for the next look; what certainly cannot be sent ends the call."""
    emitter, tracker = failing(clock)
    for what in (BEES, OWLS):
        read(tracker, clock, what=what)
    emitter.events.clear()
    clock.advance(600)
    emitter.errors = [EmitterUnavailable("h answered 500: ask anna@example.org", status=500)]
    first, second = tracker.reconcile("anna", repair=True).articles
    assert (first.repaired.event_ids, second.repaired) == ((), second.missing)
    assert first.unrepaired == ((*first.missing.event_ids, MAYBE),)
    assert [event["id"] for event in emitter.events] == [*second.missing.event_ids]
    assert tracker.reconcile("anna", repair=True).articles[0].pending
    clock.advance(600)
    emitter.errors = [EndpointRefused("h answered 401")]
    with pytest.raises(EndpointRefused):
        tracker.reconcile("anna", repair=True)


MAYBE = "it was sent again and may have arrived: h answered 500: ask (e-mail address)"


def test_what_reconcile_needs(tmp_path, tracker):
    """An emitter that lists, and values that make sense; bad ones change nothing."""
    deaf = ReadTimeTracker(InMemoryStateStore(), JsonLinesEmitter(tmp_path / "events.jsonl"), events())
    with pytest.raises(ConfigurationError, match="cannot list"):
        deaf.reconcile("anna")
    with pytest.raises(ConfigurationError, match="no emitter"):
        ReadTimeTracker(InMemoryStateStore()).reconcile("anna")
    for bad in ({"settle_seconds": -1}, {"since": START.replace(tzinfo=None)}, {"since": 7}):
        with pytest.raises(InvalidInput):
            tracker.reconcile("anna", **bad)
    assert tracker.reconcile("nobody").articles == ()


class Foreign(RecordingEmitter):
    """Somebody else's emitter: it raises what its driver raises, or hands out what is no list of events."""

    broken = ""

    def emit(self, batch, /):
        if self.broken == "emit":
            raise OSError("token hunter2")
        super().emit(batch)

    def listed(self, actor_id, /):
        if self.broken == "listed":
            raise OSError("token hunter2")
        return ["no mapping"] if self.broken == "items" else super().listed(actor_id)

    def held(self, event_ids, /):
        if self.broken == "held":
            raise OSError("token hunter2")
        return list(super().held(event_ids))


@pytest.mark.parametrize("broken", ["listed", "items", "held", "emit"])
def test_an_emitter_of_somebody_elses_fails_in_its_own_way(clock, broken):
    """L4: whatever it raises is told as EmitterUnavailable, its cause chained; what is missing is sent later."""
    emitter = Foreign()
    tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events(), clock=clock)
    read(tracker, clock)
    emitter.events.clear()
    clock.advance(600)
    emitter.broken = broken
    with pytest.raises(EmitterUnavailable, match="the emitter failed with") as failed:
        tracker.reconcile("anna", repair=True)
    assert "hunter2" not in str(failed.value)
    assert failed.value.__cause__ is not None
    emitter.broken = ""
    clock.advance(600)  # what may have been sent is given its time
    assert tracker.reconcile("anna", repair=True).articles[0].repaired.seconds == 30
    assert emitter.seconds("anna", "owls") == 30
