"""``RedisStateStore``: states in Redis or Valkey (one server, Sentinel or a cluster), for any number of hosts."""

from __future__ import annotations

import logging
import random
import time
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from caliper_readtime._logs import log, log_lost
from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules import Release, Signal
from caliper_readtime._rules.state import Key
from caliper_readtime.errors import ContentionError, StoreError
from caliper_readtime.stores._codec import SCHEMA, compare_meta, load_time
from caliper_readtime.stores._redis import durability, listing, scripts
from caliper_readtime.stores._redis.beats import Beats
from caliper_readtime.stores._redis.encoding import (
    Layout,
    Names,
    reader_keys,
    state_of,
    text_of,
)
from caliper_readtime.stores._redis.forgetting import forgotten
from caliper_readtime.stores._redis.reading import Found, read, read_each
from caliper_readtime.stores._redis.remembered import Known, Remembered
from caliper_readtime.stores._redis.walls import Walls, found_wall
from caliper_readtime.stores._redis.writing import Write, to_write
from caliper_readtime.stores._walls import standing, walled

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from redis import Redis, RedisCluster

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import Transition
    from caliper_readtime.stores._redis.connection import Link

R = TypeVar("R")

#: How long writers of one state, or of one reader, compete before ``ContentionError``.
CONTENTION_SECONDS: Final = 5.0
_LONGEST_PAUSE: Final = 0.01


