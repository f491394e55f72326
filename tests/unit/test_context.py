"""Reader | str and Article | str: an object refreshes the stored context, a string relies on it."""

from __future__ import annotations

import attrs
import pytest

from caliper_readtime import (
    Article,
    Course,
    InvalidInput,
    MissingField,
    Outcome,
    PageView,
    Reader,
    ReadTimeTracker,
    Subject,
)
from caliper_readtime._rules.state import Context
from tests.scenes import ANNA, BEES, OWLS, ROSTER, Scene, article

USERS = f"{ROSTER}/ims/oneroster/rostering/v1p2/users"
RESOURCES = f"{ROSTER}/ims/oneroster/rostering/v1p2/resources"


def test_strings_rely_on_what_is_stored(scene: Scene):
    """S15: a string relies on it: heartbeats and reports by id alone, with the stored e-mail and title."""
    scene.tracker.accumulate(ANNA, OWLS, 0)
    scene.clock.advance(30)
    scene.tracker.accumulate("anna", "owls", 20)
    scene.tracker.observe("anna", "owls", PageView("v", 10))
    assert scene.tracker.partial("anna", "owls").outcome is Outcome.SENT
    event = scene.emitter.events[0]
    assert (event["actor"]["email"], event["object"]["activity"]["name"]) == ("anna@example.org", "Owls")
    assert event["generated"]["items"][0]["value"] == 30


@attrs.frozen
class Pupil(Reader):
    """A host's own reader."""

    account: object = None


@attrs.frozen(eq=False)
class Lesson(Article):
    """A host's own article."""

    row: object = None


@attrs.frozen
class Term(Course):
    """A host's own course."""

    row: object = None


@pytest.mark.parametrize("more", [object(), {1}, 3], ids=["no JSON", "no hash", "JSON"])
@pytest.mark.parametrize("kind", ["reader", "article", "course"])
def test_what_a_hosts_own_class_adds_is_left_out(scene: Scene, kind, more):
    """S15: a subclass counts as what it stands for, on every store: it changes nothing, and refreshes no context."""
    birds = Course("Birds", "birds")
    what = article("owls", course=birds)
    reader = Pupil("anna", "anna@example.org", more) if kind == "reader" else ANNA
    theirs = article("owls", course=Term("Birds", "birds", more)) if kind == "course" else what
    if kind == "article":
        theirs = Lesson("owls", "Owls", what.url, course=birds, row=more)
    for given in ((ANNA, what), (reader, theirs), (ANNA, what), (reader, theirs)):
        scene.read(*given)
        context = scene.state().ledger.context
        assert (type(context.reader), type(context.article), type(context.article.course)) == (Reader, Article, Course)
        assert context == Context(ANNA, what)
    assert scene.tracker.finalize(reader, theirs).delta_seconds == 120


@pytest.mark.parametrize(
    ("reader", "what", "field"),
    [("anna", OWLS, "reader"), (ANNA, "owls", "article"), ("anna", "owls", "reader")],
)
def test_nothing_stored_is_a_missing_field(scene: Scene, reader, what, field):
    """S15: where none is stored MissingField asks for a Reader and an Article once; nothing is stored."""
    for signal in (
        lambda: scene.tracker.accumulate(reader, what, 10),
        lambda: scene.tracker.observe(reader, what, PageView("v", 10)),
    ):
        with pytest.raises(MissingField, match="pass a Reader and an Article once") as raised:
            signal()
        assert raised.value.field == field
    assert scene.tracker.states("anna") == ()


def test_another_article_needs_its_own_objects(scene: Scene):
    """I1: the context belongs to one reader and one article."""
    scene.read(ANNA, OWLS)
    with pytest.raises(MissingField):
        scene.tracker.accumulate("anna", "bees", 10)


def test_an_object_beside_a_string_refreshes_its_half(scene: Scene):
    """S15: an object refreshes the stored context: the reader's half, or the article's."""
    scene.read()
    scene.tracker.accumulate(Reader("anna", "new@example.org"), "owls", 0)
    scene.tracker.accumulate("anna", article("owls", title="Night owls"), 0)
    scene.tracker.partial("anna", "owls")
    event = scene.emitter.events[0]
    assert (event["actor"]["email"], event["object"]["activity"]["name"]) == ("new@example.org", "Night owls")


def test_every_part_of_an_article_reaches_the_event(scene: Scene):
    """Article: url, course and subject are the event's object."""
    what = Article("owls", "Owls", "https://reader.example.org/g5/owls", Course("Reading G5", "c1"), "Social Studies")
    scene.read(ANNA, what)
    scene.tracker.partial(ANNA, what)
    target = scene.emitter.events[0]["object"]
    assert target["id"] == "https://reader.example.org/g5/owls"
    assert target["subject"] == Subject.SOCIAL_STUDIES.value == "Social Studies"
    assert target["course"] == {
        "id": f"{ROSTER}/ims/oneroster/rostering/v1p2/courses/c1",
        "name": "Reading G5",
    }


