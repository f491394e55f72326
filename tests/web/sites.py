"""The hosts that every web test runs over: the same pages' endpoints in Flask and in Django, as WSGI applications."""

from __future__ import annotations

import json
import os
import sys
from contextlib import closing, contextmanager
from pathlib import Path

from flask import Flask
from starlette.applications import Starlette
from werkzeug.test import Client

from caliper_readtime import InMemoryStateStore, Reader, ReadTimePolicy, ReadTimeTracker
from caliper_readtime.testing import FlakyEmitter, ManualClock
from caliper_readtime.web import asgi as asgi_adapter
from caliper_readtime.web import flask as flask_adapter
from caliper_readtime.web.refusals import Refusal
from caliper_readtime.web.tickets import application_of
from tests.scenes import START, article, events
from tests.web.bridge import Bridge

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "docs" / "examples"
HOST = "news.example.org"
SECRETS = ("the-newest-secret-0123456789", "an-older-secret-0123456789")
READERS = {name: Reader(name, f"{name}@example.org") for name in ("anna", "ben")}
OWLS = article("owls")


def refusal(reason):
    """What a refusal's answer says: 1 where the script has to give up, 2 where it may come back."""
    again = reason in ("foreign_origin", "unreadable", "store_unavailable", "host_failed")
    return {"rt": 2 if again else 1, "error": str(reason), "do": Refusal(reason).advice}


class Site:
    """One application, and everything behind it in the test's hands.

    Attributes:
        counter: what its adapter has made.
        application: the whole, as WSGI.
        asked: whose e-mail address the host was asked for.
    """

    def __init__(self, application, counter, *, store=None, policy=None, emits=True):
        self.application = application
        self.counter = counter
        self.client = Client(application)
        self.clock = ManualClock(START)
        self._emitter = FlakyEmitter()
        self.store = InMemoryStateStore() if store is None else store
        self.tracker = ReadTimeTracker(
            self.store, self._emitter if emits else None, events(), policy or ReadTimePolicy(), self.clock
        )
        counter.tracker = self.tracker

    @property
    def emitter(self):
        """Takes what is sent; whoever asks sees what the background has still to send, too."""
        assert self.counter.close(60)
        return self._emitter

    def ticket(self, reader="anna", what=OWLS, **more):
        """A ticket of a page that is rendered now."""
        more.setdefault("application", application_of(self.tracker.events))
        return self.counter.tickets.issue(reader, what, self.clock(), **more)

    def opened(self, text):
        """What a ticket says."""
        return self.counter.tickets.verify(text, self.clock(), application=application_of(self.tracker.events))

    def post(self, body, *, content_type="text/plain;charset=UTF-8", **headers):
        """Send bytes; header names with underscores."""
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.post(
            "/readtime/signals", data=body, content_type=content_type, headers=fields, base_url=f"http://{HOST}"
        )

    def log(self, ticket, total=10.0, *, view="view-1", acked=0.0, version=1, **more):
        """Send a signal as the script does; ``total`` and ``acked`` in seconds."""
        said = {"s": version, "k": ticket, "v": view, "t": round(total * 1000), "b": round(acked * 1000), **more}
        return self.post(json.dumps({key: value for key, value in said.items() if value is not None}))

    def read(self, ticket, seconds=10.0, **more):
        """Let honest time go by, and tell of it."""
        self.clock.advance(seconds)
        return self.log(ticket, seconds, **more)

    def seconds(self, reader="anna", what=OWLS):
        """The time that was accepted."""
        state = self.tracker.state(reader, what.resource_id)
        return 0.0 if state is None else state.cumulative_read_time_seconds

    def get(self, path, **headers):
        """Ask for a page."""
        return self.client.get(path, headers=headers, base_url=f"http://{HOST}")


@contextmanager
def flask_site(*, secrets=SECRETS, reader=READERS.get, settings=None, on_refusal=None, **parts):
    """A Flask application that has nothing but ``init_app``."""
    app = Flask("site")
    app.config.from_mapping(
        {f"CALIPER_READTIME_{name}": value for name, value in (settings or {}).items()},
        SECRET_KEY=secrets[0],
        SECRET_KEY_FALLBACKS=list(secrets[1:]),
    )
    counter = flask_adapter.init_app(
        app, reader=reader, tracker=ReadTimeTracker(InMemoryStateStore()), on_refusal=on_refusal
    )
    yield Site(app.wsgi_app, counter, **parts)


def setup_django():
    """Set the example project up, once for a process."""
    path = str(EXAMPLES / "django_project")
    if path not in sys.path:
        sys.path.append(path)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "news.settings")
    import django  # noqa: PLC0415

    django.setup()


@contextmanager
def django_site(*, secrets=SECRETS, reader=READERS.get, settings=None, on_refusal=None, overrides=None, **parts):
    """The example Django project with settings of the test."""
    setup_django()
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415
    from django.test import override_settings  # noqa: PLC0415

    from caliper_readtime.web.django import current_page_counter  # noqa: PLC0415

    with override_settings(
        SECRET_KEY=secrets[0],
        SECRET_KEY_FALLBACKS=list(secrets[1:]),
        CALIPER_READTIME={**({} if reader is None else {"READER": reader}), **(settings or {})},
        **(overrides or {}),
    ):
        counter = current_page_counter()
        counter.refusals._hook = on_refusal
        yield Site(get_wsgi_application(), counter, **parts)


@contextmanager
def asgi_site(*, secrets=SECRETS, reader=READERS.get, settings=None, on_refusal=None, framework=Starlette, **parts):
    """A Starlette application that has nothing but ``init_app``."""
    app = framework()
    counter = asgi_adapter.init_app(
        app,
        reader=reader,
        tracker=ReadTimeTracker(InMemoryStateStore()),
        settings={"SECRETS": list(secrets), **(settings or {})},
        on_refusal=on_refusal,
    )
    bridge = Bridge(app)
    with closing(bridge):
        site = Site(bridge, counter, **parts)
        site.app = app
        yield site


SITES = {"flask": flask_site, "django": django_site, "asgi": asgi_site}
