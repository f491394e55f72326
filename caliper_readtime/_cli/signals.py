"""``Signals``: SIGTERM and SIGINT as a ``Stop`` that a sweeper looks at between envelopes."""

from __future__ import annotations

import select
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import FrameType


class Signals:
    """Whether to end. A context manager; a second signal does what it did before.

    Not a ``threading.Event``: its lock could be held by the very thread that a signal handler interrupts.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: dict[int, Any] = {}
        self._wakes, self._waits = socket.socketpair()

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():  # nobody else may
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()
        self._wakes.close()
        self._waits.close()

    def is_set(self) -> bool:
        """Return whether to end."""
        return self._asked

    def wait(self, timeout: float, /) -> bool:
        """Wait for at most ``timeout`` seconds; return whether to end."""
        if not self._asked:
            select.select([self._waits], [], [], timeout)
        return self._asked

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self._asked = True
        self._restore()
        self._wakes.send(b"\0")

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())
