"""The flow that is migrated away from, and the route after the migration: what the harness says of each."""

from __future__ import annotations

import pytest
from fakeredis import FakeRedis

from caliper_readtime import InMemoryStateStore, ReadTimeTracker
from caliper_readtime.testing import CrashFindings, Fault, crash_every_step
from tests.crash.conftest import code_of
from tests.scenes import ANNA, OWLS, events
from tests.web.sites import EXAMPLES
from tests.web.test_examples import load

MINUTE = {(ANNA, OWLS): 60}


def route(steps, example, stage):
    """The route's two verbs at a stage of the migration, with a minute on the page."""
    with load(EXAMPLES / "migration" / "old_flow.py") as old_flow:
        emitter = steps.emitter()
        old = old_flow.OldFlow(steps.wrap({}, name="cache"), emitter.emit, events(), steps.clock)
    new = ReadTimeTracker(steps.store(), emitter, events(), clock=steps.clock)
    steps.job(new.sweep)
    migration = example.Migration(old, new, ReadTimeTracker(InMemoryStateStore()), stage)
    migration.heartbeat(ANNA, OWLS, 0)
    steps.clock.advance(60)
    return migration


@pytest.fixture
def example():
    with load(EXAMPLES / "migration" / "app.py") as module:
        yield module


def test_the_old_flow_loses_and_doubles(example):
    """Read-modify-write, an id for each try, and nobody who comes back: each at its own line."""

    def host(steps):
        migration = route(steps, example, example.Stage.OLD)

        def leave():
            migration.old.heartbeat(ANNA, OWLS, 60)
            migration.old.leave(ANNA, OWLS)

        return leave

    with pytest.raises(CrashFindings) as found:
        crash_every_step(host, expected=MINUTE)
    lines = {(finding.fault, code_of(finding.step)) for finding in found.value.report.findings}
    written = "self.cache[self.key(reader, article)] = json.dumps(state)"
    assert (Fault.MEANWHILE, written) in lines  # both read the same state
    assert (Fault.CRASH_AFTER, "self._send([event])") in lines  # accepted, and not written down
    assert (Fault.LOST_ANSWER, "self._send([event])") in lines
    assert (Fault.OUTAGE, "self._send([event])") in lines  # no sweep
    assert {finding.step.file.rpartition("/")[2] for finding in found.value.report.findings} == {"old_flow.py"}


def test_the_migrated_route_does_not(example):
    """The same route at its last stage, whatever goes wrong: the sweep reports what a leave has left."""

    def host(steps):
        migration = route(steps, example, example.Stage.NEW)
        migration.new.accumulate(ANNA, OWLS, 60)
        return lambda: migration.leave(ANNA, OWLS)

    assert crash_every_step(host, expected=MINUTE).findings == ()


def test_a_redis_pipeline():
    """A hand-written flow on Redis: what a pipeline buffers is no step, its execution is; found is the double count."""

    def host(steps):
        server = FakeRedis()
        steps.at_end(server.close)
        client, emitter = steps.wrap(server, name="redis"), steps.emitter()

        def leave():
            pipeline = client.pipeline()
            pipeline.incrby("cumulative", 60).get("reported")
            cumulative, reported = pipeline.execute()
            seconds = cumulative - int(reported or 0)
            emitter.emit(
                [
                    events().event(
                        ANNA,
                        OWLS,
                        event_id="urn:uuid:1",
                        generated_id="urn:uuid:2",
                        seconds=seconds,
                        started_at_ms=0,
                        ended_at_ms=seconds * 1000,
                    )
                ]
            )
            client.incrby("reported", seconds)

        return leave

    with pytest.raises(CrashFindings) as found:
        crash_every_step(host, expected=MINUTE)
    steps = [step.name for step in found.value.report.steps]
    assert steps == [
        "redis.pipeline.incrby",
        "redis.pipeline.get",
        "redis.pipeline.execute",
        "emitter.emit",
        "redis.incrby",
    ]
    kinds = {(finding.fault, finding.step.name) for finding in found.value.report.findings}
    assert (Fault.LOST_ANSWER, "redis.pipeline.execute") in kinds
    assert not any(name in ("redis.pipeline.incrby", "redis.pipeline.get") for _, name in kinds)
