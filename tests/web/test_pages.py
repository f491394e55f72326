"""What a page carries, and what stands beside it: the tag, the script's files, cache headers, health."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from html import unescape

import pytest
from flask import Flask, render_template_string
from flask.cli import routes_command
from markupsafe import Markup

from caliper_readtime import (
    Article,
    ConfigurationError,
    InMemoryStateStore,
    InvalidInput,
    ReadTimePolicy,
    ReadTimeTracker,
    StoreUnavailable,
)
from caliper_readtime._settings import Leave, Settings, WebSettings
from caliper_readtime.web import flask as flask_adapter
from caliper_readtime.web import script
from caliper_readtime.web._flask_command import readtime
from caliper_readtime.web.flask import current_tracker
from caliper_readtime.web.page_counter import PageCounter
from caliper_readtime.web.refusals import Refusal
from caliper_readtime.web.tickets import GRACE_SECONDS, TICKET_SECONDS, ItsdangerousSigner
from tests.scenes import ANNA
from tests.web.sites import HOST, OWLS, ROOT, SECRETS, django_site, flask_site, refusal

TAG = re.compile(r"<script defer( [a-z-]+=\"[^\"<>]*\")*></script>")


def attributes(html):
    """The attributes of the script's tag."""
    found = TAG.search(html)
    assert found, html
    return {name: unescape(value) for name, value in re.findall(r' ([a-z-]+)="([^"]*)"', found[0])}


def tag(site, **options):
    """The attributes of a tag that a site's host writes."""
    return attributes(site.counter.script_tag(("/readtime/readtime.js", "/readtime/signals"), "anna", OWLS, **options))


# The tag


def test_the_tag_starts_the_script(site):
    """An external file, data attributes, a good ticket, the policy's heartbeat; no inline code."""
    found = tag(site)
    assert set(found) == {"src", "data-url", "data-ticket", "data-opened", "data-heartbeat"}
    assert found["src"] == f"/readtime/readtime.js?v={script.file('readtime.js').version}"
    assert (found["data-url"], found["data-heartbeat"]) == ("/readtime/signals", "10")
    assert site.read(found["data-ticket"]).status_code == 204
    assert site.seconds() == 10


def test_the_tag_of_a_video(site):
    """A page that names something to play has the part for media beside the script, under the same nonce."""
    urls = "/readtime/readtime.js", "/readtime/signals"
    first, second = site.counter.script_tag(urls, "anna", OWLS, media="#film", nonce="n0").split("></script>")[:2]
    assert ' data-media="#film"' in first
    version = script.file("readtime-media.js").version
    assert second == f'<script defer src="/readtime/readtime-media.js?v={version}" nonce="n0"'


def test_the_tags_options(make_site):
    """The script's options, the article's length, the nonce and the policy's heartbeat are passed on."""
    site = make_site(policy=ReadTimePolicy(heartbeat_seconds=7.5))
    found = tag(site, nonce="n0", idle=300, dwell=20, depth=0.95, selector="#text > p", duration_seconds=60)
    assert found["nonce"] == "n0"
    names = ("heartbeat", "idle", "dwell", "depth", "article")
    assert [found[f"data-{name}"] for name in names] == ["7.5", "300", "20", "0.95", "#text > p"]
    assert site.opened(found["data-ticket"]).duration_seconds == 60


def test_the_tag_takes_the_articles_fields(site):
    """Templates name an article's fields, or pass one."""
    fields = {"resource_id": "owls", "title": "Owls", "url": "https://a.example.org/owls", "subject": "Science"}
    written = site.counter.script_tag(("/a", "/b"), ANNA, **fields, depth=1)
    ticket = site.opened(attributes(written)["data-ticket"])
    assert (ticket.reader_sourced_id, ticket.article) == ("anna", Article(**fields))


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"article": OWLS, "dept": 1}, "dept"),
        ({"article": OWLS, "title": "Another"}, "title"),
        ({"resource_id": "owls", "title": "Owls"}, "Article.url"),
        ({}, "Article.resource_id"),
    ],
)
def test_wrong_options_are_told(site, arguments, field):
    """A mistyped option, a field too many or one too few is named where pages are written; no page breaks for it."""
    with pytest.raises(InvalidInput) as caught:
        site.counter.script_tag(("/a", "/b"), "anna", **arguments, debug=True)
    assert caught.value.field == field
    assert site.counter.script_tag(("/a", "/b"), "anna", **arguments) == ""


