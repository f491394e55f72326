"""Server-side reading time, reported exactly once as Caliper TimeSpentEvents."""

import importlib as _importlib
import typing as _typing

if _typing.TYPE_CHECKING:
    from caliper_readtime._model import (
        Activity,
        App,
        Article,
        Course,
        HistoryEntry,
        PageView,
        ParkedEvent,
        Reader,
        Subject,
    )
    from caliper_readtime._policy import Completion, ReadTimePolicy
    from caliper_readtime._results import (
        Accumulation,
        ArticleReconciliation,
        EventSum,
        Explanation,
        FlushReport,
        Outcome,
        Reconciliation,
        Report,
        Status,
        SweepReport,
    )
    from caliper_readtime._rules.event import ActivityIds, TimeSpentEvents
    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime._sweeper import Stop, Sweeper
    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.emitters._http import HttpCaliperEmitter
    from caliper_readtime.emitters._jsonl import JsonLinesEmitter
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
    from caliper_readtime.protocols import Emitter, StateStore
    from caliper_readtime.stores._memory import InMemoryStateStore
    from caliper_readtime.stores._redis.store import RedisStateStore
    from caliper_readtime.stores._sqlite.store import SqliteStateStore

__version__ = "0.1.0"

__all__ = [
    "Accumulation",
    "Activity",
    "ActivityIds",
    "App",
    "Article",
    "ArticleReconciliation",
    "Completion",
    "ConfigurationError",
    "ContentionError",
    "CorruptState",
    "Course",
    "EmitError",
    "Emitter",
    "EmitterUnavailable",
    "EndpointRefused",
    "EventRejected",
    "EventSum",
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
    "Reconciliation",
    "RedisStateStore",
    "Report",
    "SqliteStateStore",
    "StateStore",
    "Status",
    "Stop",
    "StoreError",
    "StoreUnavailable",
    "Subject",
    "SweepReport",
    "Sweeper",
    "TimeSpentEvents",
    "__version__",
]

# Every run of pytest imports this package, for its plugin, and most make no use of it: a module is loaded when one of
# its names is asked for.
_NAMES = {
    "._model": ("Activity", "App", "Article", "Course", "HistoryEntry", "PageView", "ParkedEvent", "Reader", "Subject"),
    "._policy": ("Completion", "ReadTimePolicy"),
    "._results": (
        "Accumulation",
        "ArticleReconciliation",
        "EventSum",
        "Explanation",
        "FlushReport",
        "Outcome",
        "Reconciliation",
        "Report",
        "Status",
        "SweepReport",
    ),
    "._rules.event": ("ActivityIds", "TimeSpentEvents"),
    "._rules.state": ("ReadTimeState",),
    "._sweeper": ("Stop", "Sweeper"),
    "._tracker": ("ReadTimeTracker",),
    ".emitters._http": ("HttpCaliperEmitter",),
    ".emitters._jsonl": ("JsonLinesEmitter",),
    ".errors": (
        "ConfigurationError",
        "ContentionError",
        "CorruptState",
        "EmitError",
        "EmitterUnavailable",
        "EndpointRefused",
        "EventRejected",
        "InvalidInput",
        "MissingField",
        "ReadTimeError",
        "StoreError",
        "StoreUnavailable",
    ),
    ".protocols": ("Emitter", "StateStore"),
    ".stores._memory": ("InMemoryStateStore",),
    ".stores._redis.store": ("RedisStateStore",),
    ".stores._sqlite.store": ("SqliteStateStore",),
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names}

if not _typing.TYPE_CHECKING:  # or checkers would find every name here

    def __getattr__(name: str) -> _typing.Any:
        if name in _HOMES:
            return globals().setdefault(name, getattr(_importlib.import_module(_HOMES[name], __name__), name))
        if name in ("errors", "protocols"):
            return _importlib.import_module(f"{__name__}.{name}")
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
