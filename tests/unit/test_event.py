"""Events (chapter E): what the builder makes is good for an independent strict schema, whatever the context."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from caliper_readtime import (
    Activity,
    App,
    Article,
    ConfigurationError,
    Course,
    InvalidInput,
    Reader,
    Subject,
    TimeSpentEvents,
)
from caliper_readtime._units import to_caliper_time, to_epoch_ms
from caliper_readtime.testing._strict_schema import envelope_problems
from tests.scenes import ANNA, OWLS, ROSTER, SENSOR, events
from tests.strict_schema import strict
from tests.unit.builders import DAY, NOW, Life, body, item, ms

JUDGES = {"uri": strict("uri"), "plain": strict("plain")}
EVENT_ID = "urn:uuid:7c0d6f0e-6f8a-5e0c-9d0a-3f8f5b0f2a11"
GENERATED_ID = "urn:uuid:0b0f6a52-2d2e-5d0f-8a0e-0d8e6e4c9a10"


def build(builder=None, reader=ANNA, article=OWLS, *, seconds=42, started_at_ms=NOW, ended_at_ms=NOW + 42_000):
    """One finished event."""
    return (builder or events()).event(
        reader,
        article,
        event_id=EVENT_ID,
        generated_id=GENERATED_ID,
        seconds=seconds,
        started_at_ms=started_at_ms,
        ended_at_ms=ended_at_ms,
    )


def judged(builder, event):
    """The event, once schema, table and JSON agree that it is good."""
    envelope = builder.envelope([event], sent_ms=NOW)
    assert json.loads(json.dumps(envelope, allow_nan=False)) == envelope
    kind = builder.activity_ids.value
    problems = [f"{error.json_path}: {error.message}" for error in JUDGES[kind].iter_errors(envelope)]
    assert (problems, envelope_problems(envelope, activity_ids=kind)) == ([], ())
    return event


CONTEXTS = {
    "bare": (Reader("u1", "s@example.org"), Article("r1", "T", "https://h.example/")),
    "everything": (
        Reader("u1", "s@example.org"),
        Article("r1", "T", "https://h.example/a?b=c#d", Course("G5", "c1"), Subject.SOCIAL_STUDIES),
    ),
    "a course without an id": (ANNA, Article("r1", "T", "https://h.example/", Course("G5"))),
    "unicode": (
        Reader("élève-七", "s@example.org"),
        Article("лес", "Совы 🦉 «ночью»", "https://h.example/чтение/совы?q=🦉", Course("五年级", "課")),
    ),
    "a host of other letters": (ANNA, Article("r1", "T", "https://bücher.example/a")),
    "an address literal": (ANNA, Article("r1", "T", "http://[2001:db8::1]:8080/a")),
    "marks that must be quoted": (
        Reader("a/b c?d#e%", "s@example.org"),
        Article("x:y|z\"'<>", "<&>\"'", "https://h.example/"),
    ),
    "odd but legal URLs": (ANNA, Article("r1", "T", "https://h.example/a[1]/(b);c,d'e?x[]=1&y=@:#f#g[2]")),
    "ids that are URLs elsewhere": (
        Reader("https://id.example/é/7", "s@example.org"),
        Article("https://cms.example/é?x=[1]", "T", "https://h.example/", Course("C", "https://lms.example/ü")),
    ),
    "URLs under the roster": (
        Reader(f"{ROSTER}/ims/oneroster/rostering/v1p2/users/u%201", "s@example.org"),
        Article(f"{ROSTER}/x/r1?y", "T", "https://h.example/", Course("C", f"{ROSTER}/x/c1")),
    ),
    "long": (Reader("u" * 255, "s@example.org"), Article("é" * 255, "t" * 1000, "https://h.example/" + "é" * 2000)),
    "a video": (ANNA, Activity("r1", "T", "https://h.example/", kind="video", words=1)),
    "an assessment": (
        ANNA,
        Activity(
            "r1",
            "T",
            "https://h.example/",
            kind="assessment",
            attempt=2,
            extensions={"é": {"runId": ["1", 0.5, False]}},
        ),
    ),
    "an intranet address": (Reader("u1", "o'neil+x@localhost"), Article("r1", "T", "http://localhost:8000/r1")),
}


@pytest.mark.parametrize("activity_ids", JUDGES)
@pytest.mark.parametrize(("reader", "article"), CONTEXTS.values(), ids=CONTEXTS)
def test_every_context_makes_a_good_event(reader, article, activity_ids):
    """Whatever Reader and Article accept, the strict schema accepts as an event."""
    builder = events(activity_ids=activity_ids)
    judged(builder, build(builder, reader, article))


def test_what_the_profile_has_no_field_for_stands_in_extensions():
    """E3: kind, attempt and the host's own; the activity's id, which the calculator matches, is the same for all."""
    article = Article("r1", "T", OWLS.url)
    attempt = Activity("r1", "T", OWLS.url, kind="assessment", attempt=2, words=9, extensions={"runId": "7"})
    plain, event = judged(events(), build(article=article)), judged(events(), build(article=attempt))
    assert event.pop("extensions") == {"kind": "assessment", "attempt": 2, "runId": "7"}
    assert event == plain
    assert build(article=Activity("r1", "T", OWLS.url, kind="article")) == plain
    assert build(article=Article("r1", "T", OWLS.url, attempt=1))["extensions"] == {"attempt": 1}


def test_ed_app_stands_in_every_event():
    """E3: edApp is the URL that the host has given, and left out where it has given none."""
    builder = events(ed_app="https://app.example.org/é")
    assert judged(builder, build(builder))["edApp"] == "https://app.example.org/%C3%A9"
    assert "edApp" not in build()
    with pytest.raises(ConfigurationError, match=r"TimeSpentEvents\.ed_app"):
        events(ed_app="app")


@pytest.mark.parametrize("subject", [*Subject, "Reading", "None"])
def test_every_subject(subject):
    """A Subject or its wire value: both look the same on the wire."""
    event = judged(events(), build(article=Article("r1", "T", OWLS.url, subject=subject)))
    assert type(event["object"]["subject"]) is str
    assert event["object"]["subject"] == Subject(subject).value


def test_the_whole_event():
    """The exact event, field by field."""
    builder = TimeSpentEvents(SENSOR, App("Example App", "https://app.example.org"), ROSTER)
    article = Article("r1", "Article 1", "https://app.example.org/reading/r1", Course("Reading G5", "c1"), "Reading")
    start = to_epoch_ms(datetime(2026, 11, 24, 16, 0, tzinfo=UTC), "start")
    v1p2 = f"{ROSTER}/ims/oneroster/rostering/v1p2"
    assert build(builder, Reader("u1", "s@example.org"), article, started_at_ms=start, ended_at_ms=start + 42_000) == {
        "@context": "http://purl.imsglobal.org/ctx/caliper/v1p2",
        "id": EVENT_ID,
        "type": "TimeSpentEvent",
        "profile": "TimebackProfile",
        "action": "SpentTime",
        "eventTime": "2026-11-24T16:00:42.000Z",
        "actor": {"id": f"{v1p2}/users/u1", "type": "TimebackUser", "email": "s@example.org"},
        "object": {
            "id": "https://app.example.org/reading/r1",
            "type": "TimebackActivityContext",
            "subject": "Reading",
            "app": {"id": "https://app.example.org", "name": "Example App"},
            "course": {"id": f"{v1p2}/courses/c1", "name": "Reading G5"},
            "activity": {"id": f"{v1p2}/resources/r1", "name": "Article 1"},
        },
        "generated": {
            "id": GENERATED_ID,
            "type": "TimebackTimeSpentMetricsCollection",
            "items": [
                {
                    "type": "active",
                    "value": 42,
                    "startDate": "2026-11-24T16:00:00.000Z",
                    "endDate": "2026-11-24T16:00:42.000Z",
                }
            ],
        },
    }


def test_the_whole_envelope():
    """Sensor, sendTime, dataVersion, data, and nothing else."""
    event = build()
    assert events().envelope([event, event], sent_ms=NOW + 7) == {
        "sensor": SENSOR,
        "sendTime": "2026-03-02T08:00:00.007Z",
        "dataVersion": "http://purl.imsglobal.org/ctx/caliper/v1p2",
        "data": [event, event],
    }


def test_the_builder_is_pure():
    """The same arguments give an equal event, which shares nothing with the next."""
    builder = events()
    first, second = build(builder), build(builder)
    first["generated"]["items"].clear()
    assert second == build(builder)


@pytest.mark.parametrize("seconds", [0, -1, DAY + 1])
def test_values_out_of_range_are_refused(seconds):
    """E2: 0 < value <= 86400."""
    with pytest.raises(InvalidInput):
        build(seconds=seconds)


@pytest.mark.parametrize("seconds", [1, DAY])
def test_the_ends_of_the_range_are_good(seconds):
    """E2: 0 < value <= 86400, as a whole JSON number."""
    event = judged(events(), build(seconds=seconds))
    assert event["generated"]["items"][0]["value"] == seconds
    assert type(event["generated"]["items"][0]["value"]) is int


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (NOW + 7, "2026-03-02T08:00:00.007Z"),
        (1_709_251_199_999, "2024-02-29T23:59:59.999Z"),
        (-62_135_596_800_000, "0001-01-01T00:00:00.000Z"),
    ],
)
def test_times_have_three_digits_and_a_z(milliseconds, text):
    """Times have exactly three digits of a second and a Z."""
    assert to_caliper_time(milliseconds) == text


# When, as a life of heartbeats tells it


def moment(text):
    """A wire time as milliseconds."""
    return to_epoch_ms(datetime.fromisoformat(text), "text")


def test_the_event_ends_with_the_last_sync_of_its_time():
    """E1: eventTime and endDate = last sync of the claimed time, not when it was claimed or sent."""
    life = Life().read(30)
    synced = life.now
    claim = life.wait(500).take().claim
    assert body(claim)["eventTime"] == item(claim)["endDate"] == to_caliper_time(synced)


def test_it_begins_when_the_unreported_time_began():
    """E1: startDate is when the unreported time began: pauses lie inside."""
    life = Life().read(10).wait(300).read(20)
    claim = life.take().claim
    assert (moment(item(claim)["startDate"]), item(claim)["value"]) == (NOW, 30)
    assert moment(item(claim)["endDate"]) == NOW + ms(330)


def test_a_first_signal_already_brings_time_that_began_before_it():
    """E1: a first delta was read before its heartbeat arrived."""
    life = Life()
    life.beat(5)
    life.wait(300).beat(10)
    assert moment(item(life.take().claim)["startDate"]) == NOW - ms(5)


@pytest.mark.parametrize(("rest", "start"), [(1.0, -1.0), (0.999, 290.0)])
def test_unreported_time_is_what_could_be_reported(rest, start):
    """E1: the carried rest below a second does not stretch the next event."""
    life = Life()
    life.beat(rest)
    life.wait(300).beat(10)
    assert moment(item(life.take().claim)["startDate"]) == NOW + ms(start)


def test_the_next_event_begins_with_its_own_time():
    """E1: what is reported before does not stretch the next event."""
    life = Life().sent(30).wait(600).read(20)
    claim = life.take().claim
    assert moment(item(claim)["startDate"]) == life.now - ms(20)


def test_time_read_while_a_claim_is_out_begins_after_it():
    """E1: each of two claims has the time that it covers."""
    life = Life()
    first = life.claimed(30)
    end = life.now
    life.wait(100).beat(15)
    life.commit(first)
    claim = life.take().claim
    assert moment(item(first)["endDate"]) == end
    assert (moment(item(claim)["startDate"]), item(claim)["value"]) == (end + ms(85), 15)


def test_start_and_end_leave_room_for_the_value():
    """E1: startDate leaves room for the value where a first claim exceeds the wall time since its first sync."""
    life = Life()
    life.beat(15)
    claim = life.take().claim
    assert moment(item(claim)["endDate"]) - moment(item(claim)["startDate"]) == ms(15)


@pytest.mark.parametrize(("started", "start"), [(0, 0), (-500, -500), (30, 0), (100, 0)])
def test_the_start_is_never_too_late_for_the_value(started, start):
    """E1: startDate leaves room for the value, also where a clock stepped back."""
    event = judged(events(), build(started_at_ms=NOW + ms(started)))
    assert moment(event["generated"]["items"][0]["startDate"]) == NOW + ms(start)


def test_a_late_report_of_a_parked_event_keeps_its_times():
    """E1: a retry a day later still says when the time was read."""
    life = Life()
    first = life.rejected()
    again = life.wait(DAY).take(reader=Reader("anna", "new@example.org")).claim
    assert item(again) == item(first)
    assert body(again)["eventTime"] == body(first)["eventTime"]


@given(st.data())
def test_any_life_makes_good_events(data):
    """E1: over any history of signals and reports, each event is good and its times hold its seconds."""
    life = Life(catch_up_seconds=float(DAY))
    life.beat()
    ranges = []
    for _ in range(data.draw(st.integers(1, 8))):
        seconds = data.draw(st.integers(1, 100_000_000)) / 1000
        life.wait(seconds + data.draw(st.sampled_from([0.0, 0.5, 3600.0]))).beat(seconds)
        while data.draw(st.booleans()) and (claim := life.take().claim):
            event = judged(events(), body(claim))
            (only,) = event["generated"]["items"]
            start, end = moment(only["startDate"]), moment(only["endDate"])
            assert event["eventTime"] == only["endDate"]
            assert end == life.meter.last_sync_at_ms
            assert start <= end - only["value"] * 1000
            assert 0 < only["value"] <= DAY
            ranges.append((claim.start_ms, claim.end_ms))
            life.commit(claim)
    assert [start for start, _ in ranges] == [0, *(end for _, end in ranges)][: len(ranges)]
    assert life.state.reported_ms == (ranges[-1][1] if ranges else 0)


# Whatever the context


printable = st.characters(exclude_categories=("Cc", "Cs"))
ids = st.text(printable, min_size=1, max_size=40)
names = st.text(printable, min_size=1, max_size=60)
paths = st.text(st.characters(exclude_categories=("Cc", "Cs", "Zs", "Zl", "Zp")), max_size=40)
hosts = st.sampled_from(
    ["h.example", "bücher.example", "localhost:8000", "[::1]", "[::1]:80", "u:p@h.example", "1.2.3.4"]
)
urls = st.builds("{}://{}/{}".format, st.sampled_from(["https", "HTTP"]), hosts, paths)
emails = st.sampled_from(["s@example.org", "o'neil+x@localhost", "a.b!#$%&*@x-y.example", ".a.@b.example"])


def accepted(kind):
    """Values of a class from arguments of which it may refuse some; those are left out."""

    def make(*args, **more):
        try:
            return kind(*args, **more)
        except InvalidInput:
            return None

    return lambda *args, **more: st.builds(make, *args, **more).filter(lambda value: value is not None)


courses = st.none() | accepted(Course)(names, st.none() | ids | urls)
readers = accepted(Reader)(ids | urls, emails)
fields = ids | urls, names, urls, courses, st.sampled_from(Subject)
said = st.recursive(
    st.booleans() | st.integers() | names, lambda inner: st.lists(inner) | st.dictionaries(names, inner)
)
articles = accepted(Article)(*fields) | accepted(Activity)(
    *fields,
    kind=names,
    attempt=st.none() | st.integers(1, 9),
    words=st.none() | st.integers(1, 9),
    extensions=st.dictionaries(names, said),
)


@pytest.mark.parametrize("activity_ids", JUDGES)
@given(reader=readers, article=articles, app=accepted(App)(names, st.none() | urls))
@example(ANNA, Article("r1", "T", "https://h.example/#a#b[c]"), App("App"))
def test_whatever_is_accepted_makes_a_good_event(activity_ids, reader, article, app):
    """What the values accept, the builder turns into what the strict schema accepts."""
    builder = events(activity_ids=activity_ids, sensor=SENSOR)
    builder = TimeSpentEvents(SENSOR, app, ROSTER, activity_ids=activity_ids)
    try:
        event = build(builder, reader, article)
    except InvalidInput:  # a URL elsewhere that no key can hold: no tracker would have stored it
        assert "://" in reader.sourced_id + article.resource_id + str(article.course and article.course.id)
    else:
        judged(builder, event)


@pytest.mark.parametrize("url", ["https://app.example.org/é", "https://bücher.example", "https://h.example/[a]#b#c"])
def test_the_configured_urls_are_written_as_uris(url):
    """Sensor, app id and the OneRoster URL are URIs on the wire, however they were configured."""
    builder = TimeSpentEvents(url, App("App", url), url.partition("#")[0])
    judged(builder, build(builder, article=Article("r1", "T", OWLS.url, Course("C", "c1"))))


@pytest.mark.parametrize(
    "make",
    [
        *(lambda bad=bad: TimeSpentEvents(bad, "App", ROSTER) for bad in ("", None, "app", "/x", 7, "https://h/\n")),
        *(lambda bad=bad: TimeSpentEvents(SENSOR, "App", bad) for bad in ("", None, "roster.example.org", "https://")),
        *(lambda bad=bad: TimeSpentEvents(SENSOR, bad, ROSTER) for bad in ("", None, 7, "a\nb")),
        lambda: TimeSpentEvents(SENSOR, "App", ROSTER, activity_ids="iri"),
        lambda: TimeSpentEvents(SENSOR, "App", f"{ROSTER}?tenant=1"),
        lambda: TimeSpentEvents(SENSOR, "App", f"{ROSTER}/#x"),
    ],
)
def test_a_builder_that_could_not_build_is_refused(make):
    """A configuration that makes no good event is a ConfigurationError, at once."""
    with pytest.raises(ConfigurationError):
        make()


def test_no_null_anywhere():
    """E2: nulls are never sent."""

    def walk(value):
        assert value is not None
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    for reader, article in CONTEXTS.values():
        walk(build(None, reader, article))


@pytest.mark.skipif(sys.version_info < (3, 12), reason="timeback-caliper needs Python 3.12")
@pytest.mark.parametrize(("reader", "article"), CONTEXTS.values(), ids=CONTEXTS)
def test_timebacks_own_model_reads_every_event(reader, article):
    """The model of timeback-caliper reads the event, with the same ids, times and seconds."""
    timeback = pytest.importorskip("timeback_caliper", reason="timeback-caliper is not installed")
    event = build(None, reader, article)
    read = timeback.TimeSpentEvent.model_validate(json.loads(json.dumps(event)))
    assert (read.id, read.actor.id, read.actor.email) == (EVENT_ID, event["actor"]["id"], reader.email)
    assert (read.object.activity.id, read.object.activity.name) == tuple(event["object"]["activity"].values())
    assert [metric.value for metric in read.generated.items] == [42]
    ended = datetime.fromisoformat(event["eventTime"])
    read_time = read.event_time if isinstance(read.event_time, datetime) else datetime.fromisoformat(read.event_time)
    assert abs(read_time - ended) < timedelta(milliseconds=1)
