"""The example applications as hosts of the scenes: what they show is what a team copies."""

from __future__ import annotations

import sys
from contextvars import ContextVar
from importlib import util

from caliper_readtime import InMemoryStateStore, ReadTimeTracker
from caliper_readtime.testing import RecordingEmitter
from tests.browser.site import Clock
from tests.scenes import events
from tests.web.sites import EXAMPLES, setup_django


class ExampleHost:
    """What both have: an article each of leaves and volcanoes, and time in memory."""

    resources = {"leaves": "nice_x1", "volcanoes": "nice_x2"}  # noqa: RUF012 - never changed

    def __init__(self):
        self.clock = Clock()
        self.tracker = ReadTimeTracker(InMemoryStateStore(), RecordingEmitter(), events(), clock=self.clock)


class FlaskHost(ExampleHost):
    """The Flask example; each scene has an application of its own."""

    def __init__(self):
        super().__init__()
        app = _flask_example().create_app()
        app.extensions["caliper_readtime"].tracker = self.tracker
        self.application = app.wsgi_app


def _flask_example():
    name = "readtime_flask_example"
    if name not in sys.modules:
        spec = util.spec_from_file_location(name, EXAMPLES / "flask_app" / "app.py")
        sys.modules[name] = util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


class DjangoHost(ExampleHost):
    """The Django example; a process has only one, so each request says which scene it belongs to."""

    playing = ContextVar("playing")

    def __init__(self):
        super().__init__()
        self._handler = _django_example()

    def application(self, environ, start_response):
        self.playing.set(self.tracker)
        return self._handler(environ, start_response)


class _Playing:
    """Stands for the tracker of the scene that a request belongs to."""

    def __getattr__(self, name):
        return getattr(DjangoHost.playing.get(), name)


def _django_example():
    setup_django()
    from django.core.wsgi import get_wsgi_application  # noqa: PLC0415

    from caliper_readtime.web.django import current_page_counter  # noqa: PLC0415

    current_page_counter().tracker = _Playing()
    return get_wsgi_application()
