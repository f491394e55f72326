"""PURE: finished events as the JSON text that a claim holds, at little cost for many of one article."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from caliper_readtime._model import Reader
from caliper_readtime._rules.event import MAX_EVENT_SECONDS, TimeSpentEvents, begins_at_ms
from caliper_readtime._units import to_caliper_time

if TYPE_CHECKING:
    from caliper_readtime._rules.ranges import Context

_ANYBODY: Final = Reader("-", "a@b.c")
# No id, title or address holds a control character: it stands where something differs from event to event.
_GAP: Final = "\x00"
_GAP_TEXT: Final = '"\\u0000"'
_GAPS: Final = 8
_PLAIN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


F = TypeVar("F", bound=Callable[..., None])


class EventTexts(Sequence[Mapping[str, Any]]):
    """Finished events as claims hold them: mappings for whoever looks at one, and text for whoever sends them all.

    Args:
        texts: an event's JSON each.
        ids: of the events.
    """

    def __init__(self, texts: Sequence[str], ids: Sequence[str]) -> None:
        self.ids = tuple(ids)
        self._texts = texts

    def __len__(self) -> int:
        return len(self._texts)

    @overload
    def __getitem__(self, place: int) -> Mapping[str, Any]: ...
    @overload
    def __getitem__(self, place: slice) -> EventTexts: ...
    def __getitem__(self, place: int | slice) -> Mapping[str, Any] | EventTexts:
        if isinstance(place, slice):
            return EventTexts(self._texts[place], self.ids[place])
        event: dict[str, Any] = json.loads(self._texts[place])
        return event

    def joined(self, separator: str) -> bytes:
        """Return all of them as UTF-8; a claim's own text is plain ASCII."""
        return separator.join([text if "\\u" not in text else _in_utf8(text) for text in self._texts]).encode()


def takes_texts(emit: F) -> F:
    """Mark an ``emit`` that sends ``EventTexts`` as they stand; one that takes its place is given plain mappings."""
    emit.takes_texts = True  # type: ignore[attr-defined]
    return emit


def event_text(
    events: TimeSpentEvents, context: Context, ids: tuple[str, str], seconds: int, began_at_ms: int, ended_at_ms: int
) -> str:
    """Return what ``json.dumps`` makes of the event that the builder makes of these.

    Args:
        events: the host's builder.
        context: the reader and the article.
        ids: of the event, and of its metrics collection.
        seconds: whole seconds.
        began_at_ms: when the reading began, milliseconds since the epoch.
        ended_at_ms: when it ended.

    Raises:
        Exception: whatever a builder raises, such as InvalidInput.
    """
    reader, article = context.reader, context.article
    # A builder that somebody has derived may say anything of anybody.
    frame = _frame(events, article) if type(events) is TimeSpentEvents else None
    if frame is None or not 0 < seconds <= MAX_EVENT_SECONDS:
        event = events.event(
            reader,
            article,
            event_id=ids[0],
            generated_id=ids[1],
            seconds=seconds,
            started_at_ms=began_at_ms,
            ended_at_ms=ended_at_ms,
        )
        # I6: whatever is known by this id, a stored claim first of all, would be another event's.
        if event["id"] != ids[0]:
            raise ValueError("the builder has given the event another id")
        return _dumped(event)
    parts, users = frame
    ended = to_caliper_time(ended_at_ms)
    start = to_caliper_time(begins_at_ms(began_at_ms, ended_at_ms, seconds))
    email, whose = quoted(reader.email), reader.sourced_id
    # What is plain was checked when its Reader was made, and stays as it is in a URL.
    actor = f'"{users}{whose}"' if _PLAIN.fullmatch(whose) else quoted(events.actor_id(whose))
    return (
        f'{parts[0]}"{ids[0]}"{parts[1]}"{ended}"{parts[2]}{actor}{parts[3]}{email}{parts[4]}"{ids[1]}"{parts[5]}'
        f'{seconds}{parts[6]}"{start}"{parts[7]}"{ended}"{parts[8]}'
    )


@lru_cache(maxsize=256)
def _frame(events: TimeSpentEvents, article: Any) -> tuple[list[str], str] | None:
    """Return the text of an article's events between the gaps, and that of an actor's id before the reader's.

    None where the gaps cannot be told.
    """
    event = events.event(_ANYBODY, article, event_id=_GAP, generated_id=_GAP, seconds=1, started_at_ms=0, ended_at_ms=0)
    event["eventTime"] = event["actor"]["id"] = event["actor"]["email"] = _GAP
    (item,) = event["generated"]["items"]
    item["value"] = item["startDate"] = item["endDate"] = _GAP
    parts = _dumped(event).split(_GAP_TEXT)
    return (parts, quoted(events.actor_id("-"))[1:-2]) if len(parts) == _GAPS + 1 else None


def _in_utf8(text: str) -> str:
    return json.dumps(json.loads(text), ensure_ascii=False, separators=(",", ":"))


def _dumped(event: dict[str, Any]) -> str:
    text = json.dumps(event, separators=(",", ":"), allow_nan=False)
    check_sendable(text)
    return text


def check_sendable(text: str) -> None:
    """Make sure that an event's text can be sent as UTF-8: it would fail every envelope that it is put in.

    Raises:
        UnicodeEncodeError: it holds a lone surrogate.
    """
    if "\\ud" in text:
        _in_utf8(text).encode()
