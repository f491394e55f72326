"""Keys, actor, activity and course ids, event ids (chapter I)."""

from __future__ import annotations

import json
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime import (
    App,
    Article,
    Course,
    InMemoryStateStore,
    InvalidInput,
    MissingField,
    Reader,
    ReadTimeTracker,
    TimeSpentEvents,
)
from caliper_readtime._rules.identity import event_id, generated_id, key_of
from caliper_readtime._rules.state import Key
from tests.scenes import ANNA, OWLS, ROSTER, events
from tests.unit.builders import Life, body

V1P2 = f"{ROSTER}/ims/oneroster/rostering/v1p2"
ids = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), min_size=1, max_size=60).filter(
    lambda text: "://" not in text
)


def as_key(name, roster=ROSTER):
    """The reader's part of a key."""
    return key_of(roster, name, "owls").reader_sourced_id


@pytest.mark.parametrize(
    ("url", "reduced"),
    [
        (f"{V1P2}/users/u1", "u1"),
        (f"{ROSTER}/users/u1", "u1"),
        (f"{V1P2}/users/u1?fields=name&x=/y", "u1"),
        (f"{V1P2}/users/u1#part/z", "u1"),
        (f"{V1P2}/users/u1/", "u1"),
        (f"{V1P2}/users/a%2Fb%20c", "a/b c"),
        (f"{V1P2}/users/%C3%A9l%C3%A8ve", "élève"),
        (f"{V1P2}/users/100%2525", "100%25"),
        (f"{V1P2}/users/a+b", "a+b"),
        (f"{ROSTER}/u1", "u1"),
        (f"{ROSTER}/u", "u"),
        ("HTTPS://ROSTER.example.org/users/u1", "u1"),
    ],
)
def test_urls_under_oneroster_are_reduced(url, reduced):
    """I1: URLs under oneroster_url are reduced to their last path segment (query and fragment dropped, decoded)."""
    assert as_key(url) == reduced
    assert key_of(ROSTER, "anna", url) == Key("anna", reduced)
    assert events().actor_id(url) == events().actor_id(reduced)
    assert events().activity_id(url) == events().activity_id(reduced)


@pytest.mark.parametrize(
    "other",
    [
        "https://elsewhere.example.org/users/u1",
        "http://roster.example.org/users/u1",
        "https://roster.example.org.evil.example/users/u1",
        "https://roster.example.org:8443/users/u1",
        "u1",
        "users/u1",
        "urn:uuid:7c0d6f0e-6f8a-4e0c-9d0a-3f8f5b0f2a11",
    ],
)
def test_other_ids_stay_as_they_are(other):
    """I1: only URLs under oneroster_url are reduced, by scheme, host, port and path."""
    assert as_key(other) == other


def test_under_means_under_the_path_too():
    """I1: under the OneRoster URL means whole path segments."""
    base = "https://h.example/tenant/one/"
    assert as_key("https://h.example/tenant/one/users/u1", base) == "u1"
    for other in ("https://h.example/tenant/oneself/users/u1", "https://h.example/users/u1"):
        assert as_key(other, base) == other


@pytest.mark.parametrize(
    "empty", [f"{ROSTER}/", f"{ROSTER}/?x=u1", "https://h.example/one/", "https://h.example/one//"]
)
def test_a_roster_url_without_an_id_is_refused(empty):
    """I1, S10: a URL that reduces to nothing is refused as an empty id is."""
    base = ROSTER if empty.startswith(ROSTER) else "https://h.example/one"
    with pytest.raises(InvalidInput):
        as_key(empty, base)


@pytest.mark.parametrize("hidden", ["%00", "a%0Ab", "%7F", "%ED%A0%80", "%FF", "a" * 256, "%61" * 256])
def test_a_reduced_id_is_checked_like_any_other(hidden):
    """S10, I3: control characters, broken text and more than 255 characters cannot hide behind percent-encoding."""
    with pytest.raises(InvalidInput):
        as_key(f"{ROSTER}/users/{hidden}")


@pytest.mark.parametrize(("roster", "under"), [("https://h.example/é", "https://h.example/é/users/u1")])
def test_a_roster_url_with_other_letters_reduces_as_well(roster, under):
    """I1: the service's own URLs are reduced whichever way its letters are written."""
    builder = events(oneroster_url=roster)
    assert builder.actor_id(under) == builder.actor_id("u1") == builder.actor_id(builder.actor_id("u1"))


