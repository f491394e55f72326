"""``EnvelopeBatch``: puts many states' events in few envelopes, and finds those that an endpoint will not take."""

from __future__ import annotations

from math import isqrt
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime._logs import log_unreadable
from caliper_readtime._results import Outcome, Report, SweepReport
from caliper_readtime._rules import MAX_REJECTIONS, AcquireResult
from caliper_readtime._rules.outcome import MAX_FAILURES
from caliper_readtime._rules.state import SECOND, Key, evolved
from caliper_readtime.errors import (
    CorruptState,
    EmitError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._delivery.lease import ClaimAnswer, LeasedEvent
    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._rules import Caller
    from caliper_readtime._rules.state import ReadTimeState

#: Events in a row that fail alone, without an acceptance, after which the endpoint is to blame and not they.
MAX_SUSPECTS: Final = 8
_SERVER_ERROR: Final = 500
#: So many events in doubt are tried one by one.
_FEW: Final = 16


class EnvelopeBatch:
    """One sweep's or flush's deliveries.

    Attributes:
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
        self._leases = delivery.leases
        self._owner = owner
        self._verb = verb
        self._until = None if budget_seconds is None else self._leases.monotonic() + budget_seconds
        self._go_on = go_on
        self._suspects: list[tuple[LeasedEvent, EmitError]] = []  # failed alone, and not judged yet
        self._unbuilt: set[str] = set()  # readers, since an event was built
        self._accepted = False  # anything, in this round
        self._accepts = False  # in the envelope at hand, or since the first suspect
        self._suspect_size = 1

    def over(self) -> bool:
        """Return whether the round has to end; notes it where the time budget is used up, or the caller says so."""
        if self.stopped_by is None and self._until is not None and self._leases.monotonic() >= self._until:
            self.stopped_by = "budget"
        if self.stopped_by is None and self._go_on is not None and not self._go_on(tuple(self.reports)):
            self.stopped_by = "stopped"
        return self.stopped_by is not None

    def take(self, keys: Sequence[Key], caller: Caller, **asked: Any) -> list[ClaimAnswer | None]:
        """Ask for claims; None for a state that cannot be read, which must not sink the others.

        Returns:
            Fewer answers than keys where the leases do not last for more (C8).

        Raises:
            StoreError: a state could not be reached. What was claimed already is left to its lease.
        """
        answers: list[ClaimAnswer | None] = []
        for key, answer in zip(keys, self._leases.take(keys, self._owner, caller, **asked), strict=False):
            if isinstance(answer, CorruptState):
                log_unreadable(answer, self._verb)
                answers.append(None)
            elif isinstance(answer, StoreError):
                raise answer
            else:
                acquired, state, _ = answer
                if acquired.result is AcquireResult.UNBUILDABLE:
                    self.reports.append(self._delivery.unbuilt(key, acquired, state, self._verb))
                    self._cannot_build(key, self.reports[-1])
                elif acquired.result is AcquireResult.CLAIMED:
                    self._unbuilt.clear()
                elif acquired.beside_ms:
                    nothing = Report(Outcome.NOTHING_TO_SEND, *key, state=state)
                    self.reports.append(self._delivery.clamped(nothing, acquired))
                answers.append(answer)
        return answers

    def _cannot_build(self, key: Key, report: Report) -> None:
        """End the round where no reader's event can be built: then the builder is to blame, as an endpoint can be."""
        self._unbuilt.add(key.reader_sourced_id)
        if len(self._unbuilt) >= MAX_SUSPECTS and report.error is not None:
            self._stop("refused", report.error)

    # Sending

    def deliver(self, leased_events: Sequence[LeasedEvent]) -> None:
        """Send events in as few envelopes as possible; what has failed before goes last (W7, W9)."""
        # W9: fewest failures first, or one that always ends the round would keep the same others waiting each time.
        ordered = sorted(leased_events, key=lambda leased: leased.failures)
        fresh = [leased for leased in ordered if not (leased.retry or leased.suspect)]
        suspects = [leased for leased in ordered if leased.suspect and not leased.retry]
        rested = False  # C11: leases are renewed before each step; the first envelope's have just begun.
        while fresh or suspects:
            part, size = (fresh, self._delivery.size) if fresh else (suspects, self._suspect_size)
            envelope = self._cut(part, size)
            if self.over():
                self._give_back([*envelope, *fresh, *suspects])
                break
            if not self._suspects:
                self._accepts = False
            alright = self._halve(self._renewed(envelope) if rested else envelope)
            rested = True
            if part is suspects:
                self._suspect_size = 2 * size if alright else 1
        for leased in [leased for leased in ordered if leased.retry]:
            if self.over():
                self._give_back([leased])
            else:
                for renewed in self._renewed([leased]) if rested else [leased]:
                    self._retry(renewed)
                rested = True

    def _cut(self, leased_events: list[LeasedEvent], most: int) -> list[LeasedEvent]:
        """Take as many events as fit in one envelope."""
        size, count = 0, 0
        for leased in leased_events[:most]:
            size += len(leased.claim.event)
            if count and size > self._delivery.most_bytes:
                break
            count += 1
        envelope = leased_events[:count]
        del leased_events[:count]
        return envelope

    def _halve(self, envelope: list[LeasedEvent]) -> bool:
        """Send an envelope, in parts if it has to be; return whether all went at once."""
        waiting: list[list[LeasedEvent]] = [envelope]
        whole = True
        while waiting:
            part = waiting.pop()
            if part is not envelope:
                if self.over():
                    self._give_back([leased for rest in (part, *waiting) for leased in rest])
                    return False
                part = self._renewed(part)
            if not part:
                continue
            failed, error = self._sent(part)
            if error is None:
                continue
            whole = False
            rest = [leased for others in waiting for leased in others]
            if not _may_be_the_event(error):
                # Nothing is known of the event, but that a single one may have been too much for the endpoint.
                self._stop("refused" if isinstance(error, EndpointRefused) else "unavailable", error)
                if len(failed) == 1 and failed[0].suspect and _ambiguous(error):
                    self._suspects.append((failed[0], error))
                else:
                    self._settle(failed, error)
                self._give_back(rest)
                return False
            if len(failed) > 1:
                waiting += self._split(failed, error)
            elif self._suspect(failed[0], error):
                self._blame_endpoint(error, rest)
                return False
        return whole

    def _split(self, part: list[LeasedEvent], error: EmitError) -> list[list[LeasedEvent]]:
        """Return the parts to try next, the last one first."""
        if _ambiguous(error):
            part = [attrs.evolve(leased, claim=evolved(leased.claim, ambiguous=True)) for leased in part]
        if self._accepts or isinstance(error, EventRejected):
            # Where each step may leave another copy, there are fewer of them, with more parts.
            few = isqrt(len(part)) if len(part) > _FEW else 1
            size = few if _ambiguous(error) else (len(part) + 1) // 2
            return [part[start : start + size] for start in reversed(range(0, len(part), size))]
        # W8: does it take anything at all? Two events will show, of two readers where there are two.
        first = part[0]
        second = next((one for one in part if one.key.reader_sourced_id != first.key.reader_sourced_id), part[1])
        rest = [leased for leased in part if leased is not first and leased is not second]
        return [rest, [second], [first]]

    def _retry(self, leased: LeasedEvent) -> None:
        """Send one parked event again; what comes of it says nothing about the endpoint (W7)."""
        failed, error = self._sent([leased], judging=False)
        if error is not None:
            if not _may_be_the_event(error):
                self._stop("refused" if isinstance(error, EndpointRefused) else "unavailable", error)
            self._settle(failed, error)

    def _sent(self, part: list[LeasedEvent], *, judging: bool = True) -> tuple[list[LeasedEvent], EmitError | None]:
        """Send one envelope; return what is still to be settled, and why."""
        reports, failed, error = self._delivery.send(part, self._verb)
        lost: StoreError | None = None
        unsettled = {leased.claim.event_id for leased in failed}
        for leased, report in zip([one for one in part if one.claim.event_id not in unsettled], reports, strict=True):
            if isinstance(report, CorruptState):
                self._unreadable(leased, report)
            elif isinstance(report, StoreError):
                lost = lost or report
            else:
                self.reports.append(report)
        if lost is not None:  # its claim is sent again, under the same id
            raise lost
        if error is None and judging:
            self._accepted = self._accepts = True
            # The endpoint takes others, so what it did not take is to blame itself.
            self._judge_suspects()
        return list(failed), error

    # Judging

    def _suspect(self, leased: LeasedEvent, error: EmitError) -> bool:
        """Note an event that failed alone; return whether the endpoint is to blame."""
        rejected = isinstance(error, EventRejected)
        if rejected and leased.claim.rejections + 1 >= MAX_REJECTIONS:
            # W6: an event refused for the third time is parked whatever the others did.
            self._settle([leased], error)
            return False
        self._suspects.append((leased, error))
        if self._accepts:
            self._judge_suspects()
        alike = [one for one, why in self._suspects if isinstance(why, EventRejected) is rejected]
        several = len({one.key.reader_sourced_id for one in alike}) > 1
        if rejected:
            return several and len(alike) >= MAX_SUSPECTS
        return len(alike) >= MAX_SUSPECTS or (several and not self._accepted)

    def judge(self) -> None:
        """Decide about the events that failed alone, at the end of a round.

        W4: systemic if the rejected events belong to at least two readers and none was accepted.
        """
        rejected = [(leased, error) for leased, error in self._suspects if isinstance(error, EventRejected)]
        if not self._accepted and len({leased.key.reader_sourced_id for leased, _ in rejected}) > 1:
            self._blame_endpoint(rejected[0][1], [])
        else:
            self._judge_suspects()

    def _judge_suspects(self) -> None:
        suspects, self._suspects = self._suspects, []
        for leased, error in suspects:
            # W9: at its third failure, beside others that were accepted, the event is to blame.
            park = self._accepted and leased.claim.attempts + 1 >= MAX_FAILURES
            for renewed in self._renewed([leased]):
                self._settle([renewed], error, park=park)

    def _blame_endpoint(self, error: EmitError, untried: Sequence[LeasedEvent]) -> None:
        """W4: systemic, so nothing is parked and EndpointRefused ends the round."""
        suspects, self._suspects = self._suspects, []
        if isinstance(error, EventRejected):
            refused = EndpointRefused(
                f"the endpoint refuses events of several readers and accepts none: {error}",
                event_ids=[leased.claim.event_id for leased, _ in suspects],
                status=error.status,
            )
            refused.__cause__ = error
            error = refused
        self._stop("refused" if isinstance(error, EndpointRefused) else "unavailable", error)
        for leased, why in suspects:
            rejected = isinstance(why, EventRejected)
            self._settle([leased], error if rejected else why, refused=rejected)
        self._settle(untried, error)

    # Settling

    def _settle(self, leased_events: Sequence[LeasedEvent], error: EmitError, **how: bool) -> None:
        """Settle events and note their reports; a state that has become unreadable must not sink the others."""
        for leased in leased_events:
            try:
                self.reports.append(self._delivery.settle(leased, error, self._verb, **how))
            except CorruptState as unreadable:
                self._unreadable(leased, unreadable)

    def _unreadable(self, leased: LeasedEvent, error: CorruptState) -> None:
        log_unreadable(error, self._verb)
        failure = EmitterUnavailable(str(error), event_ids=(leased.claim.event_id,))
        self.reports.append(Report(Outcome.FAILED, *leased.key, event_ids=(leased.claim.event_id,), error=failure))

    def _stop(self, reason: str, error: EmitError) -> None:
        if self.stopped_by is None:
            self.stopped_by, self.error = reason, error

    def _give_back(self, leased_events: Sequence[LeasedEvent]) -> None:
        """L6: their turn did not come, so nothing counts."""
        error = self.error
        if error is None or isinstance(error, EventRejected):
            error = EmitterUnavailable("this round ended before their turn came", ambiguous=False, tried=False)
        self._settle(leased_events, error, tried=False)

    def _renewed(self, leased_events: Sequence[LeasedEvent]) -> list[LeasedEvent]:
        """Return the claims that are still this round's, with new leases."""
        kept = []
        for leased in leased_events:
            try:
                renewed = self._leases.renew(leased)
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

    def result(self, *, in_flight: int, more: bool, stopped_by: str) -> SweepReport:
        """Return what this round came to; ``stopped_by`` where nothing ended it early."""
        settled = {(one.reader_sourced_id, one.resource_id) for one in self.reports if nothing_whole(one.state)}
        return SweepReport(
            events_sent=self.count(Outcome.SENT),
            states_settled=len(settled),
            failed=self.count(Outcome.FAILED),
            in_flight=in_flight,
            parked=self.count(Outcome.PARKED),
            seconds_sent=self.seconds_sent,
            more=more,
            stopped_by=self.stopped_by or stopped_by,
            reports=tuple(self.reports),
        )


def _ambiguous(error: EmitError) -> bool:
    return isinstance(error, EmitterUnavailable) and error.ambiguous


def _may_be_the_event(error: EmitError) -> bool:
    """Return whether others may be accepted where this failed (W3, W8): it was answered, and not put off."""
    if isinstance(error, EventRejected):
        return True
    status = error.status if isinstance(error.status, int) else 0
    put_off = isinstance(error, EmitterUnavailable) and (not error.tried or error.retry_after_seconds is not None)
    return not put_off and (status in (403, 404) or status >= _SERVER_ERROR)


def nothing_whole(state: ReadTimeState | None) -> bool:
    """Return whether nothing of a whole second is unreported and nothing is in flight."""
    return state is None or (not state.in_flight and state.unreported_ms < SECOND)
