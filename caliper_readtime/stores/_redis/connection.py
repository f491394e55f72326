"""How the store reaches one server, or the master that Sentinel names; whatever fails is a ``StoreError``."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any, Final, TypeVar

from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError, ResponseError
from redis.retry import Retry

from caliper_readtime._circuit import Circuit
from caliper_readtime.errors import CorruptState, StoreError, StoreUnavailable
from caliper_readtime.stores._forking import SurvivesFork
from caliper_readtime.stores._redis.driver_errors import (
    DRIVER_ERRORS,
    all_in_use,
    costly,
    role_changed,
    unavailable,
    unquoted,
)
from caliper_readtime.stores._redis.encoding import text_of
from caliper_readtime.stores._redis.info import address, describe
from caliper_readtime.stores._redis.sending import (
    PIPELINE,
    Call,
    Reply,
    Waits,
    evaluated,
    in_one_go,
    packed,
    pipelined,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis import Redis

    from caliper_readtime._rules.state import Key
    from caliper_readtime.stores._redis.scripts import Script

T = TypeVar("T")

#: How long a call waits while all connections that the client may make are in use.
CONNECTION_WAIT_SECONDS: Final = 2.0
#: After a time-out calls fail fast for so long; twice as long after every further one, up to the second.
FAIL_FAST_SECONDS: Final = 1.0
MAX_FAIL_FAST_SECONDS: Final = 4.0
#: How long whoever probes waits for each step of shaking hands: a server that hangs costs no more than that.
PROBE_SECONDS: Final = 0.25
# Every so many failures the probe is an ordinary call, with all its patience: a slow server is no dead one.
_PATIENT_PROBE: Final = 8


def close_idle(pool: Any) -> None:
    """Close a pool's connections that nobody uses just now."""
    try:
        pool.disconnect(inuse_connections=False)
    except TypeError:  # a BlockingConnectionPool before redis-py 7 closes all or none
        for connection in filter(None, tuple(pool.pool.queue)):
            connection.disconnect()