def test_the_tag_is_escaped(site):
    """Nothing that a host passes can leave its attribute."""
    evil = '"><script>alert(1)</script>'
    written = site.counter.script_tag(("/a", "/b"), "anna", OWLS, nonce=evil, selector=evil)
    assert attributes(written)["nonce"] == evil
    assert written.count("<script") == 1


def test_rendering_stores_nothing(site):
    """Prefetching and prerendering are free of side effects."""
    for _ in range(3):
        tag(site)
    assert site.store.keys("anna") == ()


def test_a_page_is_shown_though_no_tracker_can_be_built(caplog):
    """A store that cannot even be opened costs the count of a page, not the page; afterwards all is well."""
    made = []

    def make():
        if not made:
            made.append(1)
            raise StoreUnavailable("the cluster is down")
        return ReadTimeTracker(InMemoryStateStore())

    counter = PageCounter(make, ItsdangerousSigner(SECRETS))
    assert counter.script_tag(("/a", "/b"), "anna", OWLS) == ""
    assert "a page is not counted" in caplog.text
    assert "data-ticket" in counter.script_tag(("/a", "/b"), "anna", OWLS)


# Flask


@pytest.fixture
def app():
    """A Flask application with an article page."""
    app = Flask("pages")
    app.config.update(SECRET_KEY=SECRETS[0])
    flask_adapter.init_app(app, tracker=ReadTimeTracker(InMemoryStateStore()))
    page = '{{ readtime_script("anna", resource_id="owls", title="Owls", url="https://a.example.org/o", nonce=nonce) }}'
    app.add_url_rule("/page", "page", lambda: render_template_string(page, nonce="n1"))
    app.add_url_rule(
        "/public", "public", lambda: (render_template_string(page), {"Cache-Control": "public, max-age=60"})
    )
    app.add_url_rule("/plain", "plain", lambda: ("plain", {"Cache-Control": "public, max-age=60"}))
    return app


def test_flask_pages_with_a_ticket_are_private(app):
    """Automatically, whatever the host said; other pages are left alone."""
    client = app.test_client()
    page = client.get("/page")
    assert page.cache_control.private
    assert attributes(page.text)["nonce"] == "n1"
    public = client.get("/public").cache_control
    assert (public.private, public.public, public.max_age) == (True, False, 60)
    assert client.get("/plain").cache_control.public


def test_flasks_current_tracker(app):
    """``current_tracker`` is the application's, and a test replaces it in one line."""
    mine = ReadTimeTracker(InMemoryStateStore())
    app.extensions["caliper_readtime"].tracker = mine
    with app.app_context():
        current_tracker.accumulate(ANNA, OWLS, 5)
    assert mine.state("anna", "owls").cumulative_read_time_seconds == 5


def test_flask_without_init_app():
    """The error says what to call."""
    with Flask("bare").app_context(), pytest.raises(ConfigurationError, match="init_app"):
        current_tracker.states("anna")


def test_flask_needs_a_secret():
    """Without SECRET_KEY and SECRETS there is no way to sign."""
    with pytest.raises(ConfigurationError, match="SECRET_KEY"):
        flask_adapter.init_app(Flask("x"), tracker=ReadTimeTracker(InMemoryStateStore()))


def test_flask_settings(monkeypatch, tmp_path):
    """Settings come from app.config, and what it lacks from the environment; the prefix may be elsewhere."""
    monkeypatch.setenv("CALIPER_READTIME_STORE_URL", "memory://")
    monkeypatch.setenv("CALIPER_READTIME_APP_NAME", "From the environment")
    monkeypatch.setenv("CALIPER_READTIME_HEARTBEAT_SECONDS", "20")
    app = Flask("x")
    app.config.from_mapping(
        SECRET_KEY=SECRETS[0],
        CALIPER_READTIME_ENDPOINT=f"jsonl://{tmp_path / 'events.jsonl'}",
        CALIPER_READTIME_ONEROSTER_URL="https://roster.example.org",
        CALIPER_READTIME_SENSOR="https://news.example.org",
        CALIPER_READTIME_HEARTBEAT_SECONDS=15,
        CALIPER_READTIME_LEAVE="defer",
    )
    counter = flask_adapter.init_app(app, url_prefix="/time")
    assert counter.tracker.policy.heartbeat_seconds == 15
    assert counter.settings.leave is Leave.DEFER
    assert app.test_client().get("/time/health").status_code == 200
    counter.tracker.close()


