"""How the store reaches a cluster: the node that has a key, and whoever has it next while slots and masters move."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from caliper_readtime._circuit import Circuit
from caliper_readtime.stores._redis.connection import (
    FAIL_FAST_SECONDS,
    MAX_FAIL_FAST_SECONDS,
    Link,
    close_idle,
)
from caliper_readtime.stores._redis.driver_errors import DRIVER_ERRORS, costly
from caliper_readtime.stores._redis.sending import PIPELINE, Call, Reply, Waits, evaluated, pipelined

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import RedisCluster

    from caliper_readtime.stores._redis.scripts import Script

T = TypeVar("T")

#: How long a cluster that moves a slot, or elects a master, is asked again.
MOVING_SECONDS: Final = 2.0
_FIRST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 0.25
# A cluster raises these while a slot is on its way or its master has just died; soon after, the same call succeeds.
_MOVING: Final = (
    AskError,
    ClusterDownError,
    ClusterError,
    MovedError,
    ReadOnlyError,
    RedisClusterException,
    RedisConnectionError,
    SlotNotCoveredError,
    TryAgainError,
)
# What the driver asks of a node, not of whoever has a key.
_KEYLESS: Final = frozenset({"TIME", "SCAN"})


class ClusterLink(Link):
    """Runs scripts on the cluster's node that has their keys. Thread-safe, and safe across fork."""

    def __init__(self, client: RedisCluster, namespace: str) -> None:
        self.client: Any = client
        self._breakers: dict[str, Circuit] = {}
        nodes = client.nodes_manager.startup_nodes
        super().__init__(", ".join(sorted(nodes)) or "an unknown cluster", namespace)

    def guarded(self) -> list[tuple[Any, str]]:
        """Return the breakers, who knows the slots, and each node's pool."""
        manager = self.client.nodes_manager
        return [
            *((breaker, "_lock") for breaker in tuple(self._breakers.values())),
            (manager, "_initialization_lock"),
            (manager, "_lock"),
            *((pool, "_lock") for pool in self._pools()),
        ]

    def _pools(self) -> list[Any]:
        connections = (node.redis_connection for node in self.client.get_nodes())
        return [connection.connection_pool for connection in connections if connection is not None]

    def close(self) -> None:
        """Close the connections that nobody uses just now: another thread's would break under its hands."""
        for pool in self._pools():
            close_idle(pool)

    def _node(self, name: str) -> Any:
        return self.client.get_node_from_key(name)

    def _circuit(self, name: str) -> Circuit:
        """Return the circuit of the node that has this key: one that hangs costs the others' readers nothing."""
        try:
            node = self._node(name).name
        except DRIVER_ERRORS:
            node = ""  # nobody has it now
        found = self._breakers.get(node)
        if found is None:
            made = Circuit(FAIL_FAST_SECONDS, MAX_FAIL_FAST_SECONDS, jitter=0.5)
            found = self._breakers.setdefault(node, made)
        return found

    def _costly(self, error: BaseException) -> bool:
        """Return whether a node does not answer, which has been waited for; a slot on its way is not its fault."""
        return costly(error) or isinstance(error, RedisConnectionError)

    def _run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script; while its slot moves or its master fails over it is tried again for a while."""
        return self._persistently(lambda: evaluated(self.client, script, keys, args))

    def _command(self, name: str, *words: Any) -> Any:
        if words[0] in _KEYLESS:
            return self._persistently(lambda: self._client_of(name).execute_command(*words))
        return self._persistently(lambda: self.client.execute_command(*words))

    def _client_of(self, name: str) -> Any:
        return self.client.get_redis_connection(self._node(name))

    def _together(self, calls: Sequence[Call]) -> Iterator[Sequence[int]]:
        """Ask each node on its own: one that is down or hangs costs the others' readers nothing."""
        nodes: dict[str, list[int]] = {}
        for place, call in enumerate(calls):
            try:
                name = self._node(call[1][0]).name
            except DRIVER_ERRORS:
                yield [place]
            else:
                nodes.setdefault(name, []).append(place)
        for places in nodes.values():
            yield from (places[start : start + PIPELINE] for start in range(0, len(places), PIPELINE))

    def _pipelined(self, calls: Sequence[Call], waits: Waits) -> list[Reply]:
        try:
            answers = pipelined(self._client_of(calls[0][1][0]), calls, waits)
        except _MOVING as error:
            answers = [(error, ())] * len(calls)
        # What a moving slot has refused goes the long way. One that has waited there in vain has waited for all.
        patient = True
        for place, (call, (answer, _)) in enumerate(zip(calls, answers, strict=True)):
            if isinstance(answer, _MOVING) and patient:
                try:
                    answers[place] = self._persistently(lambda call=call: self._alone(call, waits))  # type: ignore[misc]
                except DRIVER_ERRORS as error:
                    answers[place] = error, ()
                    patient = not isinstance(error, _MOVING)
        return answers

    def _alone(self, call: Call, waits: Waits) -> Reply:
        script, keys, args, _ = call
        if not waits:
            return evaluated(self.client, script, keys, args), ()
        ((answer, acknowledged),) = pipelined(self._client_of(keys[0]), [call], waits)
        if isinstance(answer, MovedError | AskError):
            evaluated(self.client, script, keys, args)  # learns where the slot is now
        if isinstance(answer, _MOVING):
            raise answer
        return answer, acknowledged

    def _persistently(self, call: Callable[[], T]) -> T:
        until = time.monotonic() + MOVING_SECONDS
        wait = _FIRST_WAIT
        while True:
            try:
                return call()
            except _MOVING as error:
                if time.monotonic() + wait > until:
                    raise
                if isinstance(error, ReadOnlyError):
                    self.client.nodes_manager.initialize()
            time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - spreads retries, guards nothing
            wait = min(2 * wait, _LONGEST_WAIT)