class RedisStateStore:
    """A ``StateStore`` in Redis 6.2 or newer, or in Valkey. Thread-safe, safe across processes, hosts and fork.

    A steady heartbeat takes one round trip, as does settling a claim, everything else two or more. The clock is the
    server's (in a cluster each shard's own). What is durable is what Redis makes durable: the documentation says
    (Explanation, Redis) what a crash or a fail-over can still take, and which settings narrow it. After a time-out
    calls fail at once for a few seconds.

    Args:
        client: a client that somebody else has made and closes. Give it time-outs: redis-py has none of its own.
        namespace: begins every key. Two applications, or two tenants, must not share one.
        shards: over how many hash slots readers are spread. It cannot be changed later.
        claim_replicas: how many replicas must have a claim before its event is sent.
        claim_fsync: whether a claim must be on the server's disk before its event is sent (Redis 7.2 and Valkey; needs
            the append-only file).
        claim_wait_seconds: how long to wait for the two above; below the client's own time-out.
        native_heartbeats: apply steady heartbeats by a script in Redis. Without it they take two round trips.

    Raises:
        ConfigurationError: an argument is not usable.
    """

    def __init__(
        self,
        client: Redis | RedisCluster,
        *,
        namespace: str = "readtime",
        shards: int = 16,
        claim_replicas: int = 0,
        claim_fsync: bool = False,
        claim_wait_seconds: float = 1.0,
        native_heartbeats: bool = True,
    ) -> None:
        from caliper_readtime.stores._redis.url import link  # noqa: PLC0415 - the driver takes 0.2 s to load

        self._layout = Layout(namespace, shards)
        durability.check(claim_replicas, claim_wait_seconds)
        self.claim_replicas = claim_replicas
        self.claim_fsync = claim_fsync
        self.claim_wait_seconds = claim_wait_seconds
        self.client = client
        self._native = native_heartbeats
        self._beats = Beats()
        self._redis: Link = link(client, namespace)
        self._remembered = Remembered()

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        connect_timeout_seconds: float = 1.0,
        timeout_seconds: float = 2.0,
        **options: Any,
    ) -> Self:
        """Connect to what a URL names, with time-outs that a request handler can live with.

        Args:
            url: ``redis://``, ``rediss://`` (TLS) or ``unix://`` for one server; ``redis+cluster://host:port,host:port``
                for a cluster; ``redis+sentinel://host:port,host:port/service/db`` for the master that Sentinel names;
                ``rediss+…`` for TLS.
            connect_timeout_seconds: longest wait for a connection.
            timeout_seconds: longest wait for an answer.
            options: as for the class.

        Raises:
            ConfigurationError: the URL or an option is not usable.
            StoreUnavailable: a cluster that cannot be reached. One server is not asked before it is needed.
        """
        from caliper_readtime.stores._redis.url import connect  # noqa: PLC0415

        client = connect(url, connect_timeout_seconds, timeout_seconds)
        try:
            store = cls(client, **options)
        except BaseException:
            client.close()
            raise
        store._redis.owned = True
        return store

    def __repr__(self) -> str:
        return f"RedisStateStore({self._redis.where!r}, namespace={self._layout.namespace!r})"

    # States

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition by compare-and-swap; a steady heartbeat by one script."""
        names = self._layout.names(key)
        if self._native and isinstance(transition, Signal):  # T4
            answer, found = self._beats.beat(self._redis, key, names, transition, now)
            if answer is not None:
                return answer
        else:
            found = self._known(key, transition) or self._read(key, names, transition)
        until = time.monotonic() + CONTENTION_SECONDS
        pause = 0.0
        while True:
            result, state, write = self._transition(key, names, transition, found, now)
            if write is None:
                return result, state
            (written,) = self._write([(key, names, write)])
            if isinstance(written, StoreError):
                raise written
            if written:
                return result, state
            if time.monotonic() >= until:
                raise ContentionError(
                    f"too many writers of one state at once: reader {key.reader_sourced_id}, article {key.resource_id};"
                    " nothing was written, try again"
                )
            # Full jitter: the more often somebody else was faster, the longer the wait can be.
            pause = min(_LONGEST_PAUSE, 2 * pause + 0.0005)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, guards nothing
            found = self._read(key, names, transition)

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None = None, /
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """C8: apply a transition to each of several keys, all different; claims wait once on each node."""
        answers: list[Any] = [None] * len(changes)
        writes: dict[int, tuple[Key, Names, Write]] = {}
        names = [self._layout.names(key) for key, _ in changes]
        walls = Walls()
        for place, ((key, transition), found) in enumerate(zip(changes, self._found(changes, names), strict=True)):
            try:
                if isinstance(found, StoreError):
                    raise found
                result, state, write = self._transition(key, names[place], transition, found, now, walls)
            except StoreError as error:
                answers[place] = error
                continue
            answers[place] = result, state
            if write is not None:
                writes[place] = key, names[place], write
        for place, written in zip(writes, self._write(tuple(writes.values())), strict=True):
            if isinstance(written, StoreError):
                answers[place] = written
            elif not written:
                # Somebody else was faster: this one goes the way of a single update.
                try:
                    answers[place] = self.update(*changes[place], now)
                except StoreError as error:
                    answers[place] = error
        return answers

    def _known(self, key: Key, transition: object) -> Known | None:
        return None if walled(transition) else self._remembered.take(key)  # which holds no record

    def _read(self, key: Key, names: Names, transition: object = None) -> Found:
        return read(self._redis, key, names, wall=walled(transition))

    def _found(self, changes: Sequence[tuple[Key, object]], names: Sequence[Names]) -> list[Found | Known | StoreError]:
        """Return what is known or stored of each state that is to be changed."""
        found: list[Any] = [self._known(*change) for change in changes]
        for wall in (True, False):
            places = [place for place, known in enumerate(found) if known is None and walled(changes[place][1]) is wall]
            if places:
                states = [(changes[place][0], names[place]) for place in places]
                for place, one in zip(places, read_each(self._redis, states, wall=wall), strict=True):
                    found[place] = one
        return found

    def _transition(
        self,
        key: Key,
        names: Names,
        transition: Transition[R],
        found: Sequence[Any] | Known,
        now: int | None,
        walls: Walls | None = None,
    ) -> tuple[R, ReadTimeState | None, Write | None]:
        """Return the transition's result, the state it leaves, and what has to be written; ``found`` as it was read."""
        if isinstance(found, Known):
            # T8: it is what was claimed a moment ago, unless the compare-and-swap says otherwise.
            moment = found.clock if now is None else now
            new, result = transition(found.state, moment)
            if new is not found.state and new is not None:
                return result, new, to_write(names, new, found.state, found.meter, moment, found.clock)
            found = self._read(key, names)  # nothing to swap, and so nothing that would tell
        stale, clock, *fields = found
        record = fields.pop() if walled(transition) else None
        moment = clock if now is None else now
        stored = state_of(key, fields)
        old = None if stored is None or stored.expired(moment) else stored
        if stale:
            log_lost(*key)
        new, result, wall = (walls or Walls()).applied(key, names, transition, old, moment, record)
        if new is old or new is None:
            if stale:
                self._redis.run(scripts.KEYS, reader_keys(names, names.state), ("", names.resource, names.member))
            return result, new, None
        return result, new, to_write(names, new, old, fields[0], moment, clock, wall)

    def _write(self, writes: Sequence[tuple[Key, Names, Write]]) -> list[bool | StoreError]:
        """Write; False stands for a state that somebody else was faster to write."""
        claiming = any(write.claims for *_, write in writes)
        waits = (
            durability.waits(self.claim_replicas, self.claim_wait_seconds, fsync=self.claim_fsync) if claiming else ()
        )
        if len(writes) == 1 and not waits:
            ((key, _, write),) = writes
            written = bool(self._redis.run(scripts.WRITE, write.keys, write.args, key))
            if written:
                self._remembered.keep(key, write)
            return [written]
        answers: list[bool | StoreError] = []
        early: list[tuple[Key, Names, Write]] = []  # claims that are not as durable as they have to be
        calls = [(scripts.WRITE, write.keys, write.args, key) for key, _, write in writes]
        for one, (written, acknowledged) in zip(writes, self._redis.each(calls, waits), strict=True):
            missing = durability.missing(waits, acknowledged) if written == 1 and one[2].claims else None
            if missing is not None:
                early.append(one)
                answers.append(durability.not_durable(self._redis.where, one[0], missing, self.claim_wait_seconds))
            else:
                answers.append(written if isinstance(written, StoreError) else written == 1)
                if written == 1:
                    self._remembered.keep(one[0], one[2])
        if early:
            self._give_back(early)
        return answers

    def _give_back(self, writes: Sequence[tuple[Key, Names, Write]]) -> None:
        """C7: release claims that are not as durable as they have to be; should that fail, their leases end."""
        changes = []
        for key, _, write in writes:
            claim = write.state.ledger.claim
            if claim is not None and claim.owner is not None:
                release = Release(claim.owner, claim.event_id, ReadTimePolicy(), 0.0, "not durable", counted=False)
                changes.append((key, release))
        for (key, _), answer in zip(changes, self.update_many(changes, writes[0][2].moment), strict=True):
            if isinstance(answer, StoreError):
                log(
                    logging.WARNING,
                    "a claim that is not durable could not be released: its lease ends by itself",
                    **key._asdict(),
                )

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state as it stands, or None."""
        _, clock, *fields = self._read(key, self._layout.names(key))
        state = state_of(key, fields)
        return None if state is None or state.expired(clock if now is None else now) else state

    def wall(self, reader: str, now: int | None = None) -> Wall:
        """Return how a reader's claimed time lies in wall time."""
        name = self._layout.names(Key(reader, "-")).wall
        found = found_wall(self._redis.command(name, "HGET", name, "record"), reader)
        return standing(found, self.now(Key(reader, "-")) if now is None else now)

    # Indexes

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader; members whose state is gone are removed on the way."""
        listed = listing.of_reader(self._redis, self._layout, reader)
        if not listed:
            return ()
        left = self._redis.run(scripts.KEYS, *listing.reader_call(listed, "" if now is None else now))
        there = set(map(text_of, left))
        return tuple(key for key, names in listed.items() if names.resource in there)

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come: of each shard oldest first, one from each in turn."""
        members = listing.due(self._redis, self._layout, limit, "" if now is None else now, idle_ms)
        return tuple(map(self._layout.key, members))

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events; one that cannot be read is logged and left out."""
        indexes = (self._layout.index(shard)[2] for shard in self._layout.shards)
        pages = (page for index in indexes for page in self._redis.scanned(index, "SSCAN"))
        states = listing.states(self._redis, self._layout, pages, None, "parked")
        return tuple(islice((state for state in states if state.ledger.parked), limit))

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry, shard by shard."""
        for shard in self._layout.shards:
            due, idle, _ = self._layout.index(shard)
            # Once more, so that nobody is missed who moves from one set to the other meanwhile; nobody comes twice.
            pages = (page for index in (idle, due, idle) for page in self._redis.scanned(index, "ZSCAN"))
            yield from listing.states(self._redis, self._layout, listing.once(pages), now, "unreported")

    def delete(self, reader: str) -> int:
        """X4: remove everything of a reader, in one atomic step; return how many states."""
        return forgotten(self._redis, self._layout, reader, CONTENTION_SECONDS)

    # The store itself

    def now(self, key: Key | None = None) -> int:
        """Return the clock of the server (of the shard that holds ``key``), in milliseconds since the epoch."""
        return self._redis.clock(self._layout.meta if key is None else self._layout.names(key).state, key)

    def meta(self, expected: Mapping[str, str]) -> Mapping[str, str]:
        """Record what this namespace is used for, or compare; return all that is recorded.

        Raises:
            ConfigurationError: a recorded fact differs, such as the number of shards.
        """
        facts = {"schema": str(SCHEMA[0]), "shards": str(len(self._layout.shards)), **expected}
        recorded = self._redis.run(
            scripts.META, (self._layout.meta,), [part for fact in facts.items() for part in fact]
        )
        texts = list(map(text_of, recorded))
        return compare_meta(dict(zip(texts[::2], texts[1::2], strict=True)), facts)

    def swept(self, now: int | None = None) -> None:
        """Record that a sweep has run. What has expired is removed by Redis."""
        meta = self._layout.meta
        self._redis.command(meta, "HSET", meta, "last_sweep", self.now() if now is None else now)

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        return load_time(self._redis.command(self._layout.meta, "HGET", self._layout.meta, "last_sweep"))

    def info(self) -> dict[str, dict[str, Any]]:
        """Return what each server tells of itself, and what this store asks of it; for ``doctor``."""
        asked = {
            "claim_replicas": self.claim_replicas,
            "claim_fsync": self.claim_fsync,
            "claim_wait_seconds": self.claim_wait_seconds,
        }
        return {name: {**facts, **asked} for name, facts in self._redis.description().items()}

    def close(self) -> None:
        """Close the connections that ``from_url`` has made, but for those in use; the next call opens others."""
        if self._redis.owned:
            self._redis.close()
