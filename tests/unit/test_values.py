"""The values that hosts pass in and get back: order, defaults, frozen, and no address in sight."""

from __future__ import annotations

import copy
import inspect
import pickle
from datetime import UTC

import attrs
import pytest

from caliper_readtime import (
    Accumulation,
    Activity,
    App,
    Article,
    Course,
    EmitterUnavailable,
    EventRejected,
    FlushReport,
    HistoryEntry,
    InMemoryStateStore,
    InvalidInput,
    MissingField,
    Outcome,
    PageView,
    ParkedEvent,
    Reader,
    ReadTimePolicy,
    Report,
    Subject,
    SweepReport,
    TimeSpentEvents,
)
from caliper_readtime._rules.state import Key, Phase
from tests.scenes import ANNA, OWLS, START, Scene, events
from tests.unit.builders import Life

# Values


MADE_OF = {
    Reader: "sourced_id email",
    Course: "name id",
    App: "name id",
    Activity: "resource_id title url course subject kind attempt words extensions",
    Article: "resource_id title url course subject kind attempt words extensions",
    PageView: "id active_seconds acknowledged_seconds",
    Accumulation: "accepted_seconds clamped_seconds duplicate state report",
    Report: "outcome reader_sourced_id resource_id delta_seconds event_ids state error retry_at beside_seconds",
    FlushReport: "reports settled confirmed seconds_sent",
    SweepReport: "events_sent states_settled failed in_flight parked seconds_sent more stopped_by reports",
    ParkedEvent: "reader_sourced_id resource_id event_id seconds parked_at status reason claimable",
    HistoryEntry: "at kind event_id seconds detail",
    TimeSpentEvents: "sensor app oneroster_url activity_ids ed_app",
}
KEYWORD_ONLY = {"kind", "attempt", "words", "extensions", "activity_ids", "ed_app"}