class Link(SurvivesFork):
    """What the ways to a server and to a cluster have in common.

    Attributes:
        client: the driver's client.
        owned: nobody else uses the client or its connections.
        where: a name for errors.

    A fork waits until no thread is inside one of the driver's pools, or is learning where a cluster's slots are: the
    driver does not renew its locks in a child, and one that a thread of the parent held would never be free there.
    """

    client: Any
    owned = False

    def __init__(self, where: str, namespace: str) -> None:
        self.where = where
        self._namespace = namespace
        self._why = "it did not answer in time"  # why calls fail fast
        self._locked: list[Any] = []
        super().__init__()

    # What the store asks

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any], key: Key | None = None) -> Any:
        """Run a script; its answer may be that of a second delivery, so scripts are idempotent by a nonce or an id."""
        return self._asked(keys[0], lambda: self._run(script, keys, args), key)

    def each(self, calls: Sequence[Call], waits: Waits = ()) -> list[Reply]:
        """Run many scripts in few round trips, and then once on each connection that wrote the waits."""
        answers: list[Reply] = [(None, ())] * len(calls)
        for places in self._together(calls):
            some = [calls[place] for place in places]
            try:
                found = self._asked(some[0][1][0], lambda some=some: self._pipelined(some, waits))  # type: ignore[misc]
            except StoreError as error:
                found = [(error, ())] * len(some)
            for place, (answer, acknowledged) in zip(places, found, strict=True):
                if isinstance(answer, DRIVER_ERRORS):
                    answer = self._store_error(answer, calls[place][3], calls[place][1][0])  # noqa: PLW2901
                answers[place] = answer, acknowledged
        return answers

    def command(self, name: str, *words: Any) -> Any:
        """Run one command on whoever has the key ``name``."""
        return self._asked(name, lambda: self._command(name, *words))

    def clock(self, name: str, key: Key | None) -> int:
        """Return the time, in milliseconds since the epoch, of the server that has the key of this name."""
        seconds, microseconds = self._asked(name, lambda: self._command(name, "TIME"), key)
        return int(seconds) * 1000 + int(microseconds) // 1000

    def scanned(self, name: str, command: str, *more: Any) -> Iterator[list[str]]:
        """Yield, page by page, what SCAN finds where the key ``name`` is, or the members that ZSCAN or SSCAN finds."""
        cursor: Any = 0
        words = () if command == "SCAN" else (name,)
        while True:
            cursor, found = self.command(name, command, *words, cursor, *more, "COUNT", PIPELINE)
            # The driver makes pairs of a sorted set's members and scores.
            yield [text_of(one[0] if isinstance(one, tuple) else one) for one in found]
            if int(cursor) == 0:
                return

    def description(self) -> dict[str, dict[str, Any]]:
        """Return what each server tells of itself."""
        try:
            return describe(self.client, self.where)
        except DRIVER_ERRORS as error:
            raise unavailable(error, self.where) from error
        except BaseException:
            self._start_anew()
            raise

    def close(self) -> None:
        """Close the connections that nobody uses just now: another thread's would break under its hands."""
        raise NotImplementedError

    # How it is asked

    def _circuit(self, name: str) -> Circuit:
        """Return the circuit of the server that has this key."""
        raise NotImplementedError

    def _run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        raise NotImplementedError

    def _command(self, name: str, *words: Any) -> Any:
        raise NotImplementedError

    def _together(self, calls: Sequence[Call]) -> Iterator[Sequence[int]]:
        """Yield the places of calls that go to one server in one go."""
        raise NotImplementedError

    def _pipelined(self, calls: Sequence[Call], waits: Waits) -> list[Reply]:
        """Run what ``_together`` put together; a driver's error may stand for an answer."""
        raise NotImplementedError

    def _probe(self) -> None:
        """Find out, at little cost, whether a server answers again that did not."""

    def _costly(self, error: BaseException) -> bool:
        return costly(error)

    def _pools(self) -> list[Any]:
        """Return the driver's pools."""
        raise NotImplementedError

    def _start_anew(self) -> None:
        """L5: after what came from outside, part with every connection that it may have come upon.

        The driver gives one back that an answer is still on its way to, and whoever came next would take it for theirs;
        or it never gives it back. Of a pool that others use as well only what lies idle is closed.
        """
        for pool in self._pools():
            close_idle(pool)
            if self.owned:
                pool.reset()  # who is using one now closes it when they are done

    def _asked(self, name: str, call: Callable[[], T], key: Key | None = None) -> T:
        circuit = self._circuit(name)
        seen = circuit.failures and circuit.enter()
        if seen is None:
            raise StoreUnavailable(
                f"Redis at {self.where} did not answer a moment ago, so this was not tried; then it was said:"
                f" {self._why}"
            )
        try:
            if seen % _PATIENT_PROBE:
                self._probe()
            answer = call()
        except DRIVER_ERRORS as error:
            failed = self._costly(error)
            circuit.leave(seen, failed=failed)
            failure = self._store_error(error, key, name)
            if failed:
                self._why = str(failure).removeprefix(f"Redis at {self.where}: ")
            raise failure from error
        except BaseException:
            circuit.leave(seen, failed=None)
            self._start_anew()
            raise
        if circuit.failures:
            circuit.leave(seen, failed=False)
        return answer

    def _store_error(self, error: Exception, key: Key | None, name: str) -> StoreError:
        """Return what stands for a driver's error; ``name`` is the state's, where ``key`` is given."""
        unquoted(error)
        failure: StoreError
        if isinstance(error, UnicodeDecodeError) or "WRONGTYPE" in str(error):
            kind = None if key is None else text_of(self.command(name, "TYPE", name))
            if key is not None and (isinstance(error, UnicodeDecodeError) or kind not in ("hash", "none")):
                failure = CorruptState(
                    f"what is stored is no state (a {kind}): reader {key.reader_sourced_id}, article {key.resource_id};"
                    " it was left as it is",
                    **key._asdict(),
                )
            else:
                failure = StoreUnavailable(
                    f"Redis at {self.where}: an index key below {self._namespace!r} holds something else: another"
                    " application writes there, choose a namespace of your own; nothing was written"
                )
        else:
            failure = unavailable(error, self.where)
        failure.__cause__ = error
        return failure

    # Forks

    def guarded(self) -> list[tuple[Any, str]]:
        """Return the objects that have a lock, and the lock's name, in the order in which they are taken."""
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


