"""Hosts that use this package, each with its own test client: their wiring loses and doubles nothing; slips show."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from uuid import uuid4

import pytest
from flask import Flask
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from caliper_readtime import (
    HttpCaliperEmitter,
    ReadTimeError,
    RedisStateStore,
    SqliteStateStore,
)
from caliper_readtime.testing import CrashFindings, Fault, crash_every_step
from caliper_readtime.web.tickets import application_of
from tests.crash.conftest import code_of
from tests.scenes import ANNA, OWLS, events
from tests.web.sites import SITES

MINUTE = {(ANNA, OWLS): 60}


def read(tracker, steps, seconds=60):
    """Honest time."""
    tracker.accumulate(ANNA, OWLS, 0)
    steps.clock.advance(seconds)
    tracker.accumulate(ANNA, OWLS, seconds)


@pytest.fixture(params=["memory", pytest.param("redis", marks=pytest.mark.redis), "sqlite"])
def make_store(request, tmp_path):
    if request.param == "memory":
        return lambda _steps: None
    if request.param == "redis":
        client = request.getfixturevalue("redis_readtime_store").client
        return lambda _steps: RedisStateStore(client, namespace=uuid4().hex)

    def sqlite(steps):
        store = SqliteStateStore(tmp_path / f"{uuid4().hex}.db")
        steps.at_end(store.close)
        return store

    return sqlite


@pytest.mark.parametrize("verb", ["partial", "finalize", "flush_reader", "sweep"])
def test_every_verb_on_every_store(make_store, verb):
    """Whatever goes wrong at whichever step, the sweeps deliver each second once."""

    def host(steps):
        tracker = steps.tracker(make_store(steps), events=events())
        read(tracker, steps)
        steps.clock.advance(60)
        if verb == "sweep":
            return tracker.sweep
        if verb == "flush_reader":
            return lambda: tracker.flush_reader(ANNA)
        return lambda: getattr(tracker, verb)(ANNA, OWLS)

    report = crash_every_step(host, expected=MINUTE)
    assert {step.name for step in report.steps} >= {"emitter.emit"}


@pytest.mark.parametrize("framework", SITES)
def test_a_page_is_left(framework):
    """The last signal of a page, posted by the framework's test client, as the page's script sends it again."""

    def host(steps):
        stack = ExitStack()
        steps.at_end(stack.close)
        site = stack.enter_context(SITES[framework](settings={"LEAVE": "send"}))
        tracker = site.counter.tracker = steps.tracker(events=events())
        site.clock = steps.clock
        ticket = site.counter.tickets.issue("anna", OWLS, steps.clock(), application=application_of(tracker.events))
        tracker.accumulate(ANNA, OWLS, 0)
        steps.clock.advance(60)
        return lambda: site.log(ticket, 60, l=True)

    report = crash_every_step(host, expected=MINUTE)
    assert [step.name for step in report.steps].count("emitter.emit") == 1


def test_a_threaded_test_client():
    """Starlette's own test client runs the application in other threads: a crash ends the request all the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it would rather have another HTTP client
        from starlette.testclient import TestClient  # noqa: PLC0415

    def host(steps):
        tracker = steps.tracker(events=events())
        read(tracker, steps)

        def leave(_request):
            return JSONResponse(tracker.finalize("anna", "owls").delta_seconds)

        client = TestClient(Starlette(routes=[Route("/leave", leave, methods=["POST"])]), raise_server_exceptions=False)
        return lambda: client.post("/leave")

    report = crash_every_step(host, expected=MINUTE)
    assert all(code_of(step).startswith("return JSONResponse(tracker.finalize") for step in report.steps)


def test_over_a_real_socket(caliper_endpoint):
    """The HTTP emitter, asking before it sends again: what is lost is a real connection's answer."""

    def host(steps):
        steps.watch(caliper_endpoint)
        emitter = HttpCaliperEmitter(caliper_endpoint.url, read_back=True)
        steps.at_end(emitter.close)
        tracker = steps.tracker(emitter=emitter)
        read(tracker, steps)
        return lambda: tracker.finalize(ANNA, OWLS)

    assert crash_every_step(host, expected=MINUTE).runs > 20