@pytest.mark.parametrize(("kind", "names"), MADE_OF.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_values_are_made_of_these_in_this_order(kind, names):
    """Frozen attrs classes, positional or keyword, in this order."""
    assert [attribute.alias for attribute in attrs.fields(kind)] == names.split()
    parameters = list(inspect.signature(kind).parameters.values())
    assert [parameter.name for parameter in parameters] == names.split()
    keyword_only = {parameter.name for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY}
    assert keyword_only == (
        KEYWORD_ONLY & set(names.split()) if kind in (Activity, Article, TimeSpentEvents) else set()
    )


VALUES = [
    Reader("u1", "s@example.org"),
    Course("C", "c1"),
    App("A", "https://a.example"),
    Article("r1", "T", "https://h.example/", Course("C"), "Reading"),
    Activity("r1", "T", "https://h.example/", kind="video", attempt=2, extensions={"runId": "1"}),
    PageView("v", 5, 2),
    ReadTimePolicy(completion="defer", max_delta_seconds=30),
    HistoryEntry(START, "sent", "urn:uuid:1", 5.0, ""),
    Report(Outcome.SENT, "u1", "r1", 5.0, ("urn:uuid:1",)),
    FlushReport((), settled=True, confirmed=None, seconds_sent=0.0),
    events(),
    Life().sent().read().state,
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_are_frozen_and_travel(value):
    """Values are frozen; they copy, pickle and compare by what they hold."""
    for attribute in attrs.fields(type(value)):
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            setattr(value, attribute.name, None)
    for again in (copy.copy(value), copy.deepcopy(value), pickle.loads(pickle.dumps(value)), attrs.evolve(value)):  # noqa: S301
        assert again == value
        assert repr(again) == repr(value)


def test_values_of_a_reader_hash_and_compare():
    """Values: equal ones are equal keys, different ones are not."""
    assert len({Reader("u1", "s@example.org"), Reader("u1", "s@example.org"), Reader("u1", "t@example.org")}) == 2
    assert Article("r", "T", OWLS.url, subject="Reading") == Article("r", "T", OWLS.url, subject=Subject.READING)


def test_an_article_is_the_activity_of_its_kind():
    """Equal, and one key of a dict, in whichever form a host passes it; what differs in kind or attempt is not."""
    article = Article("r", "T", OWLS.url, words=800)
    assert {article: 1}[Activity("r", "T", OWLS.url, kind="article", words=800)] == 1
    video = Activity("r", "T", OWLS.url, kind="video", words=800)
    assert len({article, video, attrs.evolve(video, attempt=1), attrs.evolve(video, words=None)}) == 4
    assert article != "r"


def test_extensions_are_frozen():
    """What a caller does to its mapping later, or to what it was given, changes no activity."""
    given = {"runId": ["1"]}
    activity = Activity("r", "T", OWLS.url, kind="video", extensions=given)
    given["runId"].append("2")
    activity.extensions["runId"].append("3")
    assert activity.extensions == {"runId": ["1"]}
    assert activity == Activity("r", "T", OWLS.url, kind="video", extensions={"runId": ["1"]})


def test_defaults():
    """Nothing but names and ids is needed: no course, no subject, no id of the app, nothing acknowledged."""
    assert Article("r", "T", OWLS.url) == Article("r", "T", OWLS.url, None, Subject.NONE)
    assert (Course("C").id, App("A").id, PageView("v", 1).acknowledged_seconds) == (None, None, 0.0)


def test_subjects_are_the_wire_values():
    """A str enum: Reading, Language, … None."""
    known = "Reading, Language, Vocabulary, Social Studies, Writing, Science, FastMath, Math, None"
    assert ", ".join(Subject) == known
    assert all(isinstance(subject, str) for subject in Subject)
    assert Subject.SOCIAL_STUDIES == "Social Studies"


def test_outcomes():
    """SENT, NOTHING_TO_SEND, IN_FLIGHT, DEFERRED, FAILED, PARKED, and no other."""
    assert {outcome.name for outcome in Outcome} == {
        "SENT",
        "NOTHING_TO_SEND",
        "IN_FLIGHT",
        "DEFERRED",
        "FAILED",
        "PARKED",
    }


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Reader("", "s@example.org"), "sourced_id"),
        (lambda: Reader("u1", "no address"), "email"),
        (lambda: Reader("u1", "s@example.org\n"), "email"),
        (lambda: Article("r", "", OWLS.url), "title"),
        (lambda: Article("r", "T", "/relative"), "url"),
        (lambda: Article("r", "T", OWLS.url, "C"), "course"),
        (lambda: Article("r", "T", OWLS.url, subject="Other"), "subject"),
        (lambda: Article("r", "T", OWLS.url, subject=None), "subject"),
        (lambda: Article("https://h.example/a b", "T", OWLS.url), "resource_id"),
        (lambda: Article("r", "T", OWLS.url, kind="video"), "kind"),
        (lambda: Article("r", "T", OWLS.url, words=0), "words"),
        (lambda: Article("r", "T", OWLS.url, words=True), "words"),
        (lambda: Article("r", "T", OWLS.url, words=800.0), "words"),
        (lambda: Article("r", "T", OWLS.url, words=10_000_001), "words"),
        (lambda: Activity("r", "T", OWLS.url, kind=""), "kind"),
        (lambda: Activity("r", "T", OWLS.url, kind="k" * 65), "kind"),
        (lambda: Activity("r", "T", OWLS.url, kind="video", attempt=0), "attempt"),
        (lambda: Activity("r", "T", OWLS.url, kind="video", attempt="1"), "attempt"),
        (lambda: Activity("r", "T", OWLS.url, extensions=["a"]), "extensions"),
        (lambda: Activity("r", "T", OWLS.url, extensions={"a": {"b": [None]}}), "extensions"),
        (lambda: Activity("r", "T", OWLS.url, extensions={"a": float("nan")}), "extensions"),
        (lambda: Activity("r", "T", OWLS.url, extensions={"a": object()}), "extensions"),
        (lambda: Activity("r", "T", OWLS.url, extensions={"a": "\ud800"}), "extensions"),
        (lambda: Activity("r", "T", OWLS.url, extensions={"attempt": 1}), "extensions"),
        (lambda: Activity("r", "T", OWLS.url, extensions={"a": "b" * 1000}), "extensions"),
        (lambda: Course("C", ""), "id"),
        (lambda: Course("C", 7), "id"),
        (lambda: App("A", "not a url"), "id"),
        (lambda: PageView("", 1), "id"),
        (lambda: PageView("v", True), "active_seconds"),
        (lambda: PageView("v", 1, None), "acknowledged_seconds"),
    ],
)
def test_a_refused_value_names_its_field(make, field):
    """InvalidInput names the field; it is a ValueError too."""
    with pytest.raises(InvalidInput) as caught:
        make()
    assert caught.value.field.endswith(f".{field}")
    assert field in str(caught.value)
    assert isinstance(caught.value, ValueError)


@pytest.mark.parametrize("missing", [None, ""])
def test_what_is_missing_is_a_missing_field(missing):
    """MissingField is the InvalidInput for what was not given."""
    for make in (lambda: Reader(missing, "s@example.org"), lambda: Reader("u1", missing), lambda: PageView(missing, 1)):
        with pytest.raises(MissingField):
            make()


# E-mails stay out of sight


SECRET = "very.secret@example.org"  # noqa: S105 - an address


def test_no_repr_shows_an_address():
    """G2: no repr, no error text and no history shows an e-mail."""
    reader = Reader("anna", SECRET)
    life = Life()
    life.beat(10, reader=reader)
    first = life.take().claim
    life.park(first)
    life.unpark()
    acquired = life.take()
    signal = life._signal("0" * 32, 1, reader=reader, heartbeat_id="h")
    for value in (
        reader,
        signal,
        life.state,
        life.ledger,
        life.meter,
        acquired,
        first,
        life.state.parked,
        life.state.history,
    ):
        assert "secret" not in repr(value)
    for bad in (SECRET + "\n", SECRET + "@", "x" * 400 + SECRET):
        with pytest.raises(InvalidInput) as caught:
            Reader("anna", bad)
        assert "secret" not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)


