"""The served demo without a browser: what its buttons do, what its panels are told, and what it refuses."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from werkzeug.test import Client

from caliper_readtime import InMemoryStateStore
from caliper_readtime.__main__ import main
from caliper_readtime._demo import stage as demo_stage
from caliper_readtime._demo.panels import short, spans
from caliper_readtime._demo.parts import READER
from caliper_readtime._demo.served import Served
from caliper_readtime._demo.site import create_app
from caliper_readtime._demo.stage import IDLE_SECONDS, POLICY, Stage
from caliper_readtime.errors import ConfigurationError, StoreUnavailable
from caliper_readtime.testing import CaliperEndpoint, ManualClock
from tests.scenes import START, WAIT_SECONDS, running

ROOT = Path(__file__).parents[2]
PAGES = ("/", "/article", "/elsewhere", "/static/panels.js", "/static/panels.css")


class Visitor:
    """Somebody who reads the article and presses buttons, by a clock that is moved by hand."""

    def __init__(self, store, endpoint):
        self.clock = ManualClock(START)
        self.endpoint = endpoint
        self.stage = Stage(store, endpoint, self.clock)
        self.client = Client(create_app(self.stage))
        self.total = 0.0

    def open(self):
        """Open the article's page, and take its ticket."""
        self.page = self.client.get("/article").text
        self.ticket = re.search(r'data-ticket="([^"]+)"', self.page)[1]

    def read(self, seconds, *, leave=False):
        """Let time go by, and tell of it as the script does."""
        self.clock.advance(seconds)
        self.total += seconds
        said = {"s": 1, "k": self.ticket, "v": "view-1", "t": round(self.total * 1000), "b": 0, "l": leave}
        assert self.client.post("/readtime/signals", data=json.dumps(said), content_type="text/plain").status_code < 300

    def press(self, action, **headers):
        """Press a button."""
        return self.client.post(f"/demo/{action}", headers=headers).status_code

    @property
    def shown(self):
        """What the panels show."""
        return json.loads(json.dumps(self.stage.document()))

    @property
    def said(self):
        """The newest line of what happened."""
        return self.shown["diary"][-1]["text"]


@pytest.fixture
def make_visitor():
    with ExitStack() as stack:

        def make(store=None):
            visitor = Visitor(store or InMemoryStateStore(), stack.enter_context(CaliperEndpoint()))
            stack.callback(visitor.stage.close)
            return visitor

        yield make


@pytest.fixture
def visitor(make_visitor):
    visitor = make_visitor()
    visitor.open()
    return visitor


@pytest.mark.parametrize("path", PAGES)
def test_pages_are_strict(visitor, path):
    """No page has inline code or style, or anything from elsewhere, and its policy would let none work."""
    answer = visitor.client.get(path, buffered=True)
    assert answer.status_code == 200
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    if answer.mimetype == "text/html":
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)|(?:src|href)=\"(?!/)", answer.text)


def test_the_article_is_counted_by_the_real_script(visitor):
    """The article's page carries the adapter's tag, and its ticket counts for Ada."""
    assert re.search(r'<script defer src="/readtime/readtime\.js\?v=\w+" data-url="/readtime/signals"', visitor.page)
    visitor.read(5)
    assert visitor.shown["state"]["read"] == 5000
    assert visitor.shown["state"]["unreported"] == 5000
    assert visitor.shown["opened"] == visitor.shown["now"] - 5000


def test_a_page_that_is_left_is_reported(visitor):
    """A leave is reported at once, and the panels show its event, the span and the minutes."""
    visitor.read(61, leave=True)
    shown = visitor.shown
    (event,) = shown["events"]
    assert (event["seconds"], event["times"]) == (61, 1)
    assert shown["state"]["spans"] == [{"kind": "reported", "from": 0, "to": 61_000, "event": event["id"]}]
    assert (shown["counted"], shown["minutes"]) == (61, 2)
    assert visitor.said == f"61 s reported, event {short(event['id'])}."


