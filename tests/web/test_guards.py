"""What hosts put before every view: CSRF checks, login walls, Host checks, servers that chunk; and who finds out."""

from __future__ import annotations

import logging
from io import BytesIO

import pytest
from flask import Flask, abort, redirect, request

from caliper_readtime.web import flask as flask_adapter
from caliper_readtime.web._flask_command import readtime
from caliper_readtime.web._probe import examine_signals
from caliper_readtime.web.refusals import Refusal
from tests.web.sites import HOST, READERS, SECRETS, Site, django_site, flask_site, refusal, setup_django
from tests.web.test_refusals import message

WALL = "tests.web.test_guards.wall"


def wall(get_response):
    """Middleware that lets nobody in."""

    def turn_away(request):
        from django.http import HttpResponse  # noqa: PLC0415

        return HttpResponse("log in", status=401) if request.method == "POST" else get_response(request)

    return turn_away


def flask_app(prepare=lambda app: None, then=lambda app: None):
    """A Flask application with something of the host's before or after ``init_app``; and its site."""
    with flask_site() as site:
        app = Flask("guarded")
        app.config.update(SECRET_KEY=SECRETS[0], WTF_CSRF_ENABLED=True)
        prepare(app)
        counter = flask_adapter.init_app(app, tracker=site.tracker, reader=READERS.get)
        then(app)
        return app, Site(app, counter)


# CSRF


def protect(app):
    """Flask-WTF, on every POST."""
    csrf = pytest.importorskip("flask_wtf.csrf")
    csrf.CSRFProtect(app)
    app.add_url_rule("/form", "form", lambda: "posted", methods=["POST"])


@pytest.mark.parametrize("order", ["before", "after"])
def test_flask_wtf_lets_signals_pass(order):
    """Whichever extension comes first: signals count without a token, the host's own forms need one as before."""
    app, site = flask_app(**{"prepare" if order == "before" else "then": protect})
    assert site.read(site.ticket(), 10, l=True).status_code == 204
    assert site.seconds() == 10
    assert app.test_client().post("/form").status_code == 400


def guarded(app):
    """A guard of the host's own, which knows nothing of tickets."""

    @app.before_request
    def guard():
        if request.method == "POST":
            abort(400)


def walled(app):
    """A login wall."""
    app.before_request(lambda: redirect("/login") if request.method == "POST" else None)


@pytest.mark.parametrize(("guard", "status"), [(guarded, 400), (walled, 302)])
def test_what_flask_turns_away_is_counted(guard, status, caplog):
    """A signal that never comes to its view is a refusal of its own, told to log and hook, whatever is answered."""
    _, site = flask_app(then=guard)
    with caplog.at_level(logging.WARNING, "caliper_readtime"):
        assert site.read(site.ticket()).status_code == status
    assert site.counter.refusals.counts()[Refusal.BEFORE_VIEW] == 1
    assert f"signals refused reason=before_view count=1 detail=status {status}" in caplog.text


def test_a_question_is_no_signal():
    """Flask answers OPTIONS by itself: no signal was turned away."""
    _, site = flask_app()
    assert site.client.options("/readtime/signals", base_url=f"http://{HOST}").status_code == 200
    assert site.counter.refusals.counts()[Refusal.BEFORE_VIEW] == 0


def test_what_django_turns_away_is_counted():
    """As far as it stands below our middleware."""
    with django_site():
        from django.conf import settings  # noqa: PLC0415

        middleware = [*settings.MIDDLEWARE, WALL]
    with django_site(overrides={"MIDDLEWARE": middleware}) as site:
        assert site.read(site.ticket()).status_code == 401
        assert site.counter.refusals.counts()[Refusal.BEFORE_VIEW] == 1
        site.client.post("/bank", base_url=f"http://{HOST}")
        site.client.post("/elsewhere/signals", base_url=f"http://{HOST}")
        assert site.counter.refusals.counts()[Refusal.BEFORE_VIEW] == 1


def test_what_is_taken_or_refused_is_counted_once(site):
    """A signal that came to its view has not been turned away."""
    site.read(site.ticket())
    site.post(b"")
    site.get("/readtime/health")
    assert {reason: n for reason, n in site.counter.refusals.counts().items() if n} == {Refusal.EMPTY: 1}


# doctor