class SingleLink(Link):
    """Runs scripts on one server, or on the master that Sentinel names. Thread-safe, and safe across fork.

    Where it owns the client it keeps connections for scripts, past the pool. Whatever else finds the pool exhausted
    gets one of these, so that they are never hoarded.
    """

    def __init__(self, client: Redis, namespace: str) -> None:
        self.client: Any = client
        self._pool = client.connection_pool
        self._free: list[Any] = []
        self._pid = os.getpid()
        self._breaker = Circuit(FAIL_FAST_SECONDS, MAX_FAIL_FAST_SECONDS, jitter=0.5)
        super().__init__(address(self._pool), namespace)

    def guarded(self) -> list[tuple[Any, str]]:
        """Return the breaker, the pool, and the pools of the Sentinels that it asks for a master."""
        sentinels = getattr(getattr(self._pool, "sentinel_manager", None), "sentinels", ())
        pools = (self._pool, *(client.connection_pool for client in sentinels))
        return [(self._breaker, "_lock"), *((pool, "_lock") for pool in pools)]

    def close(self) -> None:
        """Close the connections that nobody uses just now: another thread's would break under its hands."""
        if self._pid == os.getpid():
            self._renew()

    def _circuit(self, _: str) -> Circuit:
        return self._breaker

    def _pools(self) -> list[Any]:
        return [self._pool]

    def _start_anew(self) -> None:
        self._free = []
        super()._start_anew()

    def _held(self) -> Any:
        """Return a connection that nobody else uses."""
        if self._pid != os.getpid():
            # A child must not speak on its parent's connections.
            self._free, self._pid = [], os.getpid()
        try:
            return self._free.pop()
        except IndexError:
            return self._patiently(self._pool.get_connection)

    def _run(self, script: Script, keys: Sequence[str], args: Sequence[Any]) -> Any:
        if not self.owned:
            return self._patiently(lambda: evaluated(self.client, script, keys, args))
        connection = self._held()
        try:
            connection.send_packed_command(packed(connection, ("EVALSHA", script.digest, len(keys), *keys, *args)))
            answer = connection.read_response()
        except (NoScriptError, RedisConnectionError) as error:
            self._drop(connection) if isinstance(error, RedisConnectionError) else self._free.append(connection)
        except BaseException as error:
            if not isinstance(error, ResponseError):
                self._drop(connection)
                raise
            self._free.append(connection)
            if not role_changed(error):
                raise
        else:
            self._free.append(connection)
            return answer
        return self._patiently(lambda: evaluated(self.client, script, keys, args))

    def _command(self, _: str, *words: Any) -> Any:
        return self._patiently(lambda: self.client.execute_command(*words))

    def _together(self, calls: Sequence[Call]) -> Iterator[Sequence[int]]:
        return (range(start, min(start + PIPELINE, len(calls))) for start in range(0, len(calls), PIPELINE))

    def _pipelined(self, calls: Sequence[Call], waits: Waits) -> list[Reply]:
        answers = self._in_one_go(calls, waits) if self.owned else None
        return self._patiently(lambda: pipelined(self.client, calls, waits)) if answers is None else answers

    def _in_one_go(self, calls: Sequence[Call], waits: Waits) -> list[Reply] | None:
        connection = self._held()
        try:
            answers = in_one_go(connection, calls, waits)
        except RedisConnectionError:
            self._drop(connection)
            return None
        except BaseException:
            self._drop(connection)
            raise
        self._free.append(connection)
        return answers

    def _patiently(self, call: Callable[[], T]) -> T:
        """Ask by the client: where the server's role has changed by new connections, and where none is free later."""
        until = time.monotonic() + CONNECTION_WAIT_SECONDS
        renewed = False
        while True:
            try:
                return call()
            except RedisError as error:
                if role_changed(error):
                    # Nothing was written. The name may lead to another server now, and a new connection goes there.
                    self._renew()
                    if renewed:
                        raise
                    renewed = True
                elif not all_in_use(error):
                    raise
                else:
                    self._wait_for_a_connection(error, until)

    def _wait_for_a_connection(self, error: RedisError, until: float) -> None:
        try:
            self._pool.release(self._free.pop())
        except IndexError:
            if time.monotonic() >= until:
                raise error from None
            time.sleep(random.uniform(0, 0.005))  # noqa: S311 - spreads threads, guards nothing

    def _renew(self) -> None:
        """Close every connection that nobody uses just now; whoever uses one finds out for themselves."""
        while self._free:
            try:
                self._drop(self._free.pop())
            except IndexError:  # another thread has taken the last one
                break
        close_idle(self._pool)

    def _drop(self, connection: Any) -> None:
        connection.disconnect()
        self._pool.release(connection)

    def _probe(self) -> None:
        options = dict(self._pool.connection_kwargs, retry=Retry(NoBackoff(), 0))
        for name in ("socket_connect_timeout", "socket_timeout"):
            options[name] = min(options.get(name) or PROBE_SECONDS, PROBE_SECONDS)
        connection = self._pool.connection_class(**options)
        try:
            connection.connect()
            connection.send_command("PING")
            connection.read_response()
        except ResponseError:
            pass  # it answers
        finally:
            connection.disconnect()
