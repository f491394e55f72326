"""``BackgroundSender``: one thread of a worker that sends what left pages have put off, so that no request waits."""

from __future__ import annotations

import atexit
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from heapq import heappop, heappush
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime._logs import log
from caliper_readtime.errors import ReadTimeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime._results import SweepReport

    #: (reader sourced id, resource id).
    Named = tuple[str, str]

#: How long the first leave waits for others to share its envelope, seconds.
GATHER_SECONDS: Final = 0.5
#: A reader's time goes out at most once in so many seconds, however often the pages are left.
READER_SECONDS: Final = 5.0
#: States that may wait; the sweeper has the others. About 2 MB.
MOST_WAITING: Final = 10_000
#: Most states of one call, which is one envelope; a stop is heard between two.
MOST_AT_ONCE: Final = 100
#: How long a worker that ends waits for its sender, seconds.
DRAIN_SECONDS: Final = 5.0
#: While the endpoint or the store is away, the wait between two tries doubles from the one to the other.
PAUSE_SECONDS: Final = (1.0, 30.0)
#: A thread that has nothing to do for so long ends; the next leave starts another.
IDLE_SECONDS: Final = 10.0
#: A thread that has not looked for so long, beyond the longest pause and emission, stands still.
STALLED_SECONDS: Final = 90.0


class Waiting:
    """PURE: whose time waits until when. What one reader has put off is taken together.

    Args:
        most: how many states may wait.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._states: dict[str, dict[Named, None]] = {}
        self._ready: list[tuple[float, str]] = []  # a heap
        self._sent: OrderedDict[str, float] = OrderedDict()  # who has been served a moment ago
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, key: Named, now: float) -> None:
        """Let a state wait, unless there is no room for it."""
        reader, states = key[0], self._states.get(key[0])
        if self._count >= self._most or (states is not None and key in states):
            return
        if states is None:
            served = self._sent.get(reader)
            soonest = now + GATHER_SECONDS
            heappush(self._ready, (soonest if served is None else max(soonest, served + READER_SECONDS), reader))
            states = self._states[reader] = {}  # L5: after it, or an interruption would leave them without a time
        states[key] = None
        self._count += 1

    def next_at(self) -> float | None:
        """Return when there is something to take; None where nothing waits."""
        return self._ready[0][0] if self._ready else None

    def take(self, now: float, *, every: bool = False) -> list[Named]:
        """Return what is to be sent now, about one call's worth; ``every``: also what has to wait still."""
        while self._sent and next(iter(self._sent.values())) <= now - READER_SECONDS:
            self._sent.popitem(last=False)
        taken: list[Named] = []
        while self._ready and len(taken) < MOST_AT_ONCE and (every or self._ready[0][0] <= now):
            _, reader = heappop(self._ready)
            taken += self._states.pop(reader, ())
            self._sent[reader] = now
            self._sent.move_to_end(reader)
        self._count -= len(taken)
        return taken


@attrs.define(eq=False)
class _Process:
    """What belongs to one process alone: neither a thread nor a held lock is there after a fork."""

    # L5: taken itself, since a condition's ``with`` runs Python, which may be interrupted once it has taken it.
    # Reentrant, because a signal handler may call stop in the middle of add.
    lock: Any = attrs.field(factory=threading.RLock)
    changed: threading.Condition = attrs.field()
    waiting: Waiting = attrs.field(factory=Waiting)
    thread: threading.Thread | None = None
    looked_at: float = 0.0  # when the thread was last seen to run
    give_up_at: float | None = None  # the thread is to end, by then
    warned: bool = False

    @changed.default
    def _on_lock(self) -> threading.Condition:
        return threading.Condition(self.lock)


