"""The command line as operators meet it: a process of its own, an endpoint that misbehaves, a store that is away."""

from __future__ import annotations

import json
import os
import queue
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from caliper_readtime import HttpCaliperEmitter, ReadTimeTracker, SqliteStateStore
from caliper_readtime.doctor import examine
from caliper_readtime.testing import CaliperEndpoint
from caliper_readtime.testing._endpoint import Answer, Hang, Reject
from tests.commands import Ran, complained
from tests.scenes import ANNA, BEES, BEN, OWLS, ROSTER, SENSOR, WAIT_SECONDS, events, of_reader

ROOT = Path(__file__).parents[2]


class Site:
    """An application's file and endpoint, and the environment that names them."""

    def __init__(self, folder, endpoint):
        self.path = folder / "readtime.db"
        self.endpoint = endpoint
        self.environment = {
            "CALIPER_READTIME_STORE_URL": f"sqlite:///{self.path}",
            "CALIPER_READTIME_ENDPOINT": endpoint.url,
            "CALIPER_READTIME_ONEROSTER_URL": ROSTER,
            "CALIPER_READTIME_SENSOR": SENSOR,
            "CALIPER_READTIME_APP_NAME": "Example Reader",
        }
        SqliteStateStore(self.path).close()

    def read(self, reader=ANNA, what=OWLS):
        """Ten seconds that nobody has reported."""
        with closing(SqliteStateStore(self.path)) as store:
            ReadTimeTracker(store, events=events()).accumulate(reader, what, 10)

    def state(self, reader=ANNA, what=OWLS):
        with closing(SqliteStateStore(self.path)) as store:
            return ReadTimeTracker(store).state(reader, what)

    def words(self, *words):
        return [sys.executable, "-W", "error", "-m", "caliper_readtime", *words]

    def environ(self, **more):
        return {**os.environ, "PYTHONPATH": str(ROOT), **self.environment, **more}

    def run(self, *words, **more):
        """Run a command to its end."""
        ran = subprocess.run(
            self.words(*words),
            env=self.environ(**more),
            capture_output=True,
            text=True,
            timeout=WAIT_SECONDS,
            check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr)

    @contextmanager
    def watching(self, *words):
        """A command that goes on; it is gone afterwards."""
        watch = Watch(
            subprocess.Popen(
                self.words(*words), env=self.environ(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
        )
        try:
            yield watch
        finally:
            watch.end()


class Watch:
    """A process and its lines of JSON."""

    def __init__(self, process):
        self.process = process
        self._lines = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(json.loads(line))

    def round(self):
        return self._lines.get(timeout=WAIT_SECONDS)

    def round_with(self, **wanted):
        """The first round that says so."""
        while True:
            found = self.round()
            if all(found.get(name) == value for name, value in wanted.items()):
                return found

    def ended(self):
        """Its exit code and what it complained of."""
        return self.process.wait(WAIT_SECONDS), self.process.stderr.read()

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(WAIT_SECONDS)
        self._reading.join(WAIT_SECONDS)
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture
def site(tmp_path):
    """A site whose endpoint is up."""
    with CaliperEndpoint() as endpoint:
        yield Site(tmp_path, endpoint)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_status_that_is_watched(site, number):
    """Ctrl-C ends it at once, with 0 and without a word."""
    site.read()
    with site.watching("status", "--watch", "3600", "--json") as watch:
        assert watch.round()["unreported_seconds"] == 10
        watch.process.send_signal(number)
        assert watch.ended() == (0, "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_watch_cleanly(site, number):
    """Between rounds it ends at once, with 0 and without a word; what came in was reported."""
    site.read()
    with site.watching("sweep", "--watch", "3600", "--idle", "0") as watch:
        assert watch.round()["seconds_sent"] == 10
        watch.process.send_signal(number)
        assert watch.ended() == (0, "")
    assert site.endpoint.seconds() == 10


def test_a_signal_in_the_middle_of_an_envelope(site):
    """The envelope under way is finished and accounted for, and no other begins."""
    site.read()
    arrived = threading.Event()
    really = site.endpoint._respond

    def respond(*request):
        arrived.set()
        assert told.wait(WAIT_SECONDS)
        return really(*request)

    told = threading.Event()
    site.endpoint._server.respond = respond
    with site.watching("sweep", "--watch", "3600", "--idle", "0") as watch:
        assert arrived.wait(WAIT_SECONDS)
        watch.process.send_signal(signal.SIGTERM)
        told.set()
        assert watch.round()["events_sent"] == 1
        assert watch.ended() == (0, "")
    assert site.state().reported_read_time_seconds == 10
    assert not site.state().in_flight


def test_a_watch_outlives_an_outage(site):
    """The endpoint goes away and comes back: the same process reports what has waited."""
    site.read(ANNA, OWLS)
    site.endpoint.close()
    environment = {
        "CALIPER_READTIME_RETRY_BACKOFF_SECONDS": "0.01",
        "CALIPER_READTIME_MAX_RETRY_BACKOFF_SECONDS": "0.02",
    }
    site.environment |= environment
    with site.watching("sweep", "--watch", "0.05", "--idle", "0") as watch:
        assert "did not answer" in watch.round_with(stopped_by="unavailable")["error"]
        site.read(BEN, BEES)
        site.endpoint.start()
        sent = 0
        while sent < 2:
            sent += watch.round().get("events_sent", 0)
        watch.process.send_signal(signal.SIGTERM)
        assert watch.ended() == (0, "")
    assert site.endpoint.seconds() == 20
    assert site.endpoint.duplicates == ()


def test_a_watch_outlives_a_lost_store(site):
    """A file that somebody else holds for too long ends nothing."""
    with site.watching("sweep", "--watch", "0.05", "--idle", "0") as watch:
        watch.round()
        site.read()
        with closing(sqlite3.connect(site.path, isolation_level=None)) as holder:
            holder.execute("BEGIN IMMEDIATE")
            assert "SQLite file" in watch.round_with(stopped_by="error")["error"]
        assert watch.round_with(events_sent=1)["seconds_sent"] == 10
        watch.process.send_signal(signal.SIGTERM)
        assert watch.ended() == (0, "")
    assert site.endpoint.seconds() == 10


def test_two_sweepers_and_live_traffic(site):
    """Processes that sweep at once send every event once."""
    for number in range(40):
        site.read(type(ANNA)(f"r{number}", "r@example.org"), OWLS)
    with site.watching("sweep", "--idle", "0") as one, site.watching("sweep", "--idle", "0") as other:
        site.read(ANNA, BEES)
        assert [one.ended(), other.ended()] == [(0, ""), (0, "")]
    assert site.run("sweep", "--idle", "0").code == 0
    assert (len(site.endpoint.deliveries), site.endpoint.seconds()) == (41, 410)


def test_an_endpoint_that_is_down(site):
    """One line, exit 1, and the time still waits."""
    site.read()
    site.endpoint.close()
    assert "did not answer" in complained(site.run("sweep", "--idle", "0"))
    assert site.state().unreported_seconds == 10


def test_wrong_credentials(site):
    """What to do, exit 1, nothing is parked; no secret is shown by doctor or sweep."""
    site.endpoint.token = "other"  # noqa: S105 - a word for a test
    site.read()
    assert "401: check the credentials" in complained(site.run("sweep", "--idle", "0"))
    assert site.state().parked == ()
    ran = site.run("doctor")
    assert ran.code == 3
    assert "401: check the credentials" in ran.out


def test_wrong_client_credentials(site):
    """A token endpoint that refuses us is told as such, without the secret."""
    site.read()
    site.endpoint.misbehave_always(Answer.json(401, {"error": "invalid_client"}))
    ran = site.run(
        "sweep",
        "--idle",
        "0",
        "--token-url",
        site.endpoint.url.replace("/caliper/event", "/token"),
        "--client-id",
        "me",
        CALIPER_READTIME_CLIENT_SECRET="hunter2",  # noqa: S106 - a word for a test
    )
    complaint = complained(ran)
    assert "401" in complaint
    assert "hunter2" not in ran.out + ran.err


def test_a_poisoned_event_does_not_stop_a_sweep(site):
    """It is parked, the others arrive, the command succeeds, and the operator finds and retries it."""
    site.read(ANNA)
    site.read(BEN)
    site.endpoint.misbehave_always(Reject(of_reader("anna")))
    ran = site.run("sweep", "--idle", "0")
    assert (ran.code, ran.document["parked"], ran.document["events_sent"]) == (0, 1, 1)
    assert "anna" in site.run("parked", "list").out
    assert "refused again" in complained(site.run("parked", "retry", "anna", "owls"))
    site.endpoint.misbehave_always(None)
    assert site.run("parked", "retry", "--all").code == 0
    assert site.endpoint.seconds() == 20


def test_an_audit_against_the_endpoint(site):
    """With read-back the endpoint's events are compared with what was sent."""
    site.read()
    assert site.run("flush", "anna", "--confirm", "--wait", "5", "--read-back", "true").code == 0
    ran = site.run("audit", "anna", "--json", "--read-back", "true")
    assert (ran.code, ran.document["held"], ran.document["problems"]) == (0, 10, [])
    found = site.run("reconcile", "anna", "--json").document["articles"]
    assert [one["matching"]["seconds"] for one in found] == [10]


def test_a_redis_that_is_away(site):
    """One line with host and advice, exit 1, within the time-outs of the store; the password is not shown."""
    pytest.importorskip("redis")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and not listening
        port = taken.getsockname()[1]
        ran = site.run("sweep", CALIPER_READTIME_STORE_URL=f"redis://:hunter2@127.0.0.1:{port}/0")
    complaint = complained(ran)
    assert f"127.0.0.1:{port}" in complaint
    assert "cannot be reached" in complaint
    assert "hunter2" not in complaint


def test_an_endpoint_that_hangs_is_a_finding(site):
    """The doctor ends within the emitter's deadline, and says so."""
    site.endpoint.misbehave_always(Hang())
    short = HttpCaliperEmitter(site.endpoint.url, timeout=0.1, attempts=1, deadline_seconds=0.5)
    with closing(short) as emitter, closing(SqliteStateStore(site.path)) as store:
        found = {one.id: one for one in examine(ReadTimeTracker(store, emitter, events()))}
    assert found["endpoint.validate"].level == "error"
    assert "did not answer" in found["endpoint.validate"].text
