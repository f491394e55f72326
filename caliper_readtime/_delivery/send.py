"""``Delivery``: the steps of every report: claim, emit, then commit, release or park."""

from __future__ import annotations

import json
import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from caliper_readtime._delivery.parts import check_parts
from caliper_readtime._logs import log
from caliper_readtime._results import Outcome, Report, retry_at, waiting
from caliper_readtime._rules import (
    AcquireClaim,
    Acquired,
    AcquireResult,
    Caller,
    Commit,
    CommitResult,
    Park,
    ParkResult,
    Release,
    Renew,
)
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
from caliper_readtime.protocols import NeedsSensor, UpdatesMany, reading_back

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from caliper_readtime._model import Article, Reader
    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.state import Claim, Key, ReadTimeState
    from caliper_readtime.protocols import Emitter, StateStore, Transition

R = TypeVar("R")

#: What log lines call the verbs.
PARTIAL: Final = "article partial finalize"
FINALIZE: Final = "article finalize"
FLUSH: Final = "article flush"
SWEEP: Final = "article sweep"

_SENDING: Final = {PARTIAL: "sending delta", FINALIZE: "sending timespent"}
# Jitter must differ between hosts and forked workers, whatever seed a host gives the global generator.
_RANDOM: Final = random.SystemRandom()


@attrs.frozen
class LeasedEvent:
    """A claim in hand.

    Attributes:
        key: whose it is.
        generation: of the state that it was claimed from.
        claim: range and finished event.
        again: the endpoint may already hold it.
        retry: it was parked before.
        since: the monotonic clock before the claim was asked for: the lease is not older than that.
    """

    key: Key
    generation: str
    claim: Claim
    again: bool
    retry: bool
    since: float

    @property
    def fields(self) -> dict[str, Any]:
        """What a log line says of it."""
        return {
            "delta": to_seconds(self.claim.end_ms - self.claim.start_ms),
            **self.key._asdict(),
            "event_id": self.claim.event_id,
        }


#: What was taken, the state, and the claim in hand if there is one to send.
ClaimAnswer = tuple["Acquired", "ReadTimeState | None", LeasedEvent | None]


