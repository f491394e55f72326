"""Simulations: one seed decides everything, and a fault happens at every effect boundary of the real code."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager

import pytest

from caliper_readtime.logs import logger
from tests.backends import STORES
from tests.stateful.scenarios import SCENARIOS, Fault, Stage
from tests.stateful.simulation import Simulation

#: Seeds that once failed, and seeds that meet the rarest things; they always run.
KEPT_SEEDS = (7, 17, 59, 140, 259, 485)
#: What a run must have met, or it has proved nothing.
SOMETIMES = (
    "bisections",
    "claims again",
    "clamped signals",
    "clock stepped back",
    "commit: before",
    "commit: gone",
    "crashes",
    "deferred",
    "duplicate signals",
    "duplicates at the endpoint",
    "finalize: in_flight",
    "finalized",
    "flush: settled",
    "flush: unsettled",
    "forgotten",
    "healed parkings",
    "late, nothing sent",
    "parkings",
    "partial: in_flight",
    "partial: sent",
    "read back",
    "rebirths",
    "refuse: not_owner",
    "signals lost",
    "splits",
    "sweep: budget",
    "sweep: limit",
    "sweep: refused",
    "systemic refusals",
    "take-overs",
)
EVERY_STORE = pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Thousands of failures on purpose would bury the one that matters."""
    monkeypatch.setattr(logger, "disabled", True)


@contextmanager
def opened(make_store, path):
    """A store of its own for one run, closed at the end."""
    path.mkdir(exist_ok=True, parents=True)
    store = make_store(path)
    try:
        yield store
    finally:
        store.close()


def played(make_store, path, scenario, **more):
    """Play a scenario on a fresh store; return the stage and the book."""
    with opened(make_store, path) as store:
        stage = Stage(store, scenario, **more)
        return stage, stage.run()


@EVERY_STORE
def test_no_seed_loses_or_doubles_a_second(make_store, tmp_path, request):
    """Faults stop, everything drains: at the endpoint is what was accepted, to the second, and a probe round-trips."""
    asked = request.config.getoption("seeds")
    seen = Counter()
    for seed in dict.fromkeys((*KEPT_SEEDS, *range(asked or 60))):
        with opened(make_store, tmp_path / str(seed)) as store:
            simulation = Simulation(seed, store)
            simulation.run()
            seen += simulation.book.seen
    assert [name for name in SOMETIMES if not seen[name]] == []


@EVERY_STORE
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_twice_ends_identically(make_store, seed, tmp_path):
    """Every byte at the endpoint, every stored state and every counter is the same in a second run."""
    endings = []
    for run in ("first", "second"):
        with opened(make_store, tmp_path / run) as store:
            endings.append(Simulation(seed, store).run())
    assert endings[0] == endings[1]
    assert endings[0][0]


@EVERY_STORE
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_crash_at_any_boundary_costs_nothing(make_store, scenario, tmp_path):
    """PROTOCOL: whatever step a process dies before or after, the next one sends the same event, no second twice."""
    stage, book = played(make_store, tmp_path / "whole", scenario)
    assert book.faults == []
    for at, name in enumerate(stage.passed, 1):
        # Every other client sends its heartbeat again, under the same id.
        crashed, book = played(make_store, tmp_path / str(at), scenario, at=at, fault=Fault.CRASH, again=at % 2 == 1)
        assert crashed.passed[at - 1] == name
        assert (at, name, book.faults) == (at, name, [])


@pytest.mark.parametrize("fault", [Fault.FAILURE, Fault.OVERTAKEN, Fault.REBORN])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_failure_or_a_standstill_at_any_boundary_costs_nothing(scenario, fault, tmp_path):
    """PROTOCOL: a lost answer, an owner that stands still past its lease, a rebirth meanwhile: all of it is healed."""
    make_store = STORES["memory"]
    stage, _ = played(make_store, tmp_path, scenario)
    for at, name in enumerate(stage.passed, 1):
        _, book = played(make_store, tmp_path, scenario, at=at, fault=fault, again=at % 2 == 0)
        assert (at, name, book.faults) == (at, name, [])


def test_the_scenarios_meet_what_they_are_there_for(tmp_path):
    """Without a fault the scenarios already park, halve, split, take back, forget and fill the parked list."""
    seen = sum((played(STORES["memory"], tmp_path, scenario)[1].seen for scenario in SCENARIOS), Counter())
    wanted = "bisections", "splits", "refuse: stuck", "systemic refusals", "read back", "forgotten", "healed parkings"
    assert [name for name in wanted if not seen[name]] == []