def test_a_killed_worker_leaves_its_claim(visitor):
    """The endpoint has the event, the store does not know: the sweep waits for the lease, asks, and sends no copy."""
    visitor.read(7)
    assert visitor.press("kill") == 204
    claim = visitor.shown["state"]["claim"]
    assert (claim["length"], claim["held"]) == (7000, True)
    assert visitor.shown["state"]["reported"] == 0
    assert [event["times"] for event in visitor.shown["events"]] == [1]
    assert "died before" in visitor.said
    visitor.read(2)
    visitor.press("sweep")
    assert visitor.said == "Sweep: nothing is due; the claim's lease ends in 6.0 s."
    visitor.press("kill")
    assert visitor.said.startswith("Another worker holds the claim")
    visitor.clock.advance(POLICY.lock_seconds)
    visitor.press("sweep")
    shown = visitor.shown
    assert [(event["seconds"], event["times"]) for event in shown["events"]] == [(7, 1), (2, 1)]
    assert shown["events"][0]["id"] == claim["event"]
    assert [(span["kind"], span["to"]) for span in shown["state"]["spans"]] == [("reported", 7000), ("reported", 9000)]
    assert shown["counted"] == 9
    assert visitor.said == "Sweep: 2 events sent, 9 s."


def test_what_went_wrong_is_marked(visitor):
    """Lines of what happened have a tone, and the claim of a worker that was killed is known as such."""
    visitor.read(7)
    visitor.press("kill")
    assert (visitor.shown["diary"][-1]["tone"], visitor.shown["state"]["claim"]["dead"]) == ("bad", True)
    visitor.clock.advance(POLICY.lock_seconds)
    visitor.press("sweep")
    assert visitor.shown["diary"][-1]["tone"] == "good"
    visitor.press("down")
    assert visitor.shown["diary"][-1]["tone"] == "bad"
    visitor.read(7, leave=True)
    assert (visitor.shown["diary"][-1]["tone"], visitor.shown["state"]["claim"]["dead"]) == ("bad", False)
    visitor.press("works")
    assert visitor.shown["diary"][-1]["tone"] == "good"


def test_starting_over_forgets_everything(visitor):
    """Time, events, minutes and what happened are gone, the endpoint works, and an open page counts no more."""
    visitor.read(61, leave=True)
    visitor.press("bank")
    visitor.press("down")
    numbers = [line["number"] for line in visitor.shown["diary"]]
    assert visitor.press("restart") == 204
    shown = visitor.shown
    assert (shown["state"], shown["events"], shown["opened"], shown["banked"], shown["minutes"]) == (
        None,
        [],
        None,
        None,
        0,
    )
    assert [line["text"] for line in shown["diary"]] == ["Everything begins anew."]
    assert shown["diary"][0]["number"] > max(numbers)
    assert shown["endpoint"] == "works"
    late = {"s": 1, "k": visitor.ticket, "v": "view-1", "t": 70_000, "b": 61_000, "l": True}
    answer = visitor.client.post("/readtime/signals", data=json.dumps(late), content_type="text/plain")
    assert (answer.status_code, visitor.shown["state"]) == (403, None)
    visitor.open()
    visitor.total = 0.0
    visitor.read(5, leave=True)
    assert (visitor.shown["counted"], visitor.shown["state"]["reported"]) == (5, 5000)


def test_nothing_to_die_of(visitor):
    """Without a whole second no worker claims anything, and the page says what to do."""
    visitor.press("kill")
    assert "let Ada read a little" in visitor.said
    assert visitor.shown["state"] is None


