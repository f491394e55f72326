"""The public names, the signatures of the tracker, and how light the import is."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

import caliper_readtime
from caliper_readtime import (
    App,
    ConfigurationError,
    InMemoryStateStore,
    InvalidInput,
    Outcome,
    PageView,
    ReadTimePolicy,
    ReadTimeTracker,
    TimeSpentEvents,
    errors,
)
from caliper_readtime.testing import FlakyEmitter, ManualClock
from tests.scenes import ANNA, OWLS, ROSTER, SENSOR, START

# Names


def test_all_is_what_is_there():
    """``__all__`` is sorted, and it is exactly what the top module exports."""
    names = caliper_readtime.__all__
    offered = {name: getattr(caliper_readtime, name) for name in dir(caliper_readtime) if not name.startswith("_")}
    public = {name for name, value in offered.items() if not inspect.ismodule(value)}
    assert list(names) == sorted(names)
    assert set(names) - {"__version__"} == public
    assert all(offered[name].__module__.startswith("caliper_readtime") for name in public)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        caliper_readtime.nothing  # noqa: B018 - asking is the test


def test_modules_are_there_too():
    """``import caliper_readtime`` is enough for ``caliper_readtime.errors``, though nothing has been imported yet."""
    code = (
        "import caliper_readtime as c; print(c.errors.InvalidInput is c.InvalidInput, c.protocols.Emitter is c.Emitter)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stdout == "True True\n", ran.stderr


def test_every_error_is_exported():
    """Errors are exported at the top."""
    for name in errors.__all__:
        assert getattr(caliper_readtime, name) is getattr(errors, name)
    defined = {name for name, value in vars(errors).items() if inspect.isclass(value)}
    assert defined == set(errors.__all__)


def test_every_public_name_is_documented():
    """Every public class, method and property says what it is for."""
    for name in set(caliper_readtime.__all__) - {"__version__"}:
        value = getattr(caliper_readtime, name)
        assert inspect.getdoc(value), name
        for member, inner in vars(value).items():
            if not member.startswith("_") and (inspect.isfunction(inner) or isinstance(inner, property)):
                assert inspect.getdoc(inner), f"{name}.{member}"


@pytest.mark.parametrize("module", ["caliper_readtime", "caliper_readtime._rules", "caliper_readtime._tracker"])
def test_importing_is_light(module):
    """The top imports no web framework; redis and requests load lazily."""
    code = f"import sys, json, {module}; print(json.dumps(sorted(sys.modules)))"
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    heavy = {"redis", "requests", "urllib3", "authlib", "flask", "werkzeug", "django", "pytest", "rich", "jsonschema"}
    assert heavy.isdisjoint(json.loads(answer.stdout))


# The tracker's face


def test_the_trackers_signatures():
    """The verbs and what they take, in this order."""
    optional = "position_seconds=None, duration_seconds=None"
    expected = {
        "__init__": "store, emitter=None, events=None, policy, clock=None, *, on_report=None, "
        "batch_events=None, batch_bytes=None",
        "accumulate": f"reader, article, delta_seconds, *, {optional}, heartbeat_id=None",
        "observe": f"reader, article, view, *, opened_at=None, {optional}",
        "partial": "reader, article, *, defer=False",
        "finalize": "reader, article, *, defer=False",
        "state": "reader, article",
        "states": "reader",
        "flush_reader": "reader, *, resource_ids=None, wait_seconds=0.0, confirm=False",
        "sweep": "*, idle_seconds=60.0, limit=1000, budget_seconds=None",
        "status": "",
        "explain": "reader, article",
        "parked": "*, limit=100",
        "unpark": "reader, article",
        "forget": "reader",
        "close": "",
    }

    def written(verb):
        parts = []
        for name, parameter in list(inspect.signature(getattr(ReadTimeTracker, verb)).parameters.items())[1:]:
            if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
                parts.append("*")
            plain = parameter.default is parameter.empty or name == "policy"
            parts.append(name if plain else f"{name}={parameter.default!r}")
        return ", ".join(parts)

    assert {verb: written(verb) for verb in expected} == expected
    assert inspect.signature(ReadTimeTracker).parameters["policy"].default == ReadTimePolicy()


def test_a_tracker_without_an_emitter():
    """Without an emitter a tracker may accumulate, defer and inspect; sending raises ConfigurationError."""
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=ManualClock(START))
    tracker.accumulate(ANNA, OWLS, 5)
    assert tracker.partial(ANNA, OWLS, defer=True).outcome is Outcome.DEFERRED
    assert tracker.states("anna")
    before = tracker.state(ANNA, OWLS)
    for send in (
        lambda: tracker.partial(ANNA, OWLS),
        lambda: tracker.finalize("anna", "owls"),
        lambda: tracker.flush_reader(ANNA),
        tracker.sweep,
        lambda: tracker.unpark(ANNA, OWLS),
    ):
        with pytest.raises(ConfigurationError):
            send()
    assert tracker.state(ANNA, OWLS) == before
    with pytest.raises(ConfigurationError):
        ReadTimeTracker(InMemoryStateStore(), FlakyEmitter())


@pytest.mark.parametrize("clock", [lambda: datetime(2026, 3, 2), lambda: 0, lambda: None])  # noqa: DTZ001 - naive
def test_a_clock_must_be_aware(clock):
    """Times are aware UTC datetimes; a clock that gives others changes nothing."""
    store = InMemoryStateStore()
    with pytest.raises(InvalidInput):
        ReadTimeTracker(store, clock=clock).accumulate(ANNA, OWLS, 5)
    assert store.load(("anna", "owls")) is None


def test_other_time_zones_are_the_same_moment():
    """Any aware datetime is taken; answers are in UTC."""
    zone = datetime.fromisoformat("2026-03-02T13:30:00+05:30")
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=ManualClock(zone))
    answer = tracker.observe(ANNA, OWLS, PageView("v", 99), opened_at=zone - timedelta(seconds=60))
    assert (answer.accepted_seconds, answer.state.first_server_sync_at) == (65.0, START)
    assert answer.state.first_server_sync_at.utcoffset() == timedelta(0)


def test_positional_construction_as_the_contract_shows_it():
    """``TimeSpentEvents`` takes sensor, app and OneRoster URL in this order, and ``activity_ids`` by name."""
    assert TimeSpentEvents(SENSOR, App("A"), ROSTER).activity_ids == "uri"
    assert TimeSpentEvents(SENSOR, App("A"), ROSTER + "/", activity_ids="plain").oneroster_url == ROSTER
