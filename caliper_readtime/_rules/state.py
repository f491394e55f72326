"""What is kept of one reader's time on one article: a hot meter and a cold ledger, in whole milliseconds."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import attrs

from caliper_readtime import _notebook, _records
from caliper_readtime._model import HistoryEntry, ParkedEvent
from caliper_readtime._records import Rows, record
from caliper_readtime._rules.account import NO_ACCOUNT, Account
from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.ranges import Claim as Claim  # noqa: PLC0414
from caliper_readtime._rules.ranges import Context as Context  # noqa: PLC0414
from caliper_readtime._rules.ranges import Parked as Parked  # noqa: PLC0414
from caliper_readtime._units import to_datetime, to_epoch_ms, to_seconds

if TYPE_CHECKING:
    from datetime import datetime

#: Page views, and heartbeat ids, that one state remembers. The least recently used goes first.
MAX_VIEWS: Final = 16
#: Refused events that one state sets aside before new time waits for explicit calls.
MAX_PARKED: Final = 8
#: Steps of its life that one state remembers.
MAX_HISTORY: Final = 32
#: Mistakes of hosts are clamped for as long as they go on, but a database's integers have a largest.
MOST_CLAMPED_MS: Final = 2**62 - 1
#: Events carry whole seconds, and so does everything that is due.
SECOND: Final = 1000
#: Paces are per minute.
MINUTE: Final = 60_000


T = TypeVar("T")


class Key(NamedTuple):
    """Names a state: OneRoster user sourcedId and resource sourcedId, both reduced from their URLs."""

    reader_sourced_id: str
    resource_id: str


class Due(NamedTuple):
    """When a state wants attention: at ``at_ms``, and where ``soft`` only once its reader has been idle as well."""

    at_ms: int
    soft: bool

    def come(self, now: int, idle_ms: int) -> bool:
        """Return whether it is due at ``now``. D5: so is one further ahead than its kind can be: a clock had jumped."""
        return not (now - idle_ms if self.soft else now) < self.at_ms <= now + LONGEST_WAIT_MS


class Phase(StrEnum):
    """Where a state stands between hearing of time and having reported it."""

    ABSENT = "absent"
    SETTLED = "settled"
    UNREPORTED = "unreported"
    CLAIMED = "claimed"
    RELEASED = "released"
    PARKED = "parked"


class Meter(NamedTuple):
    """All that a steady heartbeat reads and writes. A tuple, because one is made for every heartbeat.

    Attributes:
        cumulative_ms: accepted time.
        last_sync_at_ms: when the last signal with new time arrived.
        budget_ms: wall time not claimed yet.
        since_at_ms: when the time that no claim covers began.
        clamped_ms: claimed beyond the budget, and gone.
        position_ms: where in the article the reader was last.
        views: page views and their totals, least recently used first.
        heartbeats: ids of ``accumulate`` calls, oldest first.
    """

    cumulative_ms: int
    last_sync_at_ms: int
    budget_ms: int
    since_at_ms: int
    clamped_ms: int = 0
    position_ms: int | None = None
    views: tuple[tuple[str, int], ...] = ()
    heartbeats: tuple[str, ...] = ()


@attrs.frozen(slots=False)  # for `evolved`
class Ledger:
    """What changes only around reports.

    Attributes:
        generation: uuid4 drawn at the birth of the state; no two births share an event id.
        first_sync_at_ms: when the first signal arrived.
        ttl_ms: how long a state without unreported time is kept.
        context: newest reader and article.
        context_at_ms: when the page was opened that brought it; None where the host did so itself.
        duration_ms: the first duration that was given.
        pointer_ms: everything below it is reported or parked.
        accepted_to_ms: what a claim that the store had lost covered, where the store lost the time of it too.
        claim: what is being reported.
        parked: refused events, oldest first.
        finalize_wanted: a finalize has not finished yet.
        finalized_at_ms: when the first finalize left nothing of a whole second.
        deferred_at_ms: since when the sweeper has been asked for the unclaimed time.
        last_error: why the last emission failed; None after a success.
        history: the last steps, oldest first.
        counts_from_at_ms: where the budget's wall time begins; None in states older than rule B7.
        widened_ms: by how much pages opened before that have widened the budget.
        account: the events that were made of the time.
        measured_ms: up to where the total was held against what the reader has claimed on other articles.
        beside_ms: how much of that was read beside another article.
        unknown: fields of a newer schema, as JSON, kept for whoever understands them.
    """

    generation: str
    first_sync_at_ms: int
    ttl_ms: int
    context: Context
    duration_ms: int | None = None
    pointer_ms: int = 0
    accepted_to_ms: int = 0
    claim: Claim | None = None
    parked: tuple[Parked, ...] = ()
    finalize_wanted: bool = False
    finalized_at_ms: int | None = None
    deferred_at_ms: int | None = None
    last_error: str | None = None
    history: tuple[HistoryEntry, ...] = ()
    counts_from_at_ms: int | None = None
    widened_ms: int = 0
    context_at_ms: int | None = None
    account: Account = NO_ACCOUNT
    measured_ms: int = 0
    beside_ms: int = 0
    unknown: str = "{}"

    @property
    def claimed_end_ms(self) -> int:
        """Where the next new claim begins."""
        return self.pointer_ms if self.claim is None else max(self.pointer_ms, self.claim.end_ms)


@attrs.frozen(slots=False)  # twice as fast to make as with slots, and every heartbeat makes one
class ReadTimeState:
    """One reader's time on one article. What stores keep and hosts read; hosts never build one.

    The properties are the public face; ``meter`` and ``ledger`` are for stores and transitions.
    """

    reader_sourced_id: str
    resource_id: str
    meter: Meter = attrs.field(repr=False)
    ledger: Ledger = attrs.field(repr=False)
    seen_at_ms: int = attrs.field(default=0, eq=False, repr=False)  # when a host asked for it; stores do not keep it

    def __repr__(self) -> str:
        return (
            f"<ReadTimeState of reader {self.reader_sourced_id}, article {self.resource_id}: {self.phase}, "
            f"{self.cumulative_read_time_seconds:g} s read, {self.reported_read_time_seconds:g} s reported>"
        )

    def _repr_html_(self) -> str:
        return (
            _notebook.fields("Read time", self, *_records.STATE)
            + _notebook.listing("Parked events", self.parked, *_records.PARKED)
            + _notebook.listing("History", self.history, *_records.STEPS)
        )

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record without the e-mail address, for ``pandas.DataFrame``.

        Seconds are numbers and times ISO 8601 in UTC. ``history`` and ``parked`` have records of their own.
        """
        return [{**record(self, *_records.STATE), "parked_events": len(self.ledger.parked)}]

    @property
    def key(self) -> Key:
        """The key that it is stored under."""
        return Key(self.reader_sourced_id, self.resource_id)

    # What is where, in milliseconds

    @property
    def unclaimed_ms(self) -> int:
        """Accepted time that neither a claim nor a parked event covers."""
        return self.meter.cumulative_ms - self.ledger.claimed_end_ms

    @property
    def reported_ms(self) -> int:
        """Time that the endpoint has accepted."""
        return self.ledger.pointer_ms - sum(parked.end_ms - parked.start_ms for parked in self.ledger.parked)

    @property
    def unreported_ms(self) -> int:
        """Accepted and not yet reported: still to be claimed, in flight, or parked."""
        return self.meter.cumulative_ms - self.reported_ms

    @property
    def phase(self) -> Phase:
        """Where it stands; never ABSENT."""
        claim = self.ledger.claim
        if claim is not None:
            return Phase.RELEASED if claim.owner is None else Phase.CLAIMED
        if self.unclaimed_ms >= SECOND:
            return Phase.UNREPORTED
        return Phase.PARKED if self.ledger.parked else Phase.SETTLED

    @property
    def due(self) -> Due | None:
        """When it wants attention: one pure function, so that no verb can forget it.

        The first that applies: a claim: its lease's end, or its back-off; otherwise the earliest of a whole
        unclaimed second while the parked list is not full (last sync; deferred: at once), and a parked event (at once
        when its context has changed or it was unparked, else its retry time).
        """
        ledger = self.ledger
        if ledger.claim is not None:
            return Due(ledger.claim.until_at_ms, soft=False)
        found = [
            Due(parked.parked_at_ms if parked.corrected(ledger.context) else parked.retry_at_ms, soft=False)
            for parked in ledger.parked
        ]
        if self.unclaimed_ms >= SECOND and len(ledger.parked) < MAX_PARKED:
            deferred = ledger.deferred_at_ms
            found.append(Due(self.meter.last_sync_at_ms, soft=True) if deferred is None else Due(deferred, soft=False))
        return min(found, default=None)

    @property
    def expires_at_ms(self) -> int | None:
        """When it may go; None while any whole second is unreported, in flight or parked."""
        ledger = self.ledger
        if ledger.claim is not None or ledger.parked or self.unclaimed_ms >= SECOND:
            return None
        return self.last_used_at_ms + ledger.ttl_ms

    def expired(self, now: int) -> bool:
        """Return whether it is gone at ``now``, in milliseconds since the epoch, wherever it may still be stored."""
        expires = self.expires_at_ms
        return expires is not None and expires <= now

    @property
    def last_used_at_ms(self) -> int:
        """When time or a report last moved."""
        history = self.ledger.history
        return max(self.meter.last_sync_at_ms, to_epoch_ms(history[-1].at, "at") if history else 0)

    # The public face, in seconds and datetimes

    @property
    def cumulative_read_time_seconds(self) -> float:
        """Accepted time."""
        return to_seconds(self.meter.cumulative_ms)

    @property
    def reported_read_time_seconds(self) -> float:
        """Time that the endpoint has accepted."""
        return to_seconds(self.reported_ms)

    @property
    def unreported_seconds(self) -> float:
        """Accepted and not yet reported: still to be claimed, in flight, or parked."""
        return to_seconds(self.unreported_ms)

    @property
    def clamped_seconds(self) -> float:
        """Claimed beyond the wall-time budget over the whole life, and gone."""
        return to_seconds(self.meter.clamped_ms)

    @property
    def beside_seconds(self) -> float:
        """Found, where time was claimed, to have been read beside another article (``reader_budget``)."""
        return to_seconds(self.ledger.beside_ms)

    @property
    def canonical_duration_seconds(self) -> float | None:
        """The first duration that was given."""
        return None if self.ledger.duration_ms is None else to_seconds(self.ledger.duration_ms)

    @property
    def position_seconds(self) -> float | None:
        """Where in the article the reader was last."""
        return None if self.meter.position_ms is None else to_seconds(self.meter.position_ms)

    @property
    def depth(self) -> float | None:
        """How far into it the reader was last, 0 to 1; None where no position or no duration is known."""
        position, duration = self.meter.position_ms, self.ledger.duration_ms
        return None if position is None or duration is None else min(1.0, position / duration)

    @property
    def words_per_minute(self) -> float | None:
        """How fast the words up to there were read, or all words where no depth is known.

        None where the activity's words are not known, or no time has been accepted.
        """
        words, minutes = self.ledger.context.article.words, self.meter.cumulative_ms / MINUTE
        if words is None or not minutes:
            return None
        return words * (1.0 if self.depth is None else self.depth) / minutes

    @property
    def first_server_sync_at(self) -> datetime:
        """When the first signal arrived."""
        return to_datetime(self.ledger.first_sync_at_ms)

    @property
    def last_server_sync_at(self) -> datetime:
        """When the last signal that moved time arrived. Reports never move it."""
        return to_datetime(self.meter.last_sync_at_ms)

    @property
    def finalized_at(self) -> datetime | None:
        """When the first finalize left nothing of a whole second unreported."""
        return None if self.ledger.finalized_at_ms is None else to_datetime(self.ledger.finalized_at_ms)

    @property
    def in_flight(self) -> bool:
        """A claim has not been settled: it is being sent, or waits to be sent again."""
        return self.ledger.claim is not None

    @property
    def due_at(self) -> datetime | None:
        """When a sweep looks at it; for an active reader's time, once the reader is idle as well."""
        return None if self.due is None else to_datetime(self.due.at_ms)

    @property
    def attempts(self) -> int:
        """Failed emissions of the claim in flight."""
        return 0 if self.ledger.claim is None else self.ledger.claim.attempts

    @property
    def last_error(self) -> str | None:
        """Why the last emission failed; None after a success."""
        return self.ledger.last_error

    @property
    def history(self) -> Rows[HistoryEntry]:
        """The last claims, sends, failures, parkings, deferrals and finalizations, oldest first."""
        return Rows(self.ledger.history, "History", _records.STEPS)

    @property
    def parked(self) -> Rows[ParkedEvent]:
        """Refused events, oldest first, as they stood when this state was asked for or last changed."""
        return Rows(self.parked_events(max(self.seen_at_ms, self.last_used_at_ms)), "Parked events", _records.PARKED)

    def parked_events(self, now: int) -> tuple[ParkedEvent, ...]:
        """Return the refused events as they stand at ``now``, in milliseconds since the epoch."""
        return tuple(
            ParkedEvent(
                reader_sourced_id=self.reader_sourced_id,
                resource_id=self.resource_id,
                event_id=parked.event_id,
                seconds=to_seconds(parked.end_ms - parked.start_ms),
                parked_at=to_datetime(parked.parked_at_ms),
                status=parked.status,
                reason=parked.reason,
                claimable=parked.claimable(self.ledger.context, now),
            )
            for parked in self.ledger.parked
        )


def evolved(value: T, **changes: Any) -> T:
    """Return a claim, ledger or state with some fields changed: ``attrs.evolve`` in a fifth of its time.

    A sweep makes several for each event. These classes have nothing to validate or convert.
    """
    fields = value.__dict__
    changed = fields | changes
    if len(changed) != len(fields):
        raise TypeError(f"{type(value).__name__} has no field {min(changes.keys() - fields.keys())!r}")
    new = object.__new__(type(value))
    object.__setattr__(new, "__dict__", changed)
    return new
