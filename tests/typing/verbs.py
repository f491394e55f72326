"""Types: the tracker's verbs, the values that go in and come out, emitters, the sweeper, doctor and command line."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, assert_type

from matplotlib.figure import Figure

import caliper_readtime
from caliper_readtime import (
    Accumulation,
    Activity,
    App,
    Article,
    ArticleReconciliation,
    ConfigurationError,
    ContentionError,
    CorruptState,
    Course,
    EmitError,
    Emitter,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    EventSum,
    Explanation,
    FlushReport,
    HistoryEntry,
    HttpCaliperEmitter,
    InMemoryStateStore,
    InvalidInput,
    JsonLinesEmitter,
    MissingField,
    Outcome,
    PageView,
    ParkedEvent,
    Reader,
    ReadTimeError,
    ReadTimePolicy,
    ReadTimeState,
    ReadTimeTracker,
    Reconciliation,
    RedisStateStore,
    Report,
    SqliteStateStore,
    StateStore,
    Status,
    Stop,
    StoreError,
    StoreUnavailable,
    Subject,
    Sweeper,
    SweepReport,
    TimeSpentEvents,
)
from caliper_readtime._policy import Completion
from caliper_readtime._records import Rows
from caliper_readtime._rules.event import ActivityIds
from caliper_readtime.cli import FAILED, OK, UNHEALTHY, USAGE, add_commands, main, run
from caliper_readtime.doctor import Finding, Level, examine
from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.notebook import draw_timeline
from caliper_readtime.testing import assert_reported


def values() -> tuple[Reader, Article, TimeSpentEvents, ReadTimePolicy]:
    """Build what goes in, by position and by name."""
    assert_type(caliper_readtime.__version__, str)
    reader = Reader("u1", email="s@example.org")
    course = Course("Biology", id="c1")
    article = Article("nice_x1", "Leaves", "https://app.example.org/1", course, subject=Subject.SCIENCE)
    assert_type(article.course, Course | None)
    assert_type(article.subject, Subject)
    video = Activity("nice_v1", "Owls", article.url, kind="video", attempt=2, words=800, extensions={"runId": "1"})
    assert_type(video.extensions, dict[str, Any])
    assert_type(video.words, int | None)
    events = TimeSpentEvents("https://app.example.org", App("App", "https://app.example.org"), "https://r.example.org")
    TimeSpentEvents(events.sensor, events.app, events.oneroster_url, activity_ids=ActivityIds.PLAIN, ed_app=None)
    assert_type(events.actor_id("u1"), str)
    assert_type(events.activity_id("nice_x1"), str)
    event = events.event(reader, article, event_id="e", generated_id="g", seconds=1, started_at_ms=0, ended_at_ms=1000)
    assert_type(event, dict[str, Any])
    assert_type(events.envelope([event], sent_ms=0), dict[str, Any])
    policy = ReadTimePolicy(heartbeat_seconds=10, max_delta_seconds=None, completion=Completion.DEFER)
    assert_type(policy.lock_seconds, float)
    assert_type(policy.completion, Completion)
    return reader, article, events, policy


def built(url: str, path: Path, listener: list[Report]) -> ReadTimeTracker:
    """Build trackers, from parts and from settings."""
    _, _, events, policy = values()
    redis = RedisStateStore.from_url(url, connect_timeout_seconds=1, timeout_seconds=2, namespace="a")
    assert_type(redis, RedisStateStore)
    RedisStateStore(redis.client, namespace="b", shards=16, claim_replicas=1, claim_fsync=True)
    stores: list[StateStore] = [InMemoryStateStore(), SqliteStateStore(path), SqliteStateStore("a.db"), redis]
    token = ClientCredentials(url, "id", "secret", scope="send", timeout=5, leeway_seconds=60)
    token.renew()
    http = HttpCaliperEmitter(url, auth=token, timeout=(1, 5), attempts=4, deadline_seconds=20, read_back=True)
    http.bind_sensor("https://app.example.org")
    http.validate([])
    assert_type(http.held(["urn:uuid:1"]), frozenset[str])
    assert_type(http.deadline_seconds, float)
    assert_type(http.max_batch, int)
    lines = JsonLinesEmitter(path, fsync=False)
    lines.emit([])
    emitters: list[Emitter] = [http, lines]
    with ReadTimeTracker(stores[0], emitters[0], events, policy, lambda: datetime.now(UTC), on_report=listener.append):
        pass
    ReadTimeTracker(stores[1]).close()
    assert_type(ReadTimeTracker.from_settings({"STORE": "memory"}, policy=policy), ReadTimeTracker)
    return ReadTimeTracker.from_env({"CALIPER_READTIME_STORE": "memory"}, emitter=lines)


def counted(tracker: ReadTimeTracker) -> ReadTimeState:
    """Bring time in."""
    reader, article, _, _ = values()
    first = tracker.accumulate(reader, article, 10, position_seconds=1.5, duration_seconds=60, heartbeat_id="h1")
    assert_type(first, Accumulation)
    view = PageView("v1", 20.0, acknowledged_seconds=10)
    tracker.observe_page("u1", "nice_x1", view, until=tracker.now(), defer=True)
    second = tracker.observe("u1", "nice_x1", view, opened_at=tracker.now(), position_seconds=1, duration_seconds=60)
    assert_type(second.accepted_seconds, float)
    assert_type(second.clamped_seconds, float)
    assert_type(second.duplicate, bool)
    assert_type(second.report, Report | None)
    return second.state


def reported(tracker: ReadTimeTracker, state: ReadTimeState) -> Outcome:
    """Send it."""
    report = tracker.partial(state.reader_sourced_id, state.resource_id, defer=True)
    assert_type(report, Report)
    assert_type(report.event_ids, tuple[str, ...])
    assert_type(report.error, EmitError | None)
    assert_type(report.retry_at, datetime | None)
    assert_type(report.delta_seconds, float)
    flushed = tracker.flush_reader("u1", resource_ids=["nice_x1"], wait_seconds=2, confirm=True)
    assert_type(flushed, FlushReport)
    assert_type(flushed.confirmed, bool | None)
    flushed.raise_unless_settled()
    found = tracker.reconcile("u1", repair=True, settle_seconds=60)
    assert_type(found, Reconciliation)
    assert_type(found.articles, tuple[ArticleReconciliation, ...])
    assert_type(found.balanced and found.articles[0].balanced, bool)
    assert_type(found.articles[0].missing, EventSum)
    swept = tracker.sweep(idle_seconds=0, limit=10, budget_seconds=5)
    assert_type(swept, SweepReport)
    assert_type(swept.reports, tuple[Report, ...])
    assert_type(tracker.sweep_while(lambda reports: len(reports) < 5, limit=10), SweepReport)
    assert_type(tracker.send_deferred([("u1", "nice_x1")]), SweepReport)
    assert_type(tracker.unpark("u1", "nice_x1"), Report)
    return tracker.finalize("u1", "nice_x1").outcome


def looked_at(tracker: ReadTimeTracker) -> None:
    """Look inside, and erase."""
    state = tracker.state("u1", "nice_x1")
    assert_type(state, ReadTimeState | None)
    assert_type(tracker.states("u1"), Rows[ReadTimeState])
    assert_type(tracker.states("u1").to_records(), list[dict[str, Any]])
    assert_reported(tracker, "u1", "nice_x1", 0)
    assert_type(draw_timeline(tracker.states("u1"), held=["urn:uuid:1"]), Figure)
    for one in tracker.states("u1"):
        assert_type(one.cumulative_read_time_seconds, float)
        assert_type(one.reported_read_time_seconds, float)
        assert_type(one.unreported_seconds, float)
        assert_type(one.unreported_ms, int)
        assert_type(one.clamped_seconds, float)
        assert_type(one.beside_seconds, float)
        assert_type(one.canonical_duration_seconds, float | None)
        assert_type(one.position_seconds, float | None)
        assert_type(one.depth, float | None)
        assert_type(one.words_per_minute, float | None)
        assert_type(one.first_server_sync_at, datetime)
        assert_type(one.last_server_sync_at, datetime)
        assert_type(one.finalized_at, datetime | None)
        assert_type(one.in_flight, bool)
        assert_type(one.due_at, datetime | None)
        assert_type(one.attempts, int)
        assert_type(one.last_error, str | None)
        assert_type(one.history, Rows[HistoryEntry])
        assert_type(one.parked, Rows[ParkedEvent])
    assert_type(tracker.parked(limit=5)[0].claimable, bool)
    status = tracker.status()
    assert_type(status, Status)
    assert_type(status.oldest_unreported_at, datetime | None)
    explanation = tracker.explain("u1", "nice_x1")
    assert_type(explanation, Explanation)
    assert_type(explanation.lines, tuple[str, ...])
    assert_type(tracker.forget("u1"), int)
    assert_type(tracker.store, StateStore)
    assert_type(tracker.emitter, Emitter | None)
    assert_type(tracker.events, TimeSpentEvents | None)
    assert_type(tracker.policy, ReadTimePolicy)
    assert_type(tracker.now(), datetime)


def failed(error: ReadTimeError) -> object:
    """Catch each error, and read what it carries."""
    match error:
        case MissingField() | InvalidInput():
            assert_type(error.field, str)
            return ValueError(error)
        case CorruptState() | ContentionError() | StoreUnavailable() | StoreError() | ConfigurationError():
            return None
        case EventRejected():
            return error.body
        case EndpointRefused() | EmitterUnavailable():
            assert_type(error.retry_after_seconds, float | None)
            return error.retry_after_seconds
        case EmitError():
            assert_type(error.event_ids, tuple[str, ...])
            assert_type(error.status, int | None)
            return error.status
        case _:
            raise EmitterUnavailable("away", event_ids=["e"], status=503, retry_after_seconds=2) from error


def swept_again(tracker: ReadTimeTracker, rounds: list[SweepReport | Exception]) -> bool:
    """Sweep in a thread, in this one, and once."""
    stop: Stop = threading.Event()
    assert_type(stop.is_set(), bool)
    assert_type(stop.wait(1.0), bool)
    with Sweeper(tracker, interval_seconds=60, jitter=0.1, on_round=rounds.append, on_progress=len) as sweeper:
        assert_type(sweeper.running, bool)
        assert_type(sweeper.run_once(stop), SweepReport)
        sweeper.run(stop)
        sweeper.start()
        return sweeper.stop(timeout=5)


def operated(tracker: ReadTimeTracker, parser: argparse.ArgumentParser) -> int:
    """Mount the command line, and ask the doctor."""
    findings = examine(tracker)
    assert_type(findings, tuple[Finding, ...])
    worst: Mapping[Level, int] = {Level.OK: OK, Level.WARN: UNHEALTHY, Level.ERROR: FAILED}
    add_commands(parser)
    codes = run(parser.parse_args(), tracker), main(["status"], tracker), USAGE
    assert_type(codes[0], int)
    return max(*codes, *(worst[finding.level] for finding in findings))
