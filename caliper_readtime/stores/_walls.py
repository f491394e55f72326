"""PURE: a reader's record of claimed time in wall time, as text, and how a transition is applied to it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, TypeVar

from caliper_readtime._logs import log_wall
from caliper_readtime._rules.wall import NO_WALL, Stretch, Wall
from caliper_readtime.errors import CorruptState
from caliper_readtime.stores._codec import LARGEST

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.protocols import Transition

R = TypeVar("R")

#: The first number says how the others are to be read.
_SCHEMA: Final = 1
#: Stands for a record that cannot be read: it has always expired, and is told from all others by its identity.
DAMAGED: Final = Wall()


def dump_wall(wall: Wall) -> str:
    """Return the record as a JSON array of whole numbers.

    A version, when it expires, and for each stretch its end, its length, and how much was read.
    """
    numbers = [_SCHEMA, wall.expires_at_ms]
    for begins, ends, ms in wall.stretches:
        numbers += (ends, ends - begins, ms)
    return f"[{','.join(map(str, numbers))}]"


def load_wall(text: str, reader: str) -> Wall:
    """Return the record that ``text`` holds.

    Args:
        text: as it is stored.
        reader: whose it is, for the error.

    Raises:
        CorruptState: it holds something else, or was written by an incompatible version.
    """
    try:
        schema, expires, *numbers = json.loads(text)
        if schema == _SCHEMA and {type(expires), *map(type, numbers)} == {int} and 0 <= expires < LARGEST:
            spans = list(zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True))
            if all(0 < ms <= length <= ends < LARGEST for ends, length, ms in spans):
                return Wall(tuple([Stretch(ends - length, ends, ms) for ends, length, ms in spans]), expires)
    except (ValueError, TypeError, RecursionError):
        pass
    raise unreadable(reader)


def unreadable(reader: str) -> CorruptState:
    """Return what is said of a record that cannot be read."""
    return CorruptState(
        "the stored record of what the reader has claimed on all articles cannot be read: reader"
        f" {reader}; their next claim of new time begins another one",
        reader_sourced_id=reader,
    )


def claimable(found: Callable[[], Wall | None]) -> Wall | None:
    """Return the record that a claim is to go on from; U10: one that cannot be read stops nobody.

    Args:
        found: reads it, and raises CorruptState where it cannot be read.
    """
    try:
        return found()
    except CorruptState:
        return DAMAGED


def standing(found: Wall | None, now: int) -> Wall:
    """Return the record that counts at ``now``; one that has expired is as if nothing were stored.

    Args:
        found: what is stored, or None.
        now: milliseconds since the epoch.
    """
    return NO_WALL if found is None or found.expired(now) else found


def walled(transition: Any) -> bool:
    """Return whether a transition wants the reader's record."""
    return bool(getattr(transition, "walled", False))


def decided(
    transition: Transition[R], state: ReadTimeState | None, found: Wall | None, now: int
) -> tuple[ReadTimeState | None, R, Wall | None]:
    """Return what a walled transition makes of a state, its answer, and the record to write, if any.

    Args:
        transition: one that is ``walled``.
        state: as for a transition.
        found: the record that is stored, as ``claimable`` returns it, or None.
        now: as for a transition.
    """
    wall = standing(found, now)
    either: Any = transition
    new, left, result = either.with_wall(state, wall, now)
    if left is wall:
        return new, result, None
    if found is DAMAGED and new is not None:
        log_wall(new.key)
    return new, result, left
