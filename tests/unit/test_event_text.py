"""The text that a claim holds is that of the event, and emitters send it as it stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime import (
    Activity,
    App,
    Article,
    Course,
    HttpCaliperEmitter,
    InMemoryStateStore,
    JsonLinesEmitter,
    Reader,
    TimeSpentEvents,
)
from caliper_readtime._rules.event_text import EventTexts, event_text
from caliper_readtime._rules.ranges import Context
from caliper_readtime.errors import InvalidInput
from caliper_readtime.testing import CaliperEndpoint
from tests.scenes import ANNA, OWLS, SENSOR, Scene, events

IDS = ("urn:uuid:00000000-0000-4000-8000-000000000001", "urn:uuid:00000000-0000-4000-8000-000000000002")
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=20).filter(
    lambda text: not text.isspace() and "://" not in text
)
READERS = st.builds(Reader, WORDS, st.sampled_from(["a@b.org", "o'neil+x@example.org"]))
ARTICLES = st.builds(
    Article,
    WORDS,
    WORDS,
    st.just("https://example.org/%C3%A4?a=%25s"),
    st.one_of(st.none(), st.builds(Course, WORDS, st.one_of(st.none(), WORDS))),
) | st.builds(
    Activity,
    WORDS,
    WORDS,
    st.just("https://example.org/v"),
    kind=WORDS,
    attempt=st.none() | st.integers(1, 9),
    extensions=st.dictionaries(WORDS, st.sampled_from(["\0", '"\0"', "\\u0000", 0, 1.5, True, ["ü"]]), max_size=3),
)


def plain(builder, context, seconds, began, ended):
    """The event's text by the long way."""
    event = builder.event(
        context.reader,
        context.article,
        event_id=IDS[0],
        generated_id=IDS[1],
        seconds=seconds,
        started_at_ms=began,
        ended_at_ms=ended,
    )
    return json.dumps(event, separators=(",", ":"), allow_nan=False)


@given(READERS, ARTICLES, st.integers(1, 86400), st.integers(0, 2**41), st.integers(0, 2**41), WORDS)
def test_the_text_is_that_of_the_event(reader, article, seconds, began, ended, name):
    """E1: whatever the reader, the article and the times are, byte for byte."""
    ended += 86_400_000
    builder = events(sensor=f"https://{len(name)}.example.org")
    context = Context(reader, article)
    assert event_text(builder, context, IDS, seconds, began, ended) == plain(builder, context, seconds, began, ended)


class Upper(TimeSpentEvents):
    """A host's own builder."""

    def event(self, *args, **more):
        return {**super().event(*args, **more), "edApp": "https://example.org"}


def test_a_builder_of_the_hosts_own_is_asked_each_time():
    """What it adds is said."""
    builder = Upper("https://example.org", App("X"), "https://example.org")
    context = Context(ANNA, OWLS)
    assert json.loads(event_text(builder, context, IDS, 5, 0, 9000))["edApp"] == "https://example.org"


@pytest.mark.parametrize("seconds", [0, 86401])
def test_seconds_out_of_range(seconds):
    """As the builder refuses them."""
    with pytest.raises(InvalidInput):
        event_text(events(), Context(ANNA, OWLS), IDS, seconds, 0, 9000)


def texts(*titles):
    """Events of these titles."""
    contexts = [Context(ANNA, Article("owls", title, "https://example.org/owls")) for title in titles]
    made = [event_text(events(), context, IDS, 5, 0, 9000) for context in contexts]
    return EventTexts(made, [f"id{number}" for number in range(len(made))])


def test_events_are_mappings_for_whoever_looks():
    """They have a length, places and parts; a part knows its ids."""
    made = texts("One", "Zwölf", "Three")
    assert [event["object"]["activity"]["name"] for event in made] == ["One", "Zwölf", "Three"]
    assert (len(made), made[1:].ids, made[-1]["object"]["activity"]["name"]) == (3, ("id1", "id2"), "Three")


def test_what_goes_over_the_wire_is_utf8():
    """The envelope that an endpoint parses is the one of plain mappings."""
    with CaliperEndpoint() as endpoint:
        emitter = HttpCaliperEmitter(endpoint.url, sensor=SENSOR)
        made = texts("One", "Zwölf \\u00e4")
        emitter.emit(made)
        emitter.emit(list(made))
        first, second = (json.loads(request.body) for request in endpoint.requests)
        assert "Zwölf".encode() in endpoint.requests[0].body
        assert first["data"] == second["data"] == list(made)
        assert first.keys() == second.keys()
        emitter.close()


def test_lines_are_those_of_plain_mappings(tmp_path):
    """A file holds the same lines either way."""
    emitter = JsonLinesEmitter(tmp_path / "events.jsonl")
    made = texts("One", "Zwölf")
    emitter.emit(made)
    emitter.emit(list(made))
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == lines[2:]
    assert "Zwölf" in lines[1]


class Derived(HttpCaliperEmitter):
    """A host's own, which looks at what it sends."""

    def emit(self, events, /):
        self.seen = events


@pytest.mark.parametrize("kind", [Derived, type("Own", (), {"emit": Derived.emit, "close": lambda self: None})])
def test_emitters_of_others_are_given_plain_mappings(kind):
    """The contract of emitters: a list of dicts, ready for JSON."""
    emitter = kind("http://127.0.0.1:9/caliper/event") if kind is Derived else kind()
    scene = Scene(InMemoryStateStore)
    scene.read()
    scene.use(emitter).partial(ANNA, OWLS)
    assert type(emitter.seen) is list
    assert [type(event) for event in emitter.seen] == [dict]
