"""The hosts that the scenes play on.

A host has a WSGI ``application``, the ``tracker`` behind it with its ``clock``, and ``resources``: the resource id of
each article's slug.
Its ``/articles/<slug>`` shows an article, with the script, to who is logged in; there are ``/login/<reader>`` for the
readers u1 and u2, and ``/logout``.
"""

from __future__ import annotations

import json
import time
from html import escape
from urllib.parse import parse_qsl, unquote
from uuid import uuid4

from caliper_readtime import Article, InMemoryStateStore, PageView, Reader, ReadTimeTracker
from tests.browser import build
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
    """

    late_seconds = 0.0
    failing = None

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
        status, headers, kind, text = "200 OK", [], "html", ""
        if path == "/signals" and environ["REQUEST_METHOD"] == "POST":
            status, text = self._signal(environ)
        elif name == "articles":
            headers = [("Content-Security-Policy", POLICY), ("Cache-Control", "private")]
            text = ARTICLE.format(resource=escape(rest), script=self._script(reader, rest, query))
        elif name in KINDS:
            time.sleep(self.late_seconds)
            text = single_page(name, rest, self._script(reader, rest, query))
        elif name == "fragments":
            text = f'<article style="height: 3000px">{escape(rest)}</article>{self._script(reader, rest, query)}'
        elif name == "frames":
            text = f"<!doctype html><title>frames</title>{unquote(query)}"
        elif name == "library":
            kind, text = "js", libraries()[rest]
        elif name in ("login", "logout"):
            status = "303 See Other"
            headers = [("Set-Cookie", f"reader={rest}; Path=/"), ("Location", "/plain")]
        elif name.startswith(("readtime.", "module.")):
            kind = name.rpartition(".")[2]
            text = MODULE_PAGE if name == "module.js" else (build.WEB / name).read_text(encoding="utf-8")
        else:
            status = "404 Not Found"
        body = text.encode()
        headers = [*headers, ("Content-Type", TYPES[kind]), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def ticket(self, reader, resource):
        """A ticket for a reader and an article; random instead of signed."""
        ticket = uuid4().hex
        article = Article(resource, resource, f"https://app.example.org/{resource}")
        self.tickets[ticket] = (Reader(reader, f"{reader}@example.org"), article, self.clock())
        return ticket

    def _script(self, reader, resource, query):
        ticket = self.ticket(reader, resource)
        if query == "module=1":
            return f'<main data-ticket="{ticket}"></main><script type="module" src="/module.js"></script>'
        options = f'data-url="/signals" data-ticket="{ticket}" data-opened="{self.clock().timestamp():.0f}"'
        return f'<script defer src="/readtime.min.js" {options}></script>'

    def _signal(self, environ):
        said = json.loads(environ["wsgi.input"].read())
        reader, article, opened_at = self.tickets[said["k"]]
        if reader.sourced_id == self.failing:
            return "500 Internal Server Error", ""
        view = PageView(said["v"], said["t"] / 1000, said["b"] / 1000)
        self.tracker.observe(reader, article, view, opened_at=opened_at)
        return "204 No Content", ""


MODULE_PAGE = """import { start, stop, touch } from "/readtime.mjs";
const { ticket } = document.querySelector("main").dataset;
window.reading = { start: () => start({ url: "/signals", ticket, heartbeat: 2 }), stop, touch };
"""
