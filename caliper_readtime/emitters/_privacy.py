"""Covers for what no error may show: error trackers send the local variables of every frame (rule G2)."""

from __future__ import annotations

import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Final, Generic, TypeVar

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

T = TypeVar("T")
E = TypeVar("E", bound=BaseException)

# Whose frames hold bodies, headers and URLs while a request is made.
_CARRIERS: Final = frozenset({"authlib", "caliper_readtime", "http", "requests", "socket", "ssl", "urllib3"})


@attrs.frozen
class Hidden(Generic[T]):
    """Holds what is private while it stands in a local variable."""

    value: T = attrs.field(repr=False)


@attrs.frozen
class Request:
    """What is asked of an endpoint; a URL may hold a key and a body holds events, so neither is shown.

    Attributes:
        method: HTTP method.
        url: where to.
        event_ids: the events concerned, for errors.
        body: JSON, if any.
    """

    method: str
    url: str = attrs.field(repr=False)
    event_ids: Sequence[str]
    body: bytes | None = attrs.field(default=None, repr=False)


def without_carriers(error: E) -> E:
    """Take the frames of those who carried a request off an error and what stands behind it; return the error.

    Who interrupted them, such as a host's signal handler, is still shown.
    """
    behind: BaseException | None = error
    seen: set[int] = set()  # an interruption that was wrapped stands in its own chain
    while behind is not None and id(behind) not in seen:
        seen.add(id(behind))
        kept: TracebackType | None = None
        for frame, line in reversed(list(traceback.walk_tb(behind.__traceback__))):
            if str(frame.f_globals.get("__name__")).partition(".")[0] not in _CARRIERS:
                kept = TracebackType(kept, frame, frame.f_lasti, line)
        behind.__traceback__ = kept
        behind = behind.__cause__ or behind.__context__
    return error
