"""A reader's record of claimed time in Redis: read with the state, and written with it only if it is as read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from caliper_readtime.errors import CorruptState
from caliper_readtime.stores._redis.encoding import text_of
from caliper_readtime.stores._walls import claimable, decided, dump_wall, load_wall, unreadable, walled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import Transition
    from caliper_readtime.stores._redis.encoding import Names

R = TypeVar("R")

#: Where write.lua has the record's arguments.
_PLACE = 11


def found_wall(text: Any, reader: str) -> Wall | None:
    """Return the record that a key holds, expired or not; None where there is none.

    Raises:
        CorruptState: it cannot be read.
    """
    if text is None:
        return None
    try:
        return load_wall(text_of(text), reader)
    except CorruptState:
        pass
    raise unreadable(reader)


class Walls:
    """The records that a batch has met: a claim expects what the one before it, of the same reader, has left."""

    def __init__(self) -> None:
        self._left: dict[str, tuple[Any, Wall]] = {}

    def applied(
        self, key: Key, names: Names, transition: Transition[R], old: ReadTimeState | None, moment: int, record: Any
    ) -> tuple[ReadTimeState | None, R, tuple[Any, ...]]:
        """Return what a transition makes of a state, its answer, and more arguments of write.lua, if any.

        Args:
            key: the state's.
            names: of the state's keys.
            transition: one that may be ``walled``.
            old: as for a transition.
            moment: as for a transition.
            record: as it was read, or None.
        """
        if not walled(transition):
            return *transition(old, moment), ()
        left = self._left.get(names.wall)
        before, found = left or (record, claimable(lambda: found_wall(record, key.reader_sourced_id)))
        new, result, wall = decided(transition, old, found, moment)
        if wall is None or new is None or new is old:
            return new, result, ()
        after = dump_wall(wall)
        self._left[names.wall] = after, wall
        return new, result, ("" if before is None else before, after, wall.expires_at_ms)


def with_record(names: Names, args: list[Any], record: tuple[Any, ...]) -> tuple[Sequence[str], list[Any]]:
    """Return the keys and arguments of write.lua, with a record that is to be written as well."""
    if not record:
        return names[:5], args
    return names[:6], [*args[:_PLACE], *record, *args[_PLACE:]]
