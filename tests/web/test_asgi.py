"""What Starlette, FastAPI and Django under ASGI have of their own; the rest runs over them in the other modules."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager, closing

import anyio
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse
from jinja2 import Environment
from starlette.applications import Starlette
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.routing import Mount
from werkzeug.test import Client

from caliper_readtime import ConfigurationError, InMemoryStateStore, InvalidInput, ReadTimeTracker
from caliper_readtime.testing import ManualClock
from caliper_readtime.web import asgi
from caliper_readtime.web.asgi import current_page_counter, init_app, readtime_script
from caliper_readtime.web.refusals import Refusal
from caliper_readtime.web.signals import MAX_BODY
from tests.scenes import OWLS, START, WAIT_SECONDS
from tests.web.bridge import Bridge
from tests.web.sites import HOST, READERS, SECRETS, asgi_site, django_site, refusal
from tests.web.test_pages import attributes
from tests.web.test_refusals import message

FIELDS = {"resource_id": 7, "title": "Owls\n", "url": "/owls"}


def add_page(app, path="/owls", **headers):
    """An article page."""

    @app.get(path)
    async def page(request: Request):
        tag = await readtime_script(request, "anna", **FIELDS)
        assert current_page_counter(request).tracker is not None
        return HTMLResponse(Environment(autoescape=True).from_string("{{ tag }}").render(tag=tag), headers=headers)


@pytest.fixture
def site():
    """A FastAPI application with an article page."""
    with asgi_site(framework=FastAPI) as made:
        add_page(made.app)
        yield made


def test_a_page_counts(site):
    """In FastAPI: the tag is not escaped, its page is private, its signals count; ids and addresses are cleaned."""
    page = site.get("/owls")
    found = attributes(page.text)
    assert (found["src"].partition("?")[0], found["data-url"]) == ("/readtime/readtime.js", "/readtime/signals")
    assert page.headers["Cache-Control"] == "private"
    assert site.opened(found["data-ticket"]).article.url == f"http://{HOST}/owls"
    assert site.read(found["data-ticket"]).status_code == 204
    assert site.get("/openapi.json").headers.get("Cache-Control") is None


def test_what_the_host_says_of_caches_stays(site):
    """Only ``public`` goes."""
    add_page(site.app, "/public", **{"Cache-Control": "public, max-age=60"})
    assert site.get("/public").headers["Cache-Control"] == "private, max-age=60"


def test_in_a_mounted_application():
    """A page of an application within the application, below a path, finds the script where it is."""
    inner = FastAPI()
    add_page(inner)
    with asgi_site(framework=FastAPI) as site:
        site.app.mount("/inner", inner)
        assert attributes(site.get("/inner/owls").text)["data-url"] == "/readtime/signals"


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
def test_an_application_that_is_mounted(site, framework):
    """Where the whole application stands below a path of another one, its pages find the script and the signals."""
    site.app.router.routes.append(Mount("/deeper", routes=[*site.app.router.routes]))
    outer = framework()
    outer.mount("/news", site.app)
    with closing(Bridge(outer)) as bridge:
        client = Client(bridge)
        for page in ("/news/owls", "/news/deeper/owls"):
            found = attributes(client.get(page, base_url=f"http://{HOST}").text)
            assert client.get(found["src"], base_url=f"http://{HOST}").status_code == 200
            signal = message(found["data-ticket"], t=1000)
            answer = client.post(found["data-url"], data=signal, content_type="text/plain", base_url=f"http://{HOST}")
            assert (found["data-url"], answer.status_code) == ("/news/readtime/signals", 204)


def test_each_application_counts_its_own(site):
    """An application that counts pages may be mounted in another one that does: nothing passes for turned away."""
    with asgi_site(framework=FastAPI) as outer:
        outer.app.mount("/news", site.app)
        outer.client.post("/news/readtime/signals", data=b"", content_type="text/plain", base_url=f"http://{HOST}")
        assert site.counter.refusals.counts()[Refusal.EMPTY] == 1
        assert set(outer.counter.refusals.counts().values()) == {0}


def test_a_page_never_breaks(site):
    """What a page passes that cannot be cleaned is no tag; raised in debug alone."""

    @site.app.get("/nobody")
    async def nobody(request: Request):
        return HTMLResponse(await readtime_script(request, None, **FIELDS))

    assert site.get("/nobody").text == ""
    site.app.debug = True
    with pytest.raises(InvalidInput):
        site.get("/nobody")


def test_without_init_app():
    """The error says what to call."""
    app = FastAPI()
    add_page(app)
    with closing(Bridge(app)) as bridge, pytest.raises(ConfigurationError, match="init_app"):
        Client(bridge).get("/owls")


def test_settings(monkeypatch, tmp_path):
    """From the environment, or a mapping with the prefix or without; a secret is needed."""
    monkeypatch.delenv("CALIPER_READTIME_SECRETS", raising=False)
    with pytest.raises(ConfigurationError, match="CALIPER_READTIME_SECRETS"):
        init_app(Starlette())
    monkeypatch.setenv("CALIPER_READTIME_SECRETS", " ".join(SECRETS))
    monkeypatch.setenv("CALIPER_READTIME_STORE_URL", "memory://")
    given = {
        "CALIPER_READTIME_ENDPOINT": f"jsonl://{tmp_path / 'events.jsonl'}",
        "CALIPER_READTIME_ONEROSTER_URL": "https://roster.example.org",
        "CALIPER_READTIME_SENSOR": "https://news.example.org",
        "CALIPER_READTIME_APP_NAME": "News",
    }
    for names in (given, {name.removeprefix("CALIPER_READTIME_"): value for name, value in given.items()}):
        app = Starlette()
        counter = init_app(app, settings=names, url_prefix="/time")
        with closing(Bridge(app)) as bridge:
            assert Client(bridge).get("/time/health").json == {"status": "ok"}
        counter.tracker.close()


def test_a_route_that_takes_every_path(site):
    """Ours go first, whatever the host has added before or after."""
    app = FastAPI()
    app.add_api_route("/{path:path}", lambda path: PlainTextResponse("mine"), methods=["GET", "POST"])
    init_app(app, tracker=site.tracker, settings={"SECRETS": list(SECRETS)})
    with closing(Bridge(app)) as bridge:
        assert Client(bridge).get("/readtime/health").json == {"status": "ok"}
        assert Client(bridge).get("/else").text == "mine"


def test_what_a_middleware_turns_away_is_counted():
    """As far as it stands below ours."""
    with asgi_site(framework=FastAPI) as site:

        async def wall(request, call_next):
            return PlainTextResponse("log in", 401)

        site.app.user_middleware.append(_middleware(wall))
        assert site.read(site.ticket()).status_code == 401
        assert site.counter.refusals.counts()[Refusal.BEFORE_VIEW] == 1


def _middleware(dispatch):
    from starlette.middleware import Middleware  # noqa: PLC0415

    return Middleware(BaseHTTPMiddleware, dispatch=dispatch)


# What is bounded


def test_a_long_body_is_not_read_to_its_end(site):
    """No more of it is asked for than is taken, and a part."""
    answer = site.post(b"x" * 1_000_000)
    assert answer.json == refusal("too_large")
    assert site.application.read <= MAX_BODY + 1 + Bridge.CHUNK


def test_a_store_that_hangs_leaves_the_host_alone(monkeypatch):
    """Signals wait in threads of their own, few of them; the host's pages go on, and too many signals are answered."""
    monkeypatch.setattr(asgi, "THREADS", 2)
    monkeypatch.setattr(asgi, "MOST_WAITING", 3)
    opened, inside = threading.Event(), []

    class Hanging(InMemoryStateStore):
        def update(self, key, transition, now=None, /):
            inside.append(threading.current_thread().name)
            assert opened.wait(WAIT_SECONDS)
            return super().update(key, transition, now)

    app, clock = FastAPI(), ManualClock(START)
    counter = init_app(
        app,
        tracker=ReadTimeTracker(Hanging(), clock=clock),
        reader=READERS.get,
        settings={"SECRETS": list(SECRETS)},
    )

    @app.get("/other")
    async def other():
        return "well"

    body = message(counter.tickets.issue("anna", OWLS, clock()), t=0).encode()

    async def scene():
        answers, told = [], asyncio.Event()

        async def signal():
            answers.append(await ask(app, "POST", "/readtime/signals", body))
            if len(answers) == 4:
                told.set()

        async with anyio.create_task_group() as group:
            for _ in range(9):
                group.start_soon(signal)
            await told.wait()  # 2 are in threads, 3 wait, and what is more is told to come back
            assert [status for status, _ in answers] == [503] * 4
            assert await ask(app, "GET", "/other", b"") == (200, b'"well"')
            opened.set()
        return answers

    answers = asyncio.run(scene())
    assert sorted(status for status, _ in answers) == [204] * 5 + [503] * 4
    assert counter.refusals.counts()[Refusal.STORE_UNAVAILABLE] == 4
    assert b'"rt":2' in answers[0][1]


