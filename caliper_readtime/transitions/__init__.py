"""PURE: every rule of the accounting, as frozen transitions on a state, and the table of all of them."""

from __future__ import annotations

from typing import Any, Final

from caliper_readtime.state import Phase
from caliper_readtime.transitions.claim import Caller, Take, Taken, Took
from caliper_readtime.transitions.defer import Defer, Unpark
from caliper_readtime.transitions.outcome import MAX_REFUSALS, Accepted, Commit, Refuse, Refused, Release, Renew
from caliper_readtime.transitions.signal import SIGNAL_RULES, Counted, Signal, other_duration
from caliper_readtime.transitions.steps import Rule, Verb

__all__ = [
    "MAX_REFUSALS",
    "TABLE",
    "Accepted",
    "Caller",
    "Commit",
    "Counted",
    "Defer",
    "Refuse",
    "Refused",
    "Release",
    "Renew",
    "Rule",
    "Signal",
    "Take",
    "Taken",
    "Took",
    "Unpark",
    "Verb",
    "other_duration",
]

_VERBS: tuple[type[Verb[Any]], ...] = (Take, Commit, Release, Renew, Refuse, Defer, Unpark)

#: The state machine: for every phase and verb the function that runs and the phases that it may leave.
TABLE: Final[dict[tuple[Phase, str], Rule]] = {
    **{(phase, "signal"): SIGNAL_RULES[phase] for phase in Phase},
    **{(phase, verb.__name__.lower()): verb.rules[phase] for verb in _VERBS for phase in Phase},
}
