"""Stand-ins for stores, emitters and clients, whose calls are numbered steps."""

from __future__ import annotations

import sys
from functools import cache
from inspect import getattr_static, isawaitable, ismethod
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from caliper_readtime.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

#: Methods that make something whose calls are the effects.
MAKERS: Final = frozenset({"pipeline", "cursor", "lock", "register_script", "transaction", "begin", "connect"})
_NO_EFFECT: Final = frozenset({"close", "mount"})
_SPECIAL: Final = ("__enter__", "__exit__", "__iter__", "__next__", "__len__", "__contains__", "__call__")
_ITEMS: Final = ("__getitem__", "__setitem__", "__delitem__")
_PLAIN: Final = (str, bytes, int, float, bool, list, tuple, dict, set, frozenset, type(None))
_TIMEOUTS: Final = (
    (".exceptions", "TimeoutError"),  # redis, valkey
    (".exceptions", "ReadTimeout"),  # requests
    ("", "ReadTimeout"),  # httpx
    ("", "OperationalError"),  # sqlite3, psycopg
    (".db", "OperationalError"),  # Django
)


class Takes(Protocol):
    """Who numbers the calls."""

    def take(self, client: Client, method: str, perform: Callable[[], Any], target: object, /) -> Any:
        """Perform a call as a step."""

    def alive(self) -> None:
        """Return, unless the process was killed."""


@attrs.frozen(eq=False)
class Client:
    """How the calls of one client are numbered.

    Attributes:
        steps: who numbers them.
        root: the name of what the host was given.
        name: the name of this part of it.
        methods: which calls are effects; None for all that may be.
        makers: which calls make another such part.
        error: makes the exception of a call that was not answered.
        in_transaction: whether what it does now ends with its connection.
    """

    steps: Takes
    root: str
    name: str
    methods: Collection[str] | None
    makers: Collection[str]
    error: Callable[[], Exception]
    in_transaction: Callable[[], bool] = bool

    def called(self, proxy: object, target: object, method: str, args: tuple[Any, ...], more: dict[str, Any]) -> Any:
        """Call a method, as a step where it is an effect."""
        bound = getattr(target, method)
        if method in self.makers:
            self.steps.alive()
            made = bound(*args, **more)
            return made if isinstance(made, _PLAIN) else numbered(made, attrs.evolve(self, name=self._below(method)))
        if method in _NO_EFFECT if self.methods is None else method not in self.methods:
            self.steps.alive()
            return bound(*args, **more)

        def perform() -> Any:
            result = bound(*args, **more)
            if isawaitable(result):
                getattr(result, "close", lambda: None)()
                raise InvalidInput("client", f"{self._below(method)} is asynchronous: only synchronous calls are steps")
            return proxy if result is target else result

        return self.steps.take(self, method, perform, proxy)

    def _below(self, method: str) -> str:
        return f"{self.name}.{method}"


def numbered(target: object, client: Client) -> Any:
    """Return a stand-in for an object whose calls are numbered; to ``isinstance`` it is what it stands in for."""
    kind: Any = type(target)
    proxy: object = object.__new__(_stand_in(kind))
    object.__setattr__(proxy, "_numbered", (target, client))
    return proxy


@cache
def _stand_in(kind: type) -> type:
    # A class of its own, because a runtime-checkable protocol looks for methods in the class.
    members: dict[str, Any] = {
        "__class__": property(lambda _: kind),
        "__getattr__": _get,
        "__setattr__": _set,
        "__repr__": lambda self: repr(self._numbered[0]),
    }
    special = (name for name in (*_SPECIAL, *_ITEMS) if getattr(kind, name, None) is not None)
    for name in (*special, *(name for name in dir(kind) if not name.startswith("_"))):
        found = getattr_static(kind, name)
        is_method = callable(found) or isinstance(found, staticmethod | classmethod)
        members[name] = _method(name) if is_method else _attribute(name)
    return type(f"Numbered{kind.__name__}", (), members)


def _get(self: Any, name: str) -> Any:
    if name == "_numbered":
        raise AttributeError(name)
    found = getattr(self._numbered[0], name)
    # What stands for another object, as django.db.connection does, finds its methods only when asked.
    return _method(name).__get__(self) if ismethod(found) and not name.startswith("_") else found


def _set(self: Any, name: str, value: Any) -> None:
    setattr(self._numbered[0], name, value)


def _method(name: str) -> Callable[..., Any]:
    def method(self: Any, /, *args: Any, **more: Any) -> Any:
        target, client = self._numbered
        return client.called(self, target, name, args, more)

    method.__name__ = name
    return method


def _attribute(name: str) -> property:
    return property(lambda self: getattr(self._numbered[0], name), lambda self, value: _set(self, name, value))


def in_transaction(client: object) -> bool:
    """Return whether a client of a database has begun a transaction."""
    for name in ("in_transaction", "in_atomic_block"):  # sqlite3 and SQLAlchemy, Django
        found = getattr(client, name, False)
        if (found() if callable(found) else found) is True:
            return True
    status = getattr(getattr(client, "info", None), "transaction_status", 0)  # psycopg: 0 is none
    return isinstance(status, int) and status > 0


def timed_out(target: object) -> Callable[[], Exception]:
    """Return what makes the exception that a client of this kind raises when nobody answers."""
    for kind in type(target).__mro__:
        package = kind.__module__.partition(".")[0]
        for module, name in _TIMEOUTS:
            found = getattr(sys.modules.get(package + module), name, None)
            if isinstance(found, type) and issubclass(found, Exception):
                return lambda error=found: error("no answer in time (crash_every_step)")  # type: ignore[misc]
    return lambda: TimeoutError("no answer in time (crash_every_step)")