def test_a_browser_that_goes_away_within_its_signal_is_nobodys_failure(site):
    """Nothing is raised into the server's log; the refusal is counted, and the script has kept the time."""
    whole = message(site.ticket(), t=0).encode()
    status, _ = asyncio.run(ask(site.app, "POST", "/readtime/signals", whole[:20], leaves=True))
    assert status == 503
    assert site.counter.refusals.counts()[Refusal.UNREADABLE] == 1
    assert site.seconds() == 0


@pytest.mark.parametrize("framework", [FastAPI, Starlette])
def test_a_worker_that_ends_sends_what_waits(framework):
    """A3: when the server ends the application, what pages have left goes out before the host closes its own parts."""
    found = []

    @asynccontextmanager
    async def lifespan(_app):
        yield
        found.append(site._emitter.seconds("anna", "owls"))

    with asgi_site(framework=lambda: framework(lifespan=lifespan)) as site:
        site.counter._sender._monotonic = lambda: 0.0  # no moment ever comes for it
        assert site.read(site.ticket(), 10, l=True).status_code == 204
        assert asyncio.run(ended(site.app)) == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
        assert found == [10]


async def ended(app):
    """Start an application and end it, as a server does; return what it says."""
    asked, said = ["startup", "shutdown"], []

    async def receive():
        return {"type": f"lifespan.{asked.pop(0)}"}

    async def send(message):
        said.append(message["type"])

    await app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, receive, send)
    return said


