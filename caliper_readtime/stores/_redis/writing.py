"""``Write``: what a transition wants written by write.lua."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from caliper_readtime.stores._claimed import claims
from caliper_readtime.stores._redis.encoding import write_args
from caliper_readtime.stores._redis.walls import with_record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.stores._redis.encoding import Names


class Write(NamedTuple):
    """A state to be written.

    Attributes:
        state: what is written.
        keys: of write.lua.
        args: of write.lua.
        claims: somebody is about to send what it claims.
        moment: the time that decided, milliseconds since the epoch.
        clock: the server's.
    """

    state: ReadTimeState
    keys: Sequence[str]
    args: list[Any]
    claims: bool
    moment: int
    clock: int


def to_write(
    names: Names, new: ReadTimeState, old: ReadTimeState | None, meter: Any, moment: int, clock: int, wall: Any = ()
) -> Write:
    """Return what has to be written of a new state.

    Args:
        names: of the state's keys.
        new: what a transition has made.
        old: of this.
        meter: as it was read; None where there was none.
        moment: the time that decided.
        clock: the server's.
        wall: the reader's record, where it is written as well.
    """
    args = write_args(names, new, old, meter, moment, os.urandom(8).hex())
    return Write(new, *with_record(names, args, wall), claims(new, old), moment, clock)
