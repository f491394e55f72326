"""``Reporting``: one state's report, round by round: partial, finalize, and the finalize of a completed heartbeat."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from caliper_readtime.courier import FINALIZE, PARTIAL
from caliper_readtime.errors import EmitterUnavailable, EventRejected, StoreError
from caliper_readtime.logs import say
from caliper_readtime.reports import merge, retry_at, waiting
from caliper_readtime.results import Outcome, Report
from caliper_readtime.state import MAX_PARKED
from caliper_readtime.status import SWEEP_SECONDS
from caliper_readtime.transitions import Caller, Took

if TYPE_CHECKING:
    from caliper_readtime.courier import Courier
    from caliper_readtime.model import Article, Reader
    from caliper_readtime.state import Key, ReadTimeState
    from caliper_readtime.transitions import Taken

#: A finalize goes on for this many rounds after its first, so that time that arrives meanwhile is sent as well.
FINALIZE_ROUNDS: Final = 3


class Reporting:
    """Reports one state at a time. ``sends``: a completed article is finalized from its heartbeat."""

    def __init__(self, courier: Courier, *, sends: bool) -> None:
        self._courier = courier
        self._sends = sends
        self._sweep_warning_at = float("-inf")

    def completed(self, key: Key, state: ReadTimeState) -> Report:
        """Finalize an article that counts as read. Whatever comes of it, the heartbeat has been accepted."""
        if not self._sends:
            outcome = Outcome.NOTHING_TO_SEND if state.finalized_at is not None else Outcome.DEFERRED
            return Report(outcome, *key, state=state, retry_at=retry_at(state))
        try:
            return self._attempt(key, Caller.HEARTBEAT, None, None, finalize=True)
        except StoreError as error:
            failure = EmitterUnavailable(f"finalizing stopped at the store: {error}")
            failure.__cause__ = error
            say(
                logging.ERROR,
                f"{FINALIZE}: failed",
                **key._asdict(),
                error=type(error).__name__,
                then="the heartbeat was accepted, the sweeper will report it",
            )
            return self._courier.told(Report(Outcome.FAILED, *key, error=failure))

    def report(
        self, key: Key, caller: Caller, reader: Reader | None, article: Article | None, *, finalize: bool
    ) -> Report:
        """Claim, send and commit, round by round, or raise; see PROTOCOL "partial" and "finalize"."""
        report = self._attempt(key, caller, reader, article, finalize=finalize)
        if report.error is not None:
            raise report.error
        return report

    def _attempt(
        self, key: Key, caller: Caller, reader: Reader | None, article: Article | None, *, finalize: bool
    ) -> Report:
        """Return what came of it, also where it failed."""
        courier, verb = self._courier, FINALIZE if finalize else PARTIAL
        owner = uuid4().hex
        rounds = 1 + FINALIZE_ROUNDS if finalize else 1
        sent: Report | None = None
        # An older claim and every parked event may come before new time.
        for _ in range(rounds + 1 + MAX_PARKED):
            taken, state, parcel = courier.take(
                key,
                owner,
                caller,
                reader=reader,
                article=article,
                finalize=finalize,
                min_ms=0 if finalize else courier.policy.partial_min_ms,
            )
            if parcel is None:
                report = self._unsent(key, taken, state, verb, raises=finalize and sent is None)
            else:
                error = courier.emit([parcel], verb)
                if isinstance(error, EventRejected):
                    report = courier.refuse(parcel, error, verb)
                elif error is not None:
                    report = courier.release(parcel, error, verb)
                else:
                    report = courier.commit(parcel, verb)
                    rounds -= not parcel.again
            sent = report if sent is None else merge(sent, report)
            if parcel is None or report.error is not None or not rounds:
                break
        assert sent is not None  # noqa: S101 - the loop runs at least once
        return sent

    def _unsent(self, key: Key, taken: Taken, state: ReadTimeState | None, verb: str, *, raises: bool) -> Report:
        """Return why there was no claim to send. ``raises``: parked events that must wait are an error."""
        match taken.took:
            case Took.IN_FLIGHT:
                say(logging.DEBUG, f"{verb}: lock not acquired", **key._asdict())
                return Report(Outcome.IN_FLIGHT, *key, state=state, retry_at=retry_at(state))
            case Took.DEFERRED | Took.WAITING:
                return self.deferred(key, state)
            case Took.UNBUILDABLE:
                return self._courier.unbuilt(key, taken, state, verb)
            case _ if raises and taken.parked is not None:
                return waiting(key, taken.parked, state)
            case _:
                return Report(Outcome.NOTHING_TO_SEND, *key, state=state)

    def deferred(self, key: Key, state: ReadTimeState | None) -> Report:
        """Return the report of time that is left to the sweeper; warn where no sweeper seems to run."""
        now = time.monotonic()
        if now - self._sweep_warning_at >= SWEEP_SECONDS:
            self._sweep_warning_at = now
            last = self._courier.store.last_sweep()
            if last is None or self._courier.moment() - last > SWEEP_SECONDS * 1000:
                say(
                    logging.WARNING,
                    "time was left to the sweeper, but no sweep has run for ten minutes: run tracker.sweep() regularly",
                    **key._asdict(),
                )
        return Report(Outcome.DEFERRED, *key, state=state, retry_at=retry_at(state))
