"""PURE: ``CrashReport``: what was found, in sentences."""

from __future__ import annotations

from typing import Final

import attrs

from caliper_readtime._units import plural, shown
from caliper_readtime.testing._crash.faults import Fault, Step

#: Findings that a message shows.
MOST: Final = 25

_MORE: Final = (
    "They came again as another event, or were counted twice: store the finished event with its id before it is sent"
    " and send that one again; know a repeated signal by a running total or by an id of the client's"
)
_LESS: Final = (
    "Nobody came back for them: store seconds before anything else, mark them as reported only after the endpoint has"
    " accepted them, and let a job send what is left"
)
_MORE_BY: Final = {
    Fault.MEANWHILE: "Two workers had the same seconds: let one atomic update claim them before they are sent, free a"
    " lock only by its owner's token, and know a request that comes twice",
    Fault.LATE: "What is not there after a time-out may still come: leave the event to a later run, and ask then",
}
_LESS_BY: Final = {
    Fault.UNREACHABLE: "The failure was taken for success: let the exception out, or answer 503, so that the client"
    " comes back; mark as reported only what the endpoint has accepted",
    Fault.UNAVAILABLE: "The answer was not looked at: only 2xx is an acceptance (raise_for_status()); mark as reported"
    " what had one, and let a job send the rest",
    Fault.LOST_ANSWER: "Nobody came back for them: let the exception out, or answer 503, and know your own lock or"
    " write again after a time-out",
    Fault.MEANWHILE: "One worker undid what another had done: change state in one atomic update, carry what is below a"
    " second, and let no report move the clock of the signals or end the counting",
    Fault.OUTAGE: "Unreported seconds must outlive an outage: no expiry and no last attempt, and a job that sends them",
}
_SAME_EVENT: Final = (
    "The same event arrived more than once, and the calculator adds every delivery: ask the endpoint for its id before"
    " it is sent again (read_back=True), and let no HTTP client repeat a POST by itself"
)
_CALM: Final = (
    "It is so without any fault, so the handler counts wrongly, or expected= is wrong: count wall time once for all"
    " tabs, carry what is below a second, and let nothing but a signal move the clock"
)
_STUCK: Final = "Something stays locked or half done: give locks an expiry, and take an older claim over"


@attrs.frozen
class CrashFinding:
    """What one fault at one step has led to.

    Attributes:
        fault: what went wrong there; None where nothing did.
        step: where; None where the handler took no step.
        reader: the reader's sourced id or URL; None where something is stuck.
        article: the article's resource id; None where something is stuck.
        expected_seconds: what should have been delivered.
        delivered_seconds: what the calculator adds up.
        repeated: an event arrived more than once under the same id.
        stuck: what did not come to an end; empty where everything did.
    """

    fault: Fault | None
    step: Step | None
    reader: str | None = None
    article: str | None = None
    expected_seconds: float = 0.0
    delivered_seconds: float = 0.0
    repeated: bool = False
    stuck: str = ""

    @property
    def advice(self) -> str:
        """What to do."""
        if self.stuck and self.delivered_seconds <= self.expected_seconds:
            return _STUCK
        if self.fault is None:
            return _CALM
        general = _SAME_EVENT if self.repeated else _MORE
        if self.delivered_seconds > self.expected_seconds:
            # A signal that lands late was counted twice; an event was sent twice.
            known = self.fault is not Fault.LATE or (self.step is not None and self.step.sends)
            return _MORE_BY.get(self.fault, general) if known else general
        return _LESS_BY.get(self.fault, _LESS)

    def __str__(self) -> str:
        """Say what was done, where, what came of it and what to do, in one line."""
        return f"{self.result}. {self.advice}."

    @property
    def result(self) -> str:
        """What was done, where, and what came of it."""
        last = "no fault" if self.step is None else f"no fault; last sent by {self.step}"
        where = last if self.fault is None else f"{self.fault} {self.step}"
        if self.reader is None:
            return f"{where}: {self.stuck}"
        lost = "lost" if self.delivered_seconds < self.expected_seconds else "doubled"
        return (
            f"{where}: {self.reader} on {self.article}: {shown(self.delivered_seconds)} delivered, not"
            f" {shown(self.expected_seconds)}: {shown(abs(self.delivered_seconds - self.expected_seconds))} {lost}"
            f"{self.stuck and '; '}{self.stuck}"
        )


@attrs.frozen
class CrashReport:
    """What ``crash_every_step`` has done and found.

    Attributes:
        steps: the handler's effects, in order.
        runs: how often the host was run.
        findings: what was lost, doubled or stuck; empty where the wiring keeps its promise.
    """

    steps: tuple[Step, ...]
    runs: int
    findings: tuple[CrashFinding, ...] = ()

    def __str__(self) -> str:
        """List the findings, each in one line, and what to do."""
        count = len(self.findings)
        head = f"{plural(self.runs, 'run')} over {plural(len(self.steps), 'step')}: "
        if not count:
            return f"{head}nothing lost or doubled"
        more = [f"and {count - MOST} more"] if count > MOST else []
        lines = [f"{head}{plural(count, 'finding')}"]
        for advice in dict.fromkeys(finding.advice for finding in self.findings[:MOST]):
            lines += [f"- {finding.result}" for finding in self.findings[:MOST] if finding.advice == advice]
            lines.append(f"  {advice}.")
        return "\n".join([*lines, *more])


class CrashFindings(AssertionError):
    """Something was lost, doubled or stuck.

    Attributes:
        report: the report.
    """

    def __init__(self, report: CrashReport) -> None:
        super().__init__(str(report))
        self.report = report
