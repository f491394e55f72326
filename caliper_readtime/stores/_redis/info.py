"""What an operator's ``doctor`` is told of the servers behind a client, and of the client's own patience."""

from __future__ import annotations

from typing import Any

from redis import Redis, RedisCluster
from redis.exceptions import NoPermissionError, ResponseError

from caliper_readtime.stores._redis.encoding import text_of

_SNAPSHOTS = "save"


def describe(client: Redis | RedisCluster, where: str) -> dict[str, dict[str, Any]]:
    """Return, for each master by its name, its INFO and the client's time-outs (``protocols.DescribesItself``).

    Args:
        client: how to reach them.
        where: name of a single server.

    Raises:
        RedisError: one does not answer.
    """
    if isinstance(client, RedisCluster):
        patience = _patience(client.get_redis_connection(client.get_primaries()[0]))  # type: ignore[no-untyped-call]
        return {
            f"Redis at {node.host}:{node.port}": {**patience, **_of_server(client.get_redis_connection(node))}
            for node in client.get_primaries()  # type: ignore[no-untyped-call]
        }
    return {f"Redis at {where}": {**_patience(client), **_of_server(client)}}


def _of_server(client: Any) -> dict[str, Any]:
    """Return what one server tells of itself; managed ones often block CONFIG, and an ACL may block both."""
    facts: dict[str, Any] = {"kind": "redis"}
    try:
        facts |= client.info("default")
    except NoPermissionError:
        return facts
    try:
        found: Any = client.execute_command("CONFIG", "GET", _SNAPSHOTS)
    except ResponseError:
        return facts
    pairs = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return {**facts, **{text_of(name): text_of(value) for name, value in pairs if text_of(name) == _SNAPSHOTS}}


def _patience(client: Redis) -> dict[str, Any]:
    """Return the time-outs of the connections that a client makes; a driver's own defaults count as well."""
    pool = client.connection_pool
    made = pool.connection_class(**pool.connection_kwargs)  # it does not connect yet
    waits = getattr(made, "socket_timeout", None)
    return {"socket_timeout": waits, "socket_connect_timeout": getattr(made, "socket_connect_timeout", waits)}


def address(pool: Any) -> str:
    """Return the name by which errors call what a client's pool connects to."""
    options = pool.connection_kwargs
    if "path" in options:
        return str(options["path"])
    service = getattr(pool, "service_name", None)
    if service is not None:
        return f"the master that Sentinel calls {service}"
    return f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
