"""Bad input: every field of every value and verb, with all that a host can get wrong, and what stays as it was."""

from __future__ import annotations

import math
from functools import reduce

import pytest
import redis as driver
import rfc3986
from rfc3986.validators import Validator

from caliper_readtime import (
    Activity,
    App,
    Article,
    ConfigurationError,
    Course,
    EmitterUnavailable,
    EventRejected,
    InMemoryStateStore,
    InvalidInput,
    MissingField,
    Outcome,
    PageView,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
    RedisStateStore,
    TimeSpentEvents,
)
from caliper_readtime.testing import RecordingEmitter
from tests.backends import STORES
from tests.faults.bad_values import (
    BAD_COUNT,
    BAD_EMAIL,
    BAD_ID,
    BAD_MOMENT,
    BAD_SECONDS,
    BAD_TEXT,
    BAD_URL,
    GOOD_IDS,
    LONG,
    NOT_TEXT,
    NOTHING,
    WIRED,
    contents,
    refused,
)
from tests.scenes import ANNA, OWLS, ROSTER, SENSOR, Scene, article, events

URI = (
    Validator()
    .require_presence_of("scheme", "host")
    .check_validity_of("scheme", "userinfo", "host", "port", "path", "query", "fragment")
)
URL = "https://reader.example.org/owls"
#: What an id that stands alone cannot know yet: which OneRoster service the URL belongs to.
_LATER = ("url-that-names-none", "url-not-utf-8", "url-of-control", "url-of-blank", "url-of-long-id")
IDS = {**WIRED, **{kind: value for kind, value in BAD_ID.items() if kind not in _LATER}}
TITLES = {**WIRED, "1001-characters": "t" * 1001}
SIGNAL_IDS = {**WIRED, "65-characters": "v" * 65}
SUBJECTS = {**WIRED, "unknown": "Astrology", "lower-case": "reading", "e-mail": "anna@example.org"}
NOT_NONE = {kind: value for kind, value in NOT_TEXT.items() if value is not None}


def present(values):
    """The same kinds, without None: it means that nothing was given."""
    return {kind: value for kind, value in values.items() if value is not None}


