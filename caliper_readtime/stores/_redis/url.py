"""Makes a client of the driver from a URL, with time-outs that a request handler can live with."""

from __future__ import annotations

import logging
from codecs import lookup
from math import inf
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry
from redis.sentinel import Sentinel

from caliper_readtime._logs import log
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.stores._redis.cluster import ClusterLink
from caliper_readtime.stores._redis.connection import Link, SingleLink
from caliper_readtime.stores._redis.driver_errors import DRIVER_ERRORS, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from collections.abc import Set as AbstractSet

#: What a URL may begin with.
SCHEMES: Final = (
    "redis",
    "rediss",
    "unix",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
_REDIS_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_NO: Final = frozenset({"false", "no", "0", "f", "n"})  # as the driver reads them
#: What the URL of several nodes may say in its query: files for TLS, and a login that sentinels ask for.
_TLS: Final = frozenset({"ssl_ca_certs", "ssl_ca_path", "ssl_certfile", "ssl_keyfile"})
_OF_SENTINELS: Final = frozenset({"sentinel_username", "sentinel_password"})


def link(client: Any, namespace: str) -> Link:
    """Return the way to what a client is connected to.

    Raises:
        ConfigurationError: it is no client, or one that decodes what it reads as something else than UTF-8.
    """
    encoder = client.get_encoder() if hasattr(client, "get_encoder") else None
    if encoder is not None and encoder.decode_responses and lookup(encoder.encoding).name != "utf-8":
        # Ids would come back as others, and no write would find what was read.
        raise ConfigurationError(
            f"RedisStateStore needs a client that reads UTF-8, not {encoder.encoding}: leave out encoding="
        )
    if isinstance(client, RedisCluster):
        return ClusterLink(client, namespace)
    if callable(getattr(client, "execute_command", None)) and hasattr(client, "connection_pool"):
        return SingleLink(client, namespace)
    kind = type(client).__name__
    if isinstance(client, str | bytes):
        raise ConfigurationError(f"RedisStateStore needs a client, not a {kind}: use RedisStateStore.from_url(…)")
    raise ConfigurationError(f"RedisStateStore needs a redis.Redis or redis.RedisCluster, not {kind}")


def connect(url: str, connect_timeout_seconds: float, timeout_seconds: float) -> Redis | RedisCluster:
    """Return a client for what the URL names; only a cluster is asked for anything yet.

    Raises:
        ConfigurationError: the URL is not usable.
        StoreUnavailable: the cluster cannot be reached.
    """
    _check_timeouts(connect_timeout_seconds=connect_timeout_seconds, timeout_seconds=timeout_seconds)
    parts = _parts(url)
    scheme, _, kind = parts.scheme.partition("+")
    options: dict[str, Any] = {
        "socket_connect_timeout": connect_timeout_seconds,
        "socket_timeout": timeout_seconds,
        # A broken connection is tried once more; a server that hangs is not asked again.
        "retry": Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    }
    if not kind:
        return _single(url, parts, options)
    nodes = _nodes(parts, _SENTINEL_PORT if kind == "sentinel" else _REDIS_PORT)
    if scheme == "rediss":
        options["ssl"] = True
    query = _query(
        parts, (_TLS if scheme == "rediss" else frozenset()) | (_OF_SENTINELS if kind == "sentinel" else set())
    )
    options.update({name: value for name, value in query.items() if name in _TLS})
    login = {"username": parts.username, "password": parts.password}
    options.update({name: unquote(value) for name, value in login.items() if value})
    if kind == "sentinel":
        return _master(parts, nodes, options, query)
    if parts.path.strip("/") not in ("", "0"):
        raise ConfigurationError("Redis URL: a cluster has only database 0")
    # What a cluster cannot answer for a while, the store asks again; a node that hangs is not.
    options["retry"] = Retry(NoBackoff(), 0)
    try:
        startup = [ClusterNode(host, port) for host, port in nodes]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=startup, **options)
    except DRIVER_ERRORS as error:
        where = ", ".join(f"{host}:{port}" for host, port in nodes)
        raise unavailable(error, where) from error


