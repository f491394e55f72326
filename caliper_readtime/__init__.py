"""Server-side reading time, reported exactly once as Caliper TimeSpentEvents."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from caliper_readtime.caliper import TimeSpentEvents
    from caliper_readtime.emitters.http import HttpCaliperEmitter
    from caliper_readtime.emitters.jsonl import JsonLinesEmitter
    from caliper_readtime.errors import (
        ConfigurationError,
        ContentionError,
        CorruptState,
        EmitError,
        EmitterUnavailable,
        EndpointRefused,
        EventRejected,
        InvalidInput,
        MissingField,
        ReadTimeError,
        StoreError,
        StoreUnavailable,
    )
    from caliper_readtime.model import App, Article, Course, HistoryEntry, PageView, ParkedEvent, Reader, Subject
    from caliper_readtime.policy import ReadTimePolicy
    from caliper_readtime.protocols import Emitter, StateStore
    from caliper_readtime.results import Accumulation, Explanation, FlushReport, Outcome, Report, Status, SweepReport
    from caliper_readtime.state import ReadTimeState
    from caliper_readtime.stores.memory import InMemoryStateStore
    from caliper_readtime.stores.redis.store import RedisStateStore
    from caliper_readtime.stores.sqlite.store import SqliteStateStore
    from caliper_readtime.sweeper import Sweeper
    from caliper_readtime.tracker import ReadTimeTracker

__version__ = "0.1.0"

__all__ = [
    "Accumulation",
    "App",
    "Article",
    "ConfigurationError",
    "ContentionError",
    "CorruptState",
    "Course",
    "EmitError",
    "Emitter",
    "EmitterUnavailable",
    "EndpointRefused",
    "EventRejected",
    "Explanation",
    "FlushReport",
    "HistoryEntry",
    "HttpCaliperEmitter",
    "InMemoryStateStore",
    "InvalidInput",
    "JsonLinesEmitter",
    "MissingField",
    "Outcome",
    "PageView",
    "ParkedEvent",
    "ReadTimeError",
    "ReadTimePolicy",
    "ReadTimeState",
    "ReadTimeTracker",
    "Reader",
    "RedisStateStore",
    "Report",
    "SqliteStateStore",
    "StateStore",
    "Status",
    "StoreError",
    "StoreUnavailable",
    "Subject",
    "SweepReport",
    "Sweeper",
    "TimeSpentEvents",
    "__version__",
]

# Every run of pytest imports this package, for its plugin, and most make no use of it: a name loads its module when it
# is asked for.
_HOMES = (
    "errors",
    "model",
    "policy",
    "protocols",
    "results",
    "state",
    "caliper",
    "stores.memory",
    "stores.sqlite.store",
    "stores.redis.store",
    "emitters.http",
    "emitters.jsonl",
    "tracker",
    "sweeper",
)

if not _typing.TYPE_CHECKING:  # or checkers would find every name here

    def __getattr__(name: str) -> _typing.Any:
        if name in _HOMES:  # a module, as an import of them all would have bound it
            return _importlib.import_module(f"{__name__}.{name}")
        for home in _HOMES if name in __all__ else ():
            found = vars(_importlib.import_module(f"{__name__}.{home}"))
            if name in found:
                return globals().setdefault(name, found[name])
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
