"""``Reporting``: one state's report, round by round: partial, finalize, and the finalize of a completed heartbeat."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from caliper_readtime._delivery.send import FINALIZE, PARTIAL
from caliper_readtime._inspection import SWEEP_SECONDS
from caliper_readtime._logs import log
from caliper_readtime._results import Outcome, Report, merge, retry_at, waiting
from caliper_readtime._rules import AcquireResult, Caller
from caliper_readtime._rules.state import MAX_PARKED
from caliper_readtime.errors import EmitterUnavailable, EventRejected, StoreError

if TYPE_CHECKING:
    from caliper_readtime._delivery.lease import LeasedEvent
    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._model import Activity, Reader
    from caliper_readtime._rules import Acquired
    from caliper_readtime._rules.state import Key, ReadTimeState

#: A finalize goes on for this many rounds after its first, so that time that arrives meanwhile is sent as well.
FINALIZE_ROUNDS: Final = 3


class Reporting:
    """Reports one state at a time."""

    def __init__(self, delivery: Delivery) -> None:
        self._delivery = delivery
        self._sweep_warning_at = float("-inf")

    def completed(self, key: Key, state: ReadTimeState, *, defers: bool) -> Report:
        """Finalize an article that counts as read, or leave it to the sweeper; the heartbeat has been accepted."""
        if defers:
            outcome = Outcome.NOTHING_TO_SEND if state.finalized_at is not None else Outcome.DEFERRED
            return Report(outcome, *key, state=state, retry_at=retry_at(state))
        try:
            return self._attempt(key, Caller.HEARTBEAT, None, None, finalize=True)
        except StoreError as error:
            failure = EmitterUnavailable(f"finalizing stopped at the store: {error}")
            failure.__cause__ = error
            log(
                logging.ERROR,
                f"{FINALIZE}: failed",
                **key._asdict(),
                error=type(error).__name__,
                then="the heartbeat was accepted, the sweeper will report it",
            )
            return self._delivery.notify(Report(Outcome.FAILED, *key, error=failure))

    def report(
        self, key: Key, caller: Caller, reader: Reader | None, article: Activity | None, *, finalize: bool
    ) -> Report:
        """Claim, send and commit, round by round, or raise (V1)."""
        report = self._attempt(key, caller, reader, article, finalize=finalize)
        if report.error is not None:
            raise report.error
        return report

    def _attempt(
        self, key: Key, caller: Caller, reader: Reader | None, article: Activity | None, *, finalize: bool
    ) -> Report:
        """Return what came of it, also where it failed."""
        delivery, verb = self._delivery, FINALIZE if finalize else PARTIAL
        delivery.require()
        owner = uuid4().hex
        rounds = 1 + FINALIZE_ROUNDS if finalize else 1
        sent: Report | None = None
        tried: frozenset[str] = frozenset()
        retries = True
        # An older claim and every parked event may come before new time.
        for _ in range(rounds + 1 + MAX_PARKED):
            (answer,) = delivery.leases.take(
                [key],
                owner,
                caller,
                reader=reader,
                article=article,
                finalize=finalize,
                min_ms=0 if finalize else delivery.policy.partial_min_ms,
                tried=tried,
                retries=retries,
            )
            if isinstance(answer, StoreError):
                raise answer
            acquired, state, leased = answer
            if leased is None:
                report = self._unsent(key, acquired, state, verb, raises=finalize and sent is None)
            else:
                report = self._sent(leased, verb)
                rounds -= report.error is None and not leased.again
            sent = report if sent is None else merge(sent, report)
            # V4: what was tried before and failed again does not keep newer time waiting.
            older = acquired.retry or acquired.again
            stepped_over = older and report.state is not None and report.state.ledger.claim is None
            if not rounds or (not stepped_over if report.error is not None else leased is None):
                break
            if report.error is not None:
                tried = tried.union(report.event_ids)
                # An endpoint that does not answer is given no more old events to be late with.
                retries = isinstance(report.error, EventRejected)
        assert sent is not None  # noqa: S101 - the loop runs at least once
        return sent

    def _sent(self, leased: LeasedEvent, verb: str) -> Report:
        reports, _, error = self._delivery.send([leased], verb)
        if error is not None:
            return self._delivery.settle(leased, error, verb)
        (report,) = reports
        if isinstance(report, StoreError):
            raise report
        return report

    def _unsent(self, key: Key, acquired: Acquired, state: ReadTimeState | None, verb: str, *, raises: bool) -> Report:
        """Return why there was no claim to send. ``raises``: parked events that must wait are an error."""
        match acquired.result:
            case AcquireResult.UNBUILDABLE:
                return self._delivery.unbuilt(key, acquired, state, verb)
            case AcquireResult.IN_FLIGHT:
                log(logging.DEBUG, f"{verb}: lock not acquired", **key._asdict())
                report = Report(Outcome.IN_FLIGHT, *key, state=state, retry_at=retry_at(state))
            case AcquireResult.DEFERRED | AcquireResult.WAITING:
                report = self.deferred(key, state)
            case _ if raises and acquired.parked is not None:
                report = waiting(key, acquired.parked.event_id, acquired.parked.reason, acquired.parked.status, state)
            case _:
                report = Report(Outcome.NOTHING_TO_SEND, *key, state=state)
        return self._delivery.clamped(report, acquired)

    def deferred(self, key: Key, state: ReadTimeState | None) -> Report:
        """Return the report of time that is left to the sweeper; warn where no sweeper seems to run."""
        now = time.monotonic()
        if now - self._sweep_warning_at >= SWEEP_SECONDS:
            self._sweep_warning_at = now
            last = self._delivery.leases.store.last_sweep()
            if last is None or self._delivery.leases.moment() - last > SWEEP_SECONDS * 1000:
                log(
                    logging.WARNING,
                    "time was left to the sweeper, but no sweep has run for ten minutes: run tracker.sweep() regularly",
                    **key._asdict(),
                )
        return Report(Outcome.DEFERRED, *key, state=state, retry_at=retry_at(state))
