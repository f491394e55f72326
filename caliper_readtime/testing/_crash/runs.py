"""``crash_every_step``: runs a host once for each step and fault, lets it heal, and adds up what arrived."""

from __future__ import annotations

import inspect
import logging
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import attrs

from caliper_readtime._checks import without_emails
from caliper_readtime._model import Activity, Reader
from caliper_readtime._units import to_ms, to_seconds
from caliper_readtime.errors import InvalidInput
from caliper_readtime.testing._crash.faults import Fault, Step, Taken
from caliper_readtime.testing._crash.plays import Play
from caliper_readtime.testing._crash.report import CrashFinding, CrashFindings, CrashReport
from caliper_readtime.testing._crash.steps import Steps
from caliper_readtime.testing._minutes import calculator_seconds, is_named, reduced

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

#: When a client or another worker whose request failed comes back: seconds after the last try.
_RETRIES: Final = (5.0, 60.0, 3600.0)
#: How often the jobs run, and how many rounds may pass until nothing is left.
_ROUND_SECONDS: Final = 3660.0
_ROUNDS: Final = 12
#: Two rounds in which nothing happens: the first may have ended what only the second could show.
_QUIET: Final = 2
_OUTAGE_SECONDS: Final = 10 * 86_400.0
_OUTAGE_ROUNDS: Final = 3
#: Answers after which a client tries again.
_AGAIN: Final = frozenset({408, 409, 423, 425, 429})

Expected = dict[tuple[str, str], float]


def crash_every_step(
    host: Callable[[Steps], Callable[[], object]],
    *,
    expected: Mapping[tuple[Reader | str, Activity | str], float] | None = None,
    retried: bool = True,
    distinct: bool = False,
    faults: Collection[Fault] = tuple(Fault),
) -> CrashReport:
    """Run a host's handler with every fault at each of its effects, and assert that nothing is lost or doubled.

    Each run builds the host anew, lets one thing go wrong at one step, heals, lets the client come back where it got
    no answer or one of 5xx, runs the jobs until nothing is left, and adds up every delivery as the XP calculator does:
    it knows no event ids. No threads, and no time but ``steps.clock``.

    Args:
        host: called with new ``Steps`` for each run: wraps the host's parts in them, prepares the scene, and returns
            the handler, a function without arguments, such as a request of the host's test client or a job.
        expected: the seconds of each reader and article that should arrive; by default what arrives without any fault.
        retried: the client sends its request again; False for a beacon.
        distinct: the endpoint recognises ids: each event counts once.
        faults: which faults to try.

    Returns:
        The steps, and that nothing was found.

    Raises:
        AssertionError: seconds were lost or doubled, or something is stuck: its ``report`` has the findings, and its
            message names fault, step, the host's file and line, and what to do.
        InvalidInput: the handler cannot be judged: it delivers nothing, is refused, or does other things each time;
            or ``expected`` is not as it should be.
    """
    __tracebackhide__ = True
    asked = None if expected is None else dict(map(_expected, expected.items()))
    calm = _Run(host, retried=retried, distinct=distinct)
    calm.play()
    taken = tuple(calm.played.taken)
    wanted = calm.seconds if asked is None else asked
    if not any(wanted.values()):
        raise InvalidInput("host", "nothing was delivered, so nothing can be lost: read, report, watch the endpoint")
    findings = list(calm.findings(wanted))
    if not taken and not findings:
        raise InvalidInput("host", "the handler took no step: build what it calls by steps.tracker(…), steps.wrap(…)")
    runs = 1
    with _quietly():
        for fault, at in () if findings else _plan(taken, faults):
            run = _Run(host, fault, at, retried=retried, distinct=distinct)
            run.play()
            findings += run.findings(wanted)
            runs += 1
    report = CrashReport(tuple(found.step for found in taken), runs, tuple(findings))
    if findings:
        raise CrashFindings(report)
    return report


