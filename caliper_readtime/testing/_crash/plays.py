"""``Play``: numbers what is called through a run's stand-ins, and lets one of these calls go wrong."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import attrs

from caliper_readtime.errors import InvalidInput
from caliper_readtime.testing._crash.faults import Crash, Fault, Step, Taken
from caliper_readtime.testing._crash.places import hosts_line
from caliper_readtime.testing._endpoint import CaliperEndpoint
from caliper_readtime.testing.behaviours import Answer, Drop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from caliper_readtime.testing._crash.proxies import Client


class Play:
    """One run: which steps were taken, and what became of the process.

    Args:
        fault: what goes wrong, if anything does.
        at: the step at which it does.

    Attributes:
        taken: the steps of the handler's run, in order.
        killed: the process was killed, and is not restarted yet.
        astray: how this run differs from the one without faults; a host may catch what is raised for it.
        jobs: what the host's scheduler runs.
        left: each returns how many states a tracker has not settled.
        other: what another worker does, where that is not the handler again.
        rollbacks: what servers do by themselves when a client has gone.
        restarts: what is called after a crash.
        ends: what is called when the run is over.
    """

    def __init__(self, fault: Fault | None = None, at: Taken | None = None) -> None:
        self.taken: list[Taken] = []
        self.killed: bool = False
        self.astray: str | None = None
        self.jobs: list[Callable[[], object]] = []
        self.left: list[Callable[[], int]] = []
        self.other: Callable[[], object] | None = None
        self.rollbacks: list[Callable[[], object]] = []
        self.restarts: list[Callable[[], object]] = []
        self.ends: ExitStack[bool | None] = ExitStack()
        self._fault = fault
        self._at = at
        self._armed = False
        self._out: str | None = None
        self._late: list[Callable[[], Any]] = []
        self._watched: list[tuple[Any, int]] = []
        self._interleave: Callable[[], None] = lambda: None

    def watch(self, endpoint: Any) -> None:
        """Count what arrives here from now on."""
        self._watched.append((endpoint, len(_arrived(endpoint))))

    def take(self, client: Client, method: str, perform: Callable[[], Any], target: object, /) -> Any:
        """Perform a call as a step, or let it go wrong."""
        self.alive()
        if self._out == client.root:
            raise client.error()
        if not self._armed:
            return perform()
        step = Step(len(self.taken) + 1, f"{client.name}.{method}", *(hosts_line() or ("?", 0, "?")))
        known, fault = self._at, self._fault
        if fault is None or known is None or known.step.number != step.number:
            return self._seen(step, client, perform, target)
        self.taken.append(Taken(step, client.root))
        if known.step.name != step.name:
            self.astray = f"takes other steps each time: {step.name} where {known.step.name} was before"
            raise InvalidInput("host", self.astray)
        return self._go_wrong(fault, known, client, perform)

    def _go_wrong(self, fault: Fault, at: Taken, client: Client, perform: Callable[[], Any]) -> Any:
        match fault:
            case Fault.MEANWHILE:
                self._interleaved()
                return perform()
            case Fault.OUTAGE:
                self._out = client.root
            case Fault.LATE:
                if not client.in_transaction():  # what is open ends with its connection, and nothing of it comes late
                    self._late.append(perform)
            case Fault.LOST_ANSWER | Fault.UNAVAILABLE if at.reached:
                for position in at.reached:
                    how = Answer(503) if fault is Fault.UNAVAILABLE else Drop(after="accept")
                    self._watched[position][0].misbehave(how)
                return perform()
            case Fault.LOST_ANSWER | Fault.CRASH_AFTER:
                with suppress(Exception):
                    perform()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            self.killed = True
            raise Crash
        raise client.error()

    def alive(self) -> None:
        """Return, unless the process was killed: then its ``finally`` blocks do nothing either."""
        if self.killed:
            raise Crash

    def start(self, interleave: Callable[[], None]) -> None:
        """Number what is called from now on; ``interleave`` is the second run."""
        self._interleave = interleave
        self._armed = True

    def stop(self, *, failed: bool) -> None:
        """Number no more; what is late lands, and the process starts again where it was killed."""
        self._armed = False
        killed, self.killed = self.killed, False
        late, self._late = self._late, []
        if failed:
            self._roll_back()
        for perform in late:
            with suppress(Exception):
                perform()
        if late:
            self._roll_back()
        for restart in self.restarts if killed else ():
            restart()

    @property
    def is_out(self) -> bool:
        """Whether the outage lasts."""
        return self._out is not None

    def recover(self) -> None:
        """End the outage."""
        self._out = None

    def deliveries(self) -> list[Mapping[str, Any]]:
        """Return every event that has arrived, repeats included."""
        return [event for endpoint, since in self._watched for event in _arrived(endpoint)[since:]]

    def _seen(self, step: Step, client: Client, perform: Callable[[], Any], target: object) -> Any:
        position = len(self.taken)
        self.taken.append(Taken(step, client.root))
        before, asked = len(self.deliveries()), self._asked()
        try:
            result = perform()
        finally:
            reached = tuple(
                place for place, (old, new) in enumerate(zip(asked, self._asked(), strict=False)) if new > old
            )
            sends = len(self.deliveries()) > before
            self.taken[position] = Taken(attrs.evolve(step, sends=sends), client.root, reached)
        # A cursor returns itself as well, and has done what it was told.
        if result is target and not (hasattr(target, "fetchone") and ".execute" in step.name):
            self.taken[position] = attrs.evolve(self.taken[position], fluent=True)
        return result

    def _asked(self) -> list[int]:
        return [len(found.requests) if isinstance(found, CaliperEndpoint) else 0 for found, _ in self._watched]

    def _interleaved(self) -> None:
        self._armed = False
        try:
            self._interleave()
        finally:
            self._armed = True

    def _roll_back(self) -> None:
        for rollback in self.rollbacks:
            with suppress(Exception):
                rollback()


def _arrived(endpoint: Any) -> Sequence[Mapping[str, Any]]:
    """Return each delivery at an endpoint, where it knows them, or else its events."""
    arrived: Sequence[Mapping[str, Any]] = getattr(endpoint, "deliveries", endpoint.events)
    return arrived