def test_a_broken_endpoint_keeps_the_time_due(visitor):
    """While it is down nothing arrives; mended, the next sweep sends the very event, once."""
    visitor.press("down")
    visitor.read(7, leave=True)
    shown = visitor.shown
    assert (shown["endpoint"], shown["events"]) == ("down", [])
    claim = shown["state"]["claim"]
    assert (claim["held"], claim["attempts"]) == (False, 1)
    assert [span["kind"] for span in shown["state"]["spans"]] == ["claimed"]
    assert f"Event {short(claim['event'])} was not delivered" in visitor.said
    visitor.press("bank")
    assert visitor.said.startswith("Flush: not settled")
    assert visitor.shown["banked"] is None
    visitor.press("works")
    visitor.press("sweep")
    assert "the event is tried again in" in visitor.said
    visitor.clock.advance(POLICY.max_retry_backoff_seconds * 2)
    visitor.press("sweep")
    (event,) = visitor.shown["events"]
    assert (event["id"], event["times"], event["seconds"]) == (claim["event"], 1, 7)


def test_lost_answers_count_once(visitor):
    """R1: the event is accepted and no answer comes; the endpoint is asked before it would be sent again."""
    visitor.press("mute")
    visitor.read(25, leave=True)
    assert visitor.shown["state"]["reported"] == 0
    visitor.press("works")
    visitor.press("bank")
    shown = visitor.shown
    (event,) = shown["events"]
    assert event["times"] == 1
    assert shown["state"]["reported"] == 25_000
    assert shown["counted"] == 25
    assert shown["banked"] == "1 min for 25 s"
    assert visitor.endpoint.conflicts == ()


def test_the_sweep_leaves_active_readers_alone(visitor):
    """What was just read is not swept; after a while of silence it is."""
    visitor.read(5)
    visitor.press("sweep")
    assert "is left alone" in visitor.said
    visitor.clock.advance(IDLE_SECONDS)
    visitor.press("sweep")
    assert visitor.said == "Sweep: 1 event sent, 5 s."
    visitor.press("sweep")
    assert visitor.said == "Sweep: nothing is unreported."


def test_buttons_are_for_this_page_only(visitor):
    """Another site's page cannot press them, and there are no others."""
    assert visitor.press("sweep", Sec_Fetch_Site="cross-site") == 403
    assert visitor.press("sweep", Origin="http://evil.example.org") == 403
    assert visitor.press("drop-tables") == 404
    assert visitor.client.get("/demo/sweep").status_code == 405
    assert [line["text"] for line in visitor.shown["diary"]] == ["Ada opens the article."]


def test_a_prefetched_article_was_not_opened(make_visitor):
    """A browser that only fetches ahead opens nothing."""
    visitor = make_visitor()
    visitor.client.get("/article", headers={"Sec-Purpose": "prefetch;prerender"})
    assert (visitor.shown["opened"], visitor.shown["diary"]) == (None, [])


def test_panels_hear_of_changes(visitor):
    """The stream tells how things stand, then of every change, and ends with the demo."""
    answer = visitor.client.get("/demo/changes")
    news = (json.loads(part.removeprefix("data: ")) for part in map(bytes.decode, answer.iter_encoded()))
    assert answer.mimetype == "text/event-stream"
    assert next(news)["state"] is None
    visitor.read(5)
    assert next(news)["state"]["read"] == 5000
    visitor.stage.close()
    assert list(news) == []


def test_quiet_streams_give_a_sign_of_life(visitor, monkeypatch):
    """Without news a stream sends a comment, so that one which nobody reads is found out."""
    monkeypatch.setattr(demo_stage, "_QUIET_SECONDS", 0.0)
    parts = map(bytes.decode, visitor.client.get("/demo/changes").iter_encoded())
    assert next(parts).startswith("data: ")
    assert next(parts) == ":\n\n"


def test_a_store_that_is_down_is_shown(make_visitor):
    """The panels say that the store does not answer, and so do the buttons."""

    class Down(InMemoryStateStore):
        down = False

        def load(self, key, now=None):
            if self.down:
                raise StoreUnavailable("the store does not answer")
            return super().load(key, now)

        def update(self, key, transition, now=None, /):
            if self.down:
                raise StoreUnavailable("the store does not answer")
            return super().update(key, transition, now)

    store = Down()
    visitor = make_visitor(store)
    visitor.open()
    visitor.read(5)
    store.down = True
    assert visitor.shown["trouble"] == "the store does not answer"
    assert visitor.press("kill") == 204
    assert visitor.said == "StoreUnavailable: the store does not answer"


