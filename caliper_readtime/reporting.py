"""``Reporting``: one state's report, round by round: partial, finalize, and the finalize of a completed heartbeat."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final
from uuid import uuid4

from caliper_readtime.courier import FINALIZE, PARTIAL, retry_at
from caliper_readtime.errors import EmitError, EmitterUnavailable, EventRejected, StoreError
from caliper_readtime.flushing import merge
from caliper_readtime.logs import say
from caliper_readtime.model import Outcome, Report
from caliper_readtime.state import MAX_PARKED
from caliper_readtime.transitions import Caller, Took

if TYPE_CHECKING:
    from caliper_readtime.courier import Courier
    from caliper_readtime.model import Article, Reader
    from caliper_readtime.state import Key, Parked, ReadTimeState
    from caliper_readtime.transitions import Taken

#: A finalize goes on for this many rounds after its first, so that time that arrives meanwhile is sent as well.
FINALIZE_ROUNDS: Final = 3
#: Without a sweep for this long, deferring is worth a warning, at most once in the same time.
SWEEP_WARNING_SECONDS: Final = 600.0


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
        failure: EmitError
        try:
            return self.report(key, Caller.HEARTBEAT, None, None, finalize=True)
        except EmitError as error:
            failure = error
        except StoreError as error:
            failure = EmitterUnavailable(f"finalizing stopped at the store: {error}")
            failure.__cause__ = error
            say(
                logging.ERROR,
                f"{FINALIZE}: failed",
                reader_sourced_id=key.reader_sourced_id,
                resource_id=key.resource_id,
                error=type(error).__name__,
                then="the heartbeat was accepted, the sweeper will report it",
            )
        outcome = Outcome.PARKED if isinstance(failure, EventRejected) else Outcome.FAILED
        return Report(outcome, *key, event_ids=failure.event_ids, state=None, error=failure)

    def report(
        self, key: Key, caller: Caller, reader: Reader | None, article: Article | None, *, finalize: bool
    ) -> Report:
        """Claim, send and commit, round by round; see PROTOCOL "partial" and "finalize"."""
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
                last = self._unsent(key, taken, state, finalize=finalize and sent is None)
                return last if sent is None else merge(sent, last)
            error = courier.emit([parcel], verb)
            if isinstance(error, EventRejected):
                courier.refuse(parcel, error, verb)
                raise error
            if error is not None:
                courier.release(parcel, error, verb)
                raise error
            report = courier.commit(parcel, verb)
            sent = report if sent is None else merge(sent, report)
            rounds -= not parcel.again
            if not rounds:
                break
        assert sent is not None  # noqa: S101 - every turn of the loop sends, returns or raises
        return sent

    def _unsent(self, key: Key, taken: Taken, state: ReadTimeState | None, *, finalize: bool) -> Report:
        """Return why there was no claim to send."""
        match taken.took:
            case Took.IN_FLIGHT:
                verb = FINALIZE if finalize else PARTIAL
                say(logging.DEBUG, f"{verb}: lock not acquired", reader_sourced_id=key[0], resource_id=key[1])
                return Report(Outcome.IN_FLIGHT, *key, state=state, retry_at=retry_at(state))
            case Took.DEFERRED | Took.WAITING:
                return self.deferred(key, state)
            case Took.UNBUILDABLE:
                raise _rejected(key, taken.parked)
            case _ if finalize and taken.parked is not None:
                raise _rejected(key, taken.parked)
            case _:
                return Report(Outcome.NOTHING_TO_SEND, *key, state=state)

    def deferred(self, key: Key, state: ReadTimeState | None) -> Report:
        """Return the report of time that is left to the sweeper; warn where no sweeper seems to run."""
        now = time.monotonic()
        if now - self._sweep_warning_at >= SWEEP_WARNING_SECONDS:
            self._sweep_warning_at = now
            last = self._courier.store.last_sweep()
            if last is None or self._courier.moment() - last > SWEEP_WARNING_SECONDS * 1000:
                say(
                    logging.WARNING,
                    "time was left to the sweeper, but no sweep has run for ten minutes: run tracker.sweep() regularly",
                    reader_sourced_id=key.reader_sourced_id,
                    resource_id=key.resource_id,
                )
        return Report(Outcome.DEFERRED, *key, state=state, retry_at=retry_at(state))


def _rejected(key: Key, parked: Parked | None) -> EventRejected:
    assert parked is not None  # noqa: S101 - an answer of this kind names the event
    return EventRejected(
        f"an event of reader {key.reader_sourced_id}, article {key.resource_id} is parked ({parked.reason}):"
        " correct the Reader or Article, or unpark it",
        event_ids=(parked.event_id,),
        status=parked.status,
    )
