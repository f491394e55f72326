"""What Redis' driver raises, and what hosts are told of it: a ``StoreUnavailable`` that quotes no secret."""

from __future__ import annotations

import re
import socket
import ssl
from typing import Final

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterError,
    DataError,
    MasterDownError,
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
        "its ACL keeps this user from what the store needs: the documentation has the rules (How-to, Redis)",
        True,
    ),
    ((ReadOnlyError,), "it is a read-only replica: point the URL at the master, or use Sentinel", True),
    ((OutOfMemoryError,), "it is out of memory (maxmemory): give it more, nothing was written", True),
    ((BusyLoadingError,), "it is loading its data: wait", True),
    (
        (MasterDownError,),
        "it is a replica that has lost its master: point the URL at the master, or use Sentinel",
        True,
    ),
    ((TimeoutError,), "it did not answer in time: check whether it hangs or is overloaded", False),
    ((RedisClusterException, ClusterError), "the cluster has no master for this key: look at CLUSTER INFO", False),
    ((RedisConnectionError,), "it cannot be reached: check that it runs and accepts connections", False),
)


#: What the store and its scripts ask of a server; the rights in the how-to page are these.
_COMMANDS: Final = """
    EVAL EVALSHA TIME TYPE DEL EXISTS PERSIST PEXPIRE HGET HSET HMGET HGETALL ZADD ZREM ZCARD ZSCORE
    ZRANGE ZREVRANGE ZRANGEBYSCORE SCAN ZSCAN SADD SREM SCARD SISMEMBER SSCAN WAIT WAITAOF INFO SELECT
"""
# Commands that an administrator may have renamed or disabled, though nothing works without them.
_UNKNOWN: Final = re.compile(r"(?i)unknown (?:redis )?command(?: called from (?:lua )?script)?[,:]?\s*['`]?(\w*)")


def unavailable(error: Exception, where: str) -> StoreUnavailable:
    """Return what hosts are told of the driver's error: what happened, and what to do."""
    unquoted(error)
    if isinstance(error, RedisClusterException | DataError) and isinstance(error.__cause__, RedisError):
        return unavailable(error.__cause__, where)  # why no node could be asked
    if all_in_use(error):
        return StoreUnavailable(
            f"Redis at {where}: all connections that this process may make were in use: raise max_connections, or use"
            " fewer threads"
        )
    for kinds, advice, quiet in _ADVICE:
        if isinstance(error, kinds) or _without_a_code(error) in kinds:
            return StoreUnavailable(f"Redis at {where}: {advice}{'' if quiet else f' ({error})'}")
    if isinstance(error, ResponseError) and "unknown" in str(error).lower() and "command" in str(error).lower():
        named = _UNKNOWN.search(str(error))
        which = f" {named[1].upper()}" if named is not None and named[1].upper() in _COMMANDS.split() else ""
        return StoreUnavailable(
            f"Redis at {where}: it does not know the command{which}, which the store needs: it was renamed or disabled"
            " (rename-command in redis.conf), or it is not Redis 6.2 or newer; the documentation lists what"
            " is used (How-to, Redis)"
        )
    # What else Redis answers begins with a word of its own; the rest may quote what was sent.
    said = str(error).partition(" ")[0] if isinstance(error, ResponseError) else str(error)
    return StoreUnavailable(f"Redis at {where}: {type(error).__name__}: {said}")


def unquoted(error: Exception) -> None:
    """Take out of an error, which is chained, what it quotes of stored values and commands: it may hold an address."""
    if isinstance(error, UnicodeDecodeError):
        error.object, error.args = b"", ("what is stored is not text",)
    elif isinstance(error, RedisClusterException | DataError):
        error.args = ("no node takes this key",)
    elif isinstance(error, ResponseError):
        error.args = (str(error).partition(", with args")[0],)


def role_changed(error: object) -> bool:
    """Return whether a server says that it is no master any more, or not yet: another one may be by now."""
    if isinstance(error, ReadOnlyError | MasterDownError | BusyLoadingError):
        return True
    return isinstance(error, ResponseError) and "-READONLY" in str(error)  # inside a script, before Redis 7


def all_in_use(error: BaseException) -> bool:
    """Return whether the client may make no more connections just now. Nothing was asked."""
    # Releases of the driver differ in its class.
    return isinstance(error, RedisConnectionError) and (
        "Too many connections" in str(error) or "No connection available" in str(error)
    )


def costly(error: BaseException) -> bool:
    """Return whether an error has cost time, or work, that the next call must not cost again."""
    if isinstance(error, TimeoutError):
        return True
    # A handshake that fails, and a name that nobody resolves.
    why = (error.__cause__, error.__context__)
    return isinstance(error, RedisConnectionError) and any(
        isinstance(one, ssl.SSLError | socket.gaierror) for one in why
    )


def _without_a_code(error: Exception) -> type[Exception] | None:
    """Return what an answer comes to for which Redis has no error code of its own."""
    said = str(error) if isinstance(error, ResponseError) else ""
    if "-READONLY" in said:  # inside a script, before Redis 7
        return ReadOnlyError
    if "unauthenticated" in said:  # whoever has not logged in may not even send that much
        return AuthenticationError
    # A script ran that may not do all it does: Redis 7, and Valkey.
    return NoPermissionError if "user executing the script" in said or "ACL failure" in said else None
