"""Outages that last: what waits through them, and that it arrives once they are over, with nobody's help."""

from __future__ import annotations

import signal
from contextlib import closing

import pytest

from caliper_readtime import HttpCaliperEmitter, Reader, ReadTimeTracker, RedisStateStore, SqliteStateStore
from caliper_readtime.testing import CaliperEndpoint
from caliper_readtime.testing._endpoint import Reject
from caliper_readtime.testing._redis_server import RedisServer
from tests.faults.test_cli import Site
from tests.scenes import ANNA, BEES, BEN, OWLS, article, events, of_reader

IMPATIENT = {
    "CALIPER_READTIME_RETRY_BACKOFF_SECONDS": "0.01",
    "CALIPER_READTIME_MAX_RETRY_BACKOFF_SECONDS": "0.02",
}
WATCH = ("sweep", "--watch", "0.05", "--idle", "0")


@pytest.fixture
def endpoint():
    with CaliperEndpoint() as endpoint:
        yield endpoint


def ended(watch):
    """Tell a watch to end, and see it do so without a complaint."""
    watch.process.send_signal(signal.SIGTERM)
    assert watch.ended() == (0, "")


def test_one_poisoned_event_among_five_hundred(endpoint, tmp_path):
    """It alone is set aside; finding it costs a few envelopes, and its correction sends it under its old id."""
    what = article("owls")
    with (
        closing(SqliteStateStore(tmp_path / "readtime.db")) as store,
        closing(HttpCaliperEmitter(endpoint.url)) as emitter,
    ):
        tracker = ReadTimeTracker(store, emitter, events())
        for number in range(500):
            tracker.accumulate(Reader(f"r{number}", "r@example.org"), what, 10)
        endpoint.misbehave_always(Reject(of_reader("r321")))
        report = tracker.sweep(idle_seconds=0)
        assert (report.events_sent, report.parked, report.failed, report.stopped_by) == (499, 1, 0, "drained")
        # Five envelopes of a hundred, and two more for each halving of one of them.
        assert len(endpoint.requests) <= 5 + 2 * 7
        assert endpoint.seconds() == 4990
        endpoint.misbehave_always(None)
        event_id = tracker.parked()[0].event_id
        tracker.partial(Reader("r321", "right@example.org"), what)
        assert endpoint.events[-1]["id"] == event_id
    assert (endpoint.seconds(), endpoint.duplicates, endpoint.conflicts) == (5000, (), ())


def test_credentials_are_revoked_and_given_back(endpoint, tmp_path):
    """401 says nothing about an event: nothing is set aside, and everything arrives once the credentials work."""
    site = Site(tmp_path, endpoint)
    site.environment |= IMPATIENT
    with site.watching(*WATCH) as watch:
        site.read(ANNA, OWLS)
        watch.round_with(events_sent=1)
        endpoint.token = "revoked"  # noqa: S105 - a word for a test
        site.read(ANNA, BEES)
        site.read(BEN, BEES)
        assert "401" in watch.round_with(stopped_by="refused")["error"]
        states = [site.state(ANNA, BEES), site.state(BEN, BEES)]
        assert [state.parked for state in states] == [(), ()]
        assert [state.unreported_seconds for state in states] == [10, 10]
        endpoint.token = None
        sent = 0
        while sent < 2:
            sent += watch.round().get("events_sent", 0)
        ended(watch)
    assert (endpoint.seconds(), endpoint.duplicates) == (30, ())


@pytest.mark.redis
def test_redis_is_restarted_under_the_sweeper(endpoint, tmp_path):
    """The watching process survives it, and what was accepted before is reported after."""
    with RedisServer({"appendonly": "yes"}) as server, closing(RedisStateStore.from_url(server.url)) as store:
        site = Site(tmp_path, endpoint)
        site.environment |= {**IMPATIENT, "CALIPER_READTIME_STORE_URL": server.url}
        reading = ReadTimeTracker(store, events=events())
        with site.watching(*WATCH) as watch:
            reading.accumulate(ANNA, OWLS, 10)
            watch.round_with(events_sent=1)
            server.kill()
            assert "Redis at" in watch.round_with(stopped_by="error")["error"]
            server.start()
            reading.accumulate(BEN, OWLS, 12)
            watch.round_with(events_sent=1)
            ended(watch)
        assert reading.status().unreported_states == 0
    assert (endpoint.seconds(), endpoint.duplicates) == (22, ())
