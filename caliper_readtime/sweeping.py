"""One sweep: report what browsers and workers left behind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from caliper_readtime.batches import Round, nothing_whole
from caliper_readtime.courier import SWEEP
from caliper_readtime.errors import StoreUnavailable
from caliper_readtime.logs import say
from caliper_readtime.results import Outcome, SweepReport
from caliper_readtime.transitions import Caller, Took

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime.courier import Courier, Parcel
    from caliper_readtime.results import Report
    from caliper_readtime.state import Key

#: Readers who were active within this time are left alone, unless told otherwise.
IDLE_SECONDS: Final = 60.0
#: Most events of one sweep, unless told otherwise.
LIMIT: Final = 1000


class Sweep:
    """Takes due states oldest first, in batches, until none is left or a limit is reached."""

    def __init__(
        self,
        courier: Courier,
        owner: str,
        *,
        idle_ms: int,
        limit: int,
        budget_seconds: float | None,
        go_on: Callable[[Sequence[Report]], bool] | None = None,
    ) -> None:
        self._courier = courier
        self._idle_ms = idle_ms
        self._limit = limit
        self._round = Round(courier, owner, SWEEP, budget_seconds, go_on)
        self._taken = 0
        self._in_flight = 0
        self._seen: set[Key] = set()  # looked at, and left as they are
        self._retries: list[Key] = []  # parked events wait until everybody else has been served

    def run(self) -> SweepReport:
        """Sweep, and report."""
        while not self._stopped():
            parcels = self._claimed()
            if parcels:
                self._round.deliver(parcels)
            elif not self._retried():
                break
        self._round.judge()
        self._record()
        reports = tuple(self._round.reports)
        stopped_by = self._round.stopped_by or ("limit" if self._taken >= self._limit else "drained")
        return SweepReport(
            events_sent=self._round.count(Outcome.SENT),
            states_settled=len({(r.reader_sourced_id, r.resource_id) for r in reports if nothing_whole(r.state)}),
            failed=self._round.count(Outcome.FAILED),
            in_flight=self._in_flight,
            parked=self._round.count(Outcome.PARKED),
            seconds_sent=self._round.seconds_sent,
            more=bool(self._retries) or any(key not in self._seen for key in self._due(len(self._seen) + 1)),
            stopped_by=stopped_by,
            reports=reports,
        )

    def _record(self) -> None:
        """Note that a sweep has run. Should that fail, what it has reported is reported all the same."""
        try:
            self._courier.store.swept(self._courier.now())
        except StoreUnavailable as error:
            say(logging.WARNING, "sweep: the store could not record that a sweep has run", error=str(error))

    def _stopped(self) -> bool:
        return self._taken >= self._limit or self._round.over()

    def _due(self, limit: int) -> tuple[Key, ...]:
        return self._courier.store.due(limit, self._courier.now(), self._idle_ms)

    def _claimed(self) -> list[Parcel]:
        """Claim the next batch of due states; empty where none is left."""
        most = min(self._round.batch, self._limit - self._taken)
        parcels: list[Parcel] = []
        while not parcels:
            keys = [key for key in self._due(most + len(self._seen)) if key not in self._seen][:most]
            if not keys:
                break
            answers = self._round.take(keys, Caller.SWEEP, idle_ms=self._idle_ms, retries=False)
            for key, answer in zip(keys, answers, strict=True):
                took, parcel = (None, None) if answer is None else (answer[0].took, answer[2])
                if parcel is not None and not parcel.retry:
                    parcels.append(parcel)
                    continue
                self._seen.add(key)
                self._in_flight += took is Took.IN_FLIGHT
                if took is Took.RETRY_FIRST or parcel is not None:
                    self._retries.append(key)
        self._taken += len(parcels)
        return parcels

    def _retried(self) -> bool:
        """Send parked events again, alone; return whether that may have made room for more."""
        keys, self._retries = self._retries, []
        for key in keys:
            if self._stopped():
                self._retries.append(key)
                continue
            (answer,) = self._round.take([key], Caller.SWEEP, idle_ms=self._idle_ms)
            if answer is not None and answer[2] is not None:
                self._taken += 1
                self._round.alone(answer[2])
                self._seen.discard(key)
        return bool(keys)
