"""The doctor: what it finds on stores, servers, clocks and endpoints, and what it advises."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    HttpCaliperEmitter,
    InMemoryStateStore,
    ReadTimePolicy,
    ReadTimeTracker,
    SqliteStateStore,
    StoreUnavailable,
)
from caliper_readtime.doctor import Level, examine
from caliper_readtime.doctor._judging import judge, judge_last_sweep, judge_lease, judge_skew, judge_validation
from caliper_readtime.testing import CaliperEndpoint, ManualClock, RecordingEmitter
from caliper_readtime.testing._endpoint import Answer
from tests.scenes import ANNA, OWLS, events

NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
SOUND = {
    "kind": "redis",
    "redis_version": "7.2.4",
    "role": "master",
    "loading": 0,
    "maxmemory": 100,
    "used_memory": 50,
    "maxmemory_policy": "noeviction",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "rdb_last_bgsave_status": "ok",
    "connected_slaves": 1,
    "slave0": {"ip": "10.0.0.2", "port": 6379, "state": "online", "offset": 1, "lag": 0},
    "socket_timeout": 2.0,
    "socket_connect_timeout": 1.0,
    "claim_replicas": 1,
    "claim_fsync": False,
    "claim_wait_seconds": 1.0,
}


def levels(findings):
    """The findings that are not fine, by their names."""
    return {found.id: found.level for found in findings if found.level is not Level.OK}


def test_a_sound_server():
    """Nothing is wrong with it, and every check says so."""
    findings = judge("Redis at h:6379", SOUND)
    assert levels(findings) == {}
    assert {found.id for found in findings} == {
        "redis.version",
        "redis.eviction",
        "redis.persistence",
        "redis.replication",
        "redis.timeouts",
    }


@pytest.mark.parametrize(
    ("facts", "name", "level", "advice"),
    [
        ({"redis_version": "6.0.16"}, "redis.version", "error", "upgrade"),
        ({"role": "slave"}, "redis.role", "error", "point the URL at the master"),
        ({"loading": 1}, "redis.loading", "error", "wait"),
        ({"maxmemory_policy": "allkeys-lru"}, "redis.eviction", "error", "noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, "redis.eviction", "error", "noeviction"),
        ({"maxmemory_policy": None}, "redis.eviction", "warn", "noeviction"),
        ({"used_memory": 90}, "redis.memory", "warn", "give it more"),
        ({"aof_last_write_status": "err"}, "redis.persistence", "error", "disk"),
        ({"aof_enabled": 0}, "redis.persistence", "warn", "appendonly yes"),
        ({"aof_enabled": 0, "save": "900 1"}, "redis.persistence", "warn", "appendonly yes"),
        ({"aof_enabled": 0, "save": ""}, "redis.persistence", "error", "appendonly yes"),
        ({"aof_enabled": 0, "rdb_last_bgsave_status": "err"}, "redis.persistence", "error", "disk"),
        ({"aof_enabled": 0, "claim_fsync": True}, "redis.persistence", "error", "claim_fsync"),
        ({"aof_enabled": None}, "redis.persistence", "warn", "INFO"),
        ({"claim_replicas": 2}, "redis.replication", "error", "claim_replicas"),
        ({"slave0": {"state": "wait_bgsave"}}, "redis.replication", "error", "bring replicas back"),
        ({"claim_replicas": 0}, "redis.replication", "warn", "set claim_replicas"),
        ({"socket_timeout": None}, "redis.timeouts", "error", "2 and 1 seconds"),
        ({"socket_connect_timeout": None}, "redis.timeouts", "error", "2 and 1 seconds"),
        ({"claim_wait_seconds": 2.0}, "redis.timeouts", "error", "claim_wait_seconds"),
        (
            {"socket_timeout": 30.0, "claim_replicas": 0, "connected_slaves": 0, "slave0": None},
            "redis.timeouts",
            "warn",
            "2 seconds",
        ),
    ],
)
def test_what_is_wrong_with_a_server(facts, name, level, advice):
    """One finding of the right weight, with what to do."""
    findings = judge("Redis at h:6379", {**SOUND, **facts})
    assert levels(findings) == {name: level}
    (found,) = (found for found in findings if found.id == name)
    assert advice in found.hint
    assert found.text.startswith("Redis at h:6379: ")


def test_a_server_that_may_not_be_asked():
    """Without INFO there are only warnings of what is not known."""
    findings = judge("Redis at h:6379", {"kind": "redis", "socket_timeout": 2.0, "socket_connect_timeout": 1.0})
    assert levels(findings) == {"redis.eviction": "warn", "redis.persistence": "warn"}


@pytest.mark.parametrize(
    ("facts", "found"),
    [
        ({"exists": False}, {"sqlite.file": "error"}),
        ({"exists": True, "writable": False}, {"sqlite.file": "error"}),
        ({"exists": True, "writable": True, "journal_mode": "delete"}, {"sqlite.wal": "error"}),
        ({"readable_by_others": ["f-wal"]}, {"sqlite.rights": "warn"}),
        ({"free_bytes": 10 * 2**20}, {"sqlite.disk": "error"}),
        ({"free_bytes": 100 * 2**20}, {"sqlite.disk": "warn"}),
        ({"free_bytes": 2**30, "journal_mode": "wal", "writable": True}, {}),
    ],
)
def test_what_is_wrong_with_a_file(facts, found):
    """A file that is gone or read-only, no WAL, no room."""
    assert levels(judge("f", {"kind": "sqlite", **facts})) == found


def test_a_real_file(tmp_path):
    """A fresh file is sound; one that somebody has removed is not, and looking does not make it again."""
    path = tmp_path / "readtime.db"
    with closing(SqliteStateStore(path)) as store:
        ((name, facts),) = store.info().items()
        assert str(path) in name
        assert {key: facts[key] for key in ("exists", "writable", "journal_mode")} == {
            "exists": True,
            "writable": True,
            "journal_mode": "wal",
        }
        for left in tmp_path.iterdir():
            left.unlink()
        assert levels(judge(*next(iter(store.info().items())))) == {"sqlite.file": "error"}
        assert not path.exists()


def test_stores_of_other_kinds():
    """Memory is a warning; what nobody knows is not judged."""
    assert levels(judge("m", {"kind": "memory"})) == {"memory.volatile": "warn"}
    assert [found.id for found in judge("x", {"kind": "tape"})] == ["store.unknown"]


def test_clocks():
    """Two seconds either way are fine."""
    assert judge_skew("s", 2.0).level is Level.OK
    assert "3.0 s ahead of" in judge_skew("s", 3.0).text
    assert "3.0 s behind" in judge_skew("s", -3.0).text
    assert judge_skew("s", -3.0).level is Level.WARN


def test_the_lease():
    """An emitter needs a deadline, and some room below the lease."""
    assert judge_lease(20, 30).level is Level.OK
    assert judge_lease(29, 30).level is Level.WARN
    assert judge_lease(None, 30).level is Level.WARN


def test_the_last_sweep():
    """Ten minutes are worth a look, an hour is an error."""
    ages = (None, 0, 600, 601, 3601)
    found = [judge_last_sweep(None if age is None else NOW - timedelta(seconds=age), NOW).level for age in ages]
    assert found == ["warn", "ok", "ok", "warn", "error"]


def test_what_an_endpoint_may_say():
    """Only an answer that proves nothing, or blames the example, is no error."""
    said = {
        None: Level.OK,
        EventRejected("h answered 422", status=422): Level.WARN,
        EndpointRefused("h answered 404", status=404): Level.WARN,
        EndpointRefused("h answered 401", status=401): Level.ERROR,
        EndpointRefused("h answered 301", status=301): Level.ERROR,
    }
    assert {problem: judge_validation("h", problem).level for problem in said} == said


def found_by(tracker):
    return {found.id: found for found in examine(tracker)}


def test_an_installation_that_is_well(tmp_path):
    """Every check of a real file and a real endpoint, and nothing is kept by either."""
    with CaliperEndpoint() as endpoint, closing(SqliteStateStore(tmp_path / "x.db")) as store:
        endpoint.token = "t"  # noqa: S105 - a word for a test
        emitter = HttpCaliperEmitter(endpoint.url, auth=lambda r: r.headers.update(Authorization="Bearer t") or r)
        with closing(emitter):
            tracker = ReadTimeTracker(store, emitter, events())
            tracker.accumulate(ANNA, OWLS, 0)
            tracker.sweep()
            found = found_by(tracker)
        assert {name: one.level for name, one in found.items() if name != "sqlite.disk"} == {
            "sqlite.file": "ok",
            "sqlite.rights": "ok",
            "sqlite.wal": "ok",
            "clock.skew": "ok",
            "emitter.deadline": "ok",
            "endpoint.validate": "ok",
            "sweep.last": "ok",
        }
        assert "sqlite.disk" in found
        assert endpoint.events == ()
        assert store.keys("caliper-readtime-doctor") == ()


@pytest.mark.parametrize(
    ("behaviour", "level", "words"),
    [
        (Answer(404, ""), "warn", "has no …/validate"),
        (Answer(403, ""), "error", "403"),
        (Answer(302, "", {"Location": "https://elsewhere.example/"}), "error", "redirects"),
        (Answer(400, ""), "warn", "would not take an example event"),
    ],
)
def test_an_endpoint_that_is_not(behaviour, level, words):
    """What it answers, and what to do."""
    with CaliperEndpoint() as endpoint:
        endpoint.misbehave_always(behaviour)
        with closing(HttpCaliperEmitter(endpoint.url)) as emitter:
            found = found_by(ReadTimeTracker(InMemoryStateStore(), emitter, events()))["endpoint.validate"]
    assert found.level == level
    assert words in found.text
    assert found.hint


def test_an_emitter_of_somebody_elses_fails_in_its_own_way():
    """Whatever its validation or its read-back raises is a finding without its words, and the other checks are made."""

    class Foreign(RecordingEmitter):
        def validate(self, batch, /):
            raise OSError("token hunter2")

        def held(self, event_ids, /):
            raise OSError("token hunter2")

    clock, emitter = ManualClock(NOW), Foreign()
    tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events(), clock=clock)
    tracker.accumulate(ANNA, OWLS, 10)
    emitter.emit = emitter.held
    with pytest.raises(EmitterUnavailable):
        tracker.partial(ANNA, OWLS)
    clock.advance(3600)
    found = found_by(tracker)
    assert found["endpoint.validate"].level is Level.ERROR
    assert "failed with OSError" in found["endpoint.validate"].text
    assert "sweep.last" in found
    assert "hunter2" not in "".join(one.text for one in found.values())


def test_parts_that_do_not_describe_themselves():
    """A third party's parts are not blamed for what they do not have."""

    class Plain(InMemoryStateStore):
        info = None

    found = found_by(ReadTimeTracker(Plain(), RecordingEmitter(), events(), ReadTimePolicy()))
    assert found["store.unknown"].level is Level.OK
    assert found["endpoint.validate"].level is Level.OK
    assert found["emitter.deadline"].level is Level.WARN
    assert found_by(ReadTimeTracker(Plain()))["emitter.none"].level is Level.WARN


