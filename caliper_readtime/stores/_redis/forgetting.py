"""Removes everything of a reader: each time what the indexes name, until they name nothing any more."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from caliper_readtime._rules.state import Key
from caliper_readtime.errors import ContentionError
from caliper_readtime.stores._redis import listing, scripts

if TYPE_CHECKING:
    from caliper_readtime.stores._redis.connection import Link
    from caliper_readtime.stores._redis.encoding import Layout


def forgotten(redis: Link, layout: Layout, reader: str, seconds: float) -> int:
    """X4: remove everything of a reader, in one atomic step; a state born meanwhile is removed by another one.

    Args:
        redis: the servers.
        layout: what is where.
        reader: whose states, and whose record of claimed time.
        seconds: for how long states may go on being born.

    Returns:
        How many states were removed.
    """
    removed, left, wall = 0, 1, layout.names(Key(reader, "-")).wall
    until = time.monotonic() + seconds
    while left:
        listed = listing.of_reader(redis, layout, reader)
        if not removed:
            listed.update(listing.lost_of_reader(redis, layout, reader))
        if not listed:
            redis.command(wall, "DEL", wall)
            break
        if time.monotonic() >= until:
            raise ContentionError(f"states are born faster than they are removed: end the sessions of {reader} first")
        keys, args = listing.reader_call(listed)
        more, left = redis.run(scripts.DELETE, (*keys[:4], wall, *keys[4:]), args)
        removed += more
    return removed
