"""Fuzz of what is stored: whatever stands in a row, only CorruptState escapes, and nobody else loses a second."""

from __future__ import annotations

import json
from functools import reduce

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.provisional import urls

from caliper_readtime import (
    Activity,
    Article,
    CorruptState,
    Course,
    EventRejected,
    MissingField,
    Outcome,
    PageView,
    Reader,
    Subject,
)
from caliper_readtime._checks import MAX_URL, is_url
from caliper_readtime._rules.history import with_step
from caliper_readtime._rules.state import Claim, Context, Ledger, Parked
from caliper_readtime.stores._codec import (
    LARGEST,
    dump_heartbeats,
    dump_views,
    load_heartbeats,
    load_views,
)
from caliper_readtime.stores._ledger_text import dump_ledger, load_ledger
from tests.faults.bad_values import problem_text
from tests.faults.stored import (
    COLUMNS,
    KINDS,
    NEWS,
    NUMBERS,
    TEXTS,
    StoredInFile,
    ledger_of,
    paths,
    replaced,
    with_ledger,
)
from tests.ledger_documents import text_of
from tests.scenes import ANNA, OWLS

LONG_TEXT = 300
# What a verb says of one state that cannot be read.
ONE = {
    "accumulate": lambda t: t.accumulate(ANNA, OWLS, 1, position_seconds=1, duration_seconds=600),
    "accumulate-ids": lambda t: t.accumulate("anna", "owls", 1),
    "observe": lambda t: t.observe(ANNA, OWLS, PageView("v", 40)),
    "partial": lambda t: t.partial(ANNA, OWLS),
    "partial-defer": lambda t: t.partial(ANNA, OWLS, defer=True),
    "finalize": lambda t: t.finalize(ANNA, OWLS),
    "finalize-defer": lambda t: t.finalize(ANNA, OWLS, defer=True),
    "unpark": lambda t: t.unpark(ANNA, OWLS),
    "state": lambda t: t.state(ANNA, OWLS),
    "explain": lambda t: t.explain(ANNA, OWLS),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The file that is written over."""
    stored = StoredInFile(tmp_path_factory.mktemp("fuzz"))
    yield stored
    stored.close()


def public_face(state):
    """Everything that a host may read of a state."""
    shown = [repr(state)] if state is None else [repr(state), state._repr_html_()]
    return shown + [getattr(state, name) for name in dir(type(state)) if not name.startswith("_")]


def survives(stored, raw):
    """Every verb, on a victim with this row. Returns whether the row can be read."""
    tracker, _ = stored.begin(raw)
    readable = True
    for verb, call in ONE.items():
        stored.write(raw)
        try:
            result = call(tracker)
        except CorruptState as error:
            readable = False
            assert (error.reader_sourced_id, error.resource_id) == ("anna", "owls"), verb
            assert all("@" not in said and len(said) < LONG_TEXT for said in problem_text(error))
            assert stored.raw() == raw
        except EventRejected:
            assert readable  # it is parked, and must wait
        except MissingField:
            assert tracker.state(ANNA, OWLS) is None  # its time to live says that it has expired
            assert verb == "accumulate-ids"
        else:
            assert readable, verb
            public_face(result if verb == "state" else getattr(result, "state", None))
    others_go_on(stored, raw, readable=readable)
    return readable


def sent(result, emitter):
    """The seconds of each state whose events went out. A victim's own event may have lost anything but its id."""
    arrived = {event["id"] for event in emitter.events}
    reports = [report for report in result.reports if arrived.issuperset(report.event_ids)]
    return {(report.reader_sourced_id, report.resource_id): report.delta_seconds for report in reports}


def others_go_on(stored, raw, *, readable):
    """Verbs about many states: none raises, and every healthy state is served."""
    tracker, emitter = stored.begin(raw)
    assert NEWS.resource_id in {state.resource_id for state in tracker.states(ANNA)}
    tracker.parked()
    assert tracker.status().unreported_states >= 2
    flushed = tracker.flush_reader(ANNA)
    assert sent(flushed, emitter)["anna", "news"] == 30
    if not readable:
        assert not flushed.settled
        assert [r.outcome for r in flushed.reports if r.resource_id == "owls"] == [Outcome.FAILED]
    tracker, emitter = stored.begin(raw)
    swept = tracker.sweep(idle_seconds=0)
    assert swept.stopped_by == "drained"
    assert (sent(swept, emitter)["anna", "news"], sent(swept, emitter)["ben", "bees"]) == (30, 30)
    if not readable:
        assert stored.raw() == raw
        assert "anna@example.org" not in repr((swept, flushed))
    assert tracker.forget(ANNA) in (1, 2)  # the victim may have expired
    assert stored.raw() is None


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from(
        (0, -1, 1, 2**31, LARGEST - 1, LARGEST, 2**53, 2**63 - 1, 2**63, 10**30, 0.5, -0.0, 1e308, float("nan"))
    ),
    st.sampled_from(
        (float("inf"), "", "x", "anna@example.org", "\x00", "\ud800", [], {}, [[]], {"a": {}}, [None] * 40)
    ),
    st.text(max_size=8),
)


