"""The values that hosts pass in and get back. All are frozen; times are aware UTC datetimes, durations seconds."""

from __future__ import annotations

from datetime import datetime  # noqa: TC003 - stores read these values back by their types
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import attrs

from caliper_readtime import checks
from caliper_readtime.errors import EmitError, EmitterUnavailable, InvalidInput
from caliper_readtime.units import to_ms

if TYPE_CHECKING:
    from caliper_readtime.state import ReadTimeState


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
    try:
        return Subject(value)
    except ValueError as error:
        known = ", ".join(subject.value for subject in Subject)
        raise InvalidInput("Article.subject", f"must be a Subject or one of: {known}") from error


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

    sourced_id: str = attrs.field(validator=checks.checked(checks.identifier))
    email: str = attrs.field(repr=False, validator=checks.checked(checks.email))


@attrs.frozen
class Course:
    """The course that an article belongs to.

    Attributes:
        name: what people call it.
        id: OneRoster course sourcedId, or a full URL.
    """

    name: str = attrs.field(validator=checks.checked(checks.text, checks.MAX_TITLE))
    id: str | None = attrs.field(default=None, validator=checks.checked(checks.identifier, optional=True))


@attrs.frozen
class App:
    """The application in which reading happens.

    Attributes:
        name: what people call it.
        id: its URL.
    """

    name: str = attrs.field(validator=checks.checked(checks.text, checks.MAX_TITLE))
    id: str | None = attrs.field(default=None, validator=checks.checked(checks.url, optional=True))


@attrs.frozen
class Article:
    """What is read: the event's object and activity.

    Attributes:
        resource_id: OneRoster resource sourcedId (``nice_x…``), or the full OneRoster resource URL.
        title: the activity's name.
        url: the page, an absolute URL.
        course: the course, if there is one.
        subject: a ``Subject`` or its wire value.

    Raises:
        MissingField: a value is None or empty.
        InvalidInput: a value is not acceptable.
    """

    resource_id: str = attrs.field(validator=checks.checked(checks.identifier))
    title: str = attrs.field(validator=checks.checked(checks.text, checks.MAX_TITLE))
    url: str = attrs.field(validator=checks.checked(checks.url))
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

    id: str = attrs.field(validator=checks.checked(checks.text, checks.MAX_SIGNAL_ID))
    active_seconds: float = attrs.field(validator=checks.checked(to_ms))
    acknowledged_seconds: float = attrs.field(default=0.0, validator=checks.checked(to_ms))


class Outcome(StrEnum):
    """How a report ended."""

    SENT = "sent"
    NOTHING_TO_SEND = "nothing_to_send"
    IN_FLIGHT = "in_flight"
    DEFERRED = "deferred"
    FAILED = "failed"
    PARKED = "parked"


@attrs.frozen
class Report:
    """What one report of one state came to.

    Attributes:
        outcome: SENT, NOTHING_TO_SEND, IN_FLIGHT (someone else holds the lock), DEFERRED (left for the sweeper);
            FAILED and PARKED only inside other results and for ``on_report``.
        reader_sourced_id: whose time.
        resource_id: on which article.
        delta_seconds: what the endpoint accepted.
        event_ids: ids of the events concerned.
        state: the state afterwards; None where there is none.
        error: why it failed or was parked.
        retry_at: when it will be tried again.
    """

    outcome: Outcome
    reader_sourced_id: str
    resource_id: str
    delta_seconds: float = 0.0
    event_ids: tuple[str, ...] = ()
    state: ReadTimeState | None = None
    error: EmitError | None = None
    retry_at: datetime | None = None


@attrs.frozen(slots=False)  # twice as fast to make as with slots, and every heartbeat makes one
class Accumulation:
    """What one heartbeat came to.

    Attributes:
        accepted_seconds: added to the total.
        clamped_seconds: claimed beyond the wall-time budget, and gone.
        duplicate: the view or heartbeat id was known and brought nothing new.
        state: the state afterwards.
        report: what finalizing came to, where this heartbeat completed the article.
    """

    accepted_seconds: float
    clamped_seconds: float
    duplicate: bool
    state: ReadTimeState
    report: Report | None = None


@attrs.frozen
class FlushReport:
    """What ``flush_reader`` came to.

    Attributes:
        reports: one for each article that had something.
        settled: nothing of a whole second is left and nothing is in flight.
        confirmed: whether the endpoint holds what was sent; None where it was not or cannot be asked.
        seconds_sent: what the endpoint accepted.
    """

    reports: tuple[Report, ...]
    settled: bool
    confirmed: bool | None
    seconds_sent: float

    def raise_unless_settled(self) -> None:
        """Raise the first article's error, or ``EmitterUnavailable``, unless everything has arrived."""
        if self.settled and self.confirmed is not False:
            return
        for report in self.reports:
            if report.error is not None:
                raise report.error
        open_articles = (
            ", ".join(r.resource_id for r in self.reports if r.outcome is not Outcome.SENT) or "some articles"
        )
        problem = (
            "the endpoint does not show the events yet" if self.settled else f"time is still open on {open_articles}"
        )
        raise EmitterUnavailable(
            f"not settled: {problem}; flush again later",
            event_ids=[event_id for report in self.reports for event_id in report.event_ids],
        )


@attrs.frozen
class SweepReport:
    """What one sweep came to.

    Attributes:
        events_sent: accepted events.
        states_settled: states that were due and have nothing of a whole second left.
        failed: events that were not delivered and will be tried again.
        in_flight: states that another owner holds.
        parked: events that were refused and set aside.
        seconds_sent: what the endpoint accepted.
        more: due states are left.
        stopped_by: "drained", "limit", "budget", "unavailable" or "refused".
        reports: one for each event that was handled.
    """

    events_sent: int
    states_settled: int
    failed: int
    in_flight: int
    parked: int
    seconds_sent: float
    more: bool
    stopped_by: str
    reports: tuple[Report, ...]


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