class BackgroundSender:
    """Sends, from a daemon thread of its own, what was put off durably; what it does not manage is the sweeper's.

    May be built before a fork: the thread begins with the first state that a worker adds, and ends when there has been
    nothing to do for a while.

    Args:
        send: reports the given states, ``ReadTimeTracker.send_deferred``.
        monotonic: seconds.
    """

    def __init__(
        self, send: Callable[[list[Named]], SweepReport], *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._send = send
        self._monotonic = monotonic
        self._processes: dict[int, _Process] = {}

    def add(self, key: Named) -> None:
        """Let a state be sent soon. Returns at once, and never raises."""
        here, now = self._here(), self._monotonic()
        with here.lock:
            stalled = here.thread is not None and now - here.looked_at > STALLED_SECONDS
            if stalled or threads_stand_still(sys.modules.get("uwsgi")):
                self._warn(here)
                return
            here.waiting.add(key, now)
            if here.thread is None:
                self._start(here, now)
            here.changed.notify()

    def stop(self, timeout: float = DRAIN_SECONDS) -> bool:
        """Send what waits, and end the thread; another state that is added starts it again.

        Args:
            timeout: how long to wait for that, seconds. What is under way then is accounted for by its claim.

        Returns:
            Whether the thread has ended.
        """
        here = self._here()
        with here.lock:
            thread = here.thread
            if thread is not None:
                here.give_up_at = self._monotonic() + timeout
                here.changed.notify()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout)
        return here.thread is None

    def _start(self, here: _Process, now: float) -> None:
        here.looked_at = now
        here.thread = threading.Thread(target=self._run, args=(here,), name="caliper-readtime-leaves", daemon=True)
        try:
            here.thread.start()
        except RuntimeError:  # no more threads, or the interpreter is ending: all of it is the sweeper's
            here.thread, here.waiting = None, Waiting()
        except BaseException:  # L5
            if not here.thread.is_alive():
                here.thread = None
            raise
        else:
            atexit.register(self.stop)

    def _run(self, here: _Process) -> None:
        pause = 0.0
        while keys := self._taken(here, pause):
            pause = min(max(pause * 2, PAUSE_SECONDS[0]), PAUSE_SECONDS[1]) if self._troubled(keys) else 0.0

    def _taken(self, here: _Process, pause: float) -> list[Named]:
        """Wait until something is to be sent, and return it; nothing where the thread is to end."""
        not_before = self._monotonic() + pause
        with here.lock:
            while True:
                now = here.looked_at = self._monotonic()
                next_at = here.waiting.next_at()
                if here.give_up_at is not None:
                    # Whoever ends does not wait for an endpoint that was away a moment ago.
                    keys = here.waiting.take(now, every=True) if not pause and now < here.give_up_at else []
                    break
                if next_at is not None and max(next_at, not_before) <= now:
                    keys = here.waiting.take(now)
                    if keys:
                        break
                    continue
                heard = here.changed.wait(IDLE_SECONDS if next_at is None else max(next_at, not_before) - now)
                if not heard and here.waiting.next_at() is None and here.give_up_at is None:
                    keys = []
                    break
            if not keys:
                here.thread, here.give_up_at, here.waiting = None, None, Waiting()
                atexit.unregister(self.stop)
        return keys

    def _troubled(self, keys: list[Named]) -> bool:
        """Send; return whether endpoint or store seem to be away."""
        try:
            report = self._send(keys)
        except Exception as error:  # noqa: BLE001 - nothing but its worker's end ends it
            log(
                logging.ERROR,
                "leaves: not sent",
                states=len(keys),
                error=str(error) if isinstance(error, ReadTimeError) else type(error).__name__,
                then="the time is due, the sweeper will report it",
            )
            return True
        return report.stopped_by in ("unavailable", "refused")

    def _warn(self, here: _Process) -> None:
        if not here.warned:
            here.warned = True
            log(
                logging.WARNING,
                "leaves: threads do not run in this worker, so the time of pages that are left waits for the sweeper:"
                " start uWSGI with enable-threads, or set LEAVE to defer",
            )

    def _here(self) -> _Process:
        pid = os.getpid()
        return self._processes.get(pid) or self._processes.setdefault(pid, _Process())


def threads_stand_still(uwsgi: Any) -> bool:
    """Return whether this is a uWSGI worker (its module, or None) in which threads run during requests alone."""
    if uwsgi is None:
        return False
    named = {name.decode() if isinstance(name, bytes) else name for name in uwsgi.opt}
    return not named & {"enable-threads", "threads"}