def test_u1_and_its_url_are_one_key():
    """I1: u1 and its URL are one key, at the public verbs, for readers, articles, objects and ids."""
    with ReadTimeTracker(InMemoryStateStore(), events=events()) as tracker:
        tracker.accumulate(Reader(f"{V1P2}/users/anna", "anna@example.org"), OWLS, 5)
        url_owls = Article(f"{V1P2}/resources/owls?x=1", "Owls", OWLS.url)
        assert tracker.accumulate("anna", url_owls, 3).accepted_seconds == 3
        (state,) = tracker.states(f"{V1P2}/users/anna")
        assert (state.reader_sourced_id, state.resource_id) == ("anna", "owls")
        assert state == tracker.state("anna", "owls") == tracker.state(f"{ROSTER}/x/anna", f"{V1P2}/resources/owls")
        assert tracker.forget(f"{V1P2}/users/anna") == 1


@pytest.mark.parametrize(
    ("kind", "longest", "make"),
    [
        ("reader id", 255, lambda text: Reader(text, "a@b.example")),
        ("resource id", 255, lambda text: Article(text, "T", "https://h.example/")),
        ("course id", 255, lambda text: Course("C", text)),
        ("title", 1000, lambda text: Article("r", text, "https://h.example/")),
        ("URL", 2048, lambda text: Article("r", "T", ("https://h.example/" + text)[: len(text)])),
        ("id as text", 255, lambda text: key_of(ROSTER, text, "r")),
    ],
)
def test_lengths(kind, longest, make):
    """I3: ids up to 255, titles up to 1,000, URLs up to 2,048 characters, each to the character."""
    make("é" * longest if kind != "URL" else "x" * longest)
    with pytest.raises(InvalidInput):
        make("x" * (longest + 1))


@pytest.mark.parametrize(
    ("sourced_id", "segment"),
    [("u1", "u1"), ("a/b", "a%2Fb"), ("a b", "a%20b"), ("é", "%C3%A9"), ("50%", "50%25"), ("a?b#c", "a%3Fb%23c")],
)
def test_actor_and_activity_ids(sourced_id, segment):
    """I4: actor and activity ids lie below the OneRoster base URL, percent-encoded."""
    for base in (ROSTER, f"{ROSTER}/"):
        builder = TimeSpentEvents("https://app.example.org", "App", base)
        assert builder.actor_id(sourced_id) == f"{V1P2}/users/{segment}"
        assert builder.activity_id(sourced_id) == f"{V1P2}/resources/{segment}"


def test_ids_that_are_urls_elsewhere_stay():
    """I4: an id that is a URL elsewhere stays as it is; the same for courses."""
    elsewhere = "https://elsewhere.example.org/people/7?x=1"
    assert events().actor_id(elsewhere) == elsewhere
    assert events().activity_id(elsewhere) == elsewhere
    assert built(course=Course("C", elsewhere))["object"]["course"]["id"] == elsewhere


def test_plain_activity_ids():
    """I4: ``activity_ids="plain"`` sends the id as given."""
    plain = events(activity_ids="plain")
    for as_given in ("nice_x123", "a/b é", "https://elsewhere.example.org/7"):
        assert plain.activity_id(as_given) == as_given
    assert plain.actor_id("u1") == f"{V1P2}/users/u1"


def test_courses_are_written_like_the_rest():
    """I4: a course id is the OneRoster course URL; a course without one has a name alone."""
    assert built(course=Course("C", "c 1"))["object"]["course"] == {"id": f"{V1P2}/courses/c%201", "name": "C"}
    assert built(course=Course("C", f"{V1P2}/courses/c1"))["object"]["course"]["id"] == f"{V1P2}/courses/c1"
    assert built(course=Course("C"))["object"]["course"] == {"name": "C"}


def test_the_object_id_is_the_page():
    """I4: object.id is the article's page URL."""
    assert built()["object"]["id"] == OWLS.url


def built(builder=None, **more):
    """An event of the article with other details."""
    return (builder or events()).event(
        ANNA,
        Article("owls", "Owls", OWLS.url, **more),
        event_id="urn:uuid:1",
        generated_id="urn:uuid:2",
        seconds=1,
        started_at_ms=0,
        ended_at_ms=1000,
    )


@given(ids, ids)
def test_ids_survive_the_way_there_and_back(reader, resource):
    """I1, I4: what actor_id and activity_id make of an id reduces to that id again."""
    builder = events()
    assert key_of(ROSTER, builder.actor_id(reader), builder.activity_id(resource)) == Key(reader, resource)