def test_spans_lie_end_to_end(visitor):
    """Reported, in flight and unreported time cover what was read, without a gap."""
    visitor.read(10, leave=True)
    visitor.read(5)
    visitor.press("kill")
    visitor.read(3)
    state = visitor.stage.tracker.state(READER, "nice_leaves")
    cuts = spans(state, visitor.endpoint.events)
    assert [cut["kind"] for cut in cuts] == ["reported", "claimed", "unreported"]
    assert [cut["from"] for cut in cuts] == [0, 10_000, 15_000]
    assert cuts[-1]["to"] == state.meter.cumulative_ms


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_it_serves(store):
    """On a real socket, with a store of either kind; whoever it ends with hears it end."""
    import requests  # noqa: PLC0415

    with Served(store) as served:
        assert "Every second, exactly once" in requests.get(served.url, timeout=10).text
        assert requests.post(f"{served.url}demo/sweep", timeout=10).status_code == 204
        stream = requests.get(f"{served.url}demo/changes", timeout=10, stream=True)
        lines = stream.iter_lines()
        assert next(lines).startswith(b"data: ")
        with running(lambda: list(lines)) as rest:
            served.stage.close()
        assert not any(rest[0])
        stream.close()


@pytest.mark.parametrize("told", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_when_told_to(told):
    """The command says where the page is, and Ctrl-C or a service manager ends it in order."""
    command = [sys.executable, "-m", "caliper_readtime", "demo", "--serve", "--port", "0"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert re.match(r"Open http://127\.0\.0\.1:\d+/ in a browser\. Ctrl-C ends it\.", process.stdout.readline())
            process.send_signal(told)
            assert process.communicate(timeout=WAIT_SECONDS) == ("Ended.\n", "")
            assert process.returncode == 0
        finally:
            process.kill()


def test_a_kept_store_starts_anew(tmp_path):
    """What an earlier run left of Ada's time is forgotten."""
    for _ in range(2):
        with Served(f"sqlite:///{tmp_path}/kept.db") as served:
            assert served.stage.document()["state"] is None
            Client(create_app(served.stage)).get("/article")
            served.stage.tracker.accumulate(READER, demo_stage.LEAVES, 2.0)
            assert served.stage.document()["state"]["read"] == 2000


def test_a_port_that_is_taken_is_one_line(capsys):
    """Which port, and what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--serve", "--store", "memory", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"caliper-readtime: port {port} cannot be used (Address already in use): choose another")
    assert said.count("\n") == 1


def test_wrong_ports(capsys):
    """What is no port is told so, and a port without a page is wrong usage."""
    with pytest.raises(ConfigurationError, match="70000 is not a port"):
        Served(port=70_000)
    assert main(["demo", "--port", "80"]) == 2
    assert capsys.readouterr().err == "caliper-readtime: --port goes with --serve\n"


@pytest.mark.parametrize("missing", ["flask", "itsdangerous"])
def test_without_flask_it_says_what_to_install(missing):
    """One line; the demo that is played needs nothing."""
    code = f"import sys; sys.modules[{missing!r}] = None; from caliper_readtime.__main__ import main;"
    for words, code_out in ((["demo", "--serve"], 1), (["demo", "--store", "memory"], 0)):
        ran = subprocess.run(
            [sys.executable, "-c", f"{code} sys.exit(main({words!r}))"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert ran.returncode == code_out
        said = "caliper-readtime: demo --serve needs Flask: pip install 'caliper-readtime[flask]'\n"
        assert ran.stderr == (said if code_out else "")


def test_nothing_comes_from_elsewhere():
    """Page, style and scripts name no other host, and none of them asks in a loop."""
    folder = Path(demo_stage.__file__).parent
    files = [path for path in folder.rglob("*") if path.suffix in (".html", ".css", ".js", ".svg")]
    assert len(files) == 8
    for path in files:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?://|@import|eval\(|innerHTML", text), path
