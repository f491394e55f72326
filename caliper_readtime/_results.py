"""What the verbs answer. All are frozen; times are aware UTC datetimes, durations seconds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime import _notebook
from caliper_readtime._records import record
from caliper_readtime._units import to_seconds
from caliper_readtime.errors import EmitError, EmitterUnavailable, EventRejected

if TYPE_CHECKING:
    from datetime import datetime

    from caliper_readtime._rules.state import Key, ReadTimeState


class Outcome(StrEnum):
    """How a report ended."""

    SENT = "sent"
    NOTHING_TO_SEND = "nothing_to_send"
    IN_FLIGHT = "in_flight"
    DEFERRED = "deferred"
    FAILED = "failed"
    PARKED = "parked"


@attrs.frozen(slots=False)  # half the time to make, and a sweep makes thousands
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
        beside_seconds: found when this time was claimed to have been read beside another article: part of what was
            claimed, or, with ``reader_budget="enforce"``, clamped from it. A later try finds nothing anew; the sum is
            ``state.beside_seconds``.
    """

    outcome: Outcome
    reader_sourced_id: str
    resource_id: str
    delta_seconds: float = 0.0
    event_ids: tuple[str, ...] = ()
    state: ReadTimeState | None = None
    error: EmitError | None = None
    retry_at: datetime | None = None
    beside_seconds: float = 0.0

    def _repr_html_(self) -> str:
        return _notebook.fields("Report", self, *_REPORT)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record: seconds as numbers, times as ISO 8601 in UTC; for ``pandas.DataFrame``."""
        return [record(self, *_REPORT)]


_REPORT: Final = (
    "outcome",
    "reader_sourced_id",
    "resource_id",
    "delta_seconds",
    "event_ids",
    "error",
    "retry_at",
    "beside_seconds",
)


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

    def _repr_html_(self) -> str:
        heartbeat = _notebook.fields("Heartbeat", self, *_HEARTBEAT)
        return heartbeat if self.report is None else heartbeat + self.report._repr_html_()

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record: seconds as numbers, times as ISO 8601 in UTC; for ``pandas.DataFrame``."""
        return [record(self, *_HEARTBEAT)]


_HEARTBEAT: Final = (
    "state.reader_sourced_id",
    "state.resource_id",
    "accepted_seconds",
    "clamped_seconds",
    "duplicate",
    "state.cumulative_read_time_seconds",
)


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

    def _repr_html_(self) -> str:
        flush = _notebook.fields("Flush", self, "settled", "confirmed", "seconds_sent")
        return flush + _notebook.listing("Reports", self.reports, *_REPORT)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record for each report, as ``Report.to_records`` does."""
        return [row for report in self.reports for row in report.to_records()]

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
        stopped_by: "drained", "limit", "budget", "stopped" (by ``go_on``), "unavailable" or "refused".
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

    def _repr_html_(self) -> str:
        names = (attribute.name for attribute in attrs.fields(SweepReport) if attribute.name != "reports")
        return _notebook.fields("Sweep", self, *names) + _notebook.listing("Reports", self.reports, *_REPORT)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record for each report, as ``Report.to_records`` does."""
        return [row for report in self.reports for row in report.to_records()]


@attrs.frozen
class Status:
    """How much time waits in a store, and whether anybody comes for it.

    Attributes:
        unreported_states: states with an unreported whole second, a claim or a parked event.
        unreported_seconds: what they have accepted and not reported; all of it is still to be paid.
        oldest_unreported_at: when the oldest of this time began to be read; None where there is none.
        parked_events: refused events, which wait for a correction.
        last_sweep_at: when a sweep last ran; None where none ever has.
        doubtful_claims: claims of more than a day ago that were never settled. Their events may have arrived, and an
            endpoint may have forgotten their ids: an emitter with read-back asks before it sends them again.
        beside_seconds: what was found, as it was claimed, to have been read beside another article, in these states.
        skimmed_states: of the unreported states, those whose end was reached sooner than their words, or their video,
            can have taken. A flag: all of their time is paid.
    """

    unreported_states: int
    unreported_seconds: float
    oldest_unreported_at: datetime | None
    parked_events: int
    last_sweep_at: datetime | None
    doubtful_claims: int = 0
    beside_seconds: float = 0.0
    skimmed_states: int = 0

    def _repr_html_(self) -> str:
        return _notebook.fields("Status", self, *(attribute.name for attribute in attrs.fields(Status)))

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record: seconds as numbers, times as ISO 8601 in UTC; for ``pandas.DataFrame``."""
        return [record(self)]


@attrs.frozen
class Explanation:
    """Why a reader got these minutes. Printed, it is its lines.

    Attributes:
        state: the state as it stands; None where nothing is stored.
        lines: plain sentences, without e-mail addresses; times are UTC.
        known_articles: resource ids of everything that is stored of this reader, in order.
    """

    state: ReadTimeState | None
    lines: tuple[str, ...]
    known_articles: tuple[str, ...]

    def __str__(self) -> str:
        return "\n".join(self.lines)

    def _repr_html_(self) -> str:
        return _notebook.lines("Explanation", self.lines)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a record for each sentence; ``state`` and its ``history`` have the figures."""
        return [{"line": line} for line in self.lines]


