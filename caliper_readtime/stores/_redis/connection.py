"""How scripts reach Redis: one server (Sentinel included) or a cluster."""

from __future__ import annotations

import os
import random
import time
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis import Redis, RedisCluster
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ClusterError,
    MovedError,
    NoScriptError,
    RedisClusterException,
    SlotNotCoveredError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from caliper_readtime.stores._forking import SurvivesFork
from caliper_readtime.stores._redis.driver_errors import DRIVER_ERRORS

try:
    # The driver uses it, too, where it is installed. A name that type checkers need not know.
    pack_command: Callable[[tuple[Any, ...]], bytes] | None = import_module("hiredis").pack_command
except ImportError:
    pack_command = None

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime.stores._redis.scripts import Script

T = TypeVar("T")

#: Calls that are sent in one go before their answers are read.
PIPELINE: Final = 500
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
    RedisClusterException,
    RedisConnectionError,
    SlotNotCoveredError,
    TryAgainError,
)

#: Commands that an answer of Redis' own waits for: (name, arguments...), on the connection that wrote.
Waits = tuple[tuple[Any, ...], ...]
#: A script, its keys and its arguments.
Call = tuple["Script", "Sequence[str]", "Sequence[Any]"]


class _Link(SurvivesFork):
    """What both ways have in common.

    Attributes:
        client: the driver's client.
        owned: nobody else uses the client or its connections.

    A fork waits until no thread is inside one of the driver's pools, or is learning where a cluster's slots are: the
    driver does not renew its locks in a child, and one that a thread of the parent held would never be free there.
    """

    client: Any
    owned = False

    def __init__(self) -> None:
        self._locked: list[Any] = []
        super().__init__()

    def guarded(self) -> list[tuple[Any, str]]:
        """Return the driver's objects that have a lock, and the lock's name, in the order in which it takes them."""
        raise NotImplementedError

    def before_fork(self) -> None:
        """Keep everybody out."""
        super().before_fork()
        self._locked = [getattr(thing, name) for thing, name in self.guarded() if hasattr(thing, name)]
        for lock in self._locked:
            lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """Let everybody in again."""
        for lock in reversed(self._locked):
            lock.release()
        self._locked = []
        super().after_fork(child=child)

    def command(self, *words: Any) -> Any:
        """Run one command that names at most one key."""
        return self.client.execute_command(*words)

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script; its answer may be that of a second delivery, so scripts are idempotent by a nonce or an id."""
        raise NotImplementedError

    def each(self, calls: Sequence[Call]) -> list[Any]:
        """Run many scripts in few round trips (to each node); where one failed its error stands for its answer."""
        answers: list[Any] = []
        for start in range(0, len(calls), PIPELINE):
            some = calls[start : start + PIPELINE]
            found = self._pipelined(some)
            patient = True
            for call, answer in zip(some, found, strict=True):
                # What a server does not know, or a moving slot has refused, goes the long way. One that has waited
                # there in vain has waited for all.
                moving = isinstance(answer, _MOVING)
                if isinstance(answer, NoScriptError) or (moving and patient):
                    answer = self._caught(call)  # noqa: PLW2901 - a better one
                    patient = patient and not isinstance(answer, _MOVING)
                answers.append(answer)
        return answers

    def _pipelined(self, calls: Sequence[Call]) -> list[Any]:
        return _together(self.client, calls)

    def _caught(self, call: Call) -> Any:
        try:
            return self.run(*call)
        except DRIVER_ERRORS as error:
            return error


class SingleLink(_Link):
    """Runs scripts on one server, or on the master that Sentinel names. Thread-safe, and safe across fork.

    Where it owns the client it keeps connections for scripts, past the pool.
    """

    def __init__(self, client: Redis) -> None:
        self.client: Any = client
        self._pool = client.connection_pool
        self._free: list[Any] = []
        self._pid = os.getpid()
        self.where: str = _address(self._pool)
        super().__init__()

    def guarded(self) -> list[tuple[Any, str]]:
        """Return the pool, and those of the Sentinels that it asks for a master."""
        sentinels = getattr(getattr(self._pool, "sentinel_manager", None), "sentinels", ())
        return [(pool, "_lock") for pool in (self._pool, *(client.connection_pool for client in sentinels))]

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script; its answer may be that of a second delivery, so scripts are idempotent by a nonce or an id.

        Raises:
            RedisError: the driver's.
        """
        if not self.owned:
            return _evaluated(self.client, script, keys, args)
        if self._pid != os.getpid():
            # A child must not speak on its parent's connections.
            self._free, self._pid = [], os.getpid()
        try:
            connection = self._free.pop()
        except IndexError:
            connection = self._pool.get_connection()
        try:
            connection.send_packed_command(_packed(connection, ("EVALSHA", script.digest, len(keys), *keys, *args)))
            answer = connection.read_response()
        except NoScriptError:
            self._free.append(connection)
            return _evaluated(self.client, script, keys, args)
        except RedisConnectionError:
            self._drop(connection)
            return _evaluated(self.client, script, keys, args)
        except BaseException:
            self._drop(connection)
            raise
        self._free.append(connection)
        return answer

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)

    def durably(self, script: Script, keys: Sequence[str], args: Sequence[Any], waits: Waits) -> list[Any]:
        """Run a script and then the waits on the very same connection; return all the answers."""
        return _waited(self.client, script, keys, args, waits)

    def clock(self, _: str) -> Any:
        """Return the server's time: seconds and microseconds."""
        return self.client.time()

    def close(self) -> None:
        """Close the connections that nobody uses just now: another thread's would break under its hands."""
        held, self._free = self._free, []
        for connection in held if self._pid == os.getpid() else ():
            self._drop(connection)
        self._pool.disconnect(inuse_connections=False)