def test_checks_do_not_sink_each_other(monkeypatch):
    """A store that is away and a check that breaks are findings, and the others are made; nobody's words are quoted."""

    def away(*_):
        raise StoreUnavailable("Redis at h:6379 is away")

    def broken(*_):
        raise RuntimeError("anna@example.org")

    tracker = ReadTimeTracker(InMemoryStateStore(), RecordingEmitter(), events())
    monkeypatch.setattr(tracker.store, "info", away)
    monkeypatch.setattr(tracker.store, "now", broken)
    found = found_by(tracker)
    assert (found["store.store"].level, found["store.store"].text) == ("error", "Redis at h:6379 is away")
    assert found["clock.failed"].text == "the check could not be made (RuntimeError)"
    assert "endpoint.validate" in found


def test_servers_with_clocks_of_their_own(monkeypatch):
    """In a cluster each shard's clock counts."""
    tracker = ReadTimeTracker(InMemoryStateStore())
    ahead = (datetime.now(UTC) + timedelta(seconds=50)).timestamp() * 1_000_000
    right = datetime.now(UTC).timestamp() * 1_000_000
    nodes = {
        "Redis at a:1": {**SOUND, "server_time_usec": int(ahead)},
        "Redis at b:2": {**SOUND, "server_time_usec": int(right)},
    }
    monkeypatch.setattr(tracker.store, "info", lambda: nodes)
    skews = [found for found in examine(tracker) if found.id == "clock.skew"]
    assert [found.level for found in skews] == ["warn", "ok", "ok"]
    assert skews[0].text.startswith("Redis at a:1: its clock is")


def test_a_file_that_cannot_be_written(tmp_path, monkeypatch):
    """Rights are asked of the system, the directory's too: SQLite keeps its log there."""
    asked = []

    def access(path, mode):
        asked.append((os.fspath(path), mode))
        return os.fspath(path) != str(tmp_path)

    with closing(SqliteStateStore(tmp_path / "x.db")) as store:
        monkeypatch.setattr("caliper_readtime.stores._sqlite.store.os.access", access)
        assert next(iter(store.info().values()))["writable"] is False
    assert asked == [(str(tmp_path / "x.db"), os.W_OK), (str(tmp_path), os.W_OK)]
