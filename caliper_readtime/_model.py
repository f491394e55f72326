"""The values that hosts pass in, and those that a state is told of by. All frozen; UTC datetimes, float seconds."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - stores read these values back by their types
from enum import StrEnum
from typing import Any

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


@attrs.frozen
class Article:
    """What is read: the event's object and activity.

    Attributes:
        resource_id: OneRoster resource sourcedId (``nice_x…``), or the full OneRoster resource URL.
        title: the activity's name.
        url: the page, an absolute URL of http or https.
        course: the course, if there is one.
        subject: a ``Subject`` or its wire value.

    Raises:
        MissingField: a value is None or empty.
        InvalidInput: a value is not acceptable.
    """

    resource_id: str = attrs.field(validator=_checks.checked(_checks.identifier))
    title: str = attrs.field(validator=_checks.checked(_checks.text, _checks.MAX_TITLE))
    url: str = attrs.field(validator=_checks.checked(_checks.page_url))
    course: Course | None = attrs.field(default=None, validator=_instance(Course, optional=True))
    subject: Subject = attrs.field(default=Subject.NONE, converter=_subject)


@attrs.frozen
class PageView:
    """What one page view says of itself: a running total, so that a lost heartbeat is healed by the next.

    Attributes:
        id: drawn at random by the page for each view, at most 64 characters.
        active_seconds: active time of this view so far.
        acknowledged_seconds: how much of it the client knows that the server has.
    """

    id: str = attrs.field(validator=_checks.checked(_checks.text, _checks.MAX_SIGNAL_ID))
    active_seconds: float = attrs.field(validator=_checks.checked(to_ms))
    acknowledged_seconds: float = attrs.field(default=0.0, validator=_checks.checked(to_ms))


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
        return [record(self, *(attribute.name for attribute in attrs.fields(ParkedEvent)))]


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
        return [record(self, *(attribute.name for attribute in attrs.fields(HistoryEntry)))]
