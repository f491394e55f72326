"""What both demos share: Ada, the articles, the application, the store, and the way to the endpoint."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime import _building
from caliper_readtime._model import App, Article, Course, Reader, Subject
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime.emitters._http import HttpCaliperEmitter
from caliper_readtime.stores._sqlite.store import SqliteStateStore
from caliper_readtime.testing._redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from caliper_readtime.protocols import StateStore

_APP: Final = "https://app.example.org"
READER: Final = Reader("ada", "ada@example.org")
_COURSE: Final = Course("Science G5", "science-g5")
LEAVES: Final = Article("nice_leaves", "How leaves eat light", f"{_APP}/leaves", _COURSE, Subject.SCIENCE)
VOLCANOES: Final = Article("nice_volcanoes", "Volcanoes", f"{_APP}/volcanoes", _COURSE, Subject.SCIENCE)
#: Most minutes that an article pays.
EXPECTED_XP: Final = 5
_REDIS: Final = ("redis:", "rediss:", "unix:", "redis+")


def events() -> TimeSpentEvents:
    """Return the builder of the application's events."""
    return TimeSpentEvents(_APP, App("Example App"), "https://oneroster.example.org")


def store(name: str, stack: ExitStack) -> StateStore:
    """Return the store that ``--store`` names, until the stack is left.

    Raises:
        ConfigurationError: the name is not known, or there is no Redis to start.
        StoreUnavailable: it cannot be reached.
    """
    opened = _opened(name, stack)
    stack.callback(opened.close)
    return opened


def _opened(name: str, stack: ExitStack) -> StateStore:
    if name == "memory":
        return _building.store("memory://")
    if name == "sqlite":
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="readtime-"))
        return SqliteStateStore(Path(directory) / "demo.db")
    if name == "redis":
        name = stack.enter_context(RedisServer()).url
    if name.startswith(_REDIS):
        # Apart from an application's states, or the sweep would take its readers' time to the demo's endpoint.
        return _building.store(name, namespace="readtime-demo")
    return _building.store(name)


#: Shorter than the leases of the demo's claims.
_DEADLINE_SECONDS: Final = 4.0
_ATTEMPTS: Final = 1


class WorkerKilled(BaseException):
    """The process has ended. No ``Exception``, because nothing in a process that has ended can handle one."""


class LossyNetwork:
    """An ``Emitter`` by HTTP that can be told to forget an outage.

    Args:
        url: the endpoint's.
        sensor: whose events it sends.
    """

    deadline_seconds = _DEADLINE_SECONDS

    def __init__(self, url: str, sensor: str) -> None:
        self._url = url
        self._sensor = sensor
        self._open = ExitStack()
        self.renew()

    def renew(self) -> None:
        """Try the endpoint at once again: the real one fails fast for up to half a minute after a long outage."""
        self._emitter = HttpCaliperEmitter(
            self._url,
            attempts=_ATTEMPTS,
            deadline_seconds=_DEADLINE_SECONDS,
            sensor=self._sensor,
            read_back=True,
        )
        self._open.callback(self._emitter.close)

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver, as ``HttpCaliperEmitter`` does."""
        self._emitter.emit(events)

    def held(self, event_ids: Collection[str], /) -> frozenset[str]:
        """Return which events the endpoint shows, as ``HttpCaliperEmitter`` asks it."""
        return self._emitter.held(event_ids)

    def close(self) -> None:
        """Close the connections."""
        self._open.close()


class DyingWorkerEmitter:
    """An ``Emitter`` whose worker is killed once it has sent, whatever the endpoint has made of it.

    Args:
        wire: what it sends by.
    """

    deadline_seconds = _DEADLINE_SECONDS

    def __init__(self, wire: LossyNetwork) -> None:
        self._wire = wire

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver, and never return.

        Raises:
            WorkerKilled: always.
        """
        try:
            self._wire.emit(events)
        finally:
            raise WorkerKilled

    def close(self) -> None:
        """Leave the wire to its owner."""
