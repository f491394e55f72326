"""Reads the store's index sets: a reader's states, what stands in several pages, and what an index has lost."""

from __future__ import annotations

import logging
import re
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._logs import log, log_unreadable
from caliper_readtime._rules.state import Key
from caliper_readtime.errors import CorruptState, StoreError
from caliper_readtime.stores._redis import scripts
from caliper_readtime.stores._redis.encoding import Layout, Names, reader_keys, state_of, text_of
from caliper_readtime.stores._redis.reading import read_each

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.stores._redis.connection import Link

#: Pages of a server's keys that `forget` looks through for states that no index names: two million keys or more.
MOST_PAGES: Final = 4000
#: Members that each shard is asked for beyond its share of what is due: readers are spread by chance.
SPARE: Final = 8


def of_reader(redis: Link, layout: Layout, reader: str) -> dict[Key, Names]:
    """Return the states that the reader's own index names."""
    index = layout.names(Key(reader, "-")).reader
    members = redis.command(index, "ZRANGE", index, 0, -1)
    keys = [layout.resource_key(reader, text_of(member)) for member in members]
    return {key: layout.names(key) for key in keys}


def lost_of_reader(redis: Link, layout: Layout, reader: str) -> dict[Key, Names]:
    """Return the states of a reader by their own names, whatever the indexes have lost; bounded by ``MOST_PAGES``."""
    some = layout.names(Key(reader, "-"))
    prefix = some.state[: -len(some.resource)]
    # Ids have no characters that SCAN takes for a pattern, since the layout escapes them; a namespace may have some.
    pattern = re.sub(r"[\\*?\[\]]", r"\\\g<0>", prefix)
    found: dict[Key, Names] = {}
    try:
        for number, page in enumerate(redis.scanned(some.state, "SCAN", "MATCH", f"{pattern}*")):
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


def due(redis: Link, layout: Layout, limit: int, now: int | str, idle_ms: int) -> list[str]:
    """Return at most ``limit`` members that are due: of each shard oldest first, one from each in turn.

    Each shard is asked for its share first, and once more for all of it where the others had less than theirs.

    Raises:
        StoreError: no shard has answered.
    """
    share = min(limit, limit // len(layout.shards) + SPARE)
    found = _asked_for(redis, layout, layout.shards, share, now, idle_ms)
    full = [shard for shard, members in found.items() if len(members) == share]
    if full and share < limit and sum(map(len, found.values())) < limit:
        found.update(_asked_for(redis, layout, full, limit, now, idle_ms))
    in_turn = (member for row in zip_longest(*found.values()) for member in row if member is not None)
    return list(islice(in_turn, limit))


def _asked_for(
    redis: Link, layout: Layout, shards: Sequence[int], most: int, now: int | str, idle_ms: int
) -> dict[int, list[str]]:
    answers = redis.each([(scripts.DUE, layout.index(shard)[:2], (now, idle_ms, most), None) for shard in shards])
    failed = [answer for answer, _ in answers if isinstance(answer, StoreError)]
    if failed:
        if len(failed) == len(answers):
            raise failed[0]
        # The readers of the other shards need not wait for the node that is down.
        log(
            logging.ERROR,
            "due: shards without an answer, their time waits",
            shards=len(failed),
            error=str(failed[0]),
        )
    return {
        shard: _oldest_first(answer)[:most]
        for shard, (answer, _) in zip(shards, answers, strict=True)
        if not isinstance(answer, StoreError)
    }


def _oldest_first(answer: Sequence[Any]) -> list[str]:
    """Return the members of due.lua's answer, by their scores."""
    pairs = [(float(score), text_of(member)) for member, score in zip(answer[::2], answer[1::2], strict=True)]
    return [member for _, member in sorted(pairs, key=lambda pair: pair[0])]


def states(
    redis: Link, layout: Layout, pages: Iterator[list[str]], now: int | None, doing: str
) -> Iterator[ReadTimeState]:
    """Yield the states that pages of members name; one that cannot be read is logged and left out."""
    for members in pages:
        keys = [layout.key(member) for member in members]
        found = read_each(redis, [(key, layout.names(key)) for key in keys], wall=False)
        for key, answer in zip(keys, found, strict=True):
            try:
                if isinstance(answer, StoreError):
                    raise answer
                _, clock, *fields = answer
                state = state_of(key, fields)
            except CorruptState as error:
                log_unreadable(error, doing)
                continue
            if state is not None and not state.expired(clock if now is None else now):
                yield state
