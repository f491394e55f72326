"""Reads the store's index sets: a reader's states, what stands in several pages, and what an index has lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._logs import log
from caliper_readtime._rules.state import Key
from caliper_readtime.errors import StoreError
from caliper_readtime.stores._redis.encoding import Layout, Names, reader_keys, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from caliper_readtime.stores._redis.connection import Link

#: Pages of a server's keys that `forget` looks through for states that no index names: two million keys or more.
MOST_PAGES: Final = 4000


def of_reader(redis: Link, layout: Layout, reader: str) -> dict[Key, Names]:
    """Return the states that the reader's own index names."""
    index = layout.names(Key(reader, "-")).reader
    members = redis.command(index, "ZRANGE", index, 0, -1)
    keys = [layout.resource_key(reader, text_of(member)) for member in members]
    return {key: layout.names(key) for key in keys}


def lost_of_reader(redis: Link, layout: Layout, reader: str) -> dict[Key, Names]:
    """Return the states of a reader by their own names, whatever the indexes have lost; bounded by ``MOST_PAGES``.

    Names have no characters that SCAN takes for a pattern: the layout escapes them.
    """
    some = layout.names(Key(reader, "-"))
    prefix = some.state[: -len(some.resource)]
    found: dict[Key, Names] = {}
    try:
        for number, page in enumerate(redis.scanned(some.state, "SCAN", "MATCH", f"{prefix}*")):
            for name in page:
                key = layout.resource_key(reader, name[len(prefix) :])
                found[key] = layout.names(key)
            if number >= MOST_PAGES:
                _not_searched(reader, f"more than {MOST_PAGES} pages of keys")
                break
    except StoreError as error:
        # The index alone is what a user without the right to SCAN has.
        _not_searched(reader, str(error))
    return found


def _not_searched(reader: str, why: str) -> None:
    log(
        logging.WARNING,
        "forget: not every key could be looked through for states that the reader's index has lost; settled ones go"
        " when they expire",
        reader_sourced_id=reader,
        error=why,
    )


def reader_call(listed: Mapping[Key, Names], *first: Any) -> tuple[tuple[str, ...], list[Any]]:
    """Return the keys and arguments of a script that goes through a reader's states."""
    names = tuple(listed.values())
    keys = reader_keys(names[0], *(name.state for name in names))
    return keys, [*first, *(part for name in names for part in (name.resource, name.member))]


def once(pages: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield the pages without what an earlier one had."""
    seen: set[str] = set()
    for members in pages:
        new = [member for member in dict.fromkeys(members) if member not in seen]
        seen.update(new)
        yield new


def oldest_first(answer: Sequence[Any]) -> Iterator[str]:
    """Return the members of due.lua's answer, by their scores."""
    pairs = [(float(score), text_of(member)) for member, score in zip(answer[::2], answer[1::2], strict=True)]
    return (member for _, member in sorted(pairs, key=lambda pair: pair[0]))
