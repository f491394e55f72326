"""One flush: everything that one reader has unreported, before a host banks it."""

from __future__ import annotations

import logging
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from caliper_readtime._delivery.envelopes import EnvelopeBatch, nothing_whole
from caliper_readtime._delivery.send import FLUSH
from caliper_readtime._interruptions import pass_interruption
from caliper_readtime._logs import log
from caliper_readtime._results import FlushReport, Outcome, Report, merge, waiting
from caliper_readtime._rules import AcquireResult, Caller
from caliper_readtime._rules.state import MAX_PARKED
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.errors import CorruptState, EmitterUnavailable
from caliper_readtime.protocols import ReadsBack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._delivery.lease import ClaimAnswer, LeasedEvent
    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._model import Reader
    from caliper_readtime._rules import Acquired
    from caliper_readtime._rules.state import Key, ReadTimeState

#: How often a waiting flush looks again.
POLL_SECONDS: Final = 0.05
#: A confirmation also asks for what was sent this recently by anybody.
RECENT_MS: Final = 60_000


class Flush:
    """Claims, sends, waits for others' claims, and asks the endpoint, all within one time budget."""

    def __init__(
        self,
        delivery: Delivery,
        owner: str,
        list_keys: Callable[[], Sequence[Key]],
        *,
        reader: Reader | None,
        wait_seconds: float,
    ) -> None:
        delivery.require()
        self._delivery = delivery
        self._leases = delivery.leases
        self._list_keys = list_keys
        self._keys: list[Key] = []
        self._tried: frozenset[str] = frozenset()  # what failed is not tried twice
        self._reader = reader
        self._round = EnvelopeBatch(delivery, owner, FLUSH)
        self._until = self._leases.monotonic() + wait_seconds
        self._others: dict[Key, Report] = {}  # claims that somebody else holds
        self._stuck: dict[Key, Report] = {}  # what no flush can send: parked before, or not to be read
        self.sleep: Callable[[float], None] = time.sleep

    def run(self, *, confirm: bool) -> FlushReport:
        """Flush, and report."""
        keys = self._listed()
        while keys and not self._round.over():
            leased_events, unasked = self._claimed(keys)
            if leased_events:
                self._round.deliver(leased_events)
                self._round.judge()
                # There may be later time behind what was sent or set aside.
                keys = [*unasked, *(leased.key for leased in leased_events), *self._others]
            elif unasked or (self._others and self._waited()):
                keys = [*unasked, *self._others]
            else:
                keys = self._listed()
        self._listed()
        states = self._loaded()
        return FlushReport(
            reports=self._reports(),
            settled=len(states) == len(self._keys) and all(map(nothing_whole, states)),
            confirmed=self._confirmed() if confirm else None,
            seconds_sent=self._round.seconds_sent,
        )

    def _listed(self) -> list[Key]:
        """F5: list the reader's states again; return those that are new."""
        new = [key for key in self._list_keys() if key not in self._keys]
        self._keys += new
        return new

    def _claimed(self, keys: Sequence[Key]) -> tuple[list[LeasedEvent], list[Key]]:
        """Return what there is to send, and which states there was no time to ask."""
        leased_events: list[LeasedEvent] = []
        unasked: list[Key] = []
        self._others = {}
        asked = list(dict.fromkeys(keys))
        while asked:
            self._tried = self._tried.union(
                *(report.event_ids for report in self._round.reports if report.outcome is not Outcome.SENT)
            )
            answers = self._round.take(asked, Caller.EXPLICIT, reader=self._reader, tried=self._tried)
            unasked += asked[len(answers) :]
            # Events that cannot be built are stepped over, as long as there is room to set them aside.
            again = []
            for key, answer in zip(asked, answers, strict=False):
                if answer is not None and _steps_over(*answer):
                    again.append(key)
                else:
                    leased_events += self._sorted(key, answer)
            asked = again
        return leased_events, unasked

    def _sorted(self, key: Key, answer: ClaimAnswer | None) -> list[LeasedEvent]:
        """Return the claim that came of asking; note what else did."""
        if answer is None:
            error = EmitterUnavailable(f"the stored state of article {key.resource_id} cannot be read")
            self._stuck[key] = Report(Outcome.FAILED, *key, error=error)
            return []
        acquired, state, leased = answer
        if leased is not None:
            return [leased]
        if acquired.result is AcquireResult.IN_FLIGHT:
            self._others[key] = Report(Outcome.IN_FLIGHT, *key, state=state)
        elif acquired.result is AcquireResult.NOTHING and acquired.parked is not None:
            self._stuck.setdefault(
                key, waiting(key, acquired.parked.event_id, acquired.parked.reason, acquired.parked.status, state)
            )
        return []

    def _loaded(self) -> list[ReadTimeState | None]:
        """Return the states as they stand now, but for those that cannot be read."""
        states = []
        for key in self._keys:
            with suppress(CorruptState):  # told of when it was to be claimed
                states.append(self._leases.store.load(key, self._leases.now()))
        return states

    def _waited(self) -> bool:
        """Wait for others a little; return whether there is time to look again."""
        left = self._until - self._leases.monotonic()
        if left <= 0:
            return False
        self.sleep(min(POLL_SECONDS, left))
        return True

    def _reports(self) -> tuple[Report, ...]:
        """Return one report for each article that had something: its events together, its last word."""
        merged: dict[tuple[str, str], Report] = {}
        for report in (*self._round.reports, *self._others.values(), *self._stuck.values()):
            name = (report.reader_sourced_id, report.resource_id)
            merged[name] = merge(merged[name], report) if name in merged else report
        return tuple(merged.values())

    def _confirmed(self) -> bool | None:
        """Ask until the endpoint holds what was sent here and just before; None where it cannot be asked."""
        emitter = self._delivery.emitter
        if not isinstance(emitter, ReadsBack):
            return None
        since = self._leases.moment() - RECENT_MS
        wanted = {event_id for report in self._round.reports if report.delta_seconds for event_id in report.event_ids}
        for state in self._loaded():
            for entry in () if state is None else state.history:
                if entry.kind == "sent" and entry.event_id is not None and to_epoch_ms(entry.at, "at") >= since:
                    wanted.add(entry.event_id)
        while wanted:
            try:
                wanted -= frozenset(emitter.held(sorted(wanted)))
            except Exception as error:  # noqa: BLE001 - what was sent is sent: asked again, as long as there is time
                pass_interruption(error)
                log(logging.WARNING, f"{FLUSH}: the endpoint cannot be asked", error=type(error).__name__)
            if wanted and not self._waited():
                return False
        return True


def _steps_over(acquired: Acquired, state: ReadTimeState | None, _: LeasedEvent | None) -> bool:
    return acquired.result is AcquireResult.UNBUILDABLE and state is not None and len(state.ledger.parked) < MAX_PARKED
