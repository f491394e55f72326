"""Types: signals, tickets, the host's part, and the adapters for Flask and Django."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, assert_type

from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString
from flask import Flask
from markupsafe import Markup
from starlette.applications import Starlette
from starlette.requests import Request

from caliper_readtime import Accumulation, Article, PageView, Reader, ReadTimeTracker
from caliper_readtime.web import asgi, django, flask, script
from caliper_readtime.web.django.asgi import bounded
from caliper_readtime.web.django.middleware import private_pages
from caliper_readtime.web.django.pages import readtime_script
from caliper_readtime.web.django.signing import DjangoSigner
from caliper_readtime.web.origins import Headers, foreign
from caliper_readtime.web.page_counter import Leave, PageCounter, PageResponse, WebSettings
from caliper_readtime.web.refusals import Refusal, Refusals, Refused
from caliper_readtime.web.script import ScriptFile
from caliper_readtime.web.signals import PageSignal, parse, take
from caliper_readtime.web.tickets import ItsdangerousSigner, Signer, Ticket, Tickets, checked_secrets


class PlainSigner:
    """A signer of a third party. It inherits nothing."""

    def sign(self, value: list[Any], /) -> str:
        """Sign."""
        return repr(value)

    def unsign(self, text: str, /) -> Any:
        """Verify."""
        raise ValueError(text)


def find(sourced_id: str) -> Reader | None:
    """Find a reader."""
    return Reader(sourced_id, "s@example.org") if sourced_id else None


def tickets(article: Article, now: datetime) -> Ticket:
    """Issue, verify and renew."""
    signers: list[Signer] = [PlainSigner(), ItsdangerousSigner(["a" * 16, b"b" * 16]), DjangoSigner()]
    assert_type(checked_secrets(["a" * 16]), list[bytes])
    issuer = Tickets(signers[0], ticket_seconds=3600, grace_seconds=60)
    text = issuer.issue("u1", article, now, duration_seconds=60)
    assert_type(text, str)
    ticket = issuer.verify(text, now)
    assert_type(ticket, Ticket)
    assert_type(ticket.lifetime_ms, int)
    assert_type(issuer.renew(ticket, now), str | None)
    return ticket


def signals(tracker: ReadTimeTracker, ticket: Ticket) -> PageView:
    """Read a message and take it."""
    try:
        signal = parse(b"{}")
    except Refused as refused:
        assert_type(refused.reason, Refusal)
        assert_type(refused.reason.status, int)
        refusals = Refusals(print)
        refusals.count(refused)
        assert_type(refusals.counts(), dict[Refusal, int])
        raise
    assert_type(signal, PageSignal)
    assert_type(take(tracker, ticket, signal, find, now=tracker.now(), defer=True, soon=print), Accumulation)
    return signal.view(1000)


def any_framework(tracker: ReadTimeTracker, headers: Headers, seen: list[Refusal]) -> PageResponse:
    """Put a framework's requests to a host."""
    settings = WebSettings(secrets=("a" * 16,), reader=find, leave=Leave.DEFER, trusted_origins=("https://a.example",))
    assert_type(foreign(headers, settings.trusted_origins), bool)
    counter = PageCounter(lambda: tracker, PlainSigner(), settings, on_refusal=seen.append)
    counter.tracker = tracker
    assert_type(counter.tracker, ReadTimeTracker)
    assert_type(counter.tickets, Tickets)
    assert_type(counter.refusals, Refusals)
    assert_type(counter.health(), PageResponse)
    assert_type(script.file("readtime.js"), ScriptFile)
    assert_type(script.tag("/readtime.js", None, {}), str)
    article = Article("nice_x1", "Leaves", "https://app.example.org/1")
    tag = counter.script_tag(("/readtime.js", "/signals"), "u1", article, nonce="n", duration_seconds=60, idle=30)
    assert_type(tag, str)
    assert_type(counter.close(1.0), bool)
    return counter.receive(headers, b"{}")


def flask_app(app: Flask, tracker: ReadTimeTracker, article: Article) -> Markup:
    """Use the Flask adapter."""
    counter = flask.init_app(app, reader=find, tracker=tracker, on_refusal=print, url_prefix="/r")
    assert_type(counter, PageCounter)
    assert_type(flask.current_page_counter(), PageCounter)
    assert_type(flask.current_tracker, ReadTimeTracker)
    return flask.readtime_script("u1", article, idle=30)


async def asgi_app(app: Starlette, tracker: ReadTimeTracker, request: Request, article: Article) -> str:
    """Use the adapter for Starlette and FastAPI."""
    counter = asgi.init_app(app, reader=find, tracker=tracker, settings={"SECRETS": ["a" * 16]}, on_refusal=print)
    assert_type(counter, PageCounter)
    assert_type(asgi.current_page_counter(request), PageCounter)
    assert_type(counter.turn_away(request.headers, Refused(Refusal.EMPTY)), PageResponse)
    bounded(app)
    return await asgi.readtime_script(request, 7, article, idle=30)


def django_project(respond: Callable[[HttpRequest], HttpResponse], article: Article) -> SafeString:
    """Use the Django application."""
    assert_type(django.current_page_counter(), PageCounter)
    assert_type(django.current_tracker(), ReadTimeTracker)
    assert_type(private_pages(respond), Callable[[HttpRequest], Any])
    return readtime_script({}, Reader("u1", "s@example.org"), article, depth=0.9)