class Delivery:
    """Claims, sends and settles. Thread-safe: it keeps nothing between calls."""

    def __init__(
        self,
        store: StateStore,
        emitter: Emitter | None,
        events: TimeSpentEvents | None,
        policy: ReadTimePolicy,
        clock: Callable[[], datetime] | None = None,
        *,
        on_report: Callable[[Report], object] | None = None,
    ) -> None:
        self.store = store
        self.emitter = emitter
        self.events = events
        self.policy = policy
        self.monotonic: Callable[[], float] = time.monotonic
        self._clock = clock
        self._on_report = on_report
        self._deadline = check_parts(store, emitter, events, policy, clock, on_report)
        if isinstance(emitter, NeedsSensor) and events is not None:
            emitter.bind_sensor(events.sensor)

    def now(self) -> int | None:
        """Return the time that the host's clock gives; None leaves it to the store."""
        return None if self._clock is None else to_epoch_ms(self._clock(), "clock")

    def moment(self) -> int:
        """Return the time that decides, for a look at something that is already in hand."""
        now = self.now()
        return self.store.now() if now is None else now

    def update(self, key: Key, transition: Transition[R]) -> tuple[R, ReadTimeState | None]:
        """Apply a transition by the clock that decides."""
        return self.store.update(key, transition, self.now())

    def require(self) -> TimeSpentEvents:
        """Return the event builder.

        Raises:
            ConfigurationError: the tracker has no emitter.
        """
        if self.emitter is None or self.events is None:
            raise ConfigurationError(
                "this tracker has no emitter, so it cannot send: pass emitter= and events=, or defer=True"
            )
        return self.events

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]]
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Apply a transition to each of several keys; what ``update`` would raise stands for its answer."""
        now = self.now()
        if len(changes) > 1 and isinstance(self.store, UpdatesMany):
            return self.store.update_many(changes, now)
        answers: list[tuple[R, ReadTimeState | None] | StoreError] = []
        for key, transition in changes:
            try:
                answers.append(self.store.update(key, transition, now))
            except StoreError as error:
                answers.append(error)
        return answers

    def take(
        self,
        key: Key,
        owner: str,
        caller: Caller,
        *,
        reader: Reader | None = None,
        article: Article | None = None,
        finalize: bool = False,
        min_ms: int = 0,
    ) -> ClaimAnswer:
        """Ask for a claim; the parcel is None where there is none to send."""
        since = self.monotonic()
        verb = self._taking(owner, caller, reader=reader, article=article, finalize=finalize, min_ms=min_ms)
        return self._taken(key, since, *self.update(key, verb))

    def take_many(
        self,
        keys: Sequence[Key],
        owner: str,
        caller: Caller,
        *,
        reader: Reader | None = None,
        idle_ms: int = 0,
        retries: bool = True,
    ) -> list[ClaimAnswer | StoreError]:
        """Ask for a claim on each of several states; an error stands for the answer of a state that has failed."""
        since = self.monotonic()
        changes = [(key, self._taking(owner, caller, reader=reader, idle_ms=idle_ms, retries=retries)) for key in keys]
        return [
            answer if isinstance(answer, StoreError) else self._taken(key, since, *answer)
            for key, answer in zip(keys, self.update_many(changes), strict=True)
        ]

    def _taking(self, owner: str, caller: Caller, **more: Any) -> AcquireClaim:
        return AcquireClaim(owner, self.policy, self.require(), caller, _RANDOM.random(), **more)

    @staticmethod
    def _taken(key: Key, since: float, taken: Acquired, state: ReadTimeState | None) -> ClaimAnswer:
        if taken.result is not AcquireResult.CLAIMED or taken.claim is None or state is None:
            return taken, state, None
        return taken, state, LeasedEvent(key, state.ledger.generation, taken.claim, taken.again, taken.retry, since)

    def emit(self, leased_events: Sequence[LeasedEvent], verb: str) -> EmitError | None:
        """Send the parcels' events in one call; return the error, or None where all were accepted."""
        emitter = self.emitter
        if emitter is None:
            return EmitterUnavailable("there is no emitter")
        held = self._held([leased for leased in leased_events if leased.again])
        open_parcels = [leased for leased in leased_events if leased.claim.event_id not in (held or ())]
        if not open_parcels:
            return None
        event_ids = [leased.claim.event_id for leased in open_parcels]
        # C10: no emission starts unless it can end within the lease, measured from before the claim.
        left = min(leased.since for leased in open_parcels) + self.policy.lock_seconds - self.monotonic()
        if left <= self._deadline:
            return _Late(f"only {left:.1f} s of the lease were left, too few to send in", event_ids=event_ids)
        for leased in open_parcels:
            log(logging.INFO, f"{verb}: {_SENDING.get(verb, 'sending')}", **leased.fields, lock="acquired")
            if held is None and leased.claim.doubtful(leased.claim.until_at_ms - self.policy.lock_ms):
                _log_doubtful(leased, verb)
        try:
            emitter.emit([json.loads(leased.claim.event) for leased in open_parcels])
        except (EmitterUnavailable, EventRejected) as error:
            return error
        except Exception as error:  # noqa: BLE001 - L4: any other Exception of an emitter is taken for unavailable
            wrapped = EmitterUnavailable(f"the emitter failed with {type(error).__name__}", event_ids=event_ids)
            wrapped.__cause__ = error
            return wrapped
        return None

    def _held(self, again: Sequence[LeasedEvent]) -> frozenset[str] | None:
        """Return which ids the endpoint is known to hold (R1); None where it was not asked."""
        emitter = reading_back(self.emitter)
        if not again or emitter is None:
            return None
        try:
            held = frozenset(emitter.held([leased.claim.event_id for leased in again]))
        except Exception as error:  # noqa: BLE001 - not knowing is no reason not to send the same event again
            log(logging.WARNING, "read-back failed, sending again", error=type(error).__name__, events=len(again))
            return None
        for leased in again:
            if leased.claim.event_id in held:
                log(logging.INFO, "read-back: the endpoint holds it already", **leased.fields)
        return held

    def commit(self, leased: LeasedEvent, verb: str) -> Report:
        """Record that the endpoint accepted the parcel."""
        (answer,) = self.commit_many([leased], verb)
        if isinstance(answer, StoreError):
            raise answer
        return answer

    def commit_many(self, leased_events: Sequence[LeasedEvent], verb: str) -> list[Report | StoreError]:
        """Record that the endpoint accepted the parcels; an error stands for the report of a state that has failed."""
        for leased in leased_events:
            log(logging.INFO, f"{verb}: sent", **leased.fields)
        changes = [
            (
                leased.key,
                Commit(leased.generation, leased.claim.event_id, leased.claim.start_ms, leased.claim.end_ms),
            )
            for leased in leased_events
        ]
        return [
            answer if isinstance(answer, StoreError) else self._committed(leased, verb, *answer)
            for leased, answer in zip(leased_events, self.update_many(changes), strict=True)
        ]

    def _committed(self, leased: LeasedEvent, verb: str, accepted: CommitResult, state: ReadTimeState | None) -> Report:
        claim = leased.claim
        if accepted is CommitResult.LOST:
            log(
                logging.ERROR,
                f"{verb}: the store lost the claim of an event that was sent; its last writes are gone,"
                " look for a fail-over or an eviction",
                **leased.fields,
            )
        new = accepted in (CommitResult.SENT, CommitResult.LOST)
        if new:
            log(logging.DEBUG, f"{verb}: state persisted", **leased.fields)
        return self.notify(
            Report(
                Outcome.SENT if new else Outcome.NOTHING_TO_SEND,
                *leased.key,
                delta_seconds=to_seconds(claim.end_ms - claim.start_ms) if new else 0.0,
                event_ids=(claim.event_id,),
                state=state,
            )
        )

    def release(
        self, leased: LeasedEvent, error: EmitError, verb: str, *, tried: bool = True, refused: bool = False
    ) -> Report:
        """Leave the event to a later try.

        Args:
            leased: what was not delivered.
            error: why.
            verb: for the log.
            tried: an emission was tried, so that the back-off grows.
            refused: the endpoint refused the event itself.
        """
        counted = tried and not isinstance(error, _Late)
        retry_after = error.retry_after_seconds if isinstance(error, EmitterUnavailable) else None
        try:
            retry_after_ms = to_ms(retry_after or 0, "retry_after_seconds")
        except InvalidInput:  # an emitter of somebody's own may say anything
            retry_after_ms = 0
        _, state = self.update(
            leased.key,
            Release(
                leased.claim.owner or "",
                leased.claim.event_id,
                self.policy,
                _RANDOM.random(),
                _reason(error),
                counted=counted,
                refused=refused,
                at_maximum=isinstance(error, EndpointRefused),
                retry_after_ms=retry_after_ms,
            ),
        )
        report = _failed(leased, error, state, Outcome.FAILED)
        if not tried:
            return report
        self._log_failed(report, leased, verb, "will be sent again, same id")
        return self.notify(report)

    def renew(self, leased: LeasedEvent) -> LeasedEvent | None:
        """Return the parcel with a new lease, or None where somebody else has taken it over."""
        since = self.monotonic()
        claim, _ = self.update(leased.key, Renew(leased.claim.owner or "", leased.claim.event_id, self.policy.lock_ms))
        return None if claim is None else attrs.evolve(leased, claim=claim, since=since)

    def park(self, leased: LeasedEvent, error: EventRejected, verb: str) -> Report:
        """Set the parcel aside: the endpoint will never accept it as it is."""
        refused, state = self.update(
            leased.key,
            Park(
                leased.claim.owner or "",
                leased.claim.event_id,
                self.policy,
                _RANDOM.random(),
                _status(error),
                _reason(error),
            ),
        )
        parked = refused is ParkResult.PARKED
        report = _failed(leased, error, state, Outcome.PARKED if parked else Outcome.FAILED)
        self._log_failed(report, leased, verb, "parked: correct its context or unpark it" if parked else "not parked")
        return self.notify(report)

    def unbuilt(self, key: Key, taken: Acquired, state: ReadTimeState | None, verb: str) -> Report:
        """Tell of an event that could not be built, and so was parked before anything was sent."""
        assert taken.claim is not None  # noqa: S101 - this answer names what it is about
        assert taken.parked is not None  # noqa: S101
        report = waiting(key, taken.parked, state)
        leased = LeasedEvent(key, "", taken.claim, again=False, retry=False, since=0.0)
        self._log_failed(report, leased, verb, "parked: correct its context or unpark it")
        return self.notify(report)

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
                log(
                    logging.ERROR,
                    "on_report raised; the report stands",
                    error=type(error).__name__,
                    reader_sourced_id=report.reader_sourced_id,
                    resource_id=report.resource_id,
                )
        return report


def _log_doubtful(leased: LeasedEvent, verb: str) -> None:
    log(
        logging.WARNING,
        f"{verb}: sent again more than a day after its first claim, without asking whether it has arrived: an endpoint"
        " that has forgotten its id would count it twice; look for it there, and use an emitter with read_back",
        **leased.fields,
        claimed_at=to_caliper_time(leased.claim.first_claimed_at_ms),
    )


class _Late(EmitterUnavailable):
    """Nothing was sent, because it could not have ended within the lease; no attempt is counted."""


def _failed(leased: LeasedEvent, error: EmitError, state: ReadTimeState | None, outcome: Outcome) -> Report:
    return Report(
        outcome,
        *leased.key,
        event_ids=(leased.claim.event_id,),
        state=state,
        error=error,
        retry_at=retry_at(state),
    )


def _reason(error: EmitError) -> str:
    """Return what a state may keep of an error: an emitter's own words, shortened."""
    return f"{type(error).__name__}: {error}"[:300]


def _status(error: EmitError) -> int | None:
    """Return the HTTP status that a state may keep: an emitter of somebody's own may say anything."""
    status: Any = error.status
    return int(status) if isinstance(status, int) and 100 <= status < 1000 else None  # noqa: PLR2004 - three digits
