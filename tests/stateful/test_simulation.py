"""Simulations: one seed decides everything, and a fault happens at every effect boundary of the real code."""

from __future__ import annotations

import os
from collections import Counter
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory

import pytest

from caliper_readtime import InMemoryStateStore
from caliper_readtime._logs import logger
from caliper_readtime.protocols import UpdatesMany
from tests.backends import STORES
from tests.stateful.scenarios import SCENARIOS, Fault, Stage, classroom, corrected, outage
from tests.stateful.simulation import Simulation

#: Seeds that failed once. They always run; none of the first ten thousand has failed so far.
FAILED_SEEDS = ()
#: What the seeds must have met, or they have proved nothing.
SOMETIMES = (
    "bisections",
    "claims again",
    "clamped signals",
    "clock jumped",
    "clock stepped back",
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
    "made way",
    "parkings",
    "partial: in_flight",
    "partial: sent",
    "poisoned",
    "one clock",
    "read back",
    "read beside",
    "signals lost",
    "sweep: budget",
    "sweep: limit",
    "sweep: refused",
    "take-overs",
)
#: What only scenarios meet every time.
RARELY = (
    "bisections",
    "commit: before",
    "commit: gone",
    "forgotten",
    "healed parkings",
    "late, nothing sent",
    "read back",
    "rebirths",
    "park: not_owner",
    "park: stuck",
    "splits",
    "systemic refusals",
    "take-overs",
)
#: What the seeds must also have met where the store updates many states at once.
MANY = ("many at once",)
IN_MEMORY = "/dev/shm"  # noqa: S108 - a folder of its own is made in it
EVERY_STORE = pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)


class ManyInMemory(InMemoryStateStore):
    """Takes many transitions at once, as SQLite and Redis do, at the speed of memory."""

    def update_many(self, changes, now=None, /):
        return [self.update(key, transition, now) for key, transition in changes]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Thousands of failures on purpose would bury the one that matters."""
    monkeypatch.setattr(logger, "disabled", True)


@pytest.fixture
def folder(tmp_path):
    """A folder for stores, in memory where there is one: no power fails here, and fsync would be most of the time."""
    if not os.access(IN_MEMORY, os.W_OK):
        yield tmp_path
        return
    with TemporaryDirectory(dir=IN_MEMORY) as name:
        yield Path(name)


@contextmanager
def opened(make_store, path):
    """A store of its own for one run, closed at the end."""
    path /= "one"
    path.mkdir()
    store = make_store(path)
    try:
        yield store
    finally:
        store.close()
        rmtree(path)


def played(make_store, path, scenario, **more):
    """Play a scenario on a fresh store; return the stage and the book."""
    with opened(make_store, path) as store:
        stage = Stage(store, scenario, **more)
        return stage, stage.run()


@EVERY_STORE
def test_no_seed_loses_or_doubles_a_second(make_store, folder, request):
    """K3: faults stop, everything drains: at the endpoint is what was accepted, to the second; a probe round-trips."""
    asked = request.config.getoption("seeds")
    seen = Counter()
    for seed in dict.fromkeys((*FAILED_SEEDS, *range(asked or 100))):
        with opened(make_store, folder) as store:
            simulation = Simulation(seed, store)
            simulation.run()
            seen += simulation.book.seen
            sometimes = SOMETIMES + (MANY if isinstance(store, UpdatesMany) else ())
    assert [name for name in sometimes if not seen[name]] == []


@EVERY_STORE
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_seed_twice_ends_identically(make_store, seed, folder):
    """Every byte at the endpoint, every stored state and every counter is the same in a second run."""
    endings = []
    for _ in range(2):
        with opened(make_store, folder) as store:
            endings.append(Simulation(seed, store).run())
    assert endings[0] == endings[1]
    assert endings[0][0]


@EVERY_STORE
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_crash_at_any_boundary_costs_nothing(make_store, scenario, folder):
    """C2: whatever step a process dies before or after, the next one sends the same event, no second twice."""
    stage, book = played(make_store, folder, scenario)
    assert book.faults == []
    for at, name in enumerate(stage.passed, 1):
        # Every other client sends its heartbeat again, under the same id.
        crashed, book = played(make_store, folder, scenario, at=at, fault=Fault.CRASH, again=at % 2 == 1)
        assert crashed.passed[at - 1] == name
        assert (at, name, book.faults) == (at, name, [])


@pytest.mark.parametrize("make_store", [STORES["memory"], lambda _: ManyInMemory()], ids=["one", "many"])
@pytest.mark.parametrize("fault", [fault for fault in Fault if fault is not Fault.CRASH])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_a_failure_or_a_standstill_at_any_boundary_costs_nothing(scenario, fault, make_store, folder):
    """A lost answer, an owner that stands still past its lease, a rebirth meanwhile: all of it is healed."""
    stage, _ = played(make_store, folder, scenario)
    for at, name in enumerate(stage.passed, 1):
        _, book = played(make_store, folder, scenario, at=at, fault=fault, again=at % 2 == 0)
        assert (at, name, book.faults) == (at, name, [])


def test_a_long_bisection_renews_its_leases(folder):
    """C11, W3: leases are renewed before each step: halving goes on beyond the first lease, and nothing comes late."""
    stage, book = played(STORES["memory"], folder, classroom)
    assert book.seen["bisections"]
    assert not book.seen["late, nothing sent"]
    assert sum(name == "emit before" for name in stage.passed) * 9 > stage.world.policy.lock_seconds


def test_the_scenarios_meet_what_they_are_there_for(folder):
    """Without a fault they park, halve, split, expire and forget; with one, what is rare comes as well."""
    make_store, seen = STORES["memory"], Counter()
    for scenario in SCENARIOS:
        stage, book = played(make_store, folder, scenario)
        seen += book.seen
        if scenario in (outage, corrected):
            for fault, at in product(Fault, range(1, len(stage.passed) + 1)):
                seen += played(make_store, folder, scenario, at=at, fault=fault)[1].seen
    assert [name for name in RARELY if not seen[name]] == []
