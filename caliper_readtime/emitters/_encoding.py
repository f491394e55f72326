"""Events as bytes: JSON in UTF-8, what events are called in errors, and a cover for what no error may show."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs

from caliper_readtime.errors import EventRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T")


@attrs.frozen
class Hidden(Generic[T]):
    """Holds what is private while it stands in a local variable: error trackers show those of every frame."""

    value: T = attrs.field(repr=False)


@attrs.frozen
class Request:
    """What is asked; a URL may hold a key and a body holds events, so neither is shown.

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


def ids_of(events: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the events' ids; an event without one is passed over."""
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
