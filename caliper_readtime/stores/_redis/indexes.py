"""``Indexes``: which states a reader has, and which are due, parked or unreported, over every shard."""

from __future__ import annotations

import logging
import time
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._logs import log, log_unreadable
from caliper_readtime._rules.state import Key, ReadTimeState
from caliper_readtime.errors import ContentionError, CorruptState
from caliper_readtime.stores._redis import scripts
from caliper_readtime.stores._redis.encoding import Layout, Names, reader_keys, state_of, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from caliper_readtime.stores._redis.asking import Asking

#: How long writers of one state, or of one reader, compete before ``ContentionError``.
CONTENTION_SECONDS: Final = 5.0
#: States that ``unreported`` reads at a time.
_PAGE: Final = 500


class Indexes:
    """Looks states up for one store; the methods are its verbs."""

    def __init__(self, redis: Asking, layout: Layout) -> None:
        self._redis = redis
        self._layout = layout

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return the keys of every state of this reader; members whose state is gone are removed on the way."""
        listed = self._listed(reader)
        if not listed:
            return ()
        left = self._redis.run(scripts.KEYS, *_reader_call(listed, "" if now is None else now))
        there = set(map(text_of, left))
        return tuple(key for key, names in listed if names.resource in there)

    def _listed(self, reader: str) -> list[tuple[Key, Names]]:
        index = self._layout.names(Key(reader, "-")).reader
        members = self._redis.command("ZRANGE", index, 0, -1)
        keys = [self._layout.resource_key(reader, text_of(member)) for member in members]
        return [(key, self._layout.names(key)) for key in keys]

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return at most ``limit`` keys whose due entry has come: of each shard oldest first, one from each in turn."""
        args = ("" if now is None else now, idle_ms, limit)
        calls = [(scripts.DUE, self._layout.index(shard)[:2], args) for shard in self._layout.shards]
        answers = self._redis.each(calls)
        failed = [answer for answer in answers if isinstance(answer, Exception)]
        if failed:
            error = self._redis.mapped(failed[0], None)
            if len(failed) == len(answers):
                raise error from failed[0]
            # The readers of the other shards need not wait for the node that is down.
            log(logging.ERROR, "due: shards without an answer, their time waits", shards=len(failed), error=str(error))
        shards = [_oldest_first(answer) for answer in answers if not isinstance(answer, Exception)]
        in_turn = (member for row in zip_longest(*shards) for member in row if member is not None)
        return tuple(self._layout.key(member) for _, member in zip(range(limit), in_turn, strict=False))

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return at most ``limit`` states that hold parked events; one that cannot be read is logged and left out."""
        indexes = (self._layout.index(shard)[2] for shard in self._layout.shards)
        states = self._states(self._scanned("SSCAN", indexes), None, "parked")
        return tuple(state for _, state in zip(range(limit), (s for s in states if s.ledger.parked), strict=False))

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield every state that has a due entry, shard by shard."""
        for shard in self._layout.shards:
            due, idle, _ = self._layout.index(shard)
            # Once more, so that nobody is missed who moves from one set to the other meanwhile; nobody comes twice.
            pages = _once(self._scanned("ZSCAN", (idle, due, idle)))
            yield from self._states(pages, now, "unreported")

    def _scanned(self, command: str, indexes: Any) -> Iterator[list[str]]:
        """Yield the members of index sets, page by page."""
        for index in indexes:
            cursor: Any = 0
            while True:
                cursor, found = self._redis.command(command, index, cursor, "COUNT", _PAGE)
                # The driver makes pairs of a sorted set's members and scores.
                yield [text_of(one[0] if isinstance(one, tuple) else one) for one in found]
                if int(cursor) == 0:
                    break

    def _states(self, pages: Iterator[list[str]], now: int | None, doing: str) -> Iterator[ReadTimeState]:
        for members in pages:
            keys = [self._layout.key(member) for member in members]
            calls = [(scripts.READ, names[:4], (names.member,)) for names in map(self._layout.names, keys)]
            for key, answer in zip(keys, self._redis.each(calls), strict=True):
                try:
                    _, clock, *fields = self._redis.checked(answer, key)
                    state = state_of(key, fields)
                except CorruptState as error:
                    log_unreadable(error, doing)
                    continue
                if state is not None and not state.expired(clock if now is None else now):
                    yield state

    def delete(self, reader: str) -> int:
        """Remove everything of a reader, in one atomic step; a state born meanwhile is removed by another one."""
        removed, left = 0, 1
        until = time.monotonic() + CONTENTION_SECONDS
        while left:
            listed = self._listed(reader)
            if not listed:
                break
            if time.monotonic() >= until:
                raise ContentionError(
                    f"states are born faster than they are removed: end the sessions of {reader} first"
                )
            more, left = self._redis.run(scripts.DELETE, *_reader_call(listed))
            removed += more
        return removed


def _reader_call(listed: Sequence[tuple[Key, Names]], *first: Any) -> tuple[tuple[str, ...], list[Any]]:
    """Return the keys and arguments of a script that goes through a reader's states."""
    keys = reader_keys(listed[0][1], *(names.state for _, names in listed))
    return keys, [*first, *(part for _, names in listed for part in (names.resource, names.member))]


def _once(pages: Iterator[list[str]]) -> Iterator[list[str]]:
    """Yield the pages without what an earlier one had."""
    seen: set[str] = set()
    for members in pages:
        new = [member for member in dict.fromkeys(members) if member not in seen]
        seen.update(new)
        yield new


def _oldest_first(answer: Sequence[Any]) -> Iterator[str]:
    pairs = [(float(score), text_of(member)) for member, score in zip(answer[::2], answer[1::2], strict=True)]
    return (member for _, member in sorted(pairs, key=lambda pair: pair[0]))