def bare_flask(**config):
    """An application that lacks settings."""
    app = Flask("x")
    app.config.update({"SECRET_KEY": SECRETS[0], "CALIPER_READTIME_SENSOR": "https://news.example.org"} | config)
    flask_adapter.init_app(app)
    return app


def test_flask_routes_needs_no_settings(monkeypatch, caplog):
    """Without the five, commands such as ``flask routes`` work; the log, the first use and doctor name what lacks."""
    monkeypatch.delenv("CALIPER_READTIME_STORE_URL", raising=False)
    app = bare_flask()
    (line,) = caplog.records
    assert line.levelname == "WARNING"
    assert re.search("until these are set.*STORE_URL.*ENDPOINT", line.getMessage())
    runner = app.test_cli_runner()
    assert "/readtime/signals" in runner.invoke(routes_command, []).output
    answer = runner.invoke(readtime, ["doctor"])
    assert (answer.exit_code, "CALIPER_READTIME_STORE_URL" in answer.stderr) == (1, True)
    with app.app_context(), pytest.raises(ConfigurationError, match=r"STORE_URL.*ENDPOINT"):
        current_tracker.now()


@pytest.mark.parametrize(
    ("config", "named"),
    [
        ({"SECRET_KEY": "dev"}, "SECRET_KEY"),
        ({"SECRET_KEY_FALLBACKS": ["old"]}, "SECRET_KEY_FALLBACKS"),
        ({"CALIPER_READTIME_SECRETS": "short"}, "CALIPER_READTIME_SECRETS"),
        ({"CALIPER_READTIME_LEAVE": "later"}, "CALIPER_READTIME_LEAVE"),
        ({"CALIPER_READTIME_READ_BACK": "perhaps"}, "CALIPER_READTIME_READ_BACK"),
        ({"CALIPER_READTIME_STORE": "redis://:hunter2@host"}, "CALIPER_READTIME_STORE"),
    ],
)
def test_flask_wrong_settings_are_told_at_the_start(config, named):
    """A wrong value is told by ``init_app``, by the name that it was set under, and never quoted where it is secret."""
    with pytest.raises(ConfigurationError, match=named) as raised:
        bare_flask(**config)
    assert "hunter2" not in str(raised.value)
    if named == "SECRET_KEY":
        assert "16 characters" in str(raised.value)


TRACKER = ReadTimeTracker(InMemoryStateStore())


def test_flask_takes_parts_by_dotted_path():
    """TRACKER and ON_REFUSAL: from the config, as objects or by their dotted paths."""
    refused = []
    for tracker in (TRACKER, f"{__name__}.TRACKER", lambda: TRACKER):
        app = bare_flask(CALIPER_READTIME_TRACKER=tracker, CALIPER_READTIME_ON_REFUSAL=refused.append)
        with app.app_context():
            assert current_tracker == TRACKER
        app.test_client().post("/readtime/signals", data=b"", content_type="text/plain")
    assert refused == [Refusal.EMPTY] * 3


# Django


def test_django_takes_parts_by_dotted_path():
    """TRACKER and ON_REFUSAL in the dict, as objects or by their dotted paths."""
    from caliper_readtime.web.django import current_tracker as of_django  # noqa: PLC0415

    refused = []
    given = {"TRACKER": f"{__name__}.TRACKER", "ON_REFUSAL": refused.append}
    with django_site(settings=given) as site:
        site.counter._tracker = None
        site.counter.refusals._hook = site.counter.settings.on_refusal
        assert of_django() is TRACKER
        site.post(b"")
    assert refused == [Refusal.EMPTY]


@pytest.fixture
def django():
    """The example project."""
    with django_site(overrides={"DEBUG": False}) as site:
        site.client.get("/login/u1", base_url=f"http://{HOST}")
        yield site


def render(source, request, **context):
    from django.template import engines  # noqa: PLC0415

    return engines["django"].from_string(source).render(context, request)


@pytest.mark.parametrize("page", ["articles", "jinja"])
def test_django_pages_with_a_ticket_are_private(django, page):
    """By the middleware, in Django's templates and in Jinja's; other pages are left alone."""
    answer = django.get(f"/{page}/leaves")
    assert answer.cache_control.private
    found = attributes(answer.text)
    assert found["data-url"] == "/readtime/signals"
    ticket = django.opened(found["data-ticket"])
    assert (ticket.reader_sourced_id, ticket.article.resource_id) == ("u1", "nice_x1")
    assert not django.get("/").cache_control.private


