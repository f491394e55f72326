"""pytest's plugin in runs as hosts start them: its fixtures, their end, and what it costs whoever needs none."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from caliper_readtime.testing._redis_server import NO_SERVER, VARIABLE

ROOT = Path(__file__).parents[2]
FIVE_LINES = """
from caliper_readtime import Article, Reader
from caliper_readtime.testing import assert_banked, assert_reported

ANNA = Reader("anna", "anna@example.org")
OWLS = Article("owls", "Owls", "https://app.example.org/owls")

def test_minutes(readtime_tracker, readtime_clock):
    readtime_tracker.accumulate(ANNA, OWLS, 10)
    readtime_clock.advance(60)
    readtime_tracker.accumulate(ANNA, OWLS, 60)
    readtime_tracker.finalize(ANNA, OWLS)
    assert_reported(readtime_tracker.emitter, ANNA, OWLS, {seconds})
    assert_banked(readtime_tracker.emitter, ANNA, OWLS, 2)
"""
NEEDS_REDIS = """
def test_kept(redis_readtime_store):
    print("server", redis_readtime_store.client.info("server")["process_id"])
    assert redis_readtime_store.keys("anna") == ()
    from caliper_readtime import ReadTimeTracker, Reader, Article
    tracker = ReadTimeTracker(redis_readtime_store)
    tracker.accumulate(Reader("anna", "anna@example.org"), Article("owls", "Owls", "https://app.example.org/owls"), 10)
    assert tracker.state("anna", "owls").unreported_seconds == 10

test_empty_again = test_kept
"""


def run(path, source, *options, **environment):
    """What a host's run of pytest prints, and its exit code."""
    (path / "test_host.py").write_text(source, encoding="utf-8")
    hidden = {"CI", "CALIPER_READTIME_REQUIRE_REDIS", "PYTEST_ADDOPTS"}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", *options, "test_host.py"],
        cwd=path,
        env={
            **{name: value for name, value in os.environ.items() if name not in hidden},
            "PYTHONPATH": str(ROOT),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return ran.stdout + ran.stderr, ran.returncode


@pytest.mark.parametrize("named", [(), ("-p", "caliper_readtime.pytest_plugin")], ids=["found", "named"])
def test_five_lines(tmp_path, named):
    """A tracker in memory, a clock that is moved, and what has been reported; whoever names the plugin may."""
    said, code = run(tmp_path, FIVE_LINES.format(seconds=70), *named)
    assert "1 passed" in said
    assert code == 0


def test_a_failure_shows_the_timeline_and_not_the_helper(tmp_path):
    """The message is the test's, at the test's own line."""
    said, code = run(tmp_path, FIVE_LINES.format(seconds=90))
    assert "anna on owls: 70 s are reported, not 90 s" in said
    assert "2025-12-31T23:59:50.000Z to 2026-01-01T00:01:00.000Z  70 s  urn:uuid:" in said
    assert "assertions.py" not in said
    assert code == 1


def test_an_endpoint_on_loopback(tmp_path):
    """It accepts what the HTTP emitter sends, and is closed with its test."""
    said, code = run(
        tmp_path,
        """
import socket
from urllib.parse import urlsplit
from caliper_readtime import Article, HttpCaliperEmitter, InMemoryStateStore, Reader, ReadTimeTracker, TimeSpentEvents
from caliper_readtime.testing import assert_reported

seen = []

def test_sent(caliper_endpoint):
    seen.append(urlsplit(caliper_endpoint.url))
    emitter = HttpCaliperEmitter(caliper_endpoint.url)
    events = TimeSpentEvents("https://app.example.org", "App", "https://oneroster.example.org")
    tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events)
    tracker.accumulate(Reader("anna", "anna@example.org"), Article("owls", "Owls", "https://app.example.org/owls"), 10)
    tracker.finalize("anna", "owls")
    emitter.close()
    assert_reported(caliper_endpoint, "anna", "owls", 10)

def test_closed():
    with socket.socket() as one:
        assert one.connect_ex((seen[0].hostname, seen[0].port)) != 0
""",
    )
    assert "2 passed" in said
    assert code == 0


def test_a_hosts_wiring(tmp_path):
    """A host that tells its client that all is well, whatever happened: the failure is at the test's own line."""
    said, code = run(
        tmp_path,
        """
from contextlib import suppress
from caliper_readtime import Article, Reader, ReadTimeError

ANNA = Reader("anna", "anna@example.org")
OWLS = Article("owls", "Owls", "https://app.example.org/owls")

def host(steps, *errors):
    tracker = steps.tracker()
    tracker.accumulate(ANNA, OWLS, 0)
    steps.clock.advance(60)
    def leave():
        with suppress(*errors):
            tracker.accumulate(ANNA, OWLS, 60, heartbeat_id="h")
            tracker.partial(ANNA, OWLS)
    return leave

def test_right(crash_every_step):
    crash_every_step(host)

def test_wrong(crash_every_step):
    crash_every_step(lambda steps: host(steps, ReadTimeError))
""",
    )
    assert "1 failed, 1 passed" in said
    assert "- no connection at step 1, store.update (test_host.py:14 in host.<locals>.leave): anna on owls: 0 s" in said
    assert "test_host.py:22: CrashFindings" in said
    assert "runs.py" not in said
    assert code == 1


@pytest.mark.redis
def test_a_redis_of_the_runs_own(tmp_path):
    """One server for the run, an empty store for each test; the server ends with the run."""
    said, code = run(tmp_path, NEEDS_REDIS, "-s")
    assert "2 passed" in said
    assert code == 0
    (process,) = {
        int(line.split()[-1]) for line in said.splitlines() if "server " in line and line.split()[-1].isdigit()
    }
    with pytest.raises(ProcessLookupError):
        os.kill(process, 0)


@pytest.mark.parametrize(
    ("environment", "outcome", "code"),
    [({}, "2 skipped", 0), ({"CI": "true"}, "2 errors", 1), ({"CALIPER_READTIME_REQUIRE_REDIS": "1"}, "2 errors", 1)],
)
def test_without_a_redis(tmp_path, environment, outcome, code):
    """Left out, with the reason; in CI it fails."""
    source = (
        "from caliper_readtime.testing import _redis_server\n_redis_server.find_server = lambda: None\n" + NEEDS_REDIS
    )
    said, ended = run(tmp_path, source, **environment)
    assert outcome in said
    assert NO_SERVER[:20] in said
    assert ended == code


def test_unused_it_costs_nothing(tmp_path):
    """A run that asks for no fixture imports no part of the package but the plugin itself."""
    said, code = run(
        tmp_path,
        """
import sys

def test_mine():
    assert sorted(name for name in sys.modules if name.startswith("caliper_readtime")) == [
        "caliper_readtime", "caliper_readtime.pytest_plugin"
    ]
    assert not {"requests", "redis", "cattrs", "tenacity"} & set(sys.modules)
""",
    )
    assert "1 passed" in said, said
    assert code == 0


def test_fixtures_are_listed(tmp_path):
    """``pytest --fixtures`` says what each is."""
    said, _ = run(tmp_path, "", "--fixtures", **{VARIABLE: "/nowhere"})
    for name in ("readtime_tracker", "readtime_clock", "caliper_endpoint", "crash_every_step", "redis_readtime_store"):
        assert f"\n{name}" in said
