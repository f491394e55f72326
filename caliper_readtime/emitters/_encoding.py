"""Events as bytes: JSON in UTF-8, and what events are called in errors."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from caliper_readtime.errors import EventRejected

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caliper_readtime.emitters._privacy import Hidden


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
