"""The hosts that the scenes play on.

A host has a WSGI ``application``, the ``tracker`` behind it with its ``clock``, and ``resources``: the resource id of
each article's slug.
Its ``/articles/<slug>`` shows an article, with the script, to who is logged in; there are ``/login/<reader>`` for the
readers u1 and u2, and ``/logout``.
"""

from __future__ import annotations

import json
import time
from functools import partial
from html import escape
from http import HTTPStatus
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from werkzeug.datastructures import EnvironHeaders

from caliper_readtime import Article, InMemoryStateStore, PageView, Reader, ReadTimeTracker
from caliper_readtime._settings import WebSettings
from caliper_readtime.web.page_counter import PageCounter, PageResponse
from caliper_readtime.web.tickets import ItsdangerousSigner
from tests.browser import build, media
from tests.browser.pages import KINDS, libraries, single_page
from tests.browser.site import Clock

ARTICLE = """<!doctype html><title>{resource}</title>
<article style="height: 3000px">Leaves eat light.</article>
{script}"""
TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript", "mjs": "text/javascript"}
#: No inline code, no other origin: the strictest policy under which the script must work.
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'"


class PlainHost:
    """A host by hand, without framework: what the script's own tests need, and no more.

    Attributes:
        late_seconds: how long its single pages take to come.
        failing: a reader for whom it always fails.
        counter: what takes its signals, where it is not the host's own hands (see ``count``).
    """

    late_seconds = 0.0
    failing = None
    counter = None

    def __init__(self):
        self.clock = Clock()
        self.tracker = ReadTimeTracker(InMemoryStateStore(), clock=self.clock)
        self.resources = {"leaves": "leaves", "volcanoes": "volcanoes"}
        self.tickets = {}

    def application(self, environ, start_response):
        path, query = environ["PATH_INFO"], environ["QUERY_STRING"]
        cookie = environ.get("HTTP_COOKIE", "")
        # Frames of another site have no cookie.
        reader = dict(parse_qsl(query)).get("as") or cookie.partition("reader=")[2].partition(";")[0]
        name, _, rest = path.strip("/").partition("/")
        if path == "/signals" and environ["REQUEST_METHOD"] == "POST":
            answer = self._signal(environ)
            start_response(f"{answer.status} {HTTPStatus(answer.status).phrase}", list(answer.headers))
            return [answer.body]
        if name in media.FILES:
            return media.answer(name, environ, start_response)
        status, headers, kind, text = "200 OK", [], "html", self._page(name, rest, reader, query)
        if name == "articles":
            # To WebKit nothing is "self" in a sandboxed frame.
            policy = POLICY.replace("'self'", f"'self' http://{environ['HTTP_HOST']}")
            headers = [("Content-Security-Policy", policy), ("Cache-Control", "private")]
        elif name == "library":
            kind, text = "js", libraries()[rest]
        elif name in ("login", "logout"):
            status = "303 See Other"
            headers = [("Set-Cookie", f"reader={rest}; Path=/"), ("Location", "/plain")]
        elif name in SCRIPTS or name.startswith("readtime"):
            kind = name.rpartition(".")[2]
            text = SCRIPTS.get(name) or (build.WEB / name).read_text(encoding="utf-8")
        elif not text:
            status = "404 Not Found"
        body = text.encode()
        headers = [*headers, ("Content-Type", TYPES[kind]), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def _page(self, name, rest, reader, query):
        """The HTML of a page, if it is one."""
        if name == "frames":
            return f"<!doctype html><title>frames</title>{unquote(query)}"
        script = partial(self._script, reader, rest, query)
        if name == "articles":
            return ARTICLE.format(resource=escape(rest), script=script())
        if name in KINDS:
            time.sleep(self.late_seconds)
            return single_page(name, rest, script())
        if name == "fragments":
            return f'<article style="height: 3000px">{escape(rest)}</article>{script()}'
        if name == "media":
            src = dict(parse_qsl(query)).get("src", "/tone.wav")
            return media.PAGE.format(slug=escape(rest), src=src, script=script())
        return ""

    def count(self, **settings):
        """Have the package's own endpoint take signals, with these settings."""
        signer = ItsdangerousSigner(["a-secret-of-the-scenes-0123456789"])
        settings["reader"] = lambda sourced_id: Reader(sourced_id, f"{sourced_id}@example.org")
        self.counter = PageCounter(self.tracker, signer, WebSettings(**settings))

    def ticket(self, reader, resource):
        """A ticket for a reader and an article; random instead of signed."""
        ticket = uuid4().hex
        article = Article(resource, resource, f"https://app.example.org/{resource}")
        self.tickets[ticket] = (Reader(reader, f"{reader}@example.org"), article, self.clock())
        return ticket

    def _script(self, reader, resource, query):
        if self.counter is not None:
            article = Article(resource, resource, f"https://app.example.org/{resource}")
            return SPY + self.counter.script_tag(("/readtime.min.js", "/signals"), reader, article, debug=True)
        ticket = self.ticket(reader, resource)
        if query == "module=1":
            return f'<main data-ticket="{ticket}"></main><script type="module" src="/module.js"></script>'
        options = f'data-url="/signals" data-ticket="{ticket}" data-opened="{self.clock().timestamp():.0f}"'
        return f'<script defer src="/readtime.min.js" {options}></script>'

    def _signal(self, environ):
        body = environ["wsgi.input"].read()
        if self.counter is not None:
            return self.counter.receive(EnvironHeaders(environ), body)
        said = json.loads(body)
        reader, article, opened_at = self.tickets[said["k"]]
        if reader.sourced_id == self.failing:
            return PageResponse(500, b"", ())
        view = PageView(said["v"], said["t"] / 1000, said["b"] / 1000)
        self.tracker.observe(reader, article, view, opened_at=opened_at)
        return PageResponse(204, b"", ())


MODULE = """import { start, stop, touch } from "/readtime.mjs";
const { ticket } = document.querySelector("main").dataset;
window.reading = { start: () => start({ url: "/signals", ticket, heartbeat: 2 }), stop, touch };
"""
#: The page around a frame hears what the frame's console is told.
SPY = '<script src="/spy.js"></script>'
SCRIPTS = {
    "module.js": MODULE,
    "spy.js": "console.warn = (...said) => (window.told ||= []).push(said) && parent.postMessage(said, '*');",
}
