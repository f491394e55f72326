"""What a store and an emitter must do: the contracts that third parties implement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.errors import StoreError

R_co = TypeVar("R_co", covariant=True)
R = TypeVar("R")


class Transition(Protocol[R_co]):
    """A pure, frozen value that maps a state and the time to a new state and a result.

    It has no side effect, so a store may call it again with a newer state when somebody else wrote in between.
    It may raise (``MissingField``); then the store writes nothing and lets the very error pass.

    One whose ``durable`` is False (a heartbeat) may reach the disk more lazily; without the attribute it is durable.
    """

    def __call__(self, state: ReadTimeState | None, now: int, /) -> tuple[ReadTimeState | None, R_co]:
        """Return the state that replaces ``state`` and what the caller wants to know.

        Args:
            state: what is stored under the key; None where nothing is, or where it has expired.
            now: milliseconds since the epoch, by the one clock that decides.

        Returns:
            The new state and the result. The very same object says "nothing to write"; the same ``ledger`` object
            says that only the meter has changed. A state comes back as None only where none was given.
        """


@runtime_checkable
class WalledTransition(Transition[R_co], Protocol[R_co]):
    """A transition that also looks at what its reader has claimed on all articles, where ``walled`` is true.

    A store that ``KeepsWalls`` then calls ``with_wall`` in place of the transition itself.
    """

    @property
    def walled(self) -> bool:
        """Whether it wants to; it may be False, and transitions without the attribute never do."""

    def with_wall(
        self, state: ReadTimeState | None, wall: Wall, now: int, /
    ) -> tuple[ReadTimeState | None, Wall, R_co]:
        """Return what the transition itself would, and between the two the reader's record.

        Args:
            state: as for a transition.
            wall: the reader's record; ``Wall()`` where nothing is stored, or where it has expired.
            now: as for a transition.

        Returns:
            The very same record says that it is not to be written; another one comes with another state alone.
        """


class StateStore(Protocol):
    """Keeps one state for each key, and applies transitions to it atomically and durably.

    Called by ``ReadTimeTracker`` from any thread, and from processes forked after construction, at whatever moment: a
    child must not wait for a lock that a thread of its parent held, nor use its parent's connection. Any call may come
    again with equal arguments, because its answer was lost. Times are whole milliseconds since the epoch;
    ``now=None`` means the store's own clock, which all hosts share, and a given time, however far from that clock,
    must travel the very same path. Ids are any text that passes ``Reader`` and ``Article``: up to 255 characters,
    compared as they are. Raises ``StoreUnavailable`` when the store cannot be reached (the outcome of an
    ``update`` is then unknown), ``ContentionError`` when bounded retries ran out, ``CorruptState`` for a state that
    cannot be read (never overwrite it). A driver's exception is chained as ``__cause__``, never let through.

    A state names its own ``due`` and ``expires_at_ms``. A store indexes both in the same atomic step as the state:

    * a transition that changed the ledger: the due entry becomes ``state.due``, or is removed where that is None;
    * a transition that changed the meter alone: a missing due entry is added where ``state.due`` is not None, and
      an existing one may stay as it is;
    * from its ``expires_at_ms`` on a state is gone for ``update``, ``load``, ``keys`` and ``due``, as if it had been
      deleted; when it is removed is the store's affair. Without ``expires_at_ms`` it never goes.
    """

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition as if nobody else were writing, and return its result and the state it left.

        Returns only once the new state is durable: a claim that ``update`` has returned survives a crash of the
        process and, as far as the store is configured for it, of the machine. A meter-only change may be made
        durable more lazily (a crash may then lose the last heartbeats, but must never lose a claim).
        """

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state as it stands, or None."""

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader."""

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come; of one shard oldest first, and fair over shards.

        An entry that is ``soft`` (an active reader's unreported time) must be ``idle_ms`` old as well; the others
        (leases, back-offs, deferrals, retries) have come at their own time: from that very millisecond on. Of either
        kind one that lies more than a day ahead has come as well: a clock that jumped has left it (``Due.come``).
        """

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events, in any order."""

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry: unreported whole seconds, a claim, or parked events.

        In any order, each once as long as nobody else writes; whoever has an entry all the while is not missed. The
        store is free for others between two states, and no more than some hundreds are in hand at once, so that an
        operator's look costs a busy host nothing. An expired state is left out; one that cannot be read is logged
        (``log_unreadable``) and left out.
        """

    def delete(self, reader: str) -> int:
        """Remove every state, due entry and index entry of a reader in one atomic step; return how many states."""

    def now(self, key: Key | None = None) -> int:
        """Return the store's own clock (of the shard that holds ``key``), in milliseconds since the epoch."""

    def meta(self, expected: Mapping[str, str]) -> Mapping[str, str] | None:
        """Record what this store is used for, and compare with what earlier users recorded.

        Args:
            expected: facts that every user of one store must share, such as ``sensor`` and ``oneroster_url``. Those
                that nobody has recorded yet are added.

        Returns:
            All that is recorded; with None, trackers without ``events=`` know no OneRoster URL (I2).

        Raises:
            ConfigurationError: a recorded fact differs; the message names both values, and nothing was written.
        """

    def swept(self, now: int | None = None) -> None:
        """Record that a sweep has run; a good moment to remove what has expired."""

    def last_sweep(self) -> int | None:
        """Return the time that ``swept`` recorded last, or None."""

    def close(self) -> None:
        """Release connections. Closing again is harmless, and a later call opens them again."""


@runtime_checkable
class UpdatesMany(Protocol):
    """A store that applies transitions to many states at the cost of few: sweeps and flushes use it."""

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None = None, /
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Do what ``update`` does for each of several keys, all different, each atomic by itself.

        Returns:
            In the order of the keys what ``update`` would return, or the error that it would raise.

        Raises:
            StoreUnavailable: the store cannot be reached; the outcome of every single one is then unknown.
        """


@runtime_checkable
class KeepsWalls(Protocol):
    """A store that keeps for each reader how claimed time lies in wall time; ``reader_budget`` rests on it.

    Its ``update``, and its ``update_many`` where it has one, call ``with_wall`` of a transition that is ``walled``, and
    write the record in the same atomic step as the state: both, and only if nobody has written either meanwhile. What
    several claims of one reader in one ``update_many`` leave is what they would leave one after the other.
    ``delete`` removes the record with the states. From its ``expires_at_ms`` on it is gone, as if nothing were stored.
    One that cannot be read is ``CorruptState`` for those transitions, and is never overwritten.
    """

    def wall(self, reader: str, now: int | None = None) -> Wall:
        """Return a reader's record; ``Wall()`` where there is none."""


@runtime_checkable
class DescribesItself(Protocol):
    """A store that can tell an operator what it runs on; ``caliper_readtime.doctor`` judges it."""

    def info(self) -> Mapping[str, Mapping[str, Any]]:
        """Return what is known of each file or server, under a name that an operator understands.

        Every mapping has ``kind``, which says by which rules it is judged; what is not known is left out.

        * ``"memory"``: nothing else.
        * ``"sqlite"``: ``exists`` and ``writable`` (bool), ``journal_mode``, ``free_bytes`` of its disk,
          ``readable_by_others`` (its files that are open to more than their own user).
        * ``"database"``, of a host's project: ``durable``, ``writable`` and ``locks`` (bool): a commit waits for the
          disk, it can be written, writers wait for each other.
        * ``"redis"``: the server's ``INFO`` as redis-py parses it, with its own names (``redis_version``,
          ``maxmemory``, ``maxmemory_policy``, ``used_memory``, ``aof_enabled``, ``aof_last_write_status``,
          ``rdb_last_bgsave_status``, ``rdb_last_save_time``, ``role``, ``connected_slaves``, ``server_time_usec``,
          ``loading``); and what this client does: ``socket_timeout`` and ``socket_connect_timeout`` (seconds, None
          for none), ``claim_replicas``, ``claim_fsync`` and ``claim_wait_seconds``. ``save`` is the ``save``
          configuration where CONFIG may be read. A cluster names each of its masters. Without INFO only the client's.

        Raises:
            StoreUnavailable: it cannot be asked.
        """


class Emitter(Protocol):
    """Delivers finished Caliper events.

    Called by ``ReadTimeTracker`` from any thread, with the events of one or more claims. One class may add the
    capabilities below. Closing is for whoever created the emitter.
    """

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver all of these events, or raise. Returning means that the endpoint has accepted every one.

        The same event (same ``id``) may come again after any failure, also after one that was delivered.

        Raises:
            EmitterUnavailable: not delivered, or unknown. Any other ``Exception`` is taken for this.
            EndpointRefused: the endpoint or the credentials are wrong, whatever the event.
            EventRejected: at least one event will never be accepted; none counts as accepted.
        """

    def close(self) -> None:
        """Release what the emitter holds."""


@runtime_checkable
class StatesDeadline(Protocol):
    """An emitter that promises to return or raise within a time. It must be shorter than the policy's lock."""

    @property
    def deadline_seconds(self) -> float:
        """Longest duration of one ``emit``, in seconds on the monotonic clock."""


@runtime_checkable
class LimitsBatch(Protocol):
    """An emitter that takes only so many events in one ``emit``."""

    @property
    def max_batch(self) -> int:
        """Most events in one call, at least 1."""


@runtime_checkable
class ReadsBack(Protocol):
    """An emitter that can ask the endpoint which events it holds.

    One with a ``read_back`` that is False is not asked before an event is sent again; ``flush_reader(confirm=True)``
    asks it all the same.
    """

    def held(self, event_ids: Collection[str], /) -> frozenset[str]:
        """Return those of the ids that the endpoint is known to hold. Absence proves nothing.

        Raises:
            EmitterUnavailable: the endpoint could not be asked.
        """


def reading_back(emitter: object) -> ReadsBack | None:
    """Return the emitter if it is to be asked before an event is sent again."""
    return emitter if isinstance(emitter, ReadsBack) and getattr(emitter, "read_back", True) else None


@runtime_checkable
class ListsEvents(Protocol):
    """An emitter whose endpoint can list what it holds of a reader; ``tracker.reconcile`` needs one."""

    def listed(self, actor_id: str, /) -> Sequence[Mapping[str, Any]]:
        """Return every event that the endpoint holds of an actor, each delivery once, whoever has sent it.

        The list is whole or the call fails: an event that is left out would be taken for lost.

        Raises:
            EmitterUnavailable: the endpoint could not be asked, or not for all of it.
            EndpointRefused: the endpoint or the credentials are wrong, or it cannot list.
        """


@runtime_checkable
class Validates(Protocol):
    """An emitter whose endpoint can check events without keeping them."""

    def validate(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Let the endpoint check these events.

        Raises:
            EmitterUnavailable: the endpoint could not be asked.
            EndpointRefused: the endpoint or the credentials are wrong, or it cannot validate.
            EventRejected: it would not accept them.
        """


@runtime_checkable
class NeedsSensor(Protocol):
    """An emitter that wraps events in a Caliper envelope and so must know whose sensor sends them."""

    def bind_sensor(self, sensor: str, /) -> None:
        """Take the sensor of the tracker's events; a second, different one is a ``ConfigurationError``."""
