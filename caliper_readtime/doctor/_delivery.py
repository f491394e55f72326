"""PURE: judges clocks, the lease, the endpoint's answer and the last sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caliper_readtime._inspection import SWEEP_SECONDS
from caliper_readtime._units import plural
from caliper_readtime.doctor._findings import Finding, error, ok, warn
from caliper_readtime.errors import EndpointRefused, EventRejected

if TYPE_CHECKING:
    from datetime import datetime

#: Clocks may differ by so many seconds before it is worth a look.
SKEW_SECONDS: Final = 2.0
#: Part of the lease that should be left when an emission has used its whole deadline.
SPARE: Final = 0.1
#: Without a sweep for this many seconds time piles up.
SWEEP_LONG_SECONDS: Final = 3600.0

# Answers of an endpoint that is there, and takes these credentials as far as it looked, but cannot validate.
_CANNOT_VALIDATE: Final = (404, 405, 501)


def judge_skew(name: str, seconds: float) -> Finding:
    """Judge by how much a server's clock is ahead of (or, negative, behind) this host's."""
    text = f"{name}: its clock is within {SKEW_SECONDS:g} s of this host's"
    if abs(seconds) <= SKEW_SECONDS:
        return ok("clock.skew", text)
    way = "ahead of" if seconds > 0 else "behind"
    return warn(
        "clock.skew",
        f"{name}: its clock is {abs(seconds):.1f} s {way} this host's",
        "let NTP keep both: readers' time goes by the store's clock, logs and envelopes by the host's",
    )


def judge_lease(deadline_seconds: float | None, lock_seconds: float) -> Finding:
    """Judge whether an emission surely ends within a claim's lease."""
    if deadline_seconds is None:
        return warn(
            "emitter.deadline",
            "the emitter states no deadline: one that takes longer than the lease is sent by two owners",
            f"give it a deadline_seconds below the policy's lock_seconds ({lock_seconds:g} s)",
        )
    text = f"an emission takes at most {deadline_seconds:g} s, a claim's lease {lock_seconds:g} s"
    if deadline_seconds > (1 - SPARE) * lock_seconds:
        return warn("emitter.deadline", text, "leave more room: late emissions are put off to the next sweep")
    return ok("emitter.deadline", text)


def judge_validation(name: str, problem: Exception | None) -> Finding:
    """Judge what became of an example event at the endpoint's validation."""
    check = "endpoint.validate"
    if problem is None:
        return ok(check, f"{name}: answers, takes these credentials and our events")
    status = getattr(problem, "status", None)
    if isinstance(problem, EventRejected):
        return warn(
            check,
            f"{name}: answers and takes these credentials, but would not take an example event: {problem}",
            "compare sensor, app and OneRoster URL with what the endpoint expects; it may also know no such example",
        )
    if isinstance(problem, EndpointRefused) and status in _CANNOT_VALIDATE:
        return warn(
            check,
            f"{name}: answers, but has no …/validate ({status}), so URL and credentials are not proved",
            "look at the endpoint's path, and whether the next sweep sends",
        )
    if isinstance(problem, EndpointRefused):
        return error(check, str(problem), "correct URL or credentials; nothing is lost meanwhile")
    return error(check, str(problem), "look at the endpoint and the network; nothing is lost meanwhile")


def judge_unsent(asked: int, held: int) -> Finding:
    """Judge how many of the events that the store takes for unsent the endpoint holds all the same."""
    text = f"the endpoint holds {held} of {plural(asked, 'event')} waiting to be sent again"
    if not held:
        return ok("store.older", text)
    return warn(
        "store.older",
        f"{text}: answers were lost, or the store is a restored copy that is older than what the endpoint holds",
        "after a restore use an emitter with read_back, so that they are asked for first, and compare each reader's"
        " account by `caliper-readtime audit`: what was claimed after the copy was made goes out under new ids",
    )


def judge_last_sweep(last: datetime | None, now: datetime) -> Finding:
    """Judge whether somebody comes back for what browsers and workers left behind."""
    hint = "run `caliper-readtime sweep` every minute, or a Sweeper: docs/how-to/operate.md"
    if last is None:
        return warn("sweep.last", "no sweep has ever run", hint)
    age = (now - last).total_seconds()
    text = f"the last sweep ran {age:.0f} s ago"
    if age > SWEEP_LONG_SECONDS:
        return error("sweep.last", text, hint)
    return warn("sweep.last", text, hint) if age > SWEEP_SECONDS else ok("sweep.last", text)