# SQLite's numbers have 64 bits. A total of years is left out: it is believed, and goes out in hundreds of events.
_NUMBERS = st.integers(-(2**63), -1) | st.integers(0, 10**9) | st.integers(LARGEST, 2**63 - 1)


@st.composite
def mutated(draw, rows):
    """A row with one to three wounds."""
    raw = dict(rows[draw(st.sampled_from(sorted(rows)))])
    for _ in range(draw(st.integers(1, 3))):
        wound = draw(st.sampled_from(("structure", "structure", "text", "cut", "flip", "bytes", "number")))
        name = draw(st.sampled_from(TEXTS))
        if wound == "number" or (wound == "flip" and not raw[name]):
            number = draw(st.sampled_from(NUMBERS[:5]))
            raw[number] = draw(_NUMBERS if number == "cumulative_ms" else _NUMBERS | st.integers(0, LARGEST - 1))
        else:
            raw = draw(wounded(raw, name, wound, least=1))
    return raw


@st.composite
def wounded(draw, raw, name, wound, *, least):
    """What is stored, with one wound in a text; ``least`` is the smallest byte that one may flip to."""
    text = raw.get(name, b"")
    place = draw(st.integers(0, len(text)))
    if wound == "structure":
        return draw(_restructured(raw))
    if wound == "text":
        new = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=20)).encode()
    elif wound == "cut":
        new = text[:place] + text[place + draw(st.integers(1, 40)) :]
    elif wound == "flip":
        new = text[: place - 1] + bytes([draw(st.integers(least, 255))]) + text[place:]
    else:
        new = draw(st.binary(max_size=20))
    return {**raw, name: new}


@st.composite
def _restructured(draw, raw):
    try:
        document = ledger_of(raw)
    except (ValueError, KeyError):
        return raw
    places = list(paths(document))
    if not places:
        return raw
    place = draw(st.sampled_from(places))
    return with_ledger(raw, replaced(document, place, *draw(st.just(()) | st.tuples(JUNK))))


def test_whatever_is_stored_only_corrupt_state_escapes(stored):
    """T7: only CorruptState escapes, the row stays as it was, other states are served, sweep and flush go on."""
    seen = {True: 0, False: 0}

    @given(mutated(stored.rows))
    def fuzz(raw):
        seen[survives(stored, raw)] += 1

    fuzz()
    assert min(seen.values()) > 0  # both what can be read and what cannot


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_whole_can_be_read(stored, kind):
    """The rows that are written over are good before."""
    assert survives(stored, stored.rows[kind])


@pytest.mark.parametrize("column", NUMBERS)
@pytest.mark.parametrize("value", [-1, LARGEST, 2**62, 2**63 - 1, -(2**63)])
def test_numbers_out_of_range_are_corrupt(stored, column, value):
    """A meter's number that no clock and no reader can have made is not counted with."""
    if column == "clamped_ms" and 0 < value < 2**62:  # mistakes are clamped for as long as they go on
        return
    assert not survives(stored, {**stored.rows["parked"], column: value})


@pytest.mark.parametrize("column", TEXTS)
def test_text_that_is_none_is_corrupt(stored, column):
    """Bytes that are no UTF-8 are told as CorruptState; SQLite's own error would quote the text."""
    for raw in (b"\xff", b"a\x80", stored.rows["parked"][column] + b"\xc3"):
        assert not survives(stored, {**stored.rows["parked"], column: raw})