@contextmanager
def _quietly() -> Iterator[None]:
    """Log nothing: a host that logs each of hundreds of faults, rightly, would hide the findings."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def _plan(taken: tuple[Taken, ...], faults: Collection[Fault]) -> Iterator[tuple[Fault, Taken]]:
    for at in taken:
        for fault in Fault:
            if fault in faults and not at.fluent and _applies(fault, at):
                yield fault, at


def _applies(fault: Fault, at: Taken) -> bool:
    match fault:
        case Fault.OUTAGE:
            return at.step.sends
        case Fault.UNAVAILABLE:
            return bool(at.reached)
    return True


@attrs.define(eq=False)
class _Run:
    """One run: the host, one fault or none, and how it ended."""

    host: Callable[[Steps], Callable[[], object]]
    fault: Fault | None = None
    at: Taken | None = None
    retried: bool = attrs.field(default=True, kw_only=True)
    distinct: bool = attrs.field(default=False, kw_only=True)
    played: Play = attrs.field(init=False)
    steps: Steps = attrs.field(init=False)
    stuck: list[str] = attrs.field(init=False, factory=list)
    _owed: bool = attrs.field(init=False, default=False)

    def play(self) -> None:
        """Build the host, run its handler, and let everything come to its end."""
        self.played = Play(self.fault, self.at)
        self.steps = Steps(self.played)
        try:
            self._play(self.host(self.steps))
        finally:
            self.played.ends.close()

    def _play(self, handler: Callable[[], object]) -> None:
        if not callable(handler):
            raise InvalidInput("host", "must return the handler, a function without arguments")
        other = self.played.other or handler
        self._owed = self.played.other is not None
        self.played.start(lambda: self._interleave(other))
        failure = self._attempt(handler)
        self.played.stop(failed=failure is not None)
        if self.fault is None and failure is not None:
            raise failure
        if self.at is not None and len(self.played.taken) < self.at.step.number:
            raise InvalidInput(
                "host",
                f"takes other steps each time: never came to {self.at.step}; does each run begin with nothing stored?",
            ) from failure
        if self.played.astray is not None:
            raise InvalidInput("host", self.played.astray)
        if failure is not None and self.retried:
            self._again("the handler", handler)
        if self._owed and (self.retried or self.played.other is not None):
            self._owed = not self._again("the other worker", other, first=0.0)
        if self.fault is Fault.OUTAGE:
            self._outlast()
            if self._owed:
                self._again("the other worker", other)
        self._settle()

    def _interleave(self, other: Callable[[], object]) -> None:
        # Its client tries twice before the first worker goes on.
        self._owed = self._attempt(other) is not None and self._attempt(other) is not None

    def _attempt(self, action: Callable[[], object]) -> Exception | None:
        """Return why its client has to come back, or None."""
        try:
            answer = _read(action())
        except Exception as error:  # noqa: BLE001 - whatever a host raises
            return error
        except BaseException:
            if not self.played.killed:
                raise
            return RuntimeError("the process was killed")
        if inspect.isawaitable(answer):
            raise InvalidInput("host", "must return a synchronous handler: call asyncio.run in it")
        if self.played.killed:  # something swallowed it, but no answer has left a killed process
            return RuntimeError("the process was killed")
        status: Any = getattr(answer, "status_code", None)
        if not isinstance(status, int) or status < 400:  # noqa: PLR2004
            return None
        if self.fault is None:
            raise InvalidInput("host", f"the handler answered {status} without any fault")
        return RuntimeError(f"answered {status}") if status >= 500 or status in _AGAIN else None  # noqa: PLR2004

    def _again(self, who: str, action: Callable[[], object], first: float = _RETRIES[0]) -> bool:
        """Let a client come back until it has its answer; whether it had one."""
        failure: Exception | None = None
        for wait in (first, *_RETRIES[first > 0 :]):
            self.steps.clock.advance(wait)
            failure = self._attempt(action)
            self.played.stop(failed=failure is not None)
            if failure is None:
                return True
            if self.fault is None:
                raise failure
        if not self.played.is_out:
            self.stuck.append(f"{who} still fails after an hour: {_why(failure)}")
        return False

    def _outlast(self) -> None:
        for _ in range(_OUTAGE_ROUNDS):
            self.steps.clock.advance(_OUTAGE_SECONDS / _OUTAGE_ROUNDS)
            for job in self.played.jobs:
                self._attempt(job)
        self.played.recover()

    def _settle(self) -> None:
        """Let the jobs run until nothing happens any more."""
        quiet = 0
        for _ in range(_ROUNDS if self.played.jobs else 0):
            self.steps.clock.advance(_ROUND_SECONDS)
            before = len(self.played.deliveries())
            busy = [why for job in self.played.jobs for why in self._busy(job)]
            quiet = quiet + 1 if not busy and len(self.played.deliveries()) == before else 0
            if quiet == _QUIET:
                left = sum(count() for count in self.played.left)
                if left:
                    self.stuck.append(
                        f"{left} of the store's states are never settled (tracker.parked() lists refused events)"
                    )
                return
        if self.played.jobs:
            why = busy[0] if busy else "they go on sending"
            self.stuck.append(f"the jobs come to no end in {_ROUNDS} rounds: {why}")

    def _busy(self, job: Callable[[], object]) -> Iterator[str]:
        results: list[Any] = []
        failure = self._attempt(lambda: results.append(job()))
        if failure is not None:
            yield _why(failure)
        for name in ("failed", "in_flight", "more"):
            if any(getattr(result, name, 0) for result in results):
                yield f"a sweep has {name.replace('_', ' ')}"

    # What it came to

    @property
    def seconds(self) -> Expected:
        """What the calculator adds up."""
        return calculator_seconds(self.played.deliveries(), distinct=self.distinct)

    def findings(self, wanted: Expected) -> Iterator[CrashFinding]:
        """Yield what was lost, doubled or stuck."""
        step = self.at.step if self.at is not None else self._last_sent()
        found = dict.fromkeys(wanted, 0.0)
        for key, seconds in self.seconds.items():
            known = next((name for name in wanted if _same(key, name)), key)
            found[known] = found.get(known, 0.0) + seconds
        counts = Counter(str(event["id"]) for event in self.played.deliveries())
        repeated = any(count > 1 for count in counts.values())
        wrong = [key for key, seconds in found.items() if round(seconds - wanted.get(key, 0.0), 3)]
        stuck = self.stuck[0] if self.stuck else ""
        for key in wrong:
            who, what = unquote(key[0].rpartition("/users/")[2]), key[1]
            yield CrashFinding(self.fault, step, who, what, wanted.get(key, 0.0), found[key], repeated, stuck)
        if stuck and not wrong:
            yield CrashFinding(self.fault, step, stuck=stuck)

    def _last_sent(self) -> Step | None:
        taken = self.played.taken
        sent = [found.step for found in taken if found.step.sends] or [found.step for found in taken]
        return sent[-1] if sent else None


def _read(answer: Any) -> Any:
    """Return an answer, read to its end as its client does: what a host streams happens only then."""
    if inspect.isgenerator(answer):
        for _ in answer:
            pass
    for name in ("get_data", "getvalue"):  # Flask's test client, Django's
        read = getattr(answer, name, None)
        if callable(read) and hasattr(answer, "status_code"):
            read()
    return answer


def _why(failure: Exception | None) -> str:
    return f"{type(failure).__name__}: {without_emails(str(failure))}"[:200].removesuffix(": ")


def _expected(item: tuple[Any, Any]) -> tuple[tuple[str, str], float]:
    match item:
        case ((Reader() | str() as reader, Activity() | str() as article), seconds):
            return (
                reader.sourced_id if isinstance(reader, Reader) else reader,
                article.resource_id if isinstance(article, Activity) else article,
            ), to_seconds(to_ms(seconds, "expected"))
    raise InvalidInput("expected", "must name reader and article of all seconds, such as {(reader, article): 60}")


def _same(key: tuple[str, str], name: tuple[str, str]) -> bool:
    if key == name:
        return True
    (actor, resource), (who, what) = key, name
    named = unquote(what.rpartition("/resources/")[2])
    return is_named(actor, who) and (unquote(resource) == named or reduced(named) == resource)
