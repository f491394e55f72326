"""``Delivery``: the only place that emits, and then commits, releases or parks."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caliper_readtime._checks import without_emails
from caliper_readtime._delivery.lease import LeasedEvent, Leases
from caliper_readtime._delivery.parts import check_parts
from caliper_readtime._interruptions import pass_interruption
from caliper_readtime._logs import log, logger
from caliper_readtime._results import Outcome, Report, retry_at, waiting, with_beside
from caliper_readtime._rules import Commit, CommitResult, Park, ParkResult, Release
from caliper_readtime._rules.event_text import EventTexts
from caliper_readtime._rules.steps import listed
from caliper_readtime._units import to_caliper_time, to_epoch_ms, to_ms, to_seconds
from caliper_readtime.errors import (
    ConfigurationError,
    EmitError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    InvalidInput,
    StoreError,
)
from caliper_readtime.protocols import NeedsSensor, reading_back

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from datetime import datetime

    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules import Acquired
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime.protocols import Emitter, StateStore

#: What log lines call the verbs.
PARTIAL: Final = "article partial finalize"
FINALIZE: Final = "article finalize"
FLUSH: Final = "article flush"
SWEEP: Final = "article sweep"

#: Envelopes of the largest known size that go well before a larger one is tried.
_FULL: Final = 5
_SENDING: Final = {PARTIAL: "sending delta", FINALIZE: "sending timespent"}


class Sent(NamedTuple):
    """What came of one emission.

    Attributes:
        reports: of the events that the endpoint holds; an error stands for one whose state has failed.
        failed: the other events, which are still to be settled.
        error: why they failed.
    """

    reports: list[Report | StoreError]
    failed: Sequence[LeasedEvent] = ()
    error: EmitError | None = None


class Delivery:
    """Sends what is leased, and settles it. Thread-safe.

    Attributes:
        leases: where claims come from.
        emitter: delivers events; None where nothing is sent.
        policy: the rules.
        most_events: most events of one envelope.
        most_bytes: most bytes of events in one envelope.
        size: how many events the next envelope may hold: fewer after one that was too much for the endpoint.
        away: the endpoint could not be reached when it was last tried.
    """

    def __init__(
        self,
        store: StateStore,
        emitter: Emitter | None,
        events: TimeSpentEvents | None,
        policy: ReadTimePolicy,
        clock: Callable[[], datetime] | None = None,
        *,
        on_report: Callable[[Report], object] | None = None,
        batch_events: int | None = None,
        batch_bytes: int | None = None,
    ) -> None:
        fits = check_parts(store, emitter, events, policy, clock, on_report, batch_events, batch_bytes)
        self.emitter = emitter
        self.leases = Leases(store, events, policy, clock, fits.deadline_seconds)
        self.most_events = self.size = self._most = fits.most_events
        self._full = 0
        self.away: bool = False
        self.most_bytes = fits.most_bytes
        self.policy = policy
        self._on_report = on_report
        if isinstance(emitter, NeedsSensor) and events is not None:
            emitter.bind_sensor(events.sensor)

    def require(self) -> None:
        """Make sure that there is something to send with.

        Raises:
            ConfigurationError: the tracker has no emitter.
        """
        if self.emitter is None:
            raise ConfigurationError(
                "this tracker has no emitter, so it cannot send: pass emitter= and events=, or defer=True"
            )

    # Emitting

    def send(self, leased_events: Sequence[LeasedEvent], verb: str) -> Sent:
        """Emit events in one call, but for those that the endpoint is known to hold; commit what it has accepted."""
        held, asked = self._held([leased for leased in leased_events if leased.claim.ambiguous or leased.retry])
        left = [leased for leased in leased_events if leased.claim.event_id not in held]
        error = self._emitted(left, verb, asked=asked) if left else None
        if error is None:
            self._grow(len(left))
            return Sent(self._committed(leased_events, verb))
        self._shrink(len(left), error)
        accepted = [leased for leased in leased_events if leased.claim.event_id in held]
        return Sent(self._committed(accepted, verb), left, error)

    def _emitted(self, leased_events: Sequence[LeasedEvent], verb: str, *, asked: bool) -> EmitError | None:
        assert self.emitter is not None  # noqa: S101 - every road here has asked for it
        event_ids = [leased.claim.event_id for leased in leased_events]
        # C10: no emission starts unless it can end within the lease, measured from before the claim.
        if self.leases.left(leased_events) <= 0:
            late = "too little of the lease was left to send in"
            return EmitterUnavailable(late, event_ids=event_ids, ambiguous=False, tried=False)
        told = logger.isEnabledFor(logging.INFO)  # asked once: a sweep sends thousands
        for leased in leased_events:
            if told:
                log(logging.INFO, f"{verb}: {_SENDING.get(verb, 'sending')}", **leased.fields, lock="acquired")
            if not asked and leased.again and leased.claim.doubtful(leased.claim.until_at_ms - self.policy.lock_ms):
                _log_doubtful(leased, verb)
        try:
            self.emitter.emit(_events(leased_events, self.emitter))
        except (EmitterUnavailable, EventRejected) as error:
            pass_interruption(error)
            # W14: what certainly did not arrive, and was not answered either, says that the endpoint is away.
            self.away = isinstance(error, EmitterUnavailable) and error.status is None and not error.ambiguous
            return error
        except Exception as error:  # noqa: BLE001 - L4: any other Exception of an emitter is taken for unavailable
            pass_interruption(error)
            wrapped = EmitterUnavailable(f"the emitter failed with {type(error).__name__}", event_ids=event_ids)
            wrapped.__cause__ = error
            return wrapped
        self.away = False
        return None

    def _shrink(self, count: int, error: EmitError) -> None:
        """W8: an envelope that may have been too much for the endpoint makes the next ones smaller."""
        if isinstance(error, EmitterUnavailable) and error.ambiguous and count > 1:
            self.size, self._most, self._full = min(self.size, count // 2), count - 1, 0

    def _grow(self, count: int) -> None:
        if count < self.size:
            return
        if self.size == self._most < self.most_events:
            # As large as was ever accepted: after some of these a larger one is worth a try.
            self._full += 1
            if self._full >= _FULL:
                self._most, self._full = _half_more(self._most), 0
        self.size = min(self._most, self.most_events, _half_more(self.size))

    def _held(self, leased_events: Sequence[LeasedEvent]) -> tuple[frozenset[str], bool]:
        """Return which ids the endpoint is known to hold (R1), and whether it was asked."""
        emitter = reading_back(self.emitter)
        if not leased_events or emitter is None:
            return frozenset(), False
        try:
            held = frozenset(emitter.held([leased.claim.event_id for leased in leased_events]))
        except Exception as error:  # noqa: BLE001 - not knowing is no reason not to send the same event again
            pass_interruption(error)
            log(
                logging.WARNING,
                "read-back failed, sending again",
                error=type(error).__name__,
                events=len(leased_events),
            )
            return frozenset(), False
        for leased in leased_events:
            if leased.claim.event_id in held:
                log(logging.INFO, "read-back: the endpoint holds it already", **leased.fields)
        return held, True

    # Settling

    def _committed(self, leased_events: Sequence[LeasedEvent], verb: str) -> list[Report | StoreError]:
        if logger.isEnabledFor(logging.INFO):
            for leased in leased_events:
                log(logging.INFO, f"{verb}: sent", **leased.fields)
        changes = [
            (leased.key, Commit(leased.generation, leased.claim.event_id, leased.claim.start_ms, leased.claim.end_ms))
            for leased in leased_events
        ]
        return [
            answer if isinstance(answer, StoreError) else self._reported(leased, verb, *answer)
            for leased, answer in zip(leased_events, self.leases.update_many(changes), strict=True)
        ]

    def _reported(self, leased: LeasedEvent, verb: str, found: CommitResult, state: ReadTimeState | None) -> Report:
        if found is CommitResult.LOST:
            log(
                logging.ERROR,
                f"{verb}: the store lost the claim of an event that was sent; its last writes are gone,"
                " look for a fail-over or an eviction",
                **leased.fields,
            )
        new = found in (CommitResult.SENT, CommitResult.LOST)
        if new and logger.isEnabledFor(logging.DEBUG):
            log(logging.DEBUG, f"{verb}: state persisted", **leased.fields)
        return self.notify(
            Report(
                Outcome.SENT if new else Outcome.NOTHING_TO_SEND,
                *leased.key,
                delta_seconds=to_seconds(leased.claim.end_ms - leased.claim.start_ms) if new else 0.0,
                event_ids=(leased.claim.event_id,),
                state=state,
                beside_seconds=to_seconds(leased.beside_ms),
            )
        )

    def settle(
        self,
        leased: LeasedEvent,
        error: EmitError,
        verb: str,
        *,
        tried: bool = True,
        refused: bool = False,
        park: bool = False,
    ) -> Report:
        """Set aside an event that the endpoint will not take, and leave any other to a later try.

        Args:
            leased: what was not delivered.
            error: why.
            verb: for the log.
            tried: it was in the emission that failed.
            refused: the endpoint refused the event itself, though perhaps not for good.
            park: it is set aside whatever the error is.
        """
        if park or isinstance(error, EventRejected):
            # P13: an earlier try may have delivered it.
            if leased.claim.ambiguous and self._held([leased])[0]:
                (answer,) = self._committed([leased], verb)
                if isinstance(answer, StoreError):
                    raise answer
                return answer
            return self._parked(leased, error, verb)
        return self._released(leased, error, verb, tried=tried, refused=refused)

    def _released(self, leased: LeasedEvent, error: EmitError, verb: str, *, tried: bool, refused: bool) -> Report:
        # L6: what was not tried counts no attempt; H10: and comes back when the endpoint wants to hear of us again.
        unavailable = error if isinstance(error, EmitterUnavailable) else None
        counted = tried and (unavailable is None or unavailable.tried)
        _, state = self.leases.update(
            leased.key,
            Release(
                leased.claim.owner or "",
                leased.claim.event_id,
                self.policy,
                self.leases.jitter(),
                _reason(error),
                counted=counted,
                refused=refused,
                at_maximum=isinstance(error, EndpointRefused),
                ambiguous=counted and unavailable is not None and unavailable.ambiguous,
                wait_ms=0 if counted or unavailable is None else _wait_ms(unavailable),
                status=_status(error),
            ),
        )
        report = _failed(leased, error, state, Outcome.FAILED)
        if not tried:  # it has not failed, but what its claim has found is told now or never
            return self.notify(report) if leased.beside_ms else report
        aside = state is not None and listed(state.ledger, leased.claim.event_id) is not None
        then = "set aside for later time, will be sent again, same id" if aside else "will be sent again, same id"
        self._log_failed(report, leased, verb, then)
        return self.notify(report)

    def _parked(self, leased: LeasedEvent, error: EmitError, verb: str) -> Report:
        found, state = self.leases.update(
            leased.key,
            Park(
                leased.claim.owner or "",
                leased.claim.event_id,
                self.policy,
                self.leases.jitter(),
                _status(error),
                _reason(error),
                refused=not (isinstance(error, EmitterUnavailable) and error.ambiguous),
                unavailable=not isinstance(error, EventRejected | EndpointRefused),
            ),
        )
        parked = found is ParkResult.PARKED
        report = _failed(leased, error, state, Outcome.PARKED if parked else Outcome.FAILED)
        self._log_failed(report, leased, verb, "parked: correct its context or unpark it" if parked else "not parked")
        return self.notify(report)

    # Telling

    def unbuilt(self, key: Key, acquired: Acquired, state: ReadTimeState | None, verb: str) -> Report:
        """Tell of an event that could not be built, and so was set aside before anything was sent."""
        assert acquired.claim is not None  # noqa: S101 - this answer names what it is about
        report = with_beside(waiting(key, acquired.claim.event_id, acquired.reason, None, state), acquired.beside_ms)
        self._log_failed(
            report,
            LeasedEvent(key, "", acquired.claim, again=False, retry=False, since=0.0, beside_ms=acquired.beside_ms),
            verb,
            "parked: correct the reader or article, or the event builder",
        )
        return self.notify(report)

    def clamped(self, report: Report, acquired: Acquired) -> Report:
        """U4: tell of what was clamped although nothing was left to send; return the report of that."""
        over = acquired.beside_ms
        return self.notify(with_beside(report, over)) if over else report

    def _log_failed(self, report: Report, leased: LeasedEvent, verb: str, then: str) -> None:
        error = report.error
        log(
            logging.ERROR,
            f"{verb}: failed",
            **leased.fields,
            error=type(error).__name__,
            status=error.status if error is not None else None,
            retry_at=None if report.retry_at is None else to_caliper_time(to_epoch_ms(report.retry_at, "retry_at")),
            then=then,
        )

    def notify(self, report: Report) -> Report:
        """Tell the host of a commit or failure, which can never break it; return the report."""
        if self._on_report is not None:
            try:
                self._on_report(report)
            except Exception as error:  # noqa: BLE001 - a host's metrics must not cost a reader's time
                pass_interruption(error)
                log(
                    logging.ERROR,
                    "on_report raised; the report stands",
                    error=type(error).__name__,
                    reader_sourced_id=report.reader_sourced_id,
                    resource_id=report.resource_id,
                )
        return report


def _events(leased_events: Sequence[LeasedEvent], emitter: Emitter) -> Sequence[Mapping[str, Any]]:
    claims = [leased.claim for leased in leased_events]
    events = EventTexts([claim.event for claim in claims], [claim.event_id for claim in claims])
    return events if getattr(emitter.emit, "takes_texts", False) is True else list(events)


def _half_more(count: int) -> int:
    return count + (count + 1) // 2


def _log_doubtful(leased: LeasedEvent, verb: str) -> None:
    log(
        logging.WARNING,
        f"{verb}: sent again more than a day after its first claim, without asking whether it has arrived: an endpoint"
        " that has forgotten its id would count it twice; look for it there, and use an emitter with read_back",
        **leased.fields,
        claimed_at=to_caliper_time(leased.claim.first_claimed_at_ms),
    )


def _failed(leased: LeasedEvent, error: EmitError, state: ReadTimeState | None, outcome: Outcome) -> Report:
    return Report(
        outcome,
        *leased.key,
        event_ids=(leased.claim.event_id,),
        state=state,
        error=error,
        retry_at=retry_at(state),
        beside_seconds=to_seconds(leased.beside_ms),
    )


def _reason(error: EmitError) -> str:
    """Return what a state may keep of an error: an emitter's own words, without addresses, shortened."""
    return without_emails(f"{type(error).__name__}: {error}")[:300]


def _status(error: EmitError) -> int | None:
    """Return the HTTP status that a state may keep: an emitter of somebody's own may say anything."""
    status: Any = error.status
    return int(status) if isinstance(status, int) and 100 <= status < 1000 else None  # noqa: PLR2004 - three digits


def _wait_ms(error: EmitterUnavailable) -> int:
    try:
        return to_ms(error.retry_after_seconds or 0, "retry_after_seconds")
    except InvalidInput:  # an emitter of somebody's own may say anything
        return 0
