"""PURE: what a host raises into running code from outside, such as a task queue's soft time limit (rule L5)."""

from __future__ import annotations

import signal
import traceback
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import CodeType

#: Some queues raise theirs from another thread, so that no signal handler shows: Celery and billiard; RQ.
_NAMES: Final = frozenset({"SoftTimeLimitExceeded", "TimeLimitExceeded", "BaseTimeoutException"})


def pass_interruption(error: Exception) -> None:
    """Raise what a host has raised from outside, were it as the error's cause; otherwise return.

    Whoever catches every ``Exception`` of somebody else's code asks this first: after an interruption nobody knows how
    far that code had come, and the host wants its worker back.

    Raises:
        Exception: it has passed a signal handler's frame, or its class is known to come from outside.
    """
    found: BaseException | None = error
    while found is not None:
        if any(kind.__name__ in _NAMES for kind in type(found).__mro__) or _through_a_handler(found):
            raise found
        found = found.__cause__


def _through_a_handler(error: BaseException) -> bool:
    frames = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    return any(code in frames for code in _handlers())


def _handlers() -> Iterator[CodeType]:
    for number in signal.valid_signals():
        handler: Any = signal.getsignal(number)
        code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
        if code is not None:
            yield code
