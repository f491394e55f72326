"""The hosts that the scenes play on. Each serves the same few pages, and owns a tracker.

``/articles/<resource>?<options of the script>`` shows an article to who is logged in · ``/plain`` carries no script ·
``/login/<reader>`` and ``/logout`` · ``/prerender/<resource>`` has the browser prerender an article, and goes there 3 s
later.
"""

from __future__ import annotations

import json
from html import escape
from urllib.parse import parse_qsl
from uuid import uuid4

from caliper_readtime import Article, InMemoryStateStore, PageView, Reader, ReadTimeTracker
from tests.browser import build

ARTICLE = """<!doctype html><title>{resource}</title>
<a id="away" href="/plain">away</a> <a id="logout" href="/logout">log out</a>
<article style="height: 3000px">Leaves eat light.</article>
{script}"""
PLAIN = '<!doctype html><title>plain</title><a id="login" href="/login/u2">log in</a>'
PRERENDER = """<!doctype html><title>before</title>
<script type="speculationrules">
{{"prerender": [{{"urls": ["/articles/{resource}"], "eagerness": "immediate"}}]}}
</script>
<script>setTimeout(() => {{ location.href = "/articles/{resource}"; }}, 3000)</script>"""
TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript", "mjs": "text/javascript"}
#: No inline code, no other origin: the strictest policy under which the script must work.
POLICY = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'"


class PlainHost:
    """A host by hand, without framework: what the script's own tests need, and no more."""

    def __init__(self, clock):
        self.tracker = ReadTimeTracker(InMemoryStateStore(), clock=clock)
        self.tickets = {}
        self._clock = clock

    def application(self, environ, start_response):
        path, query = environ["PATH_INFO"], dict(parse_qsl(environ["QUERY_STRING"]))
        cookie = environ.get("HTTP_COOKIE", "")
        reader = cookie.partition("reader=")[2].partition(";")[0] or "u1"
        name, _, rest = path.strip("/").partition("/")
        status, headers, kind, text = "200 OK", [], "html", PLAIN
        if environ["REQUEST_METHOD"] == "POST":
            status, text = self._signal(environ)
        elif name == "articles":
            headers = [("Content-Security-Policy", POLICY), ("Cache-Control", "private")]
            text = ARTICLE.format(resource=escape(rest), script=self._script(reader, rest, query))
        elif name == "prerender":
            text = PRERENDER.format(resource=rest)
        elif name in ("login", "logout"):
            status = "303 See Other"
            headers = [("Set-Cookie", f"reader={rest or 'nobody'}; Path=/"), ("Location", "/plain")]
        elif name.startswith(("readtime.", "module.")):
            kind = name.rpartition(".")[2]
            text = MODULE_PAGE if name == "module.js" else (build.WEB / name).read_text(encoding="utf-8")
        elif name != "plain":
            status = "404 Not Found"
        body = text.encode()
        headers = [*headers, ("Content-Type", TYPES[kind]), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    def ticket(self, reader, resource):
        """A ticket for a reader and an article; random instead of signed."""
        ticket = uuid4().hex
        article = Article(resource, resource, f"https://app.example.org/{resource}")
        self.tickets[ticket] = (Reader(reader, f"{reader}@example.org"), article, self._clock())
        return ticket

    def _script(self, reader, resource, options):
        ticket = self.ticket(reader, resource)
        if options.pop("module", None):
            return f'<main data-ticket="{ticket}"></main><script type="module" src="/module.js"></script>'
        data = {"url": "/signals", "ticket": ticket, **options}
        attributes = " ".join(f'data-{key}="{escape(value)}"' for key, value in data.items())
        return f'<script defer src="/readtime.min.js" {attributes}></script>'

    def _signal(self, environ):
        said = json.loads(environ["wsgi.input"].read())
        reader, article, opened_at = self.tickets[said["k"]]
        view = PageView(said["v"], said["t"] / 1000, said["b"] / 1000)
        self.tracker.observe(reader, article, view, opened_at=opened_at)
        return "204 No Content", ""


MODULE_PAGE = """import { start, stop, touch } from "/readtime.mjs";
const { ticket } = document.querySelector("main").dataset;
window.reading = { start: () => start({ url: "/signals", ticket, heartbeat: 2 }), stop, touch };
"""