@pytest.mark.parametrize("cut", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_torn_ledger_is_corrupt(stored, cut):
    """A ledger that ends too early is not half a ledger."""
    for raw in stored.rows.values():
        assert not survives(stored, {**raw, "ledger": raw["ledger"][: int(len(raw["ledger"]) * cut)]})


@pytest.mark.parametrize(
    "text",
    ["x", "\nv\t", "\nv\t1\nw", "\nv\t1.5", "\nv\tnan", "\t", "\nv\t-1", "\nv\t" + "9" * 5000],
)
def test_torn_views_are_corrupt(stored, text):
    """Views come in pairs of an id and a total."""
    assert not survives(stored, {**stored.rows["parked"], "views": text.encode()})


_OTHERS = (None, True, 7, 0.25, "x", "", [], [7], {}, {"x": 7})
#: Fields that may be null.
_OPTIONAL = {
    "duration_ms", "claim", "finalized_at_ms", "deferred_at_ms", "last_error", "course", "owner", "status", "event_id",
    "id", "counts_from_at_ms", "context_at_ms",
}  # fmt: skip


def _may_be_null(place):
    # A step's event, and a context of the account that is the ledger's own.
    return place[-1] in _OPTIONAL or place[2:] == (3,) or place[-2:-1] == ("contexts",)


def _kind(value):
    return "number" if type(value) in (int, float) else type(value).__name__


def test_every_field_of_another_type_is_corrupt(stored):
    """Type swap: each place of a ledger, with a value of every other JSON type in it."""
    tried, accepted = 0, []
    for raw in stored.rows.values():
        document = ledger_of(raw)
        for place in paths(document):
            if place[0] == "schema":
                continue
            old = document
            for name in place:
                old = old[name]
            for other in _OTHERS:
                if _kind(other) == _kind(old) or (other is None and _may_be_null(place)):
                    continue
                if old is None and isinstance(other, str):  # a token where there was none
                    continue
                tried += 1
                try:
                    load_ledger(text_of(replaced(document, place, other)))
                except CorruptState:
                    continue
                accepted.append((place, other))
    assert accepted == []
    assert tried > 1000


@pytest.mark.parametrize("event", ["", "{", "null", "[]", "7", '"x"', "{}", '{"id":"urn:uuid:other"}', "[" * 100_000])
@pytest.mark.parametrize("kind", ["claimed", "released", "everything"])
def test_a_claim_that_holds_no_event_is_corrupt(stored, kind, event):
    """One event that cannot be sent never fails the envelope of others, sweep after sweep."""
    raw = stored.rows[kind]
    assert not survives(stored, with_ledger(raw, replaced(ledger_of(raw), ("claim", "event"), event)))


@pytest.mark.parametrize("schema", [[3, 0], [1, 2], [99, 99], [], [2], [2, 0, 0], "20", 2, None, [True, 0], [2.0, 0]])
def test_another_major_schema_is_refused(stored, schema):
    """T7: only an incompatible state raises CorruptState, and it is never overwritten."""
    raw = stored.rows["parked"]
    assert not survives(stored, with_ledger(raw, {**ledger_of(raw), "schema": schema}))


NEWER = {"mood": {"owl": ["wise", None, 1.5]}, "unknown": "\ud800", "pointer": -1, "ünï": "c\x00ödé", "": []}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("verb", [verb for verb in ONE if verb != "state"])
def test_fields_of_a_newer_minor_schema_are_kept(stored, kind, verb):
    """T7: unknown fields of a newer minor schema are kept, whichever verb writes the state."""
    raw = stored.rows[kind]
    tracker, _ = stored.begin(with_ledger(raw, {**ledger_of(raw), "schema": [2, 7], **NEWER}))
    try:
        ONE[verb](tracker)
    except EventRejected:
        assert kind in ("parked", "full", "everything")
    document = ledger_of(stored.raw())
    assert {name: document.get(name) for name in NEWER} == NEWER
    assert document["schema"][0] == 2


def test_a_state_that_breaks_while_it_is_sent(stored):
    """A row that breaks between claim and commit: CorruptState, the row stays, and the others are committed."""
    torn = {**stored.rows["unreported"], "ledger": b"{"}

    class Breaks:
        def emit(self, _events, /):
            stored.write(torn)

        def close(self):
            pass

    stored.begin(stored.rows["unreported"])
    with pytest.raises(CorruptState):
        stored.scene.another(Breaks()).partial(ANNA, OWLS)
    assert stored.raw() == torn
    stored.begin(stored.rows["unreported"])
    swept = stored.scene.another(Breaks()).sweep(idle_seconds=0)
    assert {r.resource_id for r in swept.reports if r.outcome is Outcome.SENT} == {"news", "bees"}
    assert stored.raw() == torn


_MS = st.integers(0, LARGEST - 1)
_WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40).filter(
    lambda text: not text.isspace() and not is_url(text)
)
_ANY = st.text(max_size=30)
_URL = urls().filter(lambda url: len(url) <= MAX_URL)
_CONTEXTS = st.builds(
    Context,
    st.builds(Reader, _WORDS, st.sampled_from(("anna@example.org", "a@b", "!#$%&'*+/=?^_`{|}~@x.y"))),
    st.builds(
        Article,
        _WORDS | _URL,
        _WORDS,
        _URL,
        st.none() | st.builds(Course, _WORDS, st.none() | _WORDS),
        st.sampled_from(Subject),
    )
    | st.builds(
        Activity,
        _WORDS,
        _WORDS,
        _URL,
        kind=_WORDS,
        attempt=st.none() | st.integers(1, 9),
        words=st.none() | st.integers(1, 9),
        extensions=st.dictionaries(_WORDS, st.booleans() | _WORDS | st.integers(), max_size=3),
    ),
)


