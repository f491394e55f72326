"""A host on a real socket: any WSGI application behind a front that hears its signals and can be told to break."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from html import escape
from io import BytesIO
from socket import SHUT_RDWR
from socketserver import ThreadingMixIn
from typing import NamedTuple
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

WAIT_SECONDS = 60.0  # only a hang ever waits so long
LOSE_SIGNAL, LOSE_REPLY = object(), object()


PLAIN = "<!doctype html><title>plain</title><p>No script here."
PRERENDER = """<!doctype html><title>before</title>
<script type="speculationrules">
{"prerender": [{"urls": ["/articles/SLUG"], "eagerness": "immediate"}]}
</script>
<script>setTimeout(() => { location.href = "/articles/SLUG"; }, 3000)</script>"""


class Heard(NamedTuple):
    """One signal: what it said, and how it was answered (0: not at all)."""

    message: dict
    status: int


class Clock:
    """A host's clock.

    Attributes:
        ahead_seconds: how far it is ahead, for pages whose time is virtual.
    """

    ahead_seconds = 0.0

    def __call__(self):
        return datetime.now(UTC) + timedelta(seconds=self.ahead_seconds)


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        """A browser that goes away in the middle of a request is what this is about."""


class _Handler(WSGIRequestHandler):
    def get_environ(self):
        return {**super().get_environ(), "site.connection": self.connection}

    def log_message(self, *_):
        """Say nothing."""


class Site:
    """Serves a host.

    Attributes:
        host: the host (see ``hosts``).
        fault: what happens to signals: None; a status line, a body and headers (the host never sees
            the signal); LOSE_SIGNAL (nor does it, and the connection breaks); LOSE_REPLY (it takes the signal, and the
            connection breaks).
        heard: every signal so far.
        asked: every page asked for so far, as (path, why the browser says it asks).
        kinds: the content types of signals.
    """

    def __init__(self, host):
        self.host = host
        self.fault = None
        self.heard = []
        self.asked = []
        self.kinds = set()
        self._news = threading.Condition()
        self._free = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.set_app(self._front)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __call__(self, path):
        return self.url + path

    def _front(self, environ, start_response):
        if environ["REQUEST_METHOD"] != "POST":
            answer = self._page(environ, start_response)
            self._tell(self.asked, (environ["PATH_INFO"], environ.get("HTTP_SEC_PURPOSE", "")))
            return answer
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        if environ["PATH_INFO"] == "/held":
            self._free.wait(WAIT_SECONDS)
            start_response("204 No Content", [])
            return []
        fault, status = self.fault, []
        if fault is None or fault is LOSE_REPLY:
            environ["wsgi.input"] = BytesIO(body)

            def started(line, headers, exc_info=None):
                status.append(line)
                return start_response(line, headers, exc_info)

            answer = list(self.host.application(environ, started))
        else:
            line, text, *headers = ("200 OK", "") if fault is LOSE_SIGNAL else fault
            start_response(line, [*headers, ("Content-Length", str(len(text)))])
            status, answer = [line], [text.encode()]
        if fault is LOSE_SIGNAL or fault is LOSE_REPLY:
            environ["site.connection"].shutdown(SHUT_RDWR)
            status = ["0"]
        self.kinds.add(environ["CONTENT_TYPE"])
        if body[:1] == b"{":
            self._tell(self.heard, Heard(json.loads(body), int(status[0].split()[0])))
        return answer

    def _page(self, environ, start_response):
        """Answer with a page of the host, or one of the two that every site has: one that carries no script, and one
        that has the browser prerender an article and goes there 3 s later."""
        name, _, slug = environ["PATH_INFO"].strip("/").partition("/")
        if name in ("plain", "prerender"):
            page = (PLAIN if name == "plain" else PRERENDER.replace("SLUG", slug)).encode()
            start_response("200 OK", [("Content-Type", "text/html"), ("Content-Length", str(len(page)))])
            return [page]
        if name not in ("articles", "media") or not environ["QUERY_STRING"]:
            return self.host.application(environ, start_response)
        # Options of the script that a scene asks for. In HTML the first of two equal attributes counts.
        options = [f'data-{name}="{escape(value)}"' for name, value in parse_qsl(environ["QUERY_STRING"])]
        started = []
        answer = self.host.application(environ, lambda *said: started.extend(said))
        page = b"".join(answer).replace(b"<script defer", " ".join(["<script defer", *options]).encode())
        getattr(answer, "close", lambda: None)()
        headers = [(name, value) for name, value in started[1] if name.lower() != "content-length"]
        start_response(started[0], [*headers, ("Content-Length", str(len(page)))])
        return [page]

    @contextmanager
    def holding(self):
        """Answer nothing that is posted to ``/held``, for as long as this lasts."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()

    def _tell(self, log, entry):
        with self._news:
            log.append(entry)
            self._news.notify_all()

    def until(self, condition, what):
        """Wait until a condition holds, looked at whenever a request was answered."""
        with self._news:
            assert self._news.wait_for(condition, WAIT_SECONDS), f"{what} never came; heard {self.heard}"

    def until_heard(self, wanted, what="a signal", *, since=0):
        assert self.hears(wanted, WAIT_SECONDS, since=since), f"{what} never came; heard {self.heard}"

    def hears(self, wanted, seconds, *, since=0):
        """Whether such a signal comes within these seconds."""
        with self._news:
            return self._news.wait_for(lambda: any(wanted(heard) for heard in self.heard[since:]), seconds)

    def until_left(self, *, since=0):
        """Wait for an accepted signal that says that its view was left."""
        self.until_heard(lambda heard: heard.message.get("l") and heard.status in (200, 204), "a leave", since=since)

    def seconds(self, reader, slug):
        """The time that the host has accepted."""
        state = self.host.tracker.state(reader, self.host.resources[slug])
        return 0.0 if state is None else state.cumulative_read_time_seconds

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(WAIT_SECONDS)