COUNTS = present({**{kind: value for kind, value in WIRED.items() if kind != "int"}, "zero": 0, "too-many": 10**7 + 1})
EXTENSIONS = {
    **{kind: value for kind, value in WIRED.items() if kind not in ("dict", "empty-list")},
    "null": {"a": {"b": [None]}},
    "nan": {"a": math.nan},
    "object": {"a": object()},
    "surrogate": {"a": "\ud800"},
    "ours": {"kind": "video"},
    "e-mail": {"a": "anna@example.org" * 100},
    "deep": {"a": "[" * 5000},
    "deeper": reduce(lambda inner, _: [inner], range(5000), "a"),
}
VALUES = {
    "Reader.sourced_id": (lambda v: Reader(v, "anna@example.org"), IDS),
    "Reader.email": (lambda v: Reader("anna", v), {**WIRED, **BAD_EMAIL}),
    "Course.name": (Course, TITLES),
    "Course.id": (lambda v: Course("Biology", v), present(IDS)),
    "App.name": (App, TITLES),
    "App.id": (lambda v: App("App", v), present({**WIRED, **BAD_URL})),
    "Article.resource_id": (lambda v: Article(v, "Owls", URL), IDS),
    "Article.title": (lambda v: Article("owls", v, URL), TITLES),
    "Article.url": (lambda v: Article("owls", "Owls", v), {**WIRED, **BAD_URL}),
    "Article.course": (lambda v: Article("owls", "Owls", URL, v), present({**WIRED, "app": App("Biology")})),
    "Article.subject": (lambda v: Article("owls", "Owls", URL, None, v), SUBJECTS),
    "Activity.kind": (lambda v: Activity("owls", "Owls", URL, kind=v), SIGNAL_IDS),
    "Activity.attempt": (lambda v: Activity("owls", "Owls", URL, attempt=v), COUNTS),
    "Activity.words": (lambda v: Activity("owls", "Owls", URL, words=v), COUNTS),
    "Activity.extensions": (lambda v: Activity("owls", "Owls", URL, extensions=v), EXTENSIONS),
    "PageView.id": (lambda v: PageView(v, 1), SIGNAL_IDS),
    "PageView.active_seconds": (lambda v: PageView("v", v), {**BAD_SECONDS, "none": None}),
    "PageView.acknowledged_seconds": (lambda v: PageView("v", 1, v), {**BAD_SECONDS, "none": None}),
}
_OPTIONAL = ("max_delta_seconds", "completion_dwell_seconds")
_POSITIVE = (*_OPTIONAL, "heartbeat_seconds", "lock_seconds", "state_ttl_seconds")
_POSITIVE = (*_POSITIVE, "retry_backoff_seconds", "max_retry_backoff_seconds")
_FROM_ZERO = ("leeway_seconds", "catch_up_seconds", "duration_tolerance_seconds", "partial_min_seconds")
POLICY = {
    **{name: BAD_SECONDS if name in _OPTIONAL else {**BAD_SECONDS, "none": None} for name in (*_POSITIVE, *_FROM_ZERO)},
    "completion": {**WIRED, "unknown": "later"},
    **{
        name: {**BAD_SECONDS, "zero": 0, "beyond-repr": 10**5000}
        for name in ("completion_words_per_minute", "completion_playback_rate")
    },
    "completion_ratio": {**BAD_SECONDS, "none": None, "zero": 0, "above-one": 1.0000001, "beyond-repr": 10**5000},
}
CONFIGURED = {**WIRED, **BAD_URL}
EVENTS = {
    "sensor": (lambda v: TimeSpentEvents(v, "App", ROSTER), CONFIGURED),
    "app": (lambda v: TimeSpentEvents(SENSOR, v, ROSTER), TITLES),
    "oneroster_url": (
        lambda v: TimeSpentEvents(SENSOR, "App", v),
        {**CONFIGURED, "query": f"{ROSTER}?a=b", "fragment": f"{ROSTER}#a"},
    ),
    "activity_ids": (lambda v: TimeSpentEvents(SENSOR, "App", ROSTER, activity_ids=v), {**WIRED, "unknown": "urn"}),
    "ed_app": (lambda v: TimeSpentEvents(SENSOR, "App", ROSTER, ed_app=v), present(CONFIGURED)),
}
_PARTS = {**NOT_NONE, "text": "x", "empty": "", "10-mb": LONG, "store-class": InMemoryStateStore, "reader": ANNA}
_UNCALLABLE = {kind: value for kind, value in _PARTS.items() if not callable(value)}
TRACKER = {
    "store": {**_PARTS, "none": None, "emitter": RecordingEmitter()},
    "emitter": {**_PARTS, "emitter-class": RecordingEmitter, "store": InMemoryStateStore()},
    "events": {**_PARTS, "events-class": TimeSpentEvents, "url": ROSTER},
    "policy": {**_PARTS, "none": None, "policy-class": ReadTimePolicy},
    "clock": _UNCALLABLE,
    "on_report": _UNCALLABLE,
}


def every(table, values=lambda row: row[1]):
    """One case for each field and kind of bad value."""
    return [
        pytest.param(field, value, id=f"{field}-{kind}")
        for field, row in table.items()
        for kind, value in values(row).items()
    ]


@pytest.mark.parametrize(("field", "value"), every(VALUES))
def test_no_value_is_made_of_bad_input(field, value):
    """S10: each field names itself, at once and briefly; None or empty text that is needed is a MissingField."""
    make, _ = VALUES[field]
    needed = not field.endswith(("_seconds", "subject", "course", "attempt", "words", "extensions"))
    missing = needed and (value is None or (isinstance(value, str) and not value))
    with refused(MissingField if missing else InvalidInput, field, value):
        make(value)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *every(POLICY, lambda row: row),
        *(pytest.param(name, small, id=f"{name}-{small}") for name in _POSITIVE for small in (0, 0.0004)),
    ],
)
def test_no_policy_is_made_of_bad_input(field, value):
    """ReadTimePolicy: a value out of range is a ConfigurationError that names its field."""
    with refused(ConfigurationError, f"ReadTimePolicy.{field}", value):
        ReadTimePolicy(**{field: value})


def test_back_offs_must_grow():
    """ReadTimePolicy: the longest back-off is not below the first."""
    with refused(ConfigurationError, "ReadTimePolicy.max_retry_backoff_seconds"):
        ReadTimePolicy(retry_backoff_seconds=5, max_retry_backoff_seconds=4.999)


