"""Benchmark: one heartbeat through Flask and Django, against a view with one INCRBY and the replaced flow's view.

The views are called as WSGI applications, in this process; client and Redis share one core.
Also what a hostile request costs.
Run: ``python -m tests.benchmarks.web``
"""

from __future__ import annotations

import json
import sys
from io import BytesIO
from itertools import count
from typing import TYPE_CHECKING

from flask import Flask, request
from redis import Redis

from caliper_readtime import Article, Reader, ReadTimePolicy, ReadTimeTracker, _building
from caliper_readtime.testing._redis_server import RedisServer
from caliper_readtime.web import flask as flask_adapter
from caliper_readtime.web.signals import MAX_BODY
from tests.benchmarks.harness import medians, pin, show
from tests.benchmarks.redis_heartbeat import replaced
from tests.web.sites import SECRETS, setup_django

if TYPE_CHECKING:
    from collections.abc import Callable

READER = Reader("u1", "s@example.org")
ARTICLE = Article("nice_x1", "How leaves eat light", "https://news.example.org/articles/leaves")
# Everything that is claimed is accepted, as an honest reader's time is: clamping would write log lines.
OLD_CLIENT = b'{"ids": {"user": "u1", "article": "nice_x1"}, "delta": 10.0}'
POLICY = ReadTimePolicy(leeway_seconds=1e8, catch_up_seconds=1e8)


def poster(application: Callable, path: str, body: Callable[[], bytes], status: str) -> Callable[[], None]:
    """Return what POSTs a body to a WSGI application and insists on its answer."""
    environ = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "news.example.org",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "news.example.org",
        "HTTP_SEC_FETCH_SITE": "same-origin",
        "CONTENT_TYPE": "text/plain;charset=UTF-8",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
    }
    answered = []

    def start_response(line: str, headers: object, exc_info: object = None) -> None:
        answered.append(line)

    def post() -> None:
        sent = body()
        answered.clear()
        answer = application({**environ, "wsgi.input": BytesIO(sent), "CONTENT_LENGTH": str(len(sent))}, start_response)
        for _ in answer:
            pass
        getattr(answer, "close", lambda: None)()
        if not answered[0].startswith(status):
            raise AssertionError(answered)

    return post


def message(ticket: str, totals: count) -> Callable[[], bytes]:
    """Return what makes the script's message, its total a second further each time, at little cost of its own."""
    said = json.dumps({"s": 1, "k": ticket, "v": "view", "b": 0, "p": 0.5, "t": "TOTAL"}).replace('"TOTAL"', "%d000")
    template = said.encode()
    return lambda: template % next(totals)


def flask_views(client: Redis, tracker: ReadTimeTracker) -> tuple[Callable, object]:
    """The floors and our endpoint in one Flask application, and its host."""
    app = Flask("benchmark")
    app.config["SECRET_KEY"] = SECRETS[0]
    flow = replaced(client)

    @app.post("/incrby/view")
    def incrby() -> tuple[str, int]:
        client.incrby("counter", 1)
        return "", 204

    @app.post("/replaced/view")
    def replaced_view() -> tuple[str, int]:
        json.loads(request.get_data())
        flow()
        return "", 204

    counter = flask_adapter.init_app(app, reader={"u1": READER}.get, tracker=tracker)
    return app.wsgi_app, counter


def django_views(client: Redis, tracker: ReadTimeTracker) -> tuple[Callable, object]:
    """The floors and our endpoint in one Django project, and its host."""
    setup_django()
    from django.conf import settings  # noqa: PLC0415
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415
    from django.http import HttpRequest, HttpResponse  # noqa: PLC0415
    from django.urls import include, path  # noqa: PLC0415
    from django.views.decorators.csrf import csrf_exempt  # noqa: PLC0415

    from caliper_readtime.web.django import current_page_counter  # noqa: PLC0415

    flow = replaced(client)

    @csrf_exempt
    def incrby(request: HttpRequest) -> HttpResponse:
        client.incrby("counter", 1)
        return HttpResponse(status=204)

    @csrf_exempt
    def replaced_view(request: HttpRequest) -> HttpResponse:
        json.loads(request.body)
        flow()
        return HttpResponse(status=204)

    module = type(sys)("benchmark_urls")
    # Every view stands in an include of its own, as the views of a real project do.
    module.urlpatterns = [
        path("incrby/", include([path("view", incrby)])),
        path("replaced/", include([path("view", replaced_view)])),
        path("readtime/", include("caliper_readtime.web.django.urls")),
    ]
    settings.ROOT_URLCONF = module
    settings.CALIPER_READTIME = {"READER": {"u1": READER}.get}
    counter = current_page_counter()
    counter.tracker = tracker
    return get_wsgi_application(), counter


def measure(
    name: str, application: Callable, counter: object, tracker: ReadTimeTracker, rounds: int, number: int
) -> None:
    """One framework's figures."""
    ticket = counter.tickets.issue(READER, ARTICLE, tracker.now())
    volcanoes = Article(f"{name}-2", "Volcanoes", "https://news.example.org/volcanoes")
    other = counter.tickets.issue(READER, volcanoes, tracker.now())
    beat = poster(application, "/readtime/signals", message(ticket, count(1)), "204")
    beat()
    cached = counter.tickets._opened

    def first() -> None:
        cached.cache_clear()
        fresh()

    fresh = poster(application, "/readtime/signals", message(other, count(1)), "204")
    fresh()
    seconds_by_name = medians(
        {
            "view with one INCRBY": poster(application, "/incrby/view", lambda: b"{}", "204"),
            "view of the replaced flow": poster(application, "/replaced/view", lambda: OLD_CLIENT, "204"),
            "heartbeat": beat,
            "heartbeat, its ticket seen first": first,
        },
        number=number,
        rounds=rounds,
    )
    show(f"{name}, against a view with one INCRBY", seconds_by_name, "view with one INCRBY", 1.5)
    show(f"{name}, against the replaced flow's view", seconds_by_name, "view of the replaced flow", 0.9)
    path = "/readtime/signals"
    forged = json.dumps({"s": 1, "k": ticket[:-4] + "AAAA", "v": "view", "t": 1000}).encode()
    hostile = {
        "view with one INCRBY": poster(application, "/incrby/view", lambda: b"{}", "204"),
        "forged ticket": poster(application, path, lambda: forged, "403"),
        "4,096 brackets": poster(application, path, lambda: b"[" * MAX_BODY, "400"),
        "1,300 objects": poster(application, path, lambda: b'{"s":1,"x":[1' + b",{}" * 1300 + b"]}", "400"),
        "a number of 4,000 digits": poster(application, path, lambda: b'{"s":' + b"9" * 4000 + b"}", "400"),
        "the same key 600 times": poster(application, path, lambda: b'{"s":1' + b',"s":1' * 600 + b"}", "400"),
        "1 MB": poster(application, path, lambda: b" " * 1_000_000, "413"),
    }
    show(f"{name}, hostile requests", medians(hostile, number=number, rounds=rounds), "view with one INCRBY", 2.0)


def main(rounds: int = 31, number: int = 200) -> None:
    """Measure and print."""
    pin()
    with RedisServer() as server:
        client = Redis(port=server.port)
        for name, make in (("Flask", flask_views), ("Django", django_views)):
            store = _building.store(server.url, namespace=name.lower())
            tracker = ReadTimeTracker(store, policy=POLICY)
            application, counter = make(client, tracker)
            measure(name, application, counter, tracker, rounds, number)
            store.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