class ClusterLink(_Link):
    """Runs scripts on the cluster's node that has their keys. Thread-safe, and safe across fork."""

    def __init__(self, client: RedisCluster) -> None:
        self.client: Any = client
        nodes = client.nodes_manager.startup_nodes
        self.where: str = ", ".join(sorted(nodes)) or "an unknown cluster"
        super().__init__()

    def guarded(self) -> list[tuple[Any, str]]:
        """Return who knows the slots, and each node's pool."""
        manager = self.client.nodes_manager
        return [(manager, "_initialization_lock"), (manager, "_lock"), *((pool, "_lock") for pool in self._pools())]

    def _pools(self) -> list[Any]:
        connections = (node.redis_connection for node in self.client.get_nodes())
        return [connection.connection_pool for connection in connections if connection is not None]

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        """Run a script; while its slot moves or its master fails over it is tried again for a while."""
        return _persistently(lambda: _evaluated(self.client, script, keys, args))

    def command(self, *words: Any) -> Any:
        """Run one command that names a key."""
        return _persistently(lambda: self.client.execute_command(*words))

    def _pipelined(self, calls: Sequence[Call]) -> list[Any]:
        """Ask each node on its own: one that is down or hangs costs the others' readers nothing."""
        answers: list[Any] = [None] * len(calls)
        nodes: dict[str, tuple[Any, list[int]]] = {}
        for place, (_, keys, _) in enumerate(calls):
            try:
                node = self.client.get_node_from_key(keys[0])
            except DRIVER_ERRORS as error:
                answers[place] = error
            else:
                nodes.setdefault(node.name, (node, []))[1].append(place)
        for node, places in nodes.values():
            try:
                found = _together(self.client.get_redis_connection(node), [calls[place] for place in places])
            except DRIVER_ERRORS as error:
                found = [error] * len(places)
            for place, answer in zip(places, found, strict=True):
                answers[place] = answer
        return answers

    def durably(self, script: Script, keys: Sequence[str], args: Sequence[Any], waits: Waits) -> list[Any]:
        """Run a script and then the waits on the very same connection; return all the answers."""

        def once() -> list[Any]:
            node = self.client.get_node_from_key(keys[0])
            answers = _waited(self.client.get_redis_connection(node), script, keys, args, waits)
            if isinstance(answers[0], MovedError | AskError):
                _evaluated(self.client, script, keys, args)  # learns where the slot is now
                raise answers[0]
            return answers

        return _persistently(once)

    def clock(self, key: str) -> Any:
        """Return the time of the node that has this key."""
        return _persistently(lambda: self.client.time(target_nodes=self.client.get_node_from_key(key)))

    def close(self) -> None:
        """Close the connections that nobody uses just now: another thread's would break under its hands."""
        for pool in self._pools():
            pool.disconnect(inuse_connections=False)


def _packed(connection: Any, words: tuple[Any, ...]) -> Any:
    """Return a command as Redis wants to hear it. The driver packs with hiredis, too, but takes three times as long."""
    return connection.pack_command(*words) if pack_command is None else (pack_command(words),)


def _evaluated(client: Any, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
    try:
        return client.execute_command("EVALSHA", script.digest, len(keys), *keys, *args)
    except NoScriptError:
        return client.execute_command("EVAL", script.text, len(keys), *keys, *args)


def _together(client: Any, calls: Sequence[Call]) -> list[Any]:
    pipeline = client.pipeline(transaction=False)
    for script, keys, args in calls:
        pipeline.execute_command("EVALSHA", script.digest, len(keys), *keys, *args)
    answers: list[Any] = pipeline.execute(raise_on_error=False)
    return answers


def _waited(client: Any, script: Script, keys: Sequence[str], args: Sequence[Any], waits: Waits) -> list[Any]:
    def answers(*how: Any) -> list[Any]:
        pipeline = client.pipeline(transaction=False)
        pipeline.execute_command(*how, len(keys), *keys, *args)
        for command in waits:
            pipeline.execute_command(*command)
        found: list[Any] = pipeline.execute(raise_on_error=False)
        return found

    found = answers("EVALSHA", script.digest)
    return answers("EVAL", script.text) if isinstance(found[0], NoScriptError) else found


def _persistently(call: Callable[[], T]) -> T:
    until = time.monotonic() + MOVING_SECONDS
    wait = _FIRST_WAIT
    while True:
        try:
            return call()
        except _MOVING:
            if time.monotonic() + wait > until:
                raise
        time.sleep(wait * random.uniform(0.5, 1))  # noqa: S311 - spreads retries, guards nothing
        wait = min(2 * wait, _LONGEST_WAIT)


def _address(pool: Any) -> str:
    options = pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"the master that Sentinel calls {service}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"


def link(client: Redis | RedisCluster) -> SingleLink | ClusterLink:
    """Return the way to a server or a cluster."""
    return ClusterLink(client) if isinstance(client, RedisCluster) else SingleLink(client)
