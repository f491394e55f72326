"""The values that hosts pass in, and those that a state is told of by. All frozen; UTC datetimes, float seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping  # noqa: TC003 - the converter is read by its types
from datetime import datetime  # noqa: TC003 - stores read these values back by their types
from enum import StrEnum
from operator import attrgetter
from typing import Any, Final

import attrs

from caliper_readtime import _checks
from caliper_readtime._records import record
from caliper_readtime._units import to_ms
from caliper_readtime.errors import InvalidInput


class Subject(StrEnum):
    """The subjects that the TimebackActivityContext schema knows."""

    READING = "Reading"
    LANGUAGE = "Language"
    VOCABULARY = "Vocabulary"
    SOCIAL_STUDIES = "Social Studies"
    WRITING = "Writing"
    SCIENCE = "Science"
    FASTMATH = "FastMath"
    MATH = "Math"
    NONE = "None"


def _subject(value: Any) -> Subject:
    subject = _checks.member(Subject, value)
    if subject is None:
        raise InvalidInput("Article.subject", f"must be a Subject or one of: {', '.join(Subject)}")
    return subject


def _instance(kind: type, *, optional: bool = False) -> Any:
    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not (isinstance(value, kind) or (value is None and optional)):
            field = f"{type(instance).__name__}.{attribute.name}"
            raise InvalidInput(field, f"must be a {kind.__name__}, not {type(value).__name__}")

    return validate


@attrs.frozen
class Reader:
    """Who reads: the event's actor.

    Attributes:
        sourced_id: OneRoster user sourcedId, or the full OneRoster user URL.
        email: the address that the TimebackUser schema requires. It is kept out of ``repr`` and of every log line.

    Raises:
        MissingField: a value is None or empty.
        InvalidInput: a value is not acceptable.
    """

    sourced_id: str = attrs.field(validator=_checks.checked(_checks.identifier))
    email: str = attrs.field(repr=False, validator=_checks.checked(_checks.email))


@attrs.frozen
class Course:
    """The course that an article belongs to.

    Attributes:
        name: what people call it.
        id: OneRoster course sourcedId, or a full URL.
    """

    name: str = attrs.field(validator=_checks.checked(_checks.text, _checks.MAX_TITLE))
    id: str | None = attrs.field(default=None, validator=_checks.checked(_checks.identifier, optional=True))


@attrs.frozen
class App:
    """The application in which reading happens.

    Attributes:
        name: what people call it.
        id: its URL.
    """

    name: str = attrs.field(validator=_checks.checked(_checks.text, _checks.MAX_TITLE))
    id: str | None = attrs.field(default=None, validator=_checks.checked(_checks.url, optional=True))


#: Longest text of an activity's extensions, as JSON, in characters: page tickets carry it.
MAX_EXTENSIONS: Final = 1000
#: What events say in their extensions by themselves.
_OURS: Final = ("kind", "attempt")


def _extensions(value: Mapping[str, Any] | str) -> str:
    """Return extensions as JSON text, in one order, so that later changes of the caller's mapping change nothing."""
    field = "Activity.extensions"
    try:
        given = json.loads(value) if isinstance(value, str) else dict(value)
        text = json.dumps(given, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
        read = json.loads(text)
        good = isinstance(read, dict) and not _has_null(read)
    except (TypeError, ValueError, RecursionError):
        good = False
    if not good:
        raise InvalidInput(field, "must be a mapping of text to what JSON can say, and nothing in it None")
    ours = [name for name in _OURS if name in read]
    if ours:
        raise InvalidInput(field, f"must not name {ours[0]!r}, which the activity says itself")
    return _checks.text(text, field, MAX_EXTENSIONS)


def _has_null(value: Any) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return value is None or any(map(_has_null, inner))


def _count(most: int) -> Any:
    def validate(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        field = f"{type(instance).__name__}.{attribute.name}"
        if value is not None and _checks.count(value, field) > most:
            raise InvalidInput(field, f"must be at most {most}")

    return validate


@attrs.frozen(eq=False)
class Activity:
    """What time is spent on: the event's object and activity. Its resource id names it, whatever its kind or attempt.

    Attributes:
        resource_id: OneRoster resource sourcedId (``nice_x…``), or the full OneRoster resource URL.
        title: the activity's name.
        url: the page, an absolute URL of http or https.
        course: the course, if there is one.
        subject: a ``Subject`` or its wire value.
        kind: ``"article"``, ``"video"``, ``"assessment"``, or a word of the host's own.
        attempt: which attempt it is, from 1 on, where it can be taken again.
        words: how many words it has, which says how fast they were read.
        extensions: more that its events shall say: a mapping that JSON can hold.

    Raises:
        MissingField: a value is None or empty.
        InvalidInput: a value is not acceptable.
    """

    resource_id: str = attrs.field(validator=_checks.checked(_checks.identifier))
    title: str = attrs.field(validator=_checks.checked(_checks.text, _checks.MAX_TITLE))
    url: str = attrs.field(validator=_checks.checked(_checks.page_url))
    course: Course | None = attrs.field(default=None, validator=_instance(Course, optional=True))
    subject: Subject = attrs.field(default=Subject.NONE, converter=_subject)
    kind: str = attrs.field(
        default="article", kw_only=True, validator=_checks.checked(_checks.text, _checks.MAX_SIGNAL_ID)
    )
    attempt: int | None = attrs.field(default=None, kw_only=True, validator=_count(1_000_000))
    words: int | None = attrs.field(default=None, kw_only=True, validator=_count(10_000_000))
    extensions_json: str = attrs.field(
        default="{}", kw_only=True, alias="extensions", converter=_extensions, repr=False
    )

    @property
    def extensions(self) -> dict[str, Any]:
        """What its events say besides; a new dict at each call."""
        read: dict[str, Any] = json.loads(self.extensions_json)
        return read

    # An Article is equal to the Activity of its kind, in whichever form a host passes it.

    def __eq__(self, other: object) -> bool:
        return _SAID(self) == _SAID(other) if isinstance(other, Activity) else NotImplemented

    def __hash__(self) -> int:
        return hash(_SAID(self))


@attrs.frozen(eq=False)
class Article(Activity):
    """An activity of kind ``"article"``; see there."""

    def __attrs_post_init__(self) -> None:
        if self.kind != "article":
            raise InvalidInput("Article.kind", 'is always "article": pass an Activity')


_SAID: Final = attrgetter(*(attribute.name for attribute in attrs.fields(Activity)))


@attrs.frozen(slots=False)  # quicker to make than with slots, and every heartbeat makes one
class PageView:
    """What one page view says of itself: a running total, so that a lost heartbeat is healed by the next.

    Attributes:
        id: drawn at random by the page for each view, at most 64 characters.
        active_seconds: active time of this view so far.
        acknowledged_seconds: how much of it the client knows that the server has.
    """

    id: str
    active_seconds: float
    acknowledged_seconds: float = 0.0

    def __attrs_post_init__(self) -> None:
        # In one go: three validators take twice as long.
        _checks.text(self.id, "PageView.id", _checks.MAX_SIGNAL_ID)
        to_ms(self.active_seconds, "PageView.active_seconds")
        to_ms(self.acknowledged_seconds, "PageView.acknowledged_seconds")


@attrs.frozen
class ParkedEvent:
    """An event that the endpoint refused. Its seconds stay unreported and never expire.

    Attributes:
        reader_sourced_id: whose time.
        resource_id: on which article.
        event_id: the event's id; it keeps it when it is sent again.
        seconds: its time.
        parked_at: when it was last refused.
        status: HTTP status of the refusal; None where the event could not even be built.
        reason: why, in words.
        claimable: the next report will send it: its context was corrected, or its retry time has come.
    """

    reader_sourced_id: str
    resource_id: str
    event_id: str
    seconds: float
    parked_at: datetime
    status: int | None
    reason: str
    claimable: bool

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record: seconds as numbers, times as ISO 8601 in UTC; for ``pandas.DataFrame``."""
        return [record(self)]


@attrs.frozen
class HistoryEntry:
    """One step in a state's life.

    Attributes:
        at: when.
        kind: claimed, sent, failed, parked, finalized or deferred.
        event_id: the event concerned.
        seconds: its time.
        detail: more, in words.
    """

    at: datetime
    kind: str
    event_id: str | None = None
    seconds: float = 0.0
    detail: str = ""

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record: seconds as numbers, times as ISO 8601 in UTC; for ``pandas.DataFrame``."""
        return [record(self)]
