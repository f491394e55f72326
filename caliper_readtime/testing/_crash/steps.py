"""``Steps``: numbers what a host does to its store and its endpoint, and lets one of these effects go wrong."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.errors import EmitterUnavailable, InvalidInput, StoreUnavailable
from caliper_readtime.stores._memory import InMemoryStateStore
from caliper_readtime.testing._crash.faults import Crash, Fault, Step, Taken
from caliper_readtime.testing._crash.places import hosts_line
from caliper_readtime.testing._crash.proxies import MAKERS, Client, numbered, timed_out
from caliper_readtime.testing._endpoint import CaliperEndpoint
from caliper_readtime.testing._kit import ManualClock, RecordingEmitter
from caliper_readtime.testing.behaviours import Drop

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from caliper_readtime.protocols import Emitter, StateStore
    from caliper_readtime.testing._minutes import HasEvents

_T = TypeVar("_T")
_E = TypeVar("_E", bound="HasEvents")

_STORE: Final = frozenset(
    {"update", "update_many", "load", "keys", "due", "parked", "delete", "meta", "swept", "last_sweep"}
)
_EMITTER: Final = frozenset({"emit", "held", "listed", "validate"})
_NO_ANSWER: Final = "no answer in time (crash_every_step)"


class Steps:
    """What a host's parts are wrapped in for one run of ``crash_every_step``. Not for more than one thread at a time.

    Whatever is called through it while the handler runs is a step. What the host does before, to prepare the scene,
    is none.

    Attributes:
        clock: the time of this run. Every part that looks at a clock must look at this one.
    """

    def __init__(self, fault: Fault | None = None, at: Taken | None = None) -> None:
        self.clock = ManualClock()
        #: How this run differs from the one without faults; a host may catch what is raised for it.
        self.astray: str | None = None
        self._fault = fault
        self._at = at
        self._taken: list[Taken] = []
        self._armed = self._dead = False
        self._out: str | None = None
        self._late: list[Callable[[], Any]] = []
        self._watched: list[tuple[Any, int]] = []
        self._rollbacks: list[Callable[[], object]] = []
        self._restarts: list[Callable[[], object]] = []
        self._ends = ExitStack()
        self._jobs: list[Callable[[], object]] = []
        self._other: Callable[[], object] | None = None
        self._interleave: Callable[[], None] = lambda: None

    # What hosts call

    def tracker(
        self,
        store: StateStore | None = None,
        emitter: Emitter | None = None,
        events: TimeSpentEvents | None = None,
        policy: ReadTimePolicy = ReadTimePolicy(),  # noqa: B008 - frozen
    ) -> ReadTimeTracker:
        """Return a tracker whose every effect is a step, and whose sweep is a job.

        Args:
            store: by default one in memory.
            emitter: by default a ``RecordingEmitter``.
            events: by default of a made-up application.
            policy: the host's own.
        """
        built = TimeSpentEvents("https://app.example.org", "Example App", "https://oneroster.example.org")
        tracker = ReadTimeTracker(self.store(store), self.emitter(emitter), events or built, policy, self.clock)
        self.job(tracker.sweep)
        return tracker

    def store(self, store: StateStore | None = None) -> StateStore:
        """Return a store, by default one in memory, whose verbs are steps."""
        stand_in: StateStore = self._numbered(
            InMemoryStateStore() if store is None else store, "store", _STORE, lambda: StoreUnavailable(_NO_ANSWER)
        )
        return stand_in

    def emitter(self, emitter: Emitter | None = None) -> Emitter:
        """Return an emitter, by default a ``RecordingEmitter``, whose calls are steps.

        One that keeps its ``events`` is watched as well; another one's endpoint must be given to ``watch``.
        """
        inner: Any = RecordingEmitter() if emitter is None else emitter
        if hasattr(inner, "events"):
            self.watch(inner)
        stand_in: Emitter = self._numbered(inner, "emitter", _EMITTER, lambda: EmitterUnavailable(_NO_ANSWER))
        return stand_in

    def watch(self, endpoint: _E) -> _E:
        """Judge the host by what arrives here from now on: a ``CaliperEndpoint``, or whatever keeps its ``events``.

        Where it is a ``CaliperEndpoint``, a lost answer is a connection that is reset after the event was accepted, so
        that what an HTTP client does by itself is seen too.
        """
        self._watched.append((endpoint, len(_arrived(endpoint))))
        return endpoint

    def wrap(
        self,
        client: _T,
        *,
        name: str | None = None,
        methods: Collection[str] | None = None,
        makers: Collection[str] = MAKERS,
        error: Callable[[], Exception] | None = None,
    ) -> _T:
        """Return a stand-in for any client of the host's: of Redis, HTTP or a database. Each of its calls is a step.

        Where it has a ``rollback``, that is called after a crash or a time-out, as its server would do by itself.

        Args:
            client: the client.
            name: what findings call it; its class by default.
            methods: which of its methods have an effect; by default all but ``close`` and those that make something.
            makers: methods that make something whose calls are steps, such as a pipeline, a cursor or a lock.
            error: makes the exception of a call that nobody answers; by default that of the client's own package.
        """
        named = type(client).__name__.lower() if name is None else name
        rollback: Callable[[], object] | None = getattr(client, "rollback", None)
        if callable(rollback):
            self._rollbacks.append(rollback)
        stand_in: _T = self._numbered(client, named, methods, error or timed_out(client), makers)
        return stand_in

    def job(self, job: Callable[[], object]) -> None:
        """Let this run again and again after the handler, as the host's scheduler does, until nothing is left."""
        self._jobs.append(job)

    def meanwhile(self, other: Callable[[], object]) -> None:
        """Let this, and not the handler again, be what another worker does; in each run it is done once."""
        self._other = other

    def after_crash(self, restart: Callable[[], object]) -> None:
        """Call this when the process was killed: it throws away what was kept in memory."""
        self._restarts.append(restart)

    def at_end(self, close: Callable[[], object]) -> None:
        """Call this when the run is over, the last first: it closes what the host was built with."""
        self._ends.callback(close)

    # What runs them

    def take(self, client: Client, method: str, perform: Callable[[], Any], target: object, /) -> Any:
        """Perform a call as a step, or let it go wrong."""
        self.alive()
        if self._out == client.root:
            raise client.error()
        if not self._armed:
            return perform()
        step = Step(len(self._taken) + 1, f"{client.name}.{method}", *(hosts_line() or ("?", 0, "?")))
        known, fault = self._at, self._fault
        if fault is None or known is None or known.step.number != step.number:
            return self._seen(step, client, perform, target)
        self._taken.append(Taken(step, client.root))
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
                self._late.append(perform)
            case Fault.LOST_ANSWER if at.reached:
                for position in at.reached:
                    self._watched[position][0].misbehave(Drop(after="accept"))
                return perform()
            case Fault.LOST_ANSWER | Fault.CRASH_AFTER:
                with suppress(Exception):
                    perform()
        if fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
            self._dead = True
            raise Crash
        raise client.error()

    def alive(self) -> None:
        """Return, unless the process was killed: then its ``finally`` blocks do nothing either."""
        if self._dead:
            raise Crash

    @property
    def killed(self) -> bool:
        """Whether the process was killed."""
        return self._dead

    @property
    def taken(self) -> tuple[Taken, ...]:
        """The steps of the handler's run."""
        return tuple(self._taken)

    @property
    def jobs(self) -> Sequence[Callable[[], object]]:
        """What the host's scheduler runs."""
        return self._jobs

    @property
    def other(self) -> Callable[[], object] | None:
        """What another worker does, where that is not the handler again."""
        return self._other

    def start(self, interleave: Callable[[], None]) -> None:
        """Number what is called from now on; ``interleave`` is the second run."""
        self._interleave = interleave
        self._armed = True

    def stop(self, *, failed: bool) -> None:
        """Number no more; what is late lands, and the process starts again where it was killed."""
        self._armed = False
        killed, self._dead = self._dead, False
        late, self._late = self._late, []
        if failed:
            self._roll_back()
        for perform in late:
            with suppress(Exception):
                perform()
        if late:
            self._roll_back()
        for restart in self._restarts if killed else ():
            restart()

    @property
    def is_out(self) -> bool:
        """Whether the outage lasts."""
        return self._out is not None

    def recover(self) -> None:
        """End the outage."""
        self._out = None

    def end(self) -> None:
        """Close what the host was built with."""
        self._ends.close()

    def deliveries(self) -> list[Mapping[str, Any]]:
        """Return every event that has arrived, repeats included."""
        return [event for endpoint, since in self._watched for event in _arrived(endpoint)[since:]]

    def _numbered(
        self,
        target: Any,
        name: str,
        methods: Collection[str] | None,
        error: Callable[[], Exception],
        makers: Collection[str] = (),
    ) -> Any:
        return numbered(target, Client(self, name, name, methods, makers, error))

    def _seen(self, step: Step, client: Client, perform: Callable[[], Any], target: object) -> Any:
        position = len(self._taken)
        self._taken.append(Taken(step, client.root))
        before, asked = len(self.deliveries()), self._asked()
        try:
            result = perform()
        finally:
            reached = tuple(
                place for place, (old, new) in enumerate(zip(asked, self._asked(), strict=False)) if new > old
            )
            delivers = len(self.deliveries()) > before
            self._taken[position] = Taken(step, client.root, delivers, reached)
        if result is target:
            self._taken[position] = attrs.evolve(self._taken[position], fluent=True)
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
        for rollback in self._rollbacks:
            with suppress(Exception):
                rollback()


def _arrived(endpoint: Any) -> Sequence[Mapping[str, Any]]:
    """Return each delivery at an endpoint, where it knows them, or else its events."""
    arrived: Sequence[Mapping[str, Any]] = getattr(endpoint, "deliveries", endpoint.events)
    return arrived