def _single(url: str, parts: SplitResult, options: dict[str, Any]) -> Redis:
    database = parts.path.strip("/")
    if parts.scheme != "unix" and database and not database.isdecimal():
        raise ConfigurationError("Redis URL: after the host comes the number of a database: redis://host:6379/0")
    query = dict(parse_qsl(parts.query))
    try:
        client: Redis = Redis.from_url(url, **options)
        pool = client.connection_pool
        # Nothing is connected to; left alone, the driver would meet an unknown option at the first heartbeat.
        pool.connection_class(**pool.connection_kwargs)
    except (ValueError, TypeError, RedisError):
        pass  # their words may hold the password
    else:
        if (
            query.get("ssl_cert_reqs", "required") != "required"
            or query.get("ssl_check_hostname", "yes").lower() in _NO
        ):
            log(
                logging.WARNING,
                "Redis' certificate or host name is not checked, so anybody on the way can read and change reading"
                " time: give ssl_ca_certs instead",
            )
        return client
    raise ConfigurationError(
        "Redis URL: cannot be read; it looks like redis://user:password@host:6379/0"
        + (f", and one of its options may be wrong{_named(query, query)}" if query else "")
    )


def _query(parts: SplitResult, known: AbstractSet[str]) -> dict[str, str]:
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = query.keys() - known
    if unknown:
        expected = f"; known here: {', '.join(sorted(known))}" if known else ""
        raise ConfigurationError(f"Redis URL: unknown option{_named(query, unknown)}{expected}")
    return query


def _named(query: Mapping[str, str], names: Iterable[str]) -> str:
    """Return the options' names, unless one of them may be what follows an unescaped & of a password."""
    if any("password" in name for name in query):
        return " (a password's & is written %26, its # %23)"
    return f": {', '.join(sorted(names))}"


def _check_timeouts(**timeouts: Any) -> None:
    for name, value in timeouts.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
            raise ConfigurationError(f"{name}: must be a number of seconds above 0")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        parts = urlsplit("")
    if parts.scheme not in SCHEMES:
        # The URL may hold a password, so only its scheme is quoted.
        raise ConfigurationError(
            f"Redis URL: it cannot be read, or its scheme {parts.scheme!r} is none of {', '.join(SCHEMES)}"
        )
    return parts


def _master(
    parts: SplitResult, nodes: list[tuple[str, int]], options: dict[str, Any], query: Mapping[str, str]
) -> Redis:
    service, _, database = parts.path.strip("/").partition("/")
    if not service or not (database or "0").isdecimal():
        raise ConfigurationError(
            "Redis URL: Sentinel needs the name of a master: redis+sentinel://host:26379/mymaster/0"
        )
    asking = {name: value for name, value in options.items() if name not in ("username", "password")}
    asking.update({name.removeprefix("sentinel_"): value for name, value in query.items() if name in _OF_SENTINELS})
    sentinel: Any = Sentinel(nodes, sentinel_kwargs=asking, **options)  # type: ignore[no-untyped-call]
    master: Redis = sentinel.master_for(unquote(service), db=int(database or 0))
    return master


def _nodes(parts: SplitResult, port: int) -> list[tuple[str, int]]:
    hosts = parts.netloc.rpartition("@")[2]
    try:
        # Every node is read as if it stood alone, which knows [::1]:26379 as well.
        found = [urlsplit(f"//{host}") for host in hosts.split(",")]
        nodes = [(node.hostname or "", node.port or port) for node in found]
    except ValueError:
        nodes = []
    if not nodes or not all(host for host, _ in nodes):
        raise ConfigurationError("Redis URL: names no nodes; they look like host:6379,host:6380")
    return nodes
