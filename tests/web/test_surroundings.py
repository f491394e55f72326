"""What hosts have around the pages: login walls, content policies, caches, sessions, hooks that read bodies."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from types import SimpleNamespace

import pytest
from flask import Flask, request, session
from werkzeug.serving import make_server

from caliper_readtime import InMemoryStateStore, ReadTimeTracker
from caliper_readtime.web import flask as flask_adapter
from tests.web.sites import READERS, SECRETS, Site, django_site, refusal
from tests.web.test_pages import attributes

TAG = "{% load readtime %}{% readtime_script reader resource_id='owls' title='Owls' url='https://a.example.org/o' %}"


# A login wall


def nobody(get_response):
    """Middleware of a site on which nobody is logged in."""

    def stranger(request):
        request.user = SimpleNamespace(is_authenticated=False)
        return get_response(request)

    return stranger


def test_djangos_login_wall():
    """Behind LoginRequiredMiddleware a leave that comes after the logout counts; script and health are open."""
    with django_site():
        from django.conf import settings  # noqa: PLC0415

        overrides = {
            "INSTALLED_APPS": [*settings.INSTALLED_APPS, "django.contrib.contenttypes", "django.contrib.auth"],
            "MIDDLEWARE": [
                *settings.MIDDLEWARE,
                "tests.web.test_surroundings.nobody",
                "django.contrib.auth.middleware.LoginRequiredMiddleware",
            ],
        }
    with django_site(overrides=overrides) as site:
        assert site.get("/articles/leaves").status_code == 302
        assert site.read(site.ticket(), 10, l=True).status_code == 204
        assert site.seconds() == 10
        assert [site.get(f"/readtime/{name}").status_code for name in ("readtime.js", "health")] == [200, 200]


# A content policy


@pytest.mark.parametrize("template", ["django", "jinja2"])
def test_djangos_own_policy(template):
    """The nonce that Django's own policy allows is the tag's."""
    policy = pytest.importorskip("django.middleware.csp", reason="Django has a policy of its own since 6.0")
    from django.http import HttpResponse  # noqa: PLC0415
    from django.template import engines  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415
    from django.utils.csp import CSP  # noqa: PLC0415

    jinja = "{{ readtime_script(reader, resource_id='owls', title='Owls', url='https://a.example.org/o') }}"
    source = {"django": TAG, "jinja2": jinja}[template]

    def page(request):
        return HttpResponse(engines[template].from_string(source).render({"reader": "anna"}, request))

    with django_site(overrides={"SECURE_CSP": {"script-src": [CSP.NONCE]}}):
        answer = policy.ContentSecurityPolicyMiddleware(page)(RequestFactory().get("/"))
    nonce = attributes(answer.text)["nonce"]
    assert answer["Content-Security-Policy"] == f"script-src 'nonce-{nonce}'"


# Caches


@pytest.mark.parametrize("source", [TAG, "{% include page with reader=reader only %}"])
def test_pages_are_private_without_the_context_processor(source):
    """A project without the context processor ``request``, and an include that passes nothing on, are private too."""
    from django.template import Context, Engine, RequestContext  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415

    from caliper_readtime.web.django.pages import MARK  # noqa: PLC0415

    with django_site():
        engine = Engine(libraries={"readtime": "caliper_readtime.web.django.templatetags.readtime"})
        request = RequestFactory().get("/")
        request.csp_nonce = "n3"
        values = {"reader": "anna", "page": engine.from_string(TAG)}
        page = engine.from_string(source).render(RequestContext(request, values))
        assert attributes(page)["nonce"] == "n3"
        assert hasattr(request, MARK)
        assert "data-ticket" in attributes(engine.from_string(source).render(Context(values)))


def test_djangos_cache_page_keeps_no_ticket():
    """A view under ``cache_page`` gives each reader a ticket of their own; without the tag its page is kept."""
    from django.core.cache import cache  # noqa: PLC0415
    from django.http import HttpResponse  # noqa: PLC0415
    from django.template import engines  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415
    from django.views.decorators.cache import cache_page  # noqa: PLC0415

    cache.clear()
    rendered = []

    @cache_page(60)
    def view(request):
        reader = request.headers["Reader"]
        rendered.append(reader)
        return HttpResponse(
            engines["django"].from_string(TAG if "tag" in request.path else "page").render({"reader": reader}, request)
        )

    with django_site() as site:
        for path, readers in (("/tag", ["anna", "ben"]), ("/plain", ["anna"])):
            rendered.clear()
            pages = [view(RequestFactory().get(path, headers={"Reader": name})).text for name in ("anna", "ben")]
            assert rendered == readers
            if path == "/tag":
                tickets = [site.opened(attributes(page)["data-ticket"]) for page in pages]
                assert [ticket.reader_sourced_id for ticket in tickets] == readers


# Sessions


@pytest.fixture(params=["flask", "django"])
def refreshing(request):
    """A site whose framework renews the session's cookie with every answer, and its client, logged in."""
    if request.param == "flask":
        app = Flask("sessions")
        app.config.update(SECRET_KEY=SECRETS[0])
        counter = flask_adapter.init_app(app, tracker=ReadTimeTracker(InMemoryStateStore()), reader=READERS.get)

        @app.get("/login/u1")
        def login():
            session.permanent = True
            session["student"] = "u1"
            return ""

        app.add_url_rule("/", "front", lambda: "front")
        yield Site(app.wsgi_app, counter)
    else:
        with django_site(overrides={"SESSION_SAVE_EVERY_REQUEST": True}) as site:
            yield site