def test_a_generation_is_a_uuid4_drawn_at_each_birth():
    """I5: the generation is a uuid4, drawn at each birth of a state."""
    generations = set()
    for _ in range(3):
        life = Life()
        life.beat(5)
        assert uuid.UUID(life.ledger.generation).version == 4
        generations.add(life.ledger.generation)
        life.wait(5).beat(5)
        assert life.ledger.generation in generations
    assert len(generations) == 3
    with ReadTimeTracker(InMemoryStateStore()) as tracker:
        first = tracker.accumulate(ANNA, OWLS, 5).state.ledger.generation
        tracker.forget(ANNA)
        assert tracker.accumulate(ANNA, OWLS, 5).state.ledger.generation != first


def test_event_ids_are_uuid5_over_a_json_array():
    """I6: ``urn:uuid:`` and a uuid5 over the JSON array of (generation, reader, resource, from, to)."""
    made = event_id("g", Key("anna", "owls"), 0, 30_000)
    array = json.dumps(["g", "anna", "owls", 0, 30_000])
    assert made == f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, array)}"
    assert made == event_id("g", Key("anna", "owls"), 0, 30_000)


def test_every_part_counts_and_none_runs_into_the_next():
    """I6: a joined string would make a|b,c equal a,b|c."""
    spans = [
        ("g", Key("a,b", "c"), 0, 1000),
        ("g", Key("a", "b,c"), 0, 1000),
        ("g", Key('a", "b', "c"), 0, 1000),
        ("g", Key("a", 'b", "c'), 0, 1000),
        ("g", Key("a|b", "c"), 0, 1000),
        ("g", Key("a", "b|c"), 0, 1000),
        ("h", Key("a|b", "c"), 0, 1000),
        ("g", Key("c", "a|b"), 0, 1000),
        ("g", Key("a|b", "c"), 0, 2000),
        ("g", Key("a|b", "c"), 1000, 2000),
    ]
    every = [event_id(*span) for span in spans] + [generated_id(*span) for span in spans]
    assert len(set(every)) == len(every)


def test_generated_ids_are_derived_the_same_way():
    """I6: generated.id is derived the same way: as stable, a uuid5, and another id."""
    span = ("g", Key("anna", "owls"), 0, 30_000)
    assert generated_id(*span) == generated_id(*span) != event_id(*span)
    assert uuid.UUID(generated_id(*span).removeprefix("urn:uuid:")).version == 5


def test_a_claim_carries_the_derived_ids():
    """I6, I7: same id => same range, on any host, after any crash."""
    life = Life()
    claim = life.claimed(30.4)
    span = (life.ledger.generation, Key("anna", "owls"), 0, 30_000)
    assert (claim.event_id, claim.start_ms, claim.end_ms) == (event_id(*span), 0, 30_000)
    assert (body(claim)["id"], body(claim)["generated"]["id"]) == (event_id(*span), generated_id(*span))
    again = life.wait(31).take("another host").claim
    assert (again.event_id, again.event) == (claim.event_id, claim.event)


@pytest.mark.parametrize("bad", ["", None, "  ", 7, b"u1", "a\nb", "a\x85b", "\ud800", True])
def test_bad_ids_are_refused_wherever_they_come_in(bad):
    """S10: empty ids, control characters, lone surrogates, and what is no text, are refused at every verb."""
    tracker = ReadTimeTracker(InMemoryStateStore(), events=events())
    for call in (
        lambda: Reader(bad, "a@b.example"),
        lambda: Article(bad, "T", OWLS.url),
        lambda: tracker.accumulate(bad, OWLS, 1),
        lambda: tracker.accumulate(ANNA, bad, 1),
        lambda: tracker.partial("anna", bad, defer=True),
        lambda: tracker.state(bad, "owls"),
        lambda: tracker.states(bad),
        lambda: tracker.forget(bad),
        lambda: events().actor_id(bad),
        lambda: events().activity_id(bad),
    ):
        with pytest.raises(MissingField if bad in ("", None) else InvalidInput):
            call()
    assert tracker.states(ANNA) == ()


def test_the_app_may_be_a_name():
    """TimeSpentEvents(sensor, app, …): an App, or its name alone."""
    by_name = TimeSpentEvents("https://app.example.org", "App", ROSTER)
    assert by_name == TimeSpentEvents("https://app.example.org", App("App"), ROSTER)
    assert built(by_name)["object"]["app"] == {"name": "App"}
    with_id = TimeSpentEvents("https://app.example.org", App("App", "https://app.example.org/é"), ROSTER)
    assert built(with_id)["object"]["app"] == {"id": "https://app.example.org/%C3%A9", "name": "App"}
