"""The moment by which a call has to be over, known to everything that the call does in its thread."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_over_at: Final[ContextVar[float]] = ContextVar("over_at", default=math.inf)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Let what happens inside take at most ``seconds``, or what is left of an outer deadline where that is less."""
    token = _over_at.set(min(_over_at.get(), time.monotonic() + seconds))
    try:
        yield
    finally:
        _over_at.reset(token)


def left() -> float:
    """Return the seconds that are left; infinite where nobody has set a deadline."""
    return _over_at.get() - time.monotonic()


def cut(seconds: float | None) -> float | None:
    """Return a time-out in seconds (None: none), cut to what is left.

    Raises:
        TimeoutError: nothing is left.
    """
    remaining = left()
    if remaining <= 0:
        raise TimeoutError("the deadline is over")
    if remaining == math.inf:
        return seconds
    return remaining if seconds is None else min(seconds, remaining)