@pytest.mark.parametrize("name", ["signals", "readtime.js", "health"])
def test_answers_set_no_cookie(refreshing, name):
    """A leave's answer that comes after the logout's does not bring the session back, nor is one cached."""
    assert refreshing.get("/login/u1").headers.getlist("Set-Cookie")
    assert refreshing.get("/").headers.getlist("Set-Cookie"), "the framework does renew it"
    answer = refreshing.read(refreshing.ticket()) if name == "signals" else refreshing.get(f"/readtime/{name}")
    assert answer.status_code in (200, 204)
    assert answer.headers.getlist("Set-Cookie") == []


# Hooks


def test_flask_hooks_that_read_the_body():
    """What a host's hook has read before is taken from there: an empty signal would end the view for good."""
    app = Flask("hooks")
    app.config.update(SECRET_KEY=SECRETS[0])
    counter = flask_adapter.init_app(app, tracker=ReadTimeTracker(InMemoryStateStore()), reader=READERS.get)
    heard = []
    app.before_request(lambda: heard.append(request.get_data()))
    site = Site(app.wsgi_app, counter)
    assert site.read(site.ticket(), 10).status_code == 204
    assert (len(heard), site.seconds()) == (1, 10)
    assert site.post(b"x" * 10_000).json == refusal("too_large")
    assert site.post(b"").json == refusal("empty")


@pytest.mark.parametrize("looked_at", ["path", "data", "form"])
def test_flask_reads_no_more_than_there_is(looked_at):
    """A real server keeps its connection open, so whoever reads on behind the body waits for ever."""
    app = Flask("server")
    app.config.update(SECRET_KEY=SECRETS[0])
    flask_adapter.init_app(app, tracker=ReadTimeTracker(InMemoryStateStore()), reader=READERS.get)
    seen = []
    app.before_request(lambda: seen.append(getattr(request, looked_at)))
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = threading.Thread(target=server.serve_forever)
    serving.start()
    connection = HTTPConnection("127.0.0.1", server.port, timeout=20)
    try:
        for body, reason in ((b"x" * 100, "not_json"), (b"x" * 10_000, "too_large"), (b"", "empty")):
            connection.request("POST", "/readtime/signals", body, {"Content-Type": "text/plain"})
            with connection.getresponse() as answer:
                assert json.load(answer) == refusal(reason)
    finally:
        connection.close()
        server.shutdown()
        serving.join()
        server.server_close()


def test_django_middleware_that_reads_the_body():
    """Nor does Django's."""
    with django_site() as site:
        from django.conf import settings  # noqa: PLC0415

        listed = [*settings.MIDDLEWARE, "tests.web.test_surroundings.curious"]
    with django_site(overrides={"MIDDLEWARE": listed}) as site:
        assert site.read(site.ticket(), 10).status_code == 204
        assert site.seconds() == 10


def curious(get_response):
    """Middleware that looks into every body."""

    def look(request):
        assert isinstance(request.body, bytes)
        return get_response(request)

    return look


# Threads


def test_djangos_host_is_made_once(monkeypatch):
    """However many first requests come at once: two would be two memories, and count refusals twice."""
    together, made = threading.Barrier(8), []
    with django_site():
        from django.test import override_settings  # noqa: PLC0415

        from caliper_readtime.web.django import apps, current_page_counter  # noqa: PLC0415

        read, second = apps.table_of_settings, threading.Event()

        def slow():
            made.append(1)
            second.wait(0.2 if len(made) == 1 else 0)  # for a second one, if there can be any
            second.set()
            return read()

        monkeypatch.setattr(apps, "table_of_settings", slow)

        def first():
            together.wait()
            return current_page_counter()

        with override_settings(CALIPER_READTIME={}), ThreadPoolExecutor(8) as pool:
            found = {id(future.result()) for future in [pool.submit(first) for _ in range(8)]}
    assert (len(found), len(made)) == (1, 1)
