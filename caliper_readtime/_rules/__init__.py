"""PURE: every rule of the accounting, as frozen transitions on a state, and the table of all of them."""

from __future__ import annotations

from typing import Any, Final

from caliper_readtime._rules.claim import AcquireClaim, Acquired, AcquireResult, Caller, Defer, Unpark
from caliper_readtime._rules.heartbeat import SIGNAL_RULES, Counted, Signal, other_duration
from caliper_readtime._rules.outcome import MAX_REJECTIONS, Commit, CommitResult, Park, ParkResult, Release, Renew
from caliper_readtime._rules.state import Phase
from caliper_readtime._rules.steps import Rule, Verb

__all__ = [
    "MAX_REJECTIONS",
    "TABLE",
    "AcquireClaim",
    "AcquireResult",
    "Acquired",
    "Caller",
    "Commit",
    "CommitResult",
    "Counted",
    "Defer",
    "Park",
    "ParkResult",
    "Release",
    "Renew",
    "Rule",
    "Signal",
    "Unpark",
    "Verb",
    "other_duration",
]

_VERBS: tuple[type[Verb[Any]], ...] = (AcquireClaim, Commit, Release, Renew, Park, Defer, Unpark)

#: The state machine: for every phase and verb the function that runs and the phases that it may leave.
TABLE: Final[dict[tuple[Phase, str], Rule]] = {
    **{(phase, "signal"): SIGNAL_RULES[phase] for phase in Phase},
    **{(phase, verb.name): verb.rules[phase] for verb in _VERBS for phase in Phase},
}
