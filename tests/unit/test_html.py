"""What notebooks show: small tables in which nothing that readers, articles or endpoints say can run."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from caliper_readtime import Article, EmitterUnavailable, EventRejected, FlushReport, Outcome, Reader, Report, Status
from caliper_readtime._notebook import MAX_ROWS, lines, listing
from tests.scenes import ANNA, Scene, article

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> & \"'"
ALLOWED = {"table", "caption", "tbody", "tr", "th", "td", "br"}


class Page(HTMLParser):
    """Collects the tags, attributes and text of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text, self.open = [], [], "", []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += f"{data}\n"


def shown(value):
    """What a notebook shows of a value, after a look at its tags."""
    page = Page(value._repr_html_())
    assert set(page.tags) <= ALLOWED
    assert {name for name, _ in page.attributes} <= {"style", "colspan"}
    assert "@" not in page.text
    return page.text


@pytest.fixture
def troubled(scene: Scene):
    """A state with a hostile title, a refused event and a failed one, whose reasons quote an address."""
    what = article("owls", title=HOSTILE)
    scene.read(ANNA, what, 30)
    scene.emitter.fail(EventRejected(f"anna@example.org {HOSTILE}", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, what)
    scene.read(ANNA, what, 12)
    scene.emitter.fail(EmitterUnavailable("anna@example.org is down"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, what)
    return what


def test_everything_is_escaped(scene: Scene, troubled):
    """Titles and reasons come from outside: they are text, whatever they hold, and addresses are taken out."""
    state = scene.state(ANNA, troubled)
    text = shown(state)
    assert HOSTILE in text
    assert "(e-mail address)" in text
    for value in (scene.tracker.explain(ANNA, troubled), scene.tracker.status(), *scene.reports):
        shown(value)


def test_hostile_ids_are_text(scene: Scene):
    """Ids come from outside too, into every table that names a reader or an article."""
    reader = Reader(f"r{HOSTILE}", "r@example.org")
    what = Article(f"a{HOSTILE}", "T", "https://reader.example.org/")
    scene.emitter.fail(EmitterUnavailable(f"e{HOSTILE}"))
    counted = scene.read(reader, what)
    flushed = scene.tracker.flush_reader(reader)
    scene.clock.advance(3600)
    for value in (counted, flushed, *scene.reports, scene.tracker.sweep(), scene.tracker.state(reader, what)):
        text = shown(value)
        assert reader.sourced_id in text
        assert what.resource_id in text
    assert f"e{HOSTILE}" in shown(flushed)
    assert reader.sourced_id in shown(scene.tracker.explain(reader, what))


def test_every_answer_shows_what_it_is(scene: Scene):
    """A heartbeat, a report, a flush, a sweep, a status and an explanation say their numbers."""
    counted = scene.read(seconds=42.5)
    assert "42.5" in shown(counted)
    assert "42.5" in shown(counted.state)
    report = scene.tracker.partial(ANNA, article("owls"))
    assert report.event_ids[0] in shown(report)
    scene.read(seconds=5)
    assert "settled\nyes" in shown(scene.tracker.flush_reader(ANNA))
    assert "drained" in shown(scene.tracker.sweep())
    assert "unreported states\n0" in shown(scene.tracker.status())
    assert "would be banked" in shown(scene.tracker.explain(ANNA, article("owls")))


def test_a_heartbeat_shows_the_report_that_it_brought(scene: Scene):
    """Completion finalizes at once."""
    scene.tracker.accumulate(ANNA, article("owls"), 0)
    scene.clock.advance(60)
    counted = scene.tracker.accumulate(ANNA, "owls", 60, position_seconds=60, duration_seconds=60)
    assert counted.report.outcome is Outcome.SENT
    assert "sent" in shown(counted)


def test_nothing_is_a_dash_and_an_error_its_name():
    """None and an empty tuple are shown as something."""
    report = Report(Outcome.FAILED, "anna", "owls", error=EmitterUnavailable("gone <b>"))
    text = shown(report)
    assert "EmitterUnavailable: gone <b>" in text
    assert "event ids\n-\n" in text
    assert "oldest unreported at\n-\n" in shown(Status(0, 0.0, None, 0, None))


def test_many_rows_are_cut():
    """A notebook must not choke on a sweep of a thousand events."""
    reports = tuple(Report(Outcome.SENT, "anna", f"a{number}") for number in range(MAX_ROWS + 7))
    text = shown(FlushReport(reports, settled=True, confirmed=None, seconds_sent=0.0))
    assert "and 7 more" in text
    assert f"a{MAX_ROWS - 1}\n" in text
    assert f"a{MAX_ROWS}\n" not in text
    assert "more" not in listing("x", reports[:MAX_ROWS], "resource_id")
    assert listing("x", (), "resource_id") == ""


def test_lines_are_rows():
    """An explanation's sentences, one in each row."""
    page = Page(lines("Why <1>", ["a & b", "c"]))
    assert page.tags.count("tr") == 2
    assert page.text == "Why <1>\na & b\nc\n"
