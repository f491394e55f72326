"""What Redis' driver raises, and what hosts are told of it: a ``StoreUnavailable`` that quotes no secret."""

from __future__ import annotations

from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    DataError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisClusterException,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004 - the driver's own, which is no OSError
)
from redis.exceptions import ConnectionError as RedisConnectionError

from caliper_readtime.errors import StoreUnavailable

#: What the driver raises (of a cluster, something that is no RedisError); text that is none, where the client decodes.
DRIVER_ERRORS: Final = (RedisError, RedisClusterException, UnicodeDecodeError)

# Kinds of errors, what hosts are told of them, and whether the driver's own words are left out: most name a host and
# port, but those of a refused login may name more, and others say nothing.
_ADVICE: Final[tuple[tuple[tuple[type[Exception], ...], str, bool], ...]] = (
    ((AuthenticationError, AuthorizationError), "it refused the user name or password: check the URL", True),
    (
        (NoPermissionError,),
        "its ACL keeps this user from what the store needs: docs/how-to/redis.md has the rules",
        True,
    ),
    ((ReadOnlyError,), "it is a read-only replica: point the URL at the master, or use Sentinel", True),
    ((OutOfMemoryError,), "it is out of memory (maxmemory): give it more, nothing was written", True),
    ((BusyLoadingError,), "it is loading its data: wait", True),
    ((TimeoutError,), "it did not answer in time: look whether it hangs or is overloaded", False),
    ((RedisClusterException, ClusterError), "the cluster has no master for this key: look at CLUSTER INFO", False),
    ((RedisConnectionError,), "it cannot be reached: look whether it runs and accepts connections", False),
)


def unavailable(error: Exception, where: str) -> StoreUnavailable:
    """Return what hosts are told of the driver's error: what happened, and what to do."""
    if isinstance(error, RedisClusterException | DataError):
        # These quote the command, which may hold an address, and they are chained.
        error.args = ("no node takes this key",)
        if isinstance(error.__cause__, RedisError):  # why no node could be asked
            return unavailable(error.__cause__, where)
    for kinds, advice, quiet in _ADVICE:
        if isinstance(error, kinds) or _without_a_code(error) in kinds:
            return StoreUnavailable(f"Redis at {where}: {advice}{'' if quiet else f' ({error})'}")
    # What else Redis answers begins with a word of its own; the rest may quote what was sent.
    said = str(error).partition(" ")[0] if isinstance(error, ResponseError) else str(error)
    return StoreUnavailable(f"Redis at {where}: {type(error).__name__}: {said}")


def _without_a_code(error: Exception) -> type[Exception] | None:
    """Return what an answer comes to for which Redis has no error code of its own."""
    said = str(error) if isinstance(error, ResponseError) else ""
    if "unauthenticated" in said:  # whoever has not logged in may not even send that much
        return AuthenticationError
    # A script ran that may not do all it does: Redis 7, and Valkey.
    return NoPermissionError if "user executing the script" in said or "ACL failure" in said else None
