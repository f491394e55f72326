"""``RedisStateStore``: states in Redis or Valkey (one server, Sentinel or a cluster), for any number of hosts."""

from __future__ import annotations

import logging
import random
import time
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar

from caliper_readtime._logs import log, log_lost
from caliper_readtime._rules import AcquireClaim, Counted, Release, Signal, other_duration
from caliper_readtime.errors import ConfigurationError, ContentionError, StoreError, StoreUnavailable
from caliper_readtime.stores._codec import SCHEMA
from caliper_readtime.stores._meta import compare_meta
from caliper_readtime.stores._redis import scripts
from caliper_readtime.stores._redis.arguments import Write, beat
from caliper_readtime.stores._redis.encoding import Layout, Names, beaten, reader_keys, state_of, text_of
from caliper_readtime.stores._redis.indexes import CONTENTION_SECONDS, Indexes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from redis import Redis, RedisCluster

    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime.protocols import Transition

R = TypeVar("R")

_LONGEST_PAUSE: Final = 0.01


class RedisStateStore:
    """A ``StateStore`` in Redis 6.2 or newer, or in Valkey. Thread-safe, safe across processes, hosts and fork.

    A steady heartbeat takes one round trip, everything else two or more. The clock is the server's (in a cluster each
    shard's own). What is durable is what Redis makes durable: docs/explanation/redis.md says what a crash or a
    fail-over can still take, and which settings narrow it.

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
        from caliper_readtime.stores._redis.asking import Asking  # noqa: PLC0415 - the driver takes 0.2 s to load

        self._layout = Layout(namespace, shards)
        if isinstance(claim_replicas, bool) or not isinstance(claim_replicas, int) or claim_replicas < 0:
            raise ConfigurationError("claim_replicas: must be a whole number, 0 or more")
        if isinstance(claim_wait_seconds, bool) or not 0 < claim_wait_seconds <= 60:  # noqa: PLR2004 - a minute
            raise ConfigurationError("claim_wait_seconds: must be above 0 and at most 60 seconds")
        self.claim_replicas = claim_replicas
        self.claim_fsync = claim_fsync
        self.claim_wait_seconds = claim_wait_seconds
        self.client = client
        self._native = native_heartbeats
        self._redis = Asking(client, self._layout)
        self._indexes = Indexes(self._redis, self._layout)

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
        store._redis.link.owned = True
        return store

    def __repr__(self) -> str:
        return f"RedisStateStore({self._redis.link.where!r}, namespace={self._layout.namespace!r})"

    # States

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition by compare-and-swap; a steady heartbeat by one script."""
        names = self._layout.names(key)
        if self._native and isinstance(transition, Signal):
            answer = self._redis.run(scripts.BEAT, names[:4], beat(names.member, transition, now), key)
            if answer[0] >= 0:
                state = beaten(key, answer[3:])
                other = transition.duration_ms is not None and other_duration(transition, state.ledger)
                return Counted(answer[0], answer[1], answer[2] == 1, completed=False, other_duration=other), state
            found = answer[1:]
        else:
            found = self._read(key, names)
        until = time.monotonic() + CONTENTION_SECONDS
        pause = 0.0
        while True:
            result, state, write = self._transition(key, names, transition, found, now)
            if write is None or self._write(key, names, write, transition):
                return result, state
            if time.monotonic() >= until:
                raise ContentionError(
                    f"too many writers of one state at once: reader {key.reader_sourced_id}, article {key.resource_id};"
                    " nothing was written, try again"
                )
            # Full jitter: the more often somebody else was faster, the longer the wait can be.
            pause = min(_LONGEST_PAUSE, 2 * pause + 0.0005)
            time.sleep(random.uniform(0, pause))  # noqa: S311 - spreads writers, guards nothing
            found = self._read(key, names)

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None = None, /
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Apply a transition to each of several keys, all different, in a few round trips."""
        names = [self._layout.names(key) for key, _ in changes]
        reads = self._redis.each([(scripts.READ, name[:4], (name.member,)) for name in names])
        answers: list[Any] = [None] * len(changes)
        writes: dict[int, tuple[Write, R]] = {}
        for place, ((key, transition), found) in enumerate(zip(changes, reads, strict=True)):
            try:
                result, state, write = self._transition(
                    key, names[place], transition, self._redis.checked(found, key), now
                )
            except StoreError as error:
                answers[place] = error
                continue
            if write is None:
                answers[place] = result, state
            elif write.claims and self._waits():
                answers[place] = self._alone(key, transition, now)
            else:
                writes[place] = write, result
        written = self._redis.each(
            [(scripts.WRITE, names[place][:5], write.args) for place, (write, _) in writes.items()]
        )
        for (place, (write, result)), answer in zip(writes.items(), written, strict=True):
            key, transition = changes[place]
            try:
                faster = not self._redis.checked(answer, key)
            except StoreError as error:
                answers[place] = error
                continue
            # Somebody else was faster: this one goes the way of a single update.
            answers[place] = self._alone(key, transition, now) if faster else (result, write.state)
        return answers

    def _alone(
        self, key: Key, transition: Transition[R], now: int | None
    ) -> tuple[R, ReadTimeState | None] | StoreError:
        try:
            return self.update(key, transition, now)
        except StoreError as error:
            return error

    def _read(self, key: Key, names: Names) -> Sequence[Any]:
        found: Sequence[Any] = self._redis.run(scripts.READ, names[:4], (names.member,), key)
        return found

    def _transition(
        self,
        key: Key,
        names: Names,
        transition: Transition[R],
        found: Sequence[Any],
        now: int | None,
    ) -> tuple[R, ReadTimeState | None, Write | None]:
        """Return the transition's result, the state it leaves, and what has to be written; ``found`` as by read.lua."""
        stale, clock, *fields = found
        moment = clock if now is None else now
        stored = state_of(key, fields)
        old = None if stored is None or stored.expired(moment) else stored
        if stale:
            log_lost(*key)
        new, result = transition(old, moment)
        if new is old or new is None:
            if stale:
                self._redis.run(scripts.KEYS, reader_keys(names, names.state), ("", names.resource, names.member), key)
            return result, new, None
        return result, new, Write(names, new, old, fields[0], moment)

    def _write(self, key: Key, names: Names, write: Write, transition: Transition[Any]) -> bool:
        """Write; return False where somebody else was faster."""
        waits = self._waits() if write.claims else ()
        if not waits:
            return bool(self._redis.run(scripts.WRITE, names[:5], write.args, key) == 1)
        written, *acknowledged = self._redis.durably(scripts.WRITE, names[:5], write.args, waits, key)
        if not written:
            return False
        for (command, wanted, *_), got in zip(waits, acknowledged, strict=True):
            have = 0 if isinstance(got, Exception) else got if isinstance(got, int) else got[0]
            if have < wanted:
                self._give_back(key, write, transition)
                whose = (
                    "disks (which needs Redis 7.2 or Valkey, and appendonly yes)"
                    if command == "WAITAOF"
                    else "replicas"
                )
                raise StoreUnavailable(
                    f"Redis at {self._redis.link.where}: {have} of {wanted} {whose} had the claim within"
                    f" {self.claim_wait_seconds:g} s, so nothing was sent: reader {key.reader_sourced_id}, article"
                    f" {key.resource_id}; look at replication and persistence, or ask for less by claim_replicas and"
                    " claim_fsync",
                    **key._asdict(),
                )
        return True

    def _waits(self) -> tuple[tuple[Any, ...], ...]:
        """Return what an answer to a claim waits for."""
        patience = round(self.claim_wait_seconds * 1000)
        replicas = (("WAIT", self.claim_replicas, patience),) if self.claim_replicas else ()
        return (*replicas, ("WAITAOF", 1, 0, patience)) if self.claim_fsync else replicas

    def _give_back(self, key: Key, write: Write, transition: Transition[Any]) -> None:
        """Release a claim that is not as durable as it has to be; should that fail, its lease ends by itself."""
        claim = write.state.ledger.claim
        if claim is None or claim.owner is None or not isinstance(transition, AcquireClaim):
            return
        release = Release(claim.owner, claim.event_id, transition.policy, 0.0, "not durable", counted=False)
        answer = self._alone(key, release, write.moment)
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

    # Indexes

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader; members whose state is gone are removed on the way."""
        return self._indexes.keys(reader, now)

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come: of each shard oldest first, one from each in turn."""
        return self._indexes.due(limit, now, idle_ms)

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events; one that cannot be read is logged and left out."""
        return self._indexes.parked(limit)

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry, shard by shard."""
        return self._indexes.unreported(now)

    def delete(self, reader: str) -> int:
        """Remove everything of a reader, in one atomic step; a state born meanwhile is removed by another one."""
        return self._indexes.delete(reader)

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
        self._redis.command("HSET", self._layout.meta, "last_sweep", self.now() if now is None else now)

    def last_sweep(self) -> int | None:
        """Return when a sweep last ran, or None."""
        found = self._redis.command("HGET", self._layout.meta, "last_sweep")
        return None if found is None else int(found)

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
        if self._redis.link.owned:
            self._redis.link.close()
