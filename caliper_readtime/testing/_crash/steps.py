"""``Steps``: what a host wraps its store, its endpoint and its clients in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.errors import EmitterUnavailable, StoreUnavailable
from caliper_readtime.stores._memory import InMemoryStateStore
from caliper_readtime.testing._crash.proxies import MAKERS, Client, in_transaction, numbered, timed_out
from caliper_readtime.testing._kit import ManualClock, RecordingEmitter

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from caliper_readtime.protocols import Emitter, StateStore
    from caliper_readtime.testing._assertions import HasEvents
    from caliper_readtime.testing._crash.plays import Play

T = TypeVar("T")

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

    def __init__(self, play: Play) -> None:
        self.clock: ManualClock = ManualClock()
        self._play = play

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
        self._play.left.append(lambda: tracker.status().unreported_states)
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

    def watch(self, endpoint: HasEvents) -> None:
        """Judge the host by what arrives here from now on: a ``CaliperEndpoint``, or whatever keeps its ``events``.

        Where it is a ``CaliperEndpoint``, a lost answer is a connection that is reset after the event was accepted, so
        that what an HTTP client does by itself is seen too.
        """
        self._play.watch(endpoint)

    def wrap(
        self,
        client: T,
        *,
        name: str | None = None,
        methods: Collection[str] | None = None,
        makers: Collection[str] = MAKERS,
        error: Callable[[], Exception] | None = None,
    ) -> T:
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
            self._play.rollbacks.append(rollback)
        stand_in: T = self._numbered(client, named, methods, error or timed_out(client), makers)
        return stand_in

    def job(self, job: Callable[[], object]) -> None:
        """Let this run again and again after the handler, as the host's scheduler does, until nothing is left."""
        self._play.jobs.append(job)

    def meanwhile(self, other: Callable[[], object]) -> None:
        """Let this, and not the handler again, be what another worker does; in each run it is done once."""
        self._play.other = other

    def after_crash(self, restart: Callable[[], object]) -> None:
        """Call this when the process was killed: it throws away what was kept in memory."""
        self._play.restarts.append(restart)

    def at_end(self, close: Callable[[], object]) -> None:
        """Call this when the run is over, the last first: it closes what the host was built with."""
        self._play.ends.callback(close)

    def deliveries(self) -> list[Mapping[str, Any]]:
        """Return every event that has arrived until now, repeats included."""
        return self._play.deliveries()

    def _numbered(
        self,
        target: Any,
        name: str,
        methods: Collection[str] | None,
        error: Callable[[], Exception],
        makers: Collection[str] = (),
    ) -> Any:
        return numbered(target, Client(self._play, name, name, methods, makers, error, lambda: in_transaction(target)))