@pytest.mark.parametrize("make", [driver.Redis, lambda **more: driver.Redis.from_url("redis://localhost", **more)])
def test_a_client_that_reads_another_encoding(make):
    """RedisStateStore: a client that decodes answers must read UTF-8, or ids would come back as others."""
    with refused(ConfigurationError, "RedisStateStore", says="UTF-8, not latin-1"):
        RedisStateStore(make(encoding="latin-1", decode_responses=True))
    for fine in ({"decode_responses": True}, {"decode_responses": True, "encoding": "UTF8"}, {"encoding": "latin-1"}):
        RedisStateStore(make(**fine))


@pytest.mark.parametrize(("field", "value"), every(EVENTS))
def test_no_builder_is_made_of_bad_input(field, value):
    """TimeSpentEvents: a value that is not acceptable is a ConfigurationError that names its field."""
    with refused(ConfigurationError, f"TimeSpentEvents.{field}", value):
        EVENTS[field][0](value)


@pytest.mark.parametrize(("field", "value"), every(TRACKER, lambda row: row))
def test_no_tracker_is_made_of_parts_that_are_none(field, value):
    """ReadTimeTracker: a part that cannot do its work is a ConfigurationError at once, not at the first call."""
    parts = {"store": InMemoryStateStore(), "emitter": RecordingEmitter(), "events": events(), field: value}
    with refused(ConfigurationError, field, value):
        ReadTimeTracker(**parts)


# What a verb is called with: the tracker, whom and what it is about where that matters, and one bad value.
_WITH_READER = {
    "accumulate": lambda t, v: t.accumulate(v, OWLS, 1),
    "observe": lambda t, v: t.observe(v, OWLS, PageView("v", 1)),
    "partial": lambda t, v: t.partial(v, OWLS),
    "partial-defer": lambda t, v: t.partial(v, OWLS, defer=True),
    "finalize": lambda t, v: t.finalize(v, OWLS),
    "finalize-defer": lambda t, v: t.finalize(v, OWLS, defer=True),
    "unpark": lambda t, v: t.unpark(v, OWLS),
    "state": lambda t, v: t.state(v, OWLS),
    "states": lambda t, v: t.states(v),
    "explain": lambda t, v: t.explain(v, OWLS),
    "flush_reader": lambda t, v: t.flush_reader(v),
    "forget": lambda t, v: t.forget(v),
}
_WITH_ARTICLE = {
    "accumulate": lambda t, v: t.accumulate(ANNA, v, 1),
    "observe": lambda t, v: t.observe(ANNA, v, PageView("v", 1)),
    "partial": lambda t, v: t.partial(ANNA, v),
    "partial-defer": lambda t, v: t.partial(ANNA, v, defer=True),
    "finalize": lambda t, v: t.finalize(ANNA, v),
    "finalize-defer": lambda t, v: t.finalize(ANNA, v, defer=True),
    "unpark": lambda t, v: t.unpark(ANNA, v),
    "state": lambda t, v: t.state(ANNA, v),
    "explain": lambda t, v: t.explain(ANNA, v),
}
NEWS = article("news")  # nothing is stored for it, and nothing may be
_NUMBERS = {
    ("accumulate", "delta_seconds"): (lambda t, v: t.accumulate(ANNA, OWLS, v), {**BAD_SECONDS, "none": None}),
    ("accumulate-news", "delta_seconds"): (lambda t, v: t.accumulate(ANNA, NEWS, v), {**BAD_SECONDS, "none": None}),
    ("sweep", "idle_seconds"): (lambda t, v: t.sweep(idle_seconds=v), {**BAD_SECONDS, "none": None}),
    ("sweep", "budget_seconds"): (lambda t, v: t.sweep(budget_seconds=v), BAD_SECONDS),
    ("sweep", "limit"): (lambda t, v: t.sweep(limit=v), BAD_COUNT),
    ("parked", "limit"): (lambda t, v: t.parked(limit=v), BAD_COUNT),
    ("flush_reader", "wait_seconds"): (
        lambda t, v: t.flush_reader(ANNA, wait_seconds=v),
        {**BAD_SECONDS, "none": None},
    ),
}
for _name in ("position_seconds", "duration_seconds"):
    for _what in (OWLS, NEWS):
        _NUMBERS[f"accumulate-{_what.resource_id}", _name] = (
            lambda t, v, n=_name, w=_what: t.accumulate(ANNA, w, 1, **{n: v}),
            BAD_SECONDS,
        )
        _NUMBERS[f"observe-{_what.resource_id}", _name] = (
            lambda t, v, n=_name, w=_what: t.observe(ANNA, w, PageView("v", 1), **{n: v}),
            BAD_SECONDS,
        )
