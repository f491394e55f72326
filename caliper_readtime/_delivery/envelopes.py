"""``EnvelopeBatch``: delivers many claims in few envelopes, and finds the one event that an endpoint will not take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caliper_readtime._logs import log_unreadable
from caliper_readtime._results import Outcome, Report
from caliper_readtime._rules import MAX_REJECTIONS, AcquireResult, Caller
from caliper_readtime._rules.state import SECOND, Key
from caliper_readtime.errors import (
    CorruptState,
    EmitError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    StoreError,
)
from caliper_readtime.protocols import LimitsBatch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from caliper_readtime._delivery.send import ClaimAnswer, Delivery, LeasedEvent
    from caliper_readtime._model import Reader
    from caliper_readtime._rules.state import ReadTimeState

#: Events in one envelope, unless the emitter states fewer.
MAX_EVENTS: Final = 100
#: Bytes of events in one envelope.
MAX_BYTES: Final = 1_000_000
#: Single refusals in a row, without an acceptance, after which the endpoint is to blame and not the events.
MAX_SUSPECTS: Final = 8


class EnvelopeBatch:
    """One sweep's or flush's deliveries.

    Attributes:
        batch: most events of one envelope.
        reports: one for each event that was handled.
        stopped_by: why it ended early: "budget", "stopped", "unavailable" or "refused"; None while it goes on.
        error: the error that ended it.
    """

    def __init__(
        self,
        delivery: Delivery,
        owner: str,
        verb: str,
        budget_seconds: float | None = None,
        go_on: Callable[[Sequence[Report]], bool] | None = None,
    ) -> None:
        self.reports: list[Report] = []
        self.stopped_by: str | None = None
        self.error: EmitError | None = None
        self._delivery = delivery
        self._owner = owner
        self._verb = verb
        self._until = None if budget_seconds is None else delivery.monotonic() + budget_seconds
        self._go_on = go_on
        self._suspects: list[tuple[LeasedEvent, EventRejected]] = []
        self._accepted = False  # anything, in this round
        self._accepts = False  # in the envelope at hand, or since the first suspect
        emitter = delivery.emitter
        self.batch: int = min(MAX_EVENTS, emitter.max_batch) if isinstance(emitter, LimitsBatch) else MAX_EVENTS

    def over(self) -> bool:
        """Return whether the round has to end; notes it where the time budget is used up, or the caller says so."""
        if self.stopped_by is None and self._until is not None and self._delivery.monotonic() >= self._until:
            self.stopped_by = "budget"
        if self.stopped_by is None and self._go_on is not None and not self._go_on(tuple(self.reports)):
            self.stopped_by = "stopped"
        return self.stopped_by is not None

    def take(
        self,
        keys: Sequence[Key],
        caller: Caller,
        *,
        reader: Reader | None = None,
        idle_ms: int = 0,
        retries: bool = True,
    ) -> list[ClaimAnswer | None]:
        """Ask for claims; None for a state that cannot be read, which must not sink the others.

        Raises:
            StoreError: a state could not be reached. What was claimed already is left to its lease.
        """
        answers: list[ClaimAnswer | None] = []
        for key, answer in zip(
            keys,
            self._delivery.take_many(keys, self._owner, caller, reader=reader, idle_ms=idle_ms, retries=retries),
            strict=True,
        ):
            if isinstance(answer, CorruptState):
                log_unreadable(answer, self._verb)
                answers.append(None)
            elif isinstance(answer, StoreError):
                raise answer
            else:
                if answer[0].result is AcquireResult.UNBUILDABLE:
                    self.reports.append(self._delivery.unbuilt(key, answer[0], answer[1], self._verb))
                answers.append(answer)
        return answers

    def _note(self, leased: LeasedEvent, settle: Callable[[], Report]) -> None:
        """Settle a parcel and note its report; a state that has become unreadable must not sink the others."""
        try:
            self.reports.append(settle())
        except CorruptState as error:
            self._unreadable(leased, error)

    def _unreadable(self, leased: LeasedEvent, error: CorruptState) -> None:
        log_unreadable(error, self._verb)
        failure = EmitterUnavailable(str(error), event_ids=(leased.claim.event_id,))
        self.reports.append(Report(Outcome.FAILED, *leased.key, event_ids=(leased.claim.event_id,), error=failure))

    def _committed(self, leased_events: Sequence[LeasedEvent]) -> None:
        lost: StoreError | None = None
        for leased, answer in zip(leased_events, self._delivery.commit_many(leased_events, self._verb), strict=True):
            if isinstance(answer, CorruptState):
                self._unreadable(leased, answer)
            elif isinstance(answer, StoreError):
                lost = lost or answer
            else:
                self.reports.append(answer)
        if lost is not None:  # its claim is sent again, under the same id
            raise lost

    def _refused(self, leased: LeasedEvent, error: EventRejected) -> None:
        self._note(leased, lambda: self._delivery.park(leased, error, self._verb))

    def _released(self, leased: LeasedEvent, error: EmitError, *, tried: bool = True, refused: bool = False) -> None:
        self._note(leased, lambda: self._delivery.release(leased, error, self._verb, tried=tried, refused=refused))

    def deliver(self, leased_events: Sequence[LeasedEvent]) -> None:
        """Send parcels in as few envelopes as possible, halving a refused one until the culprit stands alone."""
        envelopes = list(_envelopes(leased_events, self.batch))
        for position, envelope in enumerate(envelopes):
            if self.over():
                self._give_back([leased for rest in envelopes[position:] for leased in rest])
                return
            if not self._suspects:
                self._accepts = False
            # C11: leases are renewed before each step; the first envelope's have just begun.
            self._halve(self._renewed(envelope) if position else envelope)

    def _halve(self, envelope: list[LeasedEvent]) -> None:
        waiting = [envelope]
        while waiting:
            part = waiting.pop()
            if part is not envelope:
                if self.over():
                    self._give_back([leased for rest in (part, *waiting) for leased in rest])
                    return
                part = self._renewed(part)
            if not part:
                continue
            error = self._delivery.emit(part, self._verb)
            if error is None:
                self._commit(part)
            elif not isinstance(error, EventRejected):
                self._stop("refused" if isinstance(error, EndpointRefused) else "unavailable", error)
                for leased in part:
                    self._released(leased, error)
                self._give_back([leased for rest in waiting for leased in rest])
                return
            elif len(part) > 1:
                middle = len(part) // 2
                waiting += [part[middle:], part[:middle]]
            elif self._suspect(part[0], error):
                self._blame_endpoint([leased for rest in waiting for leased in rest])
                return

    def alone(self, leased: LeasedEvent) -> None:
        """Send one parked event again; what comes of it says nothing about the endpoint."""
        error = self._delivery.emit([leased], self._verb)
        if error is None:
            self._committed([leased])
        elif isinstance(error, EventRejected):
            self._refused(leased, error)
        else:
            self._stop("refused" if isinstance(error, EndpointRefused) else "unavailable", error)
            self._released(leased, error)

    def _commit(self, leased_events: Sequence[LeasedEvent]) -> None:
        self._accepted = self._accepts = True
        self._committed(leased_events)
        # The endpoint takes others, so what it refused is to blame itself.
        self._park_suspects()

    def _suspect(self, leased: LeasedEvent, error: EventRejected) -> bool:
        """Note a single refused event; return whether the endpoint is to blame."""
        if leased.claim.rejections + 1 >= MAX_REJECTIONS:
            # W6: an event refused for the third time is parked whatever the others did.
            self._refused(leased, error)
            return False
        self._suspects.append((leased, error))
        if self._accepts:
            self._park_suspects()
        return len(self._suspects) >= MAX_SUSPECTS and self._several_readers()

    def _several_readers(self) -> bool:
        return len({leased.key.reader_sourced_id for leased, _ in self._suspects}) > 1

    def judge(self) -> None:
        """Decide about refused events at the end of a round.

        W4: systemic if the rejected events belong to at least two readers and none was accepted.
        """
        if self._suspects and not self._accepted and self._several_readers():
            self._blame_endpoint([])
        else:
            self._park_suspects()

    def _park_suspects(self) -> None:
        suspects, self._suspects = self._suspects, []
        for leased, error in suspects:
            for renewed in self._renewed([leased]):
                self._refused(renewed, error)

    def _blame_endpoint(self, untried: Sequence[LeasedEvent]) -> None:
        """W4: systemic, so nothing is parked and EndpointRefused ends the round."""
        suspects, self._suspects = self._suspects, []
        first = suspects[0][1]
        error = EndpointRefused(
            f"the endpoint refuses events of several readers and accepts none: {first}",
            event_ids=[leased.claim.event_id for leased, _ in suspects],
            status=first.status,
        )
        error.__cause__ = first
        self._stop("refused", error)
        for leased, _ in suspects:
            self._released(leased, error, refused=True)
        for leased in untried:
            self._released(leased, error)

    def _stop(self, reason: str, error: EmitError) -> None:
        if self.stopped_by is None:
            self.stopped_by, self.error = reason, error

    def _give_back(self, leased_events: Sequence[LeasedEvent]) -> None:
        error = self.error or EmitterUnavailable("this round ended before their turn came")
        for leased in leased_events:
            self._released(leased, error, tried=False)

    def _renewed(self, leased_events: Sequence[LeasedEvent]) -> list[LeasedEvent]:
        """Return the parcels that are still this round's, with new leases."""
        kept = []
        for leased in leased_events:
            try:
                renewed = self._delivery.renew(leased)
            except CorruptState as error:
                log_unreadable(error, self._verb)
            else:
                kept += [] if renewed is None else [renewed]
        return kept

    @property
    def seconds_sent(self) -> float:
        """What the endpoint accepted in this round."""
        return sum((report.delta_seconds for report in self.reports), 0.0)

    def count(self, outcome: Outcome) -> int:
        """Return how many reports ended like this."""
        return sum(report.outcome is outcome for report in self.reports)


def nothing_whole(state: ReadTimeState | None) -> bool:
    """Return whether nothing of a whole second is unreported and nothing is in flight."""
    return state is None or (not state.in_flight and state.unreported_ms < SECOND)


def _envelopes(leased_events: Sequence[LeasedEvent], most: int) -> Iterator[list[LeasedEvent]]:
    envelope: list[LeasedEvent] = []
    size = 0
    for leased in leased_events:
        if envelope and (len(envelope) >= most or size + len(leased.claim.event) > MAX_BYTES):
            yield envelope
            envelope, size = [], 0
        envelope.append(leased)
        size += len(leased.claim.event)
    if envelope:
        yield envelope
