"""``Asking``: asks Redis, and makes whatever its driver raises into an error of this package."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from caliper_readtime.errors import CorruptState, StoreError, StoreUnavailable
from caliper_readtime.stores._redis.connection import Call, ClusterLink, SingleLink, Waits, link
from caliper_readtime.stores._redis.driver_errors import DRIVER_ERRORS, unavailable
from caliper_readtime.stores._redis.encoding import Layout, text_of
from caliper_readtime.stores._redis.info import describe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from redis import Redis, RedisCluster

    from caliper_readtime._rules.state import Key
    from caliper_readtime.stores._redis.scripts import Script


class Asking:
    """Asks for one store. Every method raises a ``StoreError``; with a ``key`` it can name the state.

    Attributes:
        link: the way to the server or the cluster.
    """

    def __init__(self, client: Redis | RedisCluster, layout: Layout) -> None:
        self.link: SingleLink | ClusterLink = link(client)
        self._layout = layout

    def run(self, script: Script, keys: Sequence[str], args: Sequence[Any], key: Key | None = None) -> Any:
        """Run a script."""
        try:
            return self.link.run(script, keys, args)
        except DRIVER_ERRORS as error:
            raise self.mapped(error, key) from error

    def each(self, calls: Sequence[Call]) -> list[Any]:
        """Run many scripts; where one failed the driver's error stands for its answer: see ``checked``."""
        with self._mapping(None):
            return self.link.each(calls)

    def durably(self, script: Script, keys: Sequence[str], args: Sequence[Any], waits: Waits, key: Key) -> list[Any]:
        """Run a script and then the waits on the very same connection; an error of these stands for its answer."""
        with self._mapping(key):
            written, *acknowledged = self.link.durably(script, keys, args, waits)
        return [self.checked(written, key), *acknowledged]

    def command(self, *words: Any) -> Any:
        """Run one command."""
        with self._mapping(None):
            return self.link.command(*words)

    def clock(self, name: str, key: Key | None) -> int:
        """Return the time, in milliseconds since the epoch, of the server that has the key of this name."""
        with self._mapping(key):
            seconds, microseconds = self.link.clock(name)
        return int(seconds) * 1000 + int(microseconds) // 1000

    def description(self) -> dict[str, dict[str, Any]]:
        """Return what each server tells of itself."""
        with self._mapping(None):
            return describe(self.link.client, self.link.where)

    def checked(self, answer: Any, key: Key | None = None) -> Any:
        """Return an answer out of many, or raise the error that stands in its place."""
        if isinstance(answer, Exception):
            raise self.mapped(answer, key) from answer
        return answer

    @contextmanager
    def _mapping(self, key: Key | None) -> Iterator[None]:
        try:
            yield
        except DRIVER_ERRORS as error:
            raise self.mapped(error, key) from error

    def mapped(self, error: Exception, key: Key | None) -> StoreError:
        """Return what hosts are told of the driver's error."""
        if isinstance(error, UnicodeDecodeError):
            # It quotes what it could not read, which may be an address, and it is chained.
            error.object, error.args = b"", ("what is stored is no text",)
        if isinstance(error, UnicodeDecodeError) or "WRONGTYPE" in str(error):
            return self._wrong(error, key)
        return unavailable(error, self.link.where)

    def _wrong(self, error: Exception, key: Key | None) -> StoreError:
        if key is not None:
            kind = self.command("TYPE", self._layout.names(key).state)
            if isinstance(error, UnicodeDecodeError) or text_of(kind) not in ("hash", "none"):
                return CorruptState(
                    f"what is stored is no state (a {text_of(kind)}): reader {key.reader_sourced_id}, article"
                    f" {key.resource_id}; it was left as it is",
                    **key._asdict(),
                )
        return StoreUnavailable(
            f"Redis at {self.link.where}: an index key below {self._layout.namespace!r} holds something else: another"
            " application writes there, choose a namespace of your own; nothing was written"
        )
