"""``sweep``: reports what browsers and workers left behind, once or again and again."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._cli.session import FAILED, OK, positive_seconds, seconds
from caliper_readtime._cli.signals import Signals
from caliper_readtime._delivery.sweep import IDLE_SECONDS, LIMIT
from caliper_readtime._sweeper import Sweeper, first_error
from caliper_readtime._units import plural, to_epoch_ms, to_ms
from caliper_readtime.errors import ReadTimeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from caliper_readtime._cli.output import Progress
    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._results import Report, SweepReport

_DONE: Final = ("drained", "limit", "budget", "stopped")


def add(add_command: Add) -> None:
    """Add the command."""
    parser = add_command("sweep", "report what browsers and workers left behind", run, sends=True)
    parser.add_argument(
        "--watch",
        type=positive_seconds,
        metavar="SECONDS",
        help="go on, with this much time between rounds, until SIGTERM",
    )
    parser.add_argument(
        "--idle",
        type=seconds,
        default=IDLE_SECONDS,
        metavar="SECONDS",
        help=f"leave alone readers who were active within this time ({IDLE_SECONDS:g})",
    )
    parser.add_argument(
        "--budget", type=seconds, metavar="SECONDS", help="start no envelope after this much time (of each round)"
    )


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Sweep; one JSON line for each round where nobody is looking, a line (and a bar) where somebody is."""
    rounds = _Rounds(session, arguments.idle)
    with Signals() as stop:
        if arguments.watch is not None:
            rounds.sweeper(arguments.budget, interval_seconds=arguments.watch, on_round=rounds.tell).run(stop)
            return OK
        return rounds.until_drained(arguments.budget, stop)


class _Rounds:
    """Rounds, and what is told of them."""

    def __init__(self, session: Session, idle: float) -> None:
        self._session = session
        self._idle = idle

    def sweeper(self, budget: float | None, **more: Any) -> Sweeper:
        return Sweeper(self._session.tracker, idle_seconds=self._idle, budget_seconds=budget, limit=LIMIT, **more)

    def until_drained(self, budget: float | None, stop: Signals) -> int:
        """Sweep round by round until nothing more is due."""
        ends = None if budget is None else time.monotonic() + budget
        while True:
            left = None if ends is None else max(0.0, ends - time.monotonic())
            with self._session.output.progress("events") as bar:
                report = self.sweeper(left, on_progress=partial(_count, bar, self._due())).run_once(stop)
            self.tell(report)
            if report.stopped_by not in _DONE:
                self._session.output.complain(
                    f"{first_error(report) or report.stopped_by}; nothing is lost, the next sweep tries again"
                )
                return FAILED
            if report.stopped_by != "limit" or not report.more or stop.is_set():
                return OK

    def _due(self) -> int:
        """Return how many events a bar shall count to."""
        if not self._session.output.on_terminal:
            return 0
        tracker = self._session.tracker
        now = to_epoch_ms(tracker.now(), "now")
        return len(tracker.store.due(LIMIT, now, to_ms(self._idle, "idle")))

    def tell(self, outcome: SweepReport | Exception) -> None:
        """Tell what came of a round."""
        output = self._session.output
        if isinstance(outcome, Exception):
            # Only our own errors' words are known to hold no secret.
            words = str(outcome) if isinstance(outcome, ReadTimeError) else type(outcome).__name__
            if output.on_terminal:
                output.line(f"round failed, going on: {words}")
            else:
                output.json({"at": datetime.now(UTC), "stopped_by": "error", "error": words})
            return
        if not output.on_terminal:
            output.json(_document(outcome))
        elif outcome.reports or outcome.in_flight:
            output.line(
                f"{plural(outcome.events_sent, 'event')} sent, {outcome.seconds_sent:g} s; {outcome.failed} failed,"
                f" {outcome.parked} parked, {outcome.in_flight} in flight; {outcome.stopped_by}"
            )
        else:
            output.line(f"nothing was due; {outcome.stopped_by}")


def _count(bar: Progress, total: int, reports: Sequence[Report]) -> None:
    bar(len(reports), total)


def _document(report: SweepReport) -> dict[str, Any]:
    names = "events_sent seconds_sent states_settled failed in_flight parked more stopped_by"
    found = {"at": datetime.now(UTC), **{name: getattr(report, name) for name in names.split()}}
    error = first_error(report)
    return found if error is None else {**found, "error": error}
