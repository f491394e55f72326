"""``Sweeper``: sweeps again and again, in a thread of its own, in the caller's, or once for a job queue."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import attrs

from caliper_readtime import _checks
from caliper_readtime._delivery.sweep import IDLE_SECONDS, LIMIT
from caliper_readtime._interruptions import pass_interruption
from caliper_readtime._logs import log
from caliper_readtime._units import to_ms
from caliper_readtime.errors import ConfigurationError, EmitError, InvalidInput, ReadTimeError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._results import Report, SweepReport
    from caliper_readtime._tracker import ReadTimeTracker

# Hosts and forked workers must not draw the same numbers.
_RANDOM: Final = random.SystemRandom()
_MOST_DOUBLINGS: Final = 16


class Stop(Protocol):
    """What tells a sweeper to end; a ``threading.Event`` is one."""

    def is_set(self) -> bool:
        """Return whether to end."""

    def wait(self, timeout: float, /) -> bool:
        """Wait for at most ``timeout`` seconds; return whether to end."""


@attrs.define(eq=False)
class _Process:
    """What belongs to one process alone: neither a thread nor a held lock is there after a fork."""

    # Reentrant, because a signal handler may call stop in the middle of start.
    lock: Any = attrs.field(factory=threading.RLock)
    thread: threading.Thread | None = None
    stop: threading.Event = attrs.field(factory=threading.Event)


class Sweeper:
    """Sweeps a tracker at intervals. Safe on any number of hosts at once: they share the work.

    A store or an endpoint that is away never ends it: the trouble is logged when it begins, every ten minutes while it
    lasts and when it is over, and the wait between rounds doubles meanwhile. May be built before a fork: a forked
    process has no running thread until it calls ``start`` itself. A context manager starts and stops the thread.

    Args:
        tracker: what sweeps; it needs an emitter.
        interval_seconds: from the end of one round to the next; while more is due there is no wait.
        idle_seconds: leave readers alone who were active within this time.
        limit: most events of one round.
        budget_seconds: start no further envelope of a round after this time.
        jitter: by how much of itself each wait is varied at random, so that hosts do not sweep in step; 0 to 1.
        max_backoff_seconds: longest wait while there is trouble, unless the interval is longer.
        on_round: called with each round's ``SweepReport``, or the exception that ended it; it can never break a round.
        on_progress: called between envelopes with the reports of the round so far; it can never break a round.

    Raises:
        ConfigurationError: the tracker has no emitter.
        InvalidInput: a value is not acceptable.
    """

    def __init__(
        self,
        tracker: ReadTimeTracker,
        *,
        interval_seconds: float = 60.0,
        idle_seconds: float = IDLE_SECONDS,
        limit: int = LIMIT,
        budget_seconds: float | None = None,
        jitter: float = 0.1,
        max_backoff_seconds: float = 300.0,
        on_round: Callable[[SweepReport | Exception], object] | None = None,
        on_progress: Callable[[Sequence[Report]], object] | None = None,
    ) -> None:
        if tracker.emitter is None:
            raise ConfigurationError("this tracker has no emitter, so it cannot sweep: pass emitter= and events=")
        if to_ms(interval_seconds, "interval_seconds") == 0:
            raise InvalidInput("interval_seconds", "must be at least 0.001 seconds")
        if isinstance(jitter, bool) or not isinstance(jitter, int | float) or not 0 <= jitter <= 1:
            raise InvalidInput("jitter", "must be a number from 0 to 1")
        for name, value in (("idle_seconds", idle_seconds), ("max_backoff_seconds", max_backoff_seconds)):
            to_ms(value, name)
        if budget_seconds is not None:
            to_ms(budget_seconds, "budget_seconds")
        self._tracker = tracker
        self._interval = interval_seconds
        self._idle = idle_seconds
        self._limit = _checks.count(limit, "limit")
        self._budget = budget_seconds
        self._jitter = jitter
        self._longest = max(interval_seconds, max_backoff_seconds)
        self._on_round = on_round
        self._on_progress = on_progress
        self._processes: dict[int, _Process] = {}
        self.monotonic: Callable[[], float] = time.monotonic
        self.random: Callable[[], float] = _RANDOM.random

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # Once

    def run_once(self, stop: Stop | None = None) -> SweepReport:
        """Sweep once. This is what a Celery, RQ or APScheduler job, a Django task or a cron line calls.

        Args:
            stop: no further envelope is begun once it is set.

        Raises:
            StoreError: the store could not be reached; everything stays due.
            ConfigurationError: the store is in use for another sensor or OneRoster service.
        """

        def go_on(reports: Sequence[Report]) -> bool:
            self._tell(self._on_progress, reports)
            return stop is None or not stop.is_set()

        return self._tracker.sweep_while(go_on, idle_seconds=self._idle, limit=self._limit, budget_seconds=self._budget)

    # Again and again

    def run(self, stop: Stop) -> None:
        """Sweep in the calling thread, at once and then at intervals, until ``stop`` is set."""
        alarm = SweepAlarm(self.monotonic)
        while not stop.is_set():
            outcome: SweepReport | Exception
            try:
                outcome = self.run_once(stop)
            except Exception as error:  # noqa: BLE001 - nothing ends it but a BaseException, or the host's own wish
                pass_interruption(error)
                outcome = error
            self._tell(self._on_round, outcome)
            if not stop.is_set():
                wait = self._wait_after(outcome, alarm)
                alarm.note(outcome, wait)
                if wait > 0:
                    stop.wait(wait)

    def _wait_after(self, outcome: SweepReport | Exception, alarm: SweepAlarm) -> float:
        if alarm_of(outcome) is not None:
            wait = min(self._longest, self._interval * 2 ** min(alarm.failures, _MOST_DOUBLINGS))
        elif not isinstance(outcome, Exception) and outcome.stopped_by == "limit" and outcome.more:
            return 0.0
        else:
            wait = self._interval
        return self._varied(wait)

    def _varied(self, seconds: float) -> float:
        return seconds * (1 + self._jitter * (2 * self.random() - 1))

    def _tell(self, listener: Callable[..., object] | None, news: object) -> None:
        if listener is not None:
            try:
                listener(news)
            except Exception as error:  # noqa: BLE001 - a host's metrics must not cost a reader's time
                pass_interruption(error)
                log(logging.ERROR, "sweeper: a listener raised; the sweep goes on", error=type(error).__name__)

    # In a thread

    @property
    def running(self) -> bool:
        """Whether this process has a sweeping thread."""
        thread = self._here().thread
        return thread is not None and thread.is_alive()

    def start(self) -> None:
        """Begin sweeping in a daemon thread of this process; nothing happens where one is at it already.

        The first round begins after a short random wait, so that workers that start together do not sweep together.
        """
        here = self._here()
        with here.lock:
            if here.thread is None or not here.thread.is_alive() or here.stop.is_set():
                here.stop = threading.Event()
                here.thread = threading.Thread(
                    target=self._begin, args=(here.stop,), name="caliper-readtime-sweeper", daemon=True
                )
                here.thread.start()

    def _begin(self, stop: threading.Event) -> None:
        if not stop.wait(self._interval * self._jitter * self.random()):
            self.run(stop)

    def stop(self, timeout: float = 30.0) -> bool:
        """End the thread: it begins no further envelope.

        Args:
            timeout: how long to wait for the envelope under way, in seconds. An emitter's deadline bounds that one;
                what it sends later than this is still accounted for, unless the process ends meanwhile, and then by
                its claim.

        Returns:
            Whether no thread is left.
        """
        here = self._here()
        with here.lock:
            thread = here.thread
            here.stop.set()
        if thread is None:
            return True
        if thread is not threading.current_thread():
            thread.join(timeout)
        return not thread.is_alive()

    def _here(self) -> _Process:
        pid = os.getpid()
        return self._processes.get(pid) or self._processes.setdefault(pid, _Process())


#: An unchanged trouble is logged again after this many seconds.
REMIND_SECONDS: Final = 600.0
_ENDPOINT: Final = {
    "unavailable": "the endpoint does not answer",
    "refused": "the endpoint refuses us: correct its URL, the credentials or the data",
}


class SweepAlarm:
    """Logs trouble when it changes, now and then while it lasts, and when it is over.

    Attributes:
        failures: rounds in a row that went wrong.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._alarm: str | None = None
        self._since = 0.0
        self._logged_at = 0.0
        self.failures: int = 0

    def note(self, outcome: SweepReport | Exception, wait: float) -> None:
        """Take note of a round; ``wait`` is how long until the next."""
        now, alarm = self._monotonic(), alarm_of(outcome)
        if alarm is None:
            # A round with nothing to send, because what failed waits for its back-off, knows nothing of the endpoint.
            heard = not isinstance(outcome, Exception) and outcome.events_sent + outcome.parked > 0
            if self._alarm is not None and (heard or self._alarm not in _ENDPOINT.values()):
                log(logging.WARNING, "sweeper: works again", before=self._alarm, began=f"{now - self._since:.0f}s ago")
                self._alarm = None
            self.failures = 0
            return
        self.failures += 1
        if self._alarm is None:
            self._since = now
        if alarm != self._alarm or now - self._logged_at >= REMIND_SECONDS:
            self._alarm, self._logged_at = alarm, now
            log(
                logging.ERROR,
                f"sweeper: {alarm}",
                detail=_detail(outcome),
                lasts=f"{now - self._since:.0f}s",
                next_in=f"{wait:.0f}s",
                then="nothing is lost, it goes on by itself",
            )


def alarm_of(outcome: SweepReport | Exception) -> str | None:
    """Return what is wrong, in words that stay the same while it stays the same; None where all is well."""
    match outcome:
        case StoreError():
            return "the store cannot be used"
        case ConfigurationError():
            return "the configuration is wrong"
        case EmitError():
            return _ENDPOINT["unavailable"]
        case Exception():
            return "a round failed"
    return _ENDPOINT.get(outcome.stopped_by)


def _detail(outcome: SweepReport | Exception) -> str:
    if not isinstance(outcome, Exception):
        return first_error(outcome) or outcome.stopped_by
    if isinstance(outcome, EmitError):
        return _checks.without_emails(str(outcome))
    if isinstance(outcome, ReadTimeError):
        return str(outcome)
    # What somebody else's exception says may hold an address; where it came from does not.
    place = traceback.extract_tb(outcome.__traceback__)[-1:]
    return " ".join([type(outcome).__name__, *(f"at {frame.filename}:{frame.lineno}" for frame in place)])


def first_error(report: SweepReport) -> str | None:
    """Return what the first event that was not delivered ran into, without e-mail addresses."""
    return next((_checks.without_emails(str(one.error)) for one in report.reports if one.error is not None), None)