def test_doctor_posts_a_real_signal():
    """``flask readtime doctor``: ok where signals pass, an error where a guard turns them away; nothing is counted."""
    for guard, level in ((lambda app: None, "ok"), (guarded, "error"), (walled, "error")):
        app, site = flask_app(then=guard)
        result = app.test_cli_runner().invoke(readtime, ["doctor", "--json"])
        (found,) = [one for one in _json(result.stdout) if one["id"] == "pages.signals"]
        assert found["level"] == level, found
        assert ("before it gets to its view" in found["text"]) == (level == "error")
        assert site.store.keys("caliper-readtime-doctor") == ()


def test_djangos_doctor_posts_one_too(capsys):
    """``manage.py readtime doctor`` does the same."""
    from django.core.management import ManagementUtility  # noqa: PLC0415

    with django_site():
        from django.conf import settings  # noqa: PLC0415

        for more, level in (([], "ok"), ([WALL], "error")):
            with django_site(
                overrides={"MIDDLEWARE": [*settings.MIDDLEWARE, *more], "ALLOWED_HOSTS": [HOST]}
            ) as guarded_site:
                with pytest.raises(SystemExit) if more else _nothing():
                    ManagementUtility(["manage.py", "readtime", "doctor", "--json"]).execute()
                (found,) = [one for one in _json(capsys.readouterr().out) if one["id"] == "pages.signals"]
                assert found["level"] == level, found
                assert guarded_site.store.keys("caliper-readtime-doctor") == ()


def test_doctor_survives_a_broken_host(site):
    """An application that raises, and one that cannot issue tickets, are findings."""

    def broken(environ, start_response):
        raise LookupError("secret")

    found = examine_signals(site.counter, broken, "/readtime/signals", HOST)
    assert (found.level, "LookupError" in found.text, "secret" in found.text) == ("error", True, False)
    refusing = examine_signals(site.counter, site.application, "/readtime/signals", HOST)
    assert refusing.level == "ok"


def _json(text):
    import json  # noqa: PLC0415

    return json.loads(text)


def _nothing():
    from contextlib import nullcontext  # noqa: PLC0415

    return nullcontext()


# Servers


def chunked(site, body, *, terminated):
    """Send a body without a length, as a server hands it on that ends chunks itself, or one that does not."""
    return site.client.post(
        "/readtime/signals",
        input_stream=BytesIO(body),
        headers={"Transfer-Encoding": "chunked"},
        content_type="text/plain",
        environ_overrides={"CONTENT_LENGTH": ""} | ({"wsgi.input_terminated": True} if terminated else {}),
        base_url=f"http://{HOST}",
    )


def test_a_body_in_chunks_counts(site):
    """A heartbeat that a proxy sends on in chunks is taken where the server hands it on, and no more of it is read."""
    ticket = site.ticket()
    site.clock.advance(10)
    assert chunked(site, message(ticket, t=10_000).encode(), terminated=True).status_code == 204
    assert site.seconds() == 10
    assert chunked(site, b"x" * 100_000, terminated=True).json["error"] == "too_large"


def test_a_body_that_no_server_hands_on_is_not_refused_for_good(site):
    """Where it does not, the script keeps its record: 503, not "empty"."""
    answer = chunked(site, message(site.ticket()).encode(), terminated=False)
    assert (answer.status_code, answer.json) == (503, refusal("unreadable"))


@pytest.mark.parametrize("path", ["/readtime/readtime.js", "/readtime/readtime-media.js", "/readtime/health"])
def test_head(site, path):
    """What can be got can be asked for by HEAD, as probes and link checkers do."""
    answer = site.client.head(path, base_url=f"http://{HOST}")
    assert answer.status_code == 200
    assert answer.data == b""


def test_a_bad_host_is_a_refusal_of_ours():
    """Django refuses a Host that it does not know where somebody asks for it: with an Origin that is us, 403."""
    setup_django()
    from caliper_readtime.web.django import checks  # noqa: PLC0415

    # Most projects have CommonMiddleware, which refuses it before any view, in Django's own words.
    with django_site(overrides={"ALLOWED_HOSTS": [HOST], "MIDDLEWARE": [checks.MIDDLEWARE]}) as site:
        for host in ("evil.example", "bad_host:x", "ü.example"):
            answer = site.post(message(site.ticket()), Host=host, Origin=f"https://{host}")
            assert (answer.status_code, answer.json) == (403, refusal("foreign_origin"))
        assert site.counter.refusals.counts()[Refusal.FOREIGN_ORIGIN] == 3