def test_no_answer_shows_an_address():
    """G2: what a verb answers, or raises, can be printed: no e-mail is in it."""
    scene = Scene(InMemoryStateStore)
    reader = Reader("anna", SECRET)
    answers = [scene.read(reader), scene.tracker.partial(reader, OWLS)]
    scene.read(reader)
    scene.emitter.fail(EventRejected("refused", status=422), EmitterUnavailable("down"))
    for kind in (EventRejected, EmitterUnavailable):
        with pytest.raises(kind) as caught:
            scene.tracker.finalize(reader, OWLS)
        answers += [caught.value, str(caught.value)]
        scene.tracker._delivery.leases.update(Key("anna", "owls"), _Unparked())
    answers += [scene.reports, scene.tracker.parked(), scene.tracker.states("anna"), scene.tracker.sweep()]
    assert "secret" not in repr(answers)


class _Unparked:
    """Lets every parked event be claimed."""

    def __call__(self, state, now):
        ledger = attrs.evolve(
            state.ledger, parked=tuple(attrs.evolve(parked, retry_at_ms=now) for parked in state.ledger.parked)
        )
        return attrs.evolve(state, ledger=ledger), None


# States


def test_the_public_face_of_a_state():
    """ReadTimeState's attributes, in seconds and aware UTC datetimes."""
    scene = Scene(InMemoryStateStore)
    scene.tracker.accumulate(ANNA, OWLS, 5.5, position_seconds=3, duration_seconds=90)
    state = scene.tracker.state("anna", "owls")
    face = {
        "reader_sourced_id": "anna",
        "resource_id": "owls",
        "cumulative_read_time_seconds": 5.5,
        "reported_read_time_seconds": 0.0,
        "unreported_seconds": 5.5,
        "clamped_seconds": 0.0,
        "canonical_duration_seconds": 90.0,
        "position_seconds": 3.0,
        "first_server_sync_at": START,
        "last_server_sync_at": START,
        "finalized_at": None,
        "in_flight": False,
        "due_at": START,
        "attempts": 0,
        "last_error": None,
        "parked": (),
        "history": (),
    }
    assert {name: getattr(state, name) for name in face} == face
    assert all(getattr(state, name).tzinfo is UTC for name in ("first_server_sync_at", "due_at"))
    assert isinstance(state.in_flight, bool)
    assert "anna" in repr(state)


def test_a_state_tells_when_a_parked_event_becomes_claimable():
    """ParkedEvent.claimable, as it stands when the state is asked for."""
    scene = Scene(InMemoryStateStore)
    scene.read()
    scene.emitter.fail(EventRejected("refused", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    (parked,) = scene.tracker.state(ANNA, OWLS).parked
    assert (parked.claimable, parked.parked_at, parked.status) == (False, scene.clock(), 422)
    scene.clock.advance(86_400)
    assert scene.tracker.state(ANNA, OWLS).parked[0].claimable
    assert scene.tracker.parked()[0] == scene.tracker.state(ANNA, OWLS).parked[0]


def test_phases_by_the_millisecond():
    """State: a whole second is 1,000 ms, no fewer; what is parked shows where nothing whole is left."""
    life = Life()
    life.beat(0.999)
    assert life.state.phase is Phase.SETTLED
    life.wait(1).beat(0.001)
    assert life.state.phase is Phase.UNREPORTED
    life.rejected(5)
    assert life.state.phase is Phase.PARKED


# Results


def test_a_flush_raises_unless_it_settled():
    """FlushReport.raise_unless_settled() raises the first article's error, or says what is open."""
    error = EventRejected("refused", status=422)
    sent, failed = Report(Outcome.SENT, "u", "r1", 5.0), Report(Outcome.PARKED, "u", "r2", error=error)
    waits = Report(Outcome.IN_FLIGHT, "u", "r3")
    for confirmed in (None, True):
        FlushReport((sent,), settled=True, confirmed=confirmed, seconds_sent=5.0).raise_unless_settled()
    with pytest.raises(EventRejected) as caught:
        FlushReport((sent, failed), settled=False, confirmed=None, seconds_sent=5.0).raise_unless_settled()
    assert caught.value is error
    with pytest.raises(EmitterUnavailable, match="r3"):
        FlushReport((sent, waits), settled=False, confirmed=None, seconds_sent=5.0).raise_unless_settled()
    with pytest.raises(EmitterUnavailable):
        FlushReport((sent,), settled=True, confirmed=False, seconds_sent=5.0).raise_unless_settled()