_OTHERS = {
    ("observe", "view"): (
        lambda t, v: t.observe(ANNA, OWLS, v),
        {**WIRED, "class": PageView, "pair": ("v", 1), "fields": {"id": "v", "active_seconds": 1}},
    ),
    ("observe", "opened_at"): (lambda t, v: t.observe(ANNA, OWLS, PageView("v", 1), opened_at=v), BAD_MOMENT),
    ("observe-news", "opened_at"): (lambda t, v: t.observe(ANNA, NEWS, PageView("v", 1), opened_at=v), BAD_MOMENT),
    ("accumulate", "heartbeat_id"): (
        lambda t, v: t.accumulate(ANNA, OWLS, 1, heartbeat_id=v),
        present(SIGNAL_IDS),
    ),
    ("flush_reader", "resource_ids"): (
        lambda t, v: t.flush_reader(ANNA, resource_ids=v),
        {
            "text": "owls",
            "10-mb": LONG,
            **{k: v for k, v in NOT_TEXT.items() if k not in ("list", "empty-list", "dict", "tuple", "set")},
            **{f"member-{kind}": ["owls", v] for kind, v in {**WIRED, **BAD_ID}.items()},
        },
    ),
}
VERBS = {
    **{(verb, "reader"): (call, {**WIRED, **BAD_ID, "article": OWLS}) for verb, call in _WITH_READER.items()},
    **{(verb, "article"): (call, {**WIRED, **BAD_ID, "reader": ANNA}) for verb, call in _WITH_ARTICLE.items()},
    **_NUMBERS,
    **_OTHERS,
}


@pytest.fixture(scope="module", params=STORES.values(), ids=STORES)
def scene(request, tmp_path_factory):
    """A reader with time that is unreported, claimed and parked, for all cases: none of them may change anything."""
    opened = []

    def make_store():
        opened.append(request.param(tmp_path_factory.mktemp("bad")))
        return opened[-1]

    scene = Scene(make_store)
    scene.read(ANNA, OWLS)
    scene.tracker.partial(ANNA, OWLS)
    for error in (EventRejected("no", status=422), EmitterUnavailable("down")):
        scene.read(ANNA, OWLS)
        scene.emitter.fail(error)
        with pytest.raises(type(error)):
            scene.tracker.partial(ANNA, OWLS)
    scene.tracker.accumulate(ANNA, OWLS, 2.5, position_seconds=3, duration_seconds=600)
    scene.clock.advance(10_000)
    yield scene
    for store in opened:
        store.close()


class Untouchable:
    """A store that has every method, and of which nothing may be asked."""

    def __getattr__(self, name):
        return lambda *_, **__: pytest.fail(f"the store was asked: {name}")


@pytest.mark.parametrize(
    ("verb", "field", "value"),
    [
        pytest.param(verb, field, value, id=f"{verb}-{field}-{kind}")
        for (verb, field), (_, values) in VERBS.items()
        for kind, value in values.items()
    ],
)
def test_no_verb_takes_bad_input(verb, field, value):
    """S10: InvalidInput names the argument before any store is asked anything; nothing is sent and nobody told."""
    emitter, reports = RecordingEmitter(), []
    tracker = ReadTimeTracker(Untouchable(), emitter, events(), on_report=reports.append)
    with refused(InvalidInput, field, value):
        VERBS[verb, field][0](tracker, value)
    assert (emitter.batches, reports) == ([], [])


