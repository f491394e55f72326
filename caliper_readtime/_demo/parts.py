"""What both demos share: Ada, the articles, the application, and the store in which the time lives."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caliper_readtime import _building
from caliper_readtime._model import App, Article, Course, Reader, Subject
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime.stores._sqlite.store import SqliteStateStore
from caliper_readtime.testing._redis_server import RedisServer

if TYPE_CHECKING:
    from contextlib import ExitStack

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