@pytest.mark.parametrize("template", ["django", "jinja2"])
def test_djangos_nonce(django, template):
    """The request's nonce (Django's own, or django-csp's) is on the tag; one that is given wins."""
    from django.template import engines  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415

    fields = "resource_id='owls' title='Owls' url='https://a.example.org/o'"
    source = {
        "django": "{% load readtime %}{% readtime_script 'anna' " + fields + " nonce=nonce %}",
        "jinja2": "{{ readtime_script('anna', " + fields.replace(" ", ", ") + ", nonce=nonce) }}",
    }[template]
    bare = source.replace(", nonce=nonce", "").replace(" nonce=nonce", "")
    request = RequestFactory().get("/")
    assert "nonce" not in attributes(engines[template].from_string(bare).render({}, request))
    request.csp_nonce = "n2"
    assert attributes(engines[template].from_string(bare).render({}, request))["nonce"] == "n2"
    assert attributes(engines[template].from_string(source).render({"nonce": "mine"}, request))["nonce"] == "mine"
    assert "data-ticket" in attributes(engines[template].from_string(bare).render({}))


def test_djangos_middleware_is_asynchronous_too():
    """Under ASGI it does the same, without a thread."""
    from django.http import HttpResponse  # noqa: PLC0415

    from caliper_readtime.web.django.middleware import private_pages  # noqa: PLC0415
    from caliper_readtime.web.django.pages import MARK  # noqa: PLC0415

    class Request:
        method = "GET"

    async def view(_):
        return HttpResponse(headers={"Cache-Control": "public"})

    marked, plain = Request(), Request()
    setattr(marked, MARK, True)
    assert asyncio.run(private_pages(view)(marked))["Cache-Control"] == "private"
    assert asyncio.run(private_pages(view)(plain))["Cache-Control"] == "public"


def test_djangos_current_tracker(django):
    """``current_tracker()`` is the project's, and a test replaces it in one line."""
    from caliper_readtime.web.django import current_page_counter, current_tracker  # noqa: PLC0415

    assert current_tracker() is django.tracker
    mine = ReadTimeTracker(InMemoryStateStore())
    current_page_counter().tracker = mine
    assert current_tracker() is mine


def test_django_settings(monkeypatch, tmp_path):
    """The dict may carry the prefix or not; what it lacks comes from the environment; READER may be a dotted path."""
    monkeypatch.setenv("CALIPER_READTIME_STORE_URL", "memory://")
    monkeypatch.setenv("CALIPER_READTIME_LEAVE", "defer")
    table = {
        "ENDPOINT": f"jsonl://{tmp_path / 'events.jsonl'}",
        "oneroster_url": "https://roster.example.org",
        "SENSOR": "https://news.example.org",
        "APP_NAME": "News",
        "READER": "news.students.find_reader",
    }
    for names in (table, {f"CALIPER_READTIME_{name.upper()}": value for name, value in table.items()}):
        with django_site(reader=None, settings=names) as site:
            site.counter._tracker = None
            assert site.counter.settings.leave is Leave.DEFER
            assert site.counter.settings.reader("u1").email == "anna@example.org"
            assert site.counter.tracker is site.counter.tracker
            site.counter.tracker.close()


def test_django_trusts_what_csrf_trusts():
    """CSRF_TRUSTED_ORIGINS is honoured, wildcards included."""
    with django_site(overrides={"CSRF_TRUSTED_ORIGINS": ["https://*.example.com"]}) as site:
        body = b'{"s": 1, "k": "x", "v": "v", "t": 1}'
        assert site.post(body, Origin="https://a.example.com").json == refusal("ticket_forged")
        assert site.post(body, Origin="https://a.example.net").json == refusal("foreign_origin")


def test_django_asks_for_no_csrf_token(django):
    """Beacons carry none: with the CSRF middleware installed and a session cookie there, a signal is taken."""
    assert django.read(django.ticket("anna")).status_code == 204
    assert django.client.post("/bank", base_url=f"http://{HOST}").status_code == 403


# Settings