@st.composite
def _claims(draw):
    event = {"id": draw(_ANY), "actor": draw(_ANY), "more": draw(JUNK)}
    owner = draw(st.none() | _ANY)
    numbers = draw(st.tuples(*[_MS] * 4)), draw(st.tuples(*[_MS] * 4))
    return Claim(event["id"], *numbers[0], draw(_CONTEXTS), json.dumps(event), owner, *numbers[1])


_PARKED = st.builds(Parked, _ANY, _MS, _MS, _MS, _MS, _CONTEXTS, _MS, _MS, st.none() | st.integers(100, 999), _ANY)
_STEPS = st.tuples(_MS, st.sampled_from(("claimed", "sent", "audited by hand")), st.none() | _ANY, _MS, _ANY)
_KNOWN = {"schema", *(attribute.name for attribute in attrs.fields(Ledger))} - {"unknown"}
_UNKNOWN = st.dictionaries(
    _ANY.filter(lambda name: name not in _KNOWN),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | _ANY,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ANY, inner, max_size=3),
        max_leaves=5,
    ),
    max_size=3,
).map(lambda fields: json.dumps(fields, separators=(",", ":")))
_MAYBE = st.none() | _MS
_LEDGERS = st.builds(
    Ledger,
    generation=_ANY,
    first_sync_at_ms=_MS,
    ttl_ms=_MS,
    context=_CONTEXTS,
    duration_ms=_MAYBE,
    pointer_ms=_MS,
    accepted_to_ms=_MS,
    claim=st.none() | _claims(),
    parked=st.lists(_PARKED, max_size=3).map(tuple),
    finalize_wanted=st.booleans(),
    finalized_at_ms=_MAYBE,
    deferred_at_ms=_MAYBE,
    last_error=st.none() | _ANY,
    history=st.lists(_STEPS, max_size=3).map(
        lambda steps: reduce(lambda text, step: with_step(text, *step), steps, "")
    ),
    counts_from_at_ms=_MAYBE,
    widened_ms=_MS,
    context_at_ms=_MAYBE,
    unknown=_UNKNOWN,
)


@given(_LEDGERS)
@settings(max_examples=100)
def test_any_ledger_is_read_back_as_it_was(ledger):
    """Codec: ledger to text to ledger is the same, and the text is the same again."""
    text = dump_ledger(ledger)
    assert text.isascii()
    assert load_ledger(text) == ledger
    assert dump_ledger(load_ledger(text)) == text


@given(st.lists(st.tuples(_WORDS, _MS), max_size=16).map(tuple), st.lists(_WORDS, max_size=16).map(tuple))
def test_any_lists_are_read_back_as_they_were(views, heartbeats):
    """Codec: views and heartbeat ids, whatever printable text their ids are."""
    assert load_views(dump_views(views)) == views
    assert load_heartbeats(dump_heartbeats(heartbeats)) == heartbeats


@given(
    st.text(max_size=60)
    | st.recursive(JUNK, lambda inner: st.lists(inner) | st.dictionaries(_ANY, inner)).map(json.dumps)
)
def test_any_text_is_a_ledger_or_corrupt(text):
    """Codec: any text, and any JSON, is read or refused with CorruptState that says only its kind."""
    for load in (load_ledger, load_views, load_heartbeats):
        try:
            load(text)
        except CorruptState as error:
            assert all(len(said) < LONG_TEXT and "@" not in said for said in problem_text(error))


def test_every_column_is_known_to_the_fuzz(stored):
    """The fuzz writes over every column, so a new one must be added to it."""
    names = {row[1] for row in stored.sqlite.execute("PRAGMA table_info(state)")}
    assert names == {"reader", "resource", *COLUMNS}
