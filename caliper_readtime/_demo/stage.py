"""``Stage``: what stands behind the page: workers that can be killed, and an endpoint that can be broken."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from threading import Condition
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._demo import panels, parts
from caliper_readtime._demo.parts import EXPECTED_XP, LEAVES, READER, DyingWorkerEmitter, LossyNetwork, WorkerKilled
from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._results import Outcome
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime._units import plural, to_epoch_ms, to_plain_seconds
from caliper_readtime.errors import EmitError, ReadTimeError, StoreError
from caliper_readtime.testing import banked_minutes
from caliper_readtime.testing._endpoint import Answer, Drop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from datetime import datetime

    from caliper_readtime._results import Report
    from caliper_readtime.protocols import StateStore
    from caliper_readtime.testing import CaliperEndpoint

#: Everything that takes half a minute or more in earnest takes seconds here.
POLICY: Final = ReadTimePolicy(
    heartbeat_seconds=2.0, lock_seconds=8.0, retry_backoff_seconds=2.0, max_retry_backoff_seconds=4.0
)
#: Who was active within this time is left alone by the sweep.
IDLE_SECONDS: Final = 4.0
_FLUSH_WAIT_SECONDS: Final = 2.0
#: How long a page that hears no news is left without a sign of life.
_QUIET_SECONDS: Final = 15.0
_DIARY: Final = 50


class EndpointMode(StrEnum):
    """How the endpoint behaves."""

    WORKS = "works"
    DOWN = "down"
    MUTE = "mute"


_BEHAVIOURS: Final = {EndpointMode.WORKS: None, EndpointMode.DOWN: Answer(503), EndpointMode.MUTE: Drop(after="accept")}


class Tone(StrEnum):
    """How a line of what happened is shown."""

    PLAIN = ""
    GOOD = "good"
    BAD = "bad"


_TURNS: Final = {
    EndpointMode.WORKS: "The endpoint works.",
    EndpointMode.DOWN: "The endpoint is down: it answers everything with 503.",
    EndpointMode.MUTE: "The endpoint accepts events, but its answers are lost on the way.",
}


class Stage:
    """One reader's time and everybody who handles it. Thread-safe.

    Args:
        store: where Ada's time lives.
        endpoint: where it goes.
        clock: the time that decides; None for the store's own clock.

    Attributes:
        tracker: that of the workers which are not killed.
    """

    def __init__(
        self, store: StateStore, endpoint: CaliperEndpoint, clock: Callable[[], datetime] | None = None
    ) -> None:
        self._endpoint = endpoint
        self._events = parts.events()
        self._wire = LossyNetwork(endpoint.url, self._events.sensor)
        self._store = store
        self._clock = clock
        self.tracker: ReadTimeTracker = self._worker(self._wire)
        self.tracker.forget(READER)  # a store that is kept may know Ada from an earlier run
        self._mode = EndpointMode.WORKS
        self._opened: int | None = None
        self._banked: str | None = None
        self._killed: str | None = None
        self._diary: deque[dict[str, Any]] = deque(maxlen=_DIARY)
        self._lines = 0
        self._visit = 0
        self._changed = Condition()
        self._number = 0
        self._closed = False

    def close(self) -> None:
        """End every ``changes``, and close what was opened here."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._wire.close()

    def _worker(self, emitter: LossyNetwork | DyingWorkerEmitter) -> ReadTimeTracker:
        return ReadTimeTracker(self._store, emitter, self._events, POLICY, self._clock, on_report=self._reported)

    # What a visitor can do

    def opened(self) -> None:
        """Note that the article's page was asked for."""
        if self._opened is None:
            self._opened = self._now()
        self._log("Ada opens the article.")

    @property
    def visit(self) -> str:
        """What the visit is called that pages belong to: those of an earlier one count no more."""
        return str(self._visit)

    def restart(self) -> None:
        """Forget all that was read, sent and said."""
        self._visit += 1
        self._mode = EndpointMode.WORKS
        self._endpoint.reset()
        self._wire.renew()
        self.tracker.forget(READER)
        self._opened = self._banked = self._killed = None
        with self._changed:
            self._diary.clear()
        self._log("Everything begins anew.")

    def turn(self, mode: EndpointMode) -> None:
        """Break the endpoint, or mend it."""
        self._mode = mode
        self._endpoint.misbehave_always(_BEHAVIOURS[mode])
        if mode is EndpointMode.WORKS:
            self._wire.renew()
        self._log(_TURNS[mode], Tone.GOOD if mode is EndpointMode.WORKS else Tone.BAD)

    def kill(self) -> None:
        """Let a worker claim what is unreported and deliver it, and die before it can write down that it has."""
        try:
            report = self._worker(DyingWorkerEmitter(self._wire)).partial(READER, LEAVES)
        except WorkerKilled:
            claim = self._claim()
            length = "" if claim is None else f" of {to_plain_seconds(claim.end_ms - claim.start_ms)} s"
            self._killed = None if claim is None else claim.event_id
            self._log(f"A worker sent its claim{length} and died before it could write down what came of it.", Tone.BAD)
        else:
            busy = report.outcome is Outcome.IN_FLIGHT
            self._log(
                "Another worker holds the claim: there is nothing to die of. Wait for its lease to end."
                if busy
                else "There is no whole second to report: let Ada read a little before you kill a worker."
            )

    def sweep(self) -> None:
        """Let the sweeper come by."""
        report = self.tracker.sweep(idle_seconds=IDLE_SECONDS)
        if report.events_sent:
            events = plural(report.events_sent, "event")
            self._log(f"Sweep: {events} sent, {report.seconds_sent:g} s.", Tone.GOOD)
        elif not report.failed:
            self._log(f"Sweep: {self._why_nothing()}")

    def _why_nothing(self) -> str:
        claim = self._claim()
        if claim is not None:
            left = max(claim.until_at_ms - self._now(), 0) / 1000
            waits = "the claim's lease ends" if claim.owner is not None else "the event is tried again"
            return f"nothing is due; {waits} in {left:.1f} s."
        state = self.tracker.state(READER, LEAVES)
        if state is None or state.due is None:
            return "nothing is unreported."
        return f"nothing is due; who was active in the last {IDLE_SECONDS:g} s is left alone."

    def bank(self) -> None:
        """Flush the reader; bank the minutes only if nothing is left."""
        flushed = self.tracker.flush_reader(READER, wait_seconds=_FLUSH_WAIT_SECONDS)
        try:
            flushed.raise_unless_settled()
        except EmitError:
            unsettled = "Flush: not settled, so nothing is banked. What is unreported stays due; flush again later."
            self._log(unsettled, Tone.BAD)
            return
        self._banked = f"{self._minutes()} min for {self._endpoint.seconds():g} s"
        self._log(f"Flush: settled. Banked: {self._banked}.", Tone.GOOD)

    def act(self, action: Callable[[], object]) -> None:
        """Do one of these; what goes wrong is said, as an operator would read it."""
        try:
            action()
        except ReadTimeError as error:
            self._log(f"{type(error).__name__}: {error}", Tone.BAD)

    # What there is to see

    def changes(self) -> Iterator[dict[str, Any] | None]:
        """Yield what there is to see, now and whenever it has changed; None after a while without news."""
        seen = -1
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._number != seen, _QUIET_SECONDS)  # noqa: B023 - now
                if self._closed:
                    return
                news, seen = self._number != seen, self._number
            yield self.document() if news else None

    def tell(self) -> None:
        """Tell every page that there is news."""
        with self._changed:
            self._number += 1
            self._changed.notify_all()

    def document(self) -> dict[str, Any]:
        """Return what all panels show."""
        trouble = state = None
        explained: tuple[str, ...] = ()
        try:
            explanation = self.tracker.explain(READER, LEAVES)
            state, explained = explanation.state, explanation.lines
        except StoreError as error:
            trouble = str(error)
        return {
            "now": self._now(),
            "opened": self._opened,
            "state": state and panels.state_panel(state, self._endpoint.events, self._killed),
            "events": panels.event_rows(self._endpoint.deliveries),
            "endpoint": self._mode,
            "counted": self._endpoint.seconds(),
            "minutes": self._minutes(),
            "banked": self._banked,
            "diary": list(self._diary),
            "explained": explained,
            "trouble": trouble,
        }

    def _minutes(self) -> float:
        actor = self._events.actor_id(READER.sourced_id)
        return banked_minutes(self._endpoint.deliveries, actor, [LEAVES.resource_id], EXPECTED_XP)[LEAVES.resource_id]

    def _claim(self) -> Any:
        state = self.tracker.state(READER, LEAVES)
        return None if state is None else state.ledger.claim

    def _now(self) -> int:
        return to_epoch_ms(self.tracker.now(), "now")

    def _reported(self, report: Report) -> None:
        names = ", ".join(map(panels.short, report.event_ids))
        match report.outcome:
            case Outcome.SENT:
                self._log(f"{report.delta_seconds:g} s reported, event {names}.", Tone.GOOD)
            case Outcome.FAILED:
                lost = f"Event {names} was not delivered: {report.error}. It stays due, under the same id."
                self._log(lost, Tone.BAD)

    def _log(self, text: str, tone: Tone = Tone.PLAIN) -> None:
        with self._changed:
            self._lines += 1
            self._diary.append({"number": self._lines, "at": self._now(), "text": text, "tone": tone})
        self.tell()