def retry_at(state: ReadTimeState | None) -> datetime | None:
    """Return when a state's claim, or what is due of it, is tried again."""
    return None if state is None else state.due_at


def waiting(key: Key, event_id: str, reason: str, status: int | None, state: ReadTimeState | None) -> Report:
    """Return the report of a parked event that must wait until somebody has mended it."""
    error = EventRejected(
        f"an event of reader {key.reader_sourced_id}, article {key.resource_id} is parked ({reason}):"
        " correct the Reader or Article, or unpark it",
        event_ids=(event_id,),
        status=status,
    )
    return Report(Outcome.PARKED, *key, event_ids=error.event_ids, state=state, error=error, retry_at=retry_at(state))


def with_beside(report: Report, ms: int) -> Report:
    """Return a report that also tells how much of what was claimed was read beside another article."""
    return attrs.evolve(report, beside_seconds=to_seconds(ms))


def merge(first: Report, last: Report) -> Report:
    """Return two reports of one state as one: what was sent adds up, the last word counts for the rest."""
    sent = first.delta_seconds + last.delta_seconds
    quiet = last.outcome in (Outcome.NOTHING_TO_SEND, Outcome.IN_FLIGHT, Outcome.DEFERRED)
    return Report(
        outcome=Outcome.SENT if sent and quiet else last.outcome,
        reader_sourced_id=last.reader_sourced_id,
        resource_id=last.resource_id,
        delta_seconds=sent,
        event_ids=tuple(dict.fromkeys((*first.event_ids, *last.event_ids))),
        state=last.state,
        error=last.error or first.error,
        retry_at=last.retry_at,
        beside_seconds=first.beside_seconds + last.beside_seconds,
    )


@attrs.frozen
class EventSum:
    """Some events.

    Attributes:
        seconds: of all of them together.
        event_ids: which they are.
    """

    seconds: float = 0.0
    event_ids: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.event_ids)

    def __str__(self) -> str:
        return f"{self.seconds:g} s in {len(self.event_ids)}" if self else "-"


_NONE: Final = EventSum()
#: The sums of an ``ArticleReconciliation``.
SUMS: Final = ("matching", "missing", "deleted", "doubled", "altered", "foreign", "earlier", "pending", "repaired")


@attrs.frozen
class ArticleReconciliation:
    """What an endpoint holds of one reader's time on one article, beside what was accepted.

    Attributes:
        resource_id: the article.
        reported_seconds: what our state says that the endpoint has accepted.
        held_seconds: what the endpoint's list adds up to, every delivery counted.
        matching: held with the seconds that were sent; of what is doubled one copy.
        missing: accepted ``settle_seconds`` ago or longer, and never shown.
        deleted: shown to an earlier reconciliation, and gone since.
        doubled: held more than once; the seconds are what is too much.
        altered: held with other seconds than were sent; the seconds are the endpoint's.
        foreign: of another sensor, or of nobody knows whom.
        earlier: of our sensor and of no event of this state: of an earlier, expired or forgotten one, or one of those
            that can no longer be told apart.
        pending: sent too recently to be judged, or held although our state has not heard of its acceptance.
        untold_seconds: reported in events that can no longer be told apart.
        repaired: missing, and sent again by this call.
        unrepaired: missing, and why each was not sent again, as (event id, reason).
    """

    resource_id: str
    reported_seconds: float
    held_seconds: float
    matching: EventSum = _NONE
    missing: EventSum = _NONE
    deleted: EventSum = _NONE
    doubled: EventSum = _NONE
    altered: EventSum = _NONE
    foreign: EventSum = _NONE
    earlier: EventSum = _NONE
    pending: EventSum = _NONE
    untold_seconds: float = 0.0
    repaired: EventSum = _NONE
    unrepaired: tuple[tuple[str, str], ...] = ()

    @property
    def balanced(self) -> bool:
        """Nothing is missing, deleted, doubled or altered."""
        return not (self.missing or self.deleted or self.doubled or self.altered)


@attrs.frozen
class Reconciliation:
    """What an endpoint holds of one reader, beside what was accepted.

    Attributes:
        reader_sourced_id: whose time.
        articles: one entry for each state.
        elsewhere: what the endpoint holds on articles of which there is no state.
        unread: articles whose states cannot be read.
    """

    reader_sourced_id: str
    articles: tuple[ArticleReconciliation, ...]
    elsewhere: EventSum = _NONE
    unread: tuple[str, ...] = ()

    @property
    def balanced(self) -> bool:
        """Every article is balanced, and every state can be read."""
        return not self.unread and all(article.balanced for article in self.articles)

    def _repr_html_(self) -> str:
        articles = ("resource_id", "reported_seconds", "held_seconds", *SUMS, "untold_seconds")
        return _notebook.fields(
            "Reconciliation", self, "reader_sourced_id", "balanced", "elsewhere", "unread"
        ) + _notebook.listing("Articles", self.articles, *articles)

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record for each article; of each sum its seconds, and how many events they are."""
        return [
            {
                "reader_sourced_id": self.reader_sourced_id,
                **record(one, "resource_id", "balanced", "reported_seconds", "held_seconds", "untold_seconds"),
                **{f"{name}_seconds": getattr(one, name).seconds for name in SUMS},
                **{f"{name}_events": len(getattr(one, name).event_ids) for name in SUMS},
            }
            for one in self.articles
        ]
