"""Celery, Sentry, health checks, Prometheus in Django: what the pages show does so with the real libraries."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import warnings
from datetime import timedelta
from queue import Queue

import pytest

from caliper_readtime import EventRejected, SqliteStateStore, StoreUnavailable
from tests.packaging.quickstarts import FOLDER, ROOT, Followed
from tests.recipes.pages import ran
from tests.recipes.sentry import Away
from tests.scenes import ANNA, BEES, OWLS, WAIT_SECONDS, Scene

# Celery


@pytest.fixture
def celery():
    """What the page defines."""
    with ran("celery") as names:
        yield names
        names["app"].close()


def a_minute_passes(app):
    """The real beat, once, with every entry a minute older; returns what it has asked for."""
    from celery.beat import Scheduler  # noqa: PLC0415 - what it warns of is not for the whole run

    beat = Scheduler(app=app, lazy=True)
    beat.setup_schedule()
    beat.merge_inplace(app.conf.beat_schedule)
    asked = [name for name, entry in beat.schedule.items() if not name.startswith("celery.")]
    for entry in beat.schedule.values():
        entry.last_run_at -= timedelta(minutes=1, seconds=1)
    beat._heap = None
    while beat.tick() == 0:
        pass
    return asked


def test_beat_and_a_worker_sweep(celery, scene):
    """A minute after the last sweep beat asks for one, and a real worker sends what a closed tab has left."""
    reports = Queue()
    celery["tracker"] = scene.use(on_report=reports.put)
    scene.read(ANNA, OWLS, 30)
    scene.clock.advance(61)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Celery's own
        from celery.contrib.testing.worker import start_worker  # noqa: PLC0415

        with start_worker(celery["app"], pool="solo", perform_ping_check=False, shutdown_timeout=WAIT_SECONDS):
            assert a_minute_passes(celery["app"]) == ["reading time"]
            assert reports.get(timeout=WAIT_SECONDS).delta_seconds == 30
    assert scene.sent == [30]


def test_the_task_fails_where_the_store_is_away(celery):
    """StoreError goes through to Celery; it is not swallowed, and not tried again by itself."""

    celery["tracker"] = Scene(Away).tracker
    result = celery["sweep_reading_time"].apply()
    assert isinstance(result.result, StoreUnavailable)
    assert result.state == "FAILURE"


# Health


@pytest.fixture
def health(scene):
    """What the path tells of the scene."""
    with ran("health") as names:
        names["tracker"] = scene.tracker

        def ask():
            answer = names["app"].test_client().get("/health/reading")
            return answer.status_code, answer.json

        yield ask


def test_health_tells_what_is_wrong(scene, health):
    """Nobody sweeps, time waits for too long, an event was refused: each is a 503 and a sentence; else 200."""
    assert health() == (503, {"problems": ["nobody sweeps"], "waiting_seconds": 0, "waiting_states": 0})
    scene.tracker.sweep()
    assert health() == (200, {"problems": [], "waiting_seconds": 0, "waiting_states": 0})
    scene.read(ANNA, OWLS, 30)
    assert health() == (200, {"problems": [], "waiting_seconds": 30, "waiting_states": 1})
    scene.emitter.fail(EventRejected("no", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, BEES, 12)
    scene.clock.advance(3601)
    code, told = health()
    assert code == 503
    assert [problem.partition(" ")[0] for problem in told["problems"]] == ["nobody", "time", "refused"]
    assert "example.org" not in json.dumps(told)


def test_health_where_the_store_is_away(scene, health, monkeypatch):
    """A store that does not answer is a 503, and no exception."""

    def away(self):
        raise StoreUnavailable("gone")

    monkeypatch.setattr(type(scene.tracker), "status", away)
    assert health() == (503, {"problems": ["the store does not answer"]})


# Sentry


@pytest.fixture(scope="module")
def sentry():
    """What the page makes the real SDK send, by kind. In a process of its own: the SDK patches what it finds."""
    told = subprocess.run(
        [sys.executable, "-m", "tests.recipes.sentry"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    sent = [json.loads(line) for line in told.stdout.splitlines()]
    return {kind: [item for one, item in sent if one == kind] for kind in ("event", "check_in")}


def test_sentry_has_an_issue_for_each_sentence(sentry):
    """Events are grouped by sentence and error, with their fields beside them, and no address anywhere."""
    found = [event for event in sentry["event"] if event["logger"] == "caliper_readtime"]
    assert [(event["level"], *event["fingerprint"]) for event in found] == [
        ("error", "caliper_readtime", "article finalize: failed", "EventRejected"),
        ("error", "caliper_readtime", "article finalize: failed", "EmitterUnavailable"),
        ("error", "caliper_readtime", "article finalize: failed", "EndpointRefused"),
        ("error", "caliper_readtime", "article sweep: failed, the store is away", ""),
    ]
    assert found[0]["logentry"]["message"] == "article finalize: failed"
    assert (found[0]["extra"]["reader_sourced_id"], found[0]["extra"]["resource_id"]) == ("anna", "owls")
    assert "anna@" not in json.dumps(sentry)


def test_sentry_hears_of_each_sweep(sentry):
    """A sweep begins and ends with a check-in, in the monitor that the page describes; one that fails says so."""
    assert [one["status"] for one in sentry["check_in"]] == ["in_progress", "ok", "in_progress", "error"]
    assert {one["monitor_slug"] for one in sentry["check_in"]} == {"reading-time-sweep"}
    assert sentry["check_in"][0]["monitor_config"]["schedule"] == {"type": "interval", "value": 1, "unit": "minute"}


# Prometheus in Django


def test_prometheus_in_django_goes_on_from_the_quickstart(tmp_path):
    """Pasted after the quickstart, the page's path shows one report, its seconds, and what waits."""
    Followed(FOLDER / "django.md", tmp_path).follow()
    Followed(ROOT / "docs" / "how-to" / "django-prometheus.md", tmp_path).follow()


# cron


def test_cron_sweeps_with_the_file_that_systemd_reads(tmp_path):
    """The lines of the crontab work in cron's bare environment, with plain assignments: systemd knows no export."""
    page = (ROOT / "docs" / "how-to" / "operate.md").read_text("utf-8")
    lines = re.findall(r"^\* \* \* \* \*  app  (.*)$", page, re.MULTILINE)
    assert len(lines) == 2
    settings = {"STORE_URL": f"sqlite:///{tmp_path}/a.db", "ENDPOINT": f"jsonl://{tmp_path}/events.jsonl"}
    settings |= {"ONEROSTER_URL": "https://oneroster.example.org", "SENSOR": "https://a.example.org", "APP_NAME": "A B"}
    SqliteStateStore(tmp_path / "a.db").close()  # the application has made it
    file = tmp_path / "readtime.env"
    file.write_text("".join(f'CALIPER_READTIME_{name}="{value}"\n' for name, value in settings.items()))
    program = f"{sys.executable} -m caliper_readtime"
    for line in lines:
        for folder in ("/var/log/app", "/var/lib/node_exporter"):
            line = line.replace(folder, str(tmp_path))  # noqa: PLW2901
        line = line.replace("/opt/app/bin/caliper-readtime", program).replace("/etc/app/readtime.env", str(file))  # noqa: PLW2901
        bare = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        subprocess.run(["/bin/sh", "-c", line], env=bare, check=True, cwd="/")
    assert json.loads((tmp_path / "readtime.jsonl").read_text())["stopped_by"] == "drained"
    assert (tmp_path / "readtime.prom").read_text().endswith("# EOF\n")
