"""What an emitter sends: events as bytes in JSON, covered so that no error shows them (rule G2)."""

from __future__ import annotations

import json
import traceback
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import attrs

from caliper_readtime._rules.event_text import EventTexts
from caliper_readtime.errors import EventRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


def ids_of(events: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the events' ids; an event without one is passed over."""
    if isinstance(events, EventTexts):
        return events.ids
    return tuple(event["id"] for event in events if isinstance(event.get("id"), str))


def to_json(document: Hidden[Any], event_ids: Sequence[str]) -> bytes:
    """Return a document as one line of JSON in UTF-8, without a newline.

    Args:
        document: an event or envelope.
        event_ids: the events in it, for the error.

    Raises:
        EventRejected: it holds something that JSON has no form for.
    """
    try:
        return json.dumps(
            document.value, ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        problem = type(error).__name__
    # Outside of the handler: json's own error, and the frames that it came through, quote the event.
    raise EventRejected(f"an event cannot be written as JSON ({problem})", event_ids=event_ids)


def _plain(value: Any) -> Any:
    """Return a mapping that is no dict as one; json knows the others."""
    try:
        return dict(value.items())
    except AttributeError:
        raise TypeError(f"{type(value).__name__} has no form in JSON") from None


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