def test_without_read_back_the_same_event_is_paid_twice(caliper_endpoint):
    """An endpoint that knows no ids and is not asked: found, with what to do; one that knows them: nothing."""

    def host(steps):
        steps.watch(caliper_endpoint)
        emitter = HttpCaliperEmitter(caliper_endpoint.url)
        steps.at_end(emitter.close)
        tracker = steps.tracker(emitter=emitter)
        read(tracker, steps)
        return lambda: tracker.finalize(ANNA, OWLS)

    with pytest.raises(CrashFindings, match="read_back=True") as found:
        crash_every_step(host, expected=MINUTE)
    assert {finding.fault for finding in found.value.report.findings} >= {Fault.CRASH_AFTER, Fault.LOST_ANSWER}
    assert all(finding.repeated for finding in found.value.report.findings)
    assert crash_every_step(host, expected=MINUTE, distinct=True).findings == ()


def test_a_deltas_request_that_is_sent_again():
    """A delta without the client's own id is counted again; with one it is not."""

    def host(steps, heartbeat_id=None):
        tracker = steps.tracker()
        tracker.accumulate(ANNA, OWLS, 0)
        steps.clock.advance(60)

        def beat():
            tracker.accumulate(ANNA, OWLS, 30, heartbeat_id=heartbeat_id)
            return tracker.partial(ANNA, OWLS)

        return beat

    with pytest.raises(AssertionError, match=r"know a repeated signal by a running total or by an id of the client's"):
        crash_every_step(host)
    assert crash_every_step(lambda steps: host(steps, "beat-1")).findings == ()


def test_a_host_that_forgot_the_sweep():
    """A tracker without a sweeper, and a beacon that nobody sends again: what a killed worker held is gone."""

    def host(steps):
        from caliper_readtime import ReadTimeTracker  # noqa: PLC0415 - as a host builds its own

        tracker = ReadTimeTracker(steps.store(), steps.emitter(), events(), clock=steps.clock)
        read(tracker, steps)
        return lambda: tracker.finalize(ANNA, OWLS)

    with pytest.raises(AssertionError, match="let a job send what is left"):
        crash_every_step(host, retried=False)


def test_a_flask_route_that_swallows(caliper_endpoint):
    """A route that answers 204 for time that it could not take: the page believes it, and 60 s are gone."""

    def host(steps, swallows=True):
        tracker = steps.tracker()
        tracker.accumulate(ANNA, OWLS, 0)
        steps.clock.advance(60)
        app = Flask("news")

        @app.post("/beat")
        def beat():
            try:
                tracker.accumulate("anna", "owls", 60, heartbeat_id="beat-1")
            except ReadTimeError:
                return "", 204 if swallows else 503
            return "", 204

        return lambda: app.test_client().post("/beat")

    with pytest.raises(CrashFindings, match=r"no connection at step 1, store.update \(.*test_hosts.py:\d+ in .*beat\)"):
        crash_every_step(host, expected=MINUTE)
    assert crash_every_step(lambda steps: host(steps, swallows=False), expected=MINUTE).findings == ()


def test_an_emitter_of_ones_own():
    """One that keeps no events is judged by whatever is watched."""

    class Queue:
        """Where its messages go."""

        def __init__(self):
            self.events = []

    def host(steps):
        queue = Queue()
        steps.watch(queue)

        class Sends:
            def emit(self, events, /):
                queue.events.extend(events)

            def held(self, event_ids, /):
                return frozenset(event["id"] for event in queue.events) & frozenset(event_ids)

            def close(self):
                pass

        tracker = steps.tracker(emitter=Sends())
        read(tracker, steps)
        return lambda: tracker.finalize(ANNA, OWLS)

    assert crash_every_step(host, expected=MINUTE).findings == ()
