"""Reads states: one, or many by a script for each shard, which costs Redis half of a script for each state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from caliper_readtime.errors import StoreError
from caliper_readtime.stores._redis import scripts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._rules.state import Key
    from caliper_readtime.stores._redis.connection import Link
    from caliper_readtime.stores._redis.encoding import Names
    from caliper_readtime.stores._redis.sending import Call

#: What is read of a state: whether it is stale, the server's clock, its meter and ledger, and, where it was asked for,
#: the reader's record.
Found = list[Any]
#: States that one script reads: a server is busy with no more than that.
MOST: Final = 50


def read(redis: Link, key: Key, names: Names, *, wall: bool) -> Found:
    """Return what is stored under one key.

    Raises:
        StoreError: it cannot be read.
    """
    return _found(redis.run(*_call([(key, names)], wall=wall)), 1)[0]


def read_each(redis: Link, states: Sequence[tuple[Key, Names]], *, wall: bool) -> list[Found | StoreError]:
    """Return what is stored under each of several keys, or why it cannot be read."""
    shards: dict[str, list[int]] = {}
    for place, (_, names) in enumerate(states):
        shards.setdefault(names.due, []).append(place)
    parts = [of_one[start : start + MOST] for of_one in shards.values() for start in range(0, len(of_one), MOST)]
    answers: list[Found | StoreError] = [[]] * len(states)
    calls = [_call([states[place] for place in part], wall=wall) for part in parts]
    for part, (answer, _) in zip(parts, redis.each(calls), strict=True):
        if not isinstance(answer, StoreError):
            for place, found in zip(part, _found(answer, len(part)), strict=True):
                answers[place] = found
        elif len(part) == 1:
            answers[part[0]] = answer
        else:  # one that is damaged must not sink the others
            alone = redis.each([_call([states[place]], wall=wall) for place in part])
            for place, (one, _) in zip(part, alone, strict=True):
                answers[place] = one if isinstance(one, StoreError) else _found(one, 1)[0]
    return answers


def _call(states: Sequence[tuple[Key, Names]], *, wall: bool) -> Call:
    _, first = states[0]
    index = first.due, first.idle, first.parked
    if wall:
        keys = [name for _, names in states for name in (names.state, names.wall)]
    else:
        keys = [names.state for _, names in states]
    args = [2 if wall else 1, *(names.member for _, names in states)]
    return scripts.READ, (*keys, *index), args, states[0][0] if len(states) == 1 else None


def _found(answer: Sequence[Any], count: int) -> list[Found]:
    clock, *fields = answer
    each = len(fields) // count
    return [[fields[place], clock, *fields[place + 1 : place + each]] for place in range(0, len(fields), each)]
