"""One sweep: report what browsers and workers left behind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from caliper_readtime._delivery.envelopes import EnvelopeBatch
from caliper_readtime._delivery.send import SWEEP
from caliper_readtime._logs import log
from caliper_readtime._rules import AcquireResult, Caller
from caliper_readtime.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._delivery.lease import LeasedEvent
    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._results import Report, SweepReport
    from caliper_readtime._rules.state import Key

#: Readers who were active within this time are left alone, unless told otherwise.
IDLE_SECONDS: Final = 60.0
#: Most events of one sweep, unless told otherwise.
LIMIT: Final = 1000


class Sweep:
    """Takes due states oldest first, in batches, until none is left or a limit is reached."""

    def __init__(
        self,
        delivery: Delivery,
        owner: str,
        *,
        idle_ms: int,
        limit: int,
        budget_seconds: float | None,
        go_on: Callable[[Sequence[Report]], bool] | None = None,
    ) -> None:
        self._leases = delivery.leases
        self._most = delivery.most_events
        self._idle_ms = idle_ms
        self._limit = limit
        self._round = EnvelopeBatch(delivery, owner, SWEEP, budget_seconds, go_on)
        self._taken = 0
        self._in_flight = 0
        self._seen: set[Key] = set()  # looked at, and left as they are
        self._last: list[Key] = []  # what has failed before waits until everybody else has been served
        self._kept = max(1, limit // 10)  # W7: of the limit, for those
        # W14: after an outage nobody waits for a back-off that the outage has caused.
        self._recovering = delivery.away
        self._ahead_ms = delivery.policy.max_retry_backoff_ms if delivery.away else 0

    def run(self) -> SweepReport:
        """Sweep, and report."""
        while not self._stopped():
            leased_events = self._claimed()
            if leased_events:
                self._round.deliver(leased_events)
            elif not self._sent_last():
                break
        self._round.judge()
        self._record()
        return self._round.result(
            in_flight=self._in_flight,
            more=bool(self._last) or any(key not in self._seen for key in self._due(len(self._seen) + 1)),
            stopped_by="limit" if self._taken >= self._limit else "drained",
        )

    def _record(self) -> None:
        """Note that a sweep has run. Should that fail, what it has reported is reported all the same."""
        try:
            self._leases.store.swept(self._leases.now())
        except StoreUnavailable as error:
            log(logging.WARNING, "sweep: the store could not record that a sweep has run", error=str(error))

    def _stopped(self) -> bool:
        return self._taken >= self._limit or self._round.over()

    def _due(self, limit: int) -> tuple[Key, ...]:
        now = self._leases.moment() + self._ahead_ms if self._recovering else self._leases.now()
        return self._leases.store.due(limit, now, self._idle_ms + self._ahead_ms)

    def _claimed(self) -> list[LeasedEvent]:
        """Claim the next batch of due states; empty where none is left."""
        leased_events: list[LeasedEvent] = []
        while not leased_events:
            most = min(self._most, self._limit - self._taken - min(len(self._last), self._kept))
            if most <= 0:
                break
            keys = [key for key in self._due(most + len(self._seen)) if key not in self._seen][:most]
            if not keys:
                break
            answers = self._round.take(
                keys, Caller.SWEEP, idle_ms=self._idle_ms, retries=False, recovering=self._recovering
            )
            for key, answer in zip(keys, answers, strict=False):
                acquired, leased = (None, None) if answer is None else (answer[0].result, answer[2])
                if leased is not None and not leased.retry:
                    leased_events.append(leased)
                    continue
                self._seen.add(key)
                self._in_flight += acquired is AcquireResult.IN_FLIGHT
                if acquired is AcquireResult.RETRY_LAST or leased is not None:
                    self._last.append(key)
        self._taken += len(leased_events)
        return leased_events

    def _sent_last(self) -> bool:
        """Send what has failed before; return whether that may have made room for more."""
        keys, self._last = self._last, []
        found = bool(keys)
        while keys and not self._stopped():
            part = keys[: min(self._most, self._limit - self._taken)]
            answers = self._round.take(part, Caller.SWEEP, idle_ms=self._idle_ms, recovering=self._recovering)
            del keys[: len(answers)]
            leased_events = [answer[2] for answer in answers if answer is not None and answer[2] is not None]
            self._taken += len(leased_events)
            self._seen.difference_update(leased.key for leased in leased_events)
            self._round.deliver(leased_events)
        self._last += keys
        return found
