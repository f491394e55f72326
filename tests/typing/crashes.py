"""Types: a host's test of its own wiring."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from typing import Any, assert_type

from caliper_readtime import Article, ReadTimePolicy, ReadTimeTracker, TimeSpentEvents
from caliper_readtime.protocols import Emitter, StateStore
from caliper_readtime.testing import (
    CaliperEndpoint,
    CrashFinding,
    CrashFindings,
    CrashReport,
    Fault,
    ManualClock,
    RecordingEmitter,
    Step,
    Steps,
    crash_every_step,
)


def with_a_tracker(steps: Steps) -> Callable[[], object]:
    """Build the parts that a host passes to its tracker."""
    assert_type(steps.clock, ManualClock)
    assert_type(steps.store(), StateStore)
    assert_type(steps.emitter(RecordingEmitter()), Emitter)
    events = TimeSpentEvents("https://app.example.org", "App", "https://oneroster.example.org")
    tracker = steps.tracker(events=events, policy=ReadTimePolicy(lock_seconds=60))
    assert_type(tracker, ReadTimeTracker)
    return lambda: tracker.finalize("u1", "r1")


def by_hand(steps: Steps) -> Callable[[], object]:
    """Build a flow that uses a client of the host's own."""
    endpoint = CaliperEndpoint()
    steps.at_end(endpoint.close)
    steps.watch(endpoint)
    database = steps.wrap(
        sqlite3.connect(":memory:"), name="database", methods={"execute"}, makers={"cursor"}, error=TimeoutError
    )
    assert_type(database, sqlite3.Connection)
    steps.after_crash(dict[str, str]().clear)
    steps.job(lambda: None)
    steps.meanwhile(lambda: None)
    assert_type(steps.deliveries(), list[Mapping[str, Any]])
    return database.commit


def judged(article: Article) -> tuple[str, ...]:
    """Run both, and read what is found."""
    report = crash_every_step(with_a_tracker, expected={("u1", article): 60}, faults=[Fault.LATE])
    assert_type(report, CrashReport)
    try:
        crash_every_step(by_hand, retried=False, distinct=True)
    except CrashFindings as error:
        report = error.report
    finding: CrashFinding = report.findings[0]
    assert_type(finding.fault, Fault | None)
    step: Step = report.steps[0]
    return (str(step), finding.result, finding.advice)