@pytest.mark.parametrize("field", ["reader", "article"])
@pytest.mark.parametrize("verb", ["accumulate", "observe"])
def test_a_birth_needs_objects(scene: Scene, verb, field):
    """S15: a string where nothing is stored is a MissingField that says what to do; nothing is created."""
    reader, what = ("nobody", OWLS) if field == "reader" else (ANNA, "nowhere")
    before = contents(scene.store)
    with refused(MissingField, field, says="pass a Reader and an Article once"):
        getattr(scene.tracker, verb)(reader, what, 1 if verb == "accumulate" else PageView("v", 1))
    assert contents(scene.store) == before


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
@pytest.mark.parametrize("odd", GOOD_IDS, ids=range(len(GOOD_IDS)))
def test_odd_ids_are_ids(make_store, tmp_path, odd):
    """I1: ids with ``:{}|/?#`` and letters of any script are taken, kept apart, and sent as URIs."""
    store = make_store(tmp_path)
    scene = Scene(lambda: store)
    reader = Reader(odd, "odd@example.org")
    what = Article(odd, odd, URL, Course(odd, odd))
    scene.read(reader, what)
    counted = scene.tracker.accumulate(odd, odd, 0, heartbeat_id=odd[:64])
    assert (counted.state.reader_sourced_id, counted.state.resource_id) == (odd, odd)
    scene.tracker.observe(odd, odd, PageView(odd[:64], 0))
    assert [state.key for state in scene.tracker.states(odd)] == [(odd, odd)]
    assert scene.tracker.flush_reader(odd, resource_ids=[odd]).settled
    (event,) = scene.emitter.events
    assert scene.emitter.seconds(odd, odd) == 30
    for uri in (event["actor"]["id"], event["object"]["activity"]["id"], event["object"]["course"]["id"]):
        URI.validate(rfc3986.uri_reference(uri))
    assert event["object"]["activity"]["name"] == odd
    assert scene.tracker.forget(odd) == 1
    assert scene.tracker.states(odd) == ()
    store.close()


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
def test_ids_that_look_alike_are_kept_apart(make_store, tmp_path):
    """I6: a JSON array of key parts, so ``a|b,c`` is never ``a,b|c``; no two letters are taken for one."""
    store = make_store(tmp_path)
    scene = Scene(lambda: store)
    cuts = [(f"a{mark}b", "c") for mark in ":|/{},. #\\"] + [("a", f"b{mark}c") for mark in ":|/{},. #\\"]
    alike = [("\u00e9", "c"), ("e\u0301", "c"), ("A", "c"), ("a", "c"), ("a", "c "), ("a%20", "c"), ("a ", "c")]
    pairs = cuts + alike + [(odd, "same") for odd in GOOD_IDS]
    for reader, what in pairs:
        scene.tracker.accumulate(Reader(reader, "odd@example.org"), Article(what, what, URL), 10)
    for reader, what in pairs:
        assert scene.tracker.partial(reader, what).outcome is Outcome.SENT
    assert len({event["id"] for event in scene.emitter.events}) == len(pairs)
    assert len({(e["actor"]["id"], e["object"]["activity"]["id"]) for e in scene.emitter.events}) == len(pairs)
    store.close()


_SAYS = {**WIRED, "below": 99, "above": 1000, "64-bits": 2**63, "text": "422"}


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
@pytest.mark.parametrize("value", _SAYS.values(), ids=_SAYS)
def test_a_strange_emitter_cannot_spoil_a_state(make_store, tmp_path, value):
    """L2, P1: whatever an emitter's error says of status and Retry-After, what is kept can be read back."""
    store = make_store(tmp_path)
    scene = Scene(lambda: store)
    for error in (
        EmitterUnavailable("\ud800\x00", status=value, retry_after_seconds=value),
        EventRejected("\ud800\x00", status=value, body=value),
    ):
        scene.read(ANNA, OWLS)
        scene.emitter.fail(error)
        with pytest.raises(type(error)):
            scene.tracker.partial(ANNA, OWLS)
    (parked,) = scene.tracker.parked()
    assert parked.status is None
    assert scene.tracker.unpark(ANNA, OWLS).outcome is Outcome.SENT
    assert scene.tracker.flush_reader(ANNA).settled
    assert scene.emitter.seconds(ANNA, OWLS) == 60
    store.close()


def test_every_kind_of_bad_value_was_tried():
    """The table itself: kinds that the plan names, and how many cases there are."""
    kinds = {*NOTHING, *NOT_TEXT, *BAD_TEXT}
    assert kinds >= {"none", "empty", "list", "dict", "bytes", "object", "true", "nan", "inf", "minus-inf", "negative"}
    assert kinds >= {"huge", "10-mb", "nul", "high-surrogate", "blank"}
    rows = [*VALUES.values(), *EVENTS.values(), *VERBS.values()]
    assert sum(len(values) for _, values in rows) + sum(map(len, [*POLICY.values(), *TRACKER.values()])) > 1500