async def ask(app, method, path, body, *, leaves=False):
    """Ask an ASGI application; who leaves does so after the first part of the body."""
    headers = [(b"content-type", b"text/plain"), (b"host", HOST.encode())]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": headers,
        "server": (HOST, 80),
        "client": ("127.0.0.1", 1),
    }
    sent, asked = [], []

    async def receive():
        if asked:
            if leaves:
                return {"type": "http.disconnect"}
            await asyncio.Event().wait()
        asked.append(1)
        return {"type": "http.request", "body": body, "more_body": leaves}

    async def send(said):
        sent.append(said)

    await app(scope, receive, send)
    return sent[0]["status"], b"".join(said.get("body", b"") for said in sent[1:])


# Django under ASGI


@pytest.fixture
def django():
    """The example project as an ASGI application, bounded."""
    with django_site() as site:
        from django.core.asgi import get_asgi_application  # noqa: PLC0415

        from caliper_readtime.web.django.asgi import bounded  # noqa: PLC0415

        with closing(Bridge(bounded(get_asgi_application()))) as bridge:
            site.application, site.client = bridge, Client(bridge)
            yield site


def test_a_django_worker_that_ends_sends_what_waits(django):
    """A3: Django knows no lifespan, so the wrapper speaks it; an application of its own keeps its own."""
    from django.core.asgi import get_asgi_application  # noqa: PLC0415

    from caliper_readtime.web.django.asgi import bounded  # noqa: PLC0415

    django.counter._sender._monotonic = lambda: 0.0  # no moment ever comes for it
    assert django.read(django.ticket(), 10, l=True).status_code == 204
    whole = ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    assert asyncio.run(ended(bounded(get_asgi_application()))) == whole
    assert django._emitter.seconds("anna", "owls") == 10
    begun = []

    @asynccontextmanager
    async def lifespan(_app):
        begun.append(1)
        yield

    assert asyncio.run(ended(bounded(Starlette(lifespan=lifespan)))) == whole
    assert begun == [1]


@pytest.mark.parametrize("base", ["", "/news"])
def test_django_never_sees_a_long_body(django, base):
    """Of 300 MB no more is asked for than is taken, below a path too: nothing comes to the disk, and it is counted."""

    class Endless:
        def read(self, size):
            return b"x" * size

    endless = {"wsgi.input": Endless(), "CONTENT_LENGTH": str(300 * 2**20)}
    answer = django.client.post(
        "/readtime/signals",
        environ_overrides=endless,
        content_type="text/plain",
        base_url=f"http://{HOST}{base}",
    )
    assert (answer.status_code, answer.json) == (413, refusal("too_large"))
    assert django.application.read <= MAX_BODY + 1 + Bridge.CHUNK
    assert django.counter.refusals.counts()[Refusal.TOO_LARGE] == 1


def tenants_urls(get_response):
    """Middleware that chooses the URLs of a request's host."""

    async def tenant(request):
        request.urlconf = "news.urls"
        return await get_response(request)

    return tenant


tenants_urls.async_capable, tenants_urls.sync_capable = True, False


def test_django_with_urls_that_a_middleware_chooses():
    """Where the project's own URLs do not have ours, nothing breaks, and signals count."""
    overrides = {"ROOT_URLCONF": "tests.web.no_urls", "MIDDLEWARE": ["tests.web.test_asgi.tenants_urls"]}
    with django_site(overrides=overrides) as site:
        from django.core.asgi import get_asgi_application  # noqa: PLC0415

        from caliper_readtime.web.django.asgi import bounded  # noqa: PLC0415

        with closing(Bridge(bounded(get_asgi_application()))) as bridge:
            site.client = Client(bridge)
            assert site.read(site.ticket()).status_code == 204


def test_django_counts_under_asgi(django):
    """Everything else goes its way: signals in one part or several, pages, other POSTs."""
    ticket = django.ticket()
    assert django.read(ticket, 10).status_code == 204
    long = message(ticket, v="view-1", t=20_000) + " " * 3000
    django.clock.advance(10)
    assert django.post(long).status_code == 204
    assert django.seconds() == 20
    assert django.get("/").status_code == 200
    assert django.client.post("/bank", data=b"x" * 10_000, base_url=f"http://{HOST}").status_code == 403