@pytest.mark.parametrize(
    ("reader_id", "resource_id"),
    [
        (f"{USERS}/anna", f"{RESOURCES}/owls"),
        (f"{USERS}/anna/", f"{RESOURCES}/owls?x=1#part"),
        (f"{USERS}/%61nna", f"{RESOURCES}/%6Fwls"),
        (f"{ROSTER}/users/anna", "owls"),
    ],
)
def test_urls_under_the_oneroster_url_are_the_same_key(scene: Scene, reader_id, resource_id):
    """I1: u1 and its URL are one key (query and fragment dropped, percent-decoded), as objects and as strings."""
    scene.read(ANNA, OWLS, 30)
    scene.clock.advance(10)
    scene.tracker.accumulate(reader_id, resource_id, 10)
    scene.tracker.accumulate(
        Reader(reader_id, "anna@example.org"), Article(resource_id, "Owls", "https://reader.example.org/owls"), 0
    )
    assert scene.state().cumulative_read_time_seconds == 40.0
    assert len(scene.tracker.states(reader_id)) == 1
    report = scene.tracker.finalize(reader_id, resource_id)
    assert (report.reader_sourced_id, report.resource_id) == ("anna", "owls")
    event = scene.emitter.events[0]
    assert event["actor"]["id"] == f"{USERS}/anna"
    assert event["object"]["activity"]["id"] == f"{RESOURCES}/owls"


def test_urls_elsewhere_stay_what_they_are(scene: Scene):
    """I4: an actor or activity id that is a URL elsewhere stays as it is."""
    reader = Reader("https://elsewhere.example.net/people/anna", "anna@example.org")
    what = Article("https://elsewhere.example.net/resources/owls", "Owls", "https://reader.example.org/owls")
    scene.read(reader, what)
    scene.tracker.partial(reader, what)
    event = scene.emitter.events[0]
    assert event["actor"]["id"] == "https://elsewhere.example.net/people/anna"
    assert event["object"]["activity"]["id"] == "https://elsewhere.example.net/resources/owls"
    assert scene.tracker.state("anna", "owls") is None


@pytest.mark.parametrize(
    "wrong", [None, "", "  ", 7, b"anna", ["anna"], "a" * 256, "an\nna", "an\ud800na", PageView("v", 0)]
)
def test_ids_that_are_none_are_refused(scene: Scene, wrong):
    """S10: empty ids, control characters and lone surrogates are refused in every verb; nothing is stored."""
    for verb in ("partial", "finalize", "state", "unpark"):
        for pair in ((wrong, OWLS), (ANNA, wrong)):
            with pytest.raises(InvalidInput):
                getattr(scene.tracker, verb)(*pair)
    for verb in ("flush_reader", "states", "forget"):
        with pytest.raises(InvalidInput):
            getattr(scene.tracker, verb)(wrong)
    with pytest.raises(InvalidInput):
        scene.tracker.accumulate(wrong, OWLS, 10)
    with pytest.raises(InvalidInput):
        scene.tracker.observe(ANNA, wrong, PageView("v", 10))
    assert scene.tracker.states(ANNA) == ()


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Reader(None, "anna@example.org"), "Reader.sourced_id"),
        (lambda: Reader("anna", None), "Reader.email"),
        (lambda: Reader("anna", ""), "Reader.email"),
        (lambda: Article("", "Owls", "https://reader.example.org/owls"), "Article.resource_id"),
        (lambda: Article("owls", "", "https://reader.example.org/owls"), "Article.title"),
        (lambda: Article("owls", "Owls", None), "Article.url"),
    ],
)
def test_what_is_missing_is_named(make, field):
    """MissingField: names the field, and is an InvalidInput and a ValueError."""
    with pytest.raises(MissingField) as raised:
        make()
    assert raised.value.field == field
    assert isinstance(raised.value, ValueError)


def test_states_lists_a_readers_articles(scene: Scene):
    """ReadTimeTracker.states: every state of one reader, and state() is one of them."""
    scene.read(ANNA, OWLS)
    scene.read(ANNA, BEES)
    assert {state.resource_id for state in scene.tracker.states("anna")} == {"owls", "bees"}
    assert scene.tracker.state("anna", "owls") in scene.tracker.states(ANNA)
    assert scene.tracker.states("ben") == ()


def test_a_tracker_without_events_keeps_what_another_one_sends(scene: Scene):
    """ReadTimeTracker(store) alone accumulates with objects; a host with an emitter sends it."""
    silent = ReadTimeTracker(scene.store, clock=scene.clock)
    scene.read(tracker=silent)
    assert scene.tracker.partial("anna", "owls").delta_seconds == 30.0
