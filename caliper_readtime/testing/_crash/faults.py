"""PURE: what can go wrong at a step, and what a step is."""

from __future__ import annotations

from enum import StrEnum

import attrs


class Fault(StrEnum):
    """What goes wrong at one step; everything else of the run goes well."""

    CRASH_BEFORE = "killed before"  #: the process is killed just before the effect
    CRASH_AFTER = "killed after"  #: the effect happened, and the process was killed before it saw the answer
    UNREACHABLE = "no connection at"  #: a time-out, and nothing happened
    LOST_ANSWER = "lost answer at"  #: a time-out, though it happened
    UNAVAILABLE = "answer 503 at"  #: a watched ``CaliperEndpoint`` says so, and nothing happened
    LATE = "late effect of"  #: a time-out, and it happens once the handler has given up
    MEANWHILE = "another worker before"  #: a second run, from its beginning to its end, just before the effect
    OUTAGE = "outage for ten days from"  #: what the events are sent with fails from this step on


class Crash(BaseException):
    """The process was killed. No ``except Exception`` sees it, and until it is restarted no further effect happens."""


@attrs.frozen
class Step:
    """One effect of a handler.

    Attributes:
        number: from 1, in the order of a run without faults.
        name: client and method, such as ``store.update``.
        file: the host's source file whose code was executing.
        line: its line.
        function: the function that the line belongs to.
        sends: events arrived during it.
    """

    number: int
    name: str
    file: str
    line: int
    function: str
    sends: bool = False

    def __str__(self) -> str:
        return f"step {self.number}, {self.name} ({self.file}:{self.line} in {self.function})"


@attrs.frozen
class Taken:
    """What the run without faults has shown of a step.

    Attributes:
        step: the step.
        client: the root client that took it.
        reached: which of the watched loopback endpoints were asked during it.
        fluent: it returned the client itself, as a buffered command of a pipeline does, so that no answer can be lost.
    """

    step: Step
    client: str
    reached: tuple[int, ...] = ()
    fluent: bool = False