def test_default_settings():
    """What holds when nothing is said."""
    settings = WebSettings()
    assert (settings.leave, settings.secrets, settings.trusted_origins) == (Leave.BACKGROUND, (), ())
    assert (settings.ticket_seconds, settings.ticket_grace_seconds) == (TICKET_SECONDS, GRACE_SECONDS)


@pytest.mark.parametrize(
    "wrong",
    [
        {"leave": "later"},
        {"reader": "no.such.module"},
        {"reader": "news"},
        {"reader": "json.nothing"},
        {"reader": 7},
        {"ticket_seconds": "long"},
        {"ticket_seconds": 0},
        {"ticket_grace_seconds": -1},
    ],
)
def test_wrong_settings(wrong):
    """Each is a configuration error."""
    with pytest.raises(ConfigurationError):
        PageCounter(ReadTimeTracker(InMemoryStateStore()), ItsdangerousSigner(SECRETS), Settings.of(wrong).web)


def test_settings_as_text():
    """The environment has text: numbers, and lists with spaces between."""
    text = {"ticket_seconds": "60", "secrets": "a b", "trusted_origins": "https://a https://b", "reader": "math.floor"}
    settings = Settings.of(text).web
    assert (settings.ticket_seconds, settings.secrets) == (60, ("a", "b"))
    assert settings.trusted_origins == ("https://a", "https://b")
    assert settings.reader(1.5) == 1
    assert "a', 'b" not in repr(settings)


# The script's files, and health


@pytest.mark.parametrize("name", list(script.FILES))
def test_the_scripts_files(site, name):
    """They are kept for a year under their own version alone, and revalidated for nothing."""
    answer = site.get(f"/readtime/{name}?v={script.file(name).version}")
    assert answer.status_code == 200
    assert answer.mimetype == "text/javascript"
    assert answer.data == script.file(name).body
    assert answer.headers["Cache-Control"] == script.CACHE_CONTROL
    # Or a module's import would never change, nor a page that a newer server has rendered in a rolling deployment.
    for other in ("", "?v=", "?v=0123456789ab"):
        assert site.get(f"/readtime/{name}{other}").headers["Cache-Control"] == script.REVALIDATE
    again = site.get(f"/readtime/{name}", If_None_Match=answer.headers["ETag"])
    assert (again.status_code, again.data) == (304, b"")
    assert site.get("/readtime/readtime.min.js").status_code == 404


def test_the_script_is_the_minified_one():
    """The tag's file is what the package ships for browsers."""
    assert len(script.file("readtime.js").body) < len(script.file("readtime.mjs").body)
    assert b"sendBeacon" in script.file("readtime.js").body


def test_health(make_site):
    """200 while the store answers, 503 while it does not; never more than that."""

    class Down(InMemoryStateStore):
        def keys(self, reader, now=None):
            raise StoreUnavailable("redis://:secret@host is down")

    answer = make_site().get("/readtime/health")
    assert (answer.status_code, answer.json) == (200, {"status": "ok"})
    answer = make_site(store=Down()).get("/readtime/health")
    assert (answer.status_code, answer.json) == (503, {"status": "unavailable"})
    assert answer.headers["Retry-After"]
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_tag_is_safe_html():
    """Templates do not escape it again."""
    with flask_site() as site:
        app = Flask("y")
        app.config.update(SECRET_KEY=SECRETS[0])
        flask_adapter.init_app(app, tracker=site.tracker)
        with app.test_request_context():
            assert isinstance(flask_adapter.readtime_script("anna", OWLS), Markup)


def test_the_core_knows_no_framework():
    """Parsing, tickets and the host load no web framework, and itsdangerous only when it signs."""
    code = (
        "import sys, caliper_readtime.web.page_counter, caliper_readtime.web.tickets, caliper_readtime.web.signals;"
        "print(sorted({'flask','werkzeug','django','jinja2','starlette','itsdangerous','redis'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout == "[]\n"


def test_the_tracker_is_built_once():
    """However many first requests come at once."""
    together, made = threading.Barrier(8), []

    def make():
        made.append(ReadTimeTracker(InMemoryStateStore()))
        return made[-1]

    counter = PageCounter(make, ItsdangerousSigner(SECRETS))

    def first():
        together.wait()
        return counter.tracker

    with ThreadPoolExecutor(8) as pool:
        found = {pool.submit(first) for _ in range(8)}
    assert {future.result() for future in found} == set(made)
    assert len(made) == 1
