"""Every history within the scenarios' bounds, through the real transitions, keeps the promises."""

from __future__ import annotations

from functools import cache

import pytest

from caliper_readtime._rules import TABLE
from tests.model.explorer import Explored, Explorer
from tests.model.scenarios import SCENARIOS, Scenario, deeper
from tests.model.steps import Steps
from tests.model.world import first, key_of

#: Far more worlds than any scenario has.
ALL = 10**9
#: With --deep, the level in which a scenario has reached so many worlds is its last: memory is not endless.
DEEP = 900_000
#: So many pairs of worlds show that the normal form is one.
SAMPLE = 1000
#: What the suite promises to have seen.
LEAST, LEAST_DEEP = 200_000, 10_000_000


@cache
def explored(scenario: Scenario, *, deep: bool) -> Explored:
    """Return what the exploration of a scenario saw; each is explored once in a run."""
    return Explorer(deeper(scenario)).run(DEEP) if deep else Explorer(scenario).run(ALL)


@pytest.fixture
def deep(request: pytest.FixtureRequest) -> bool:
    return request.config.getoption("--deep")


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_every_history_keeps_every_promise(scenario, deep, record_property):
    """Exhaustive interleavings over the production transitions, in each scenario."""
    seen = explored(scenario, deep=deep)
    record_property("worlds", seen.worlds)
    record_property("steps", seen.steps)
    end = "every history" if seen.complete else f"every history of up to {seen.depth} steps"
    print(f"{scenario.name}: {seen.worlds:,} worlds, {seen.steps:,} steps, {end}, {seen.seconds:.1f} s")
    assert seen.complete or deep


def test_the_explored_edges_are_the_table(deep, record_property):
    """The edges that the explorer saw equal the state machine's table, over enough worlds."""
    results = [explored(scenario, deep=deep) for scenario in SCENARIOS]
    seen = frozenset().union(*(result.edges for result in results))
    table = {(phase, verb, end) for (phase, verb), rule in TABLE.items() for end in rule.ends}
    worlds, steps = sum(result.worlds for result in results), sum(result.steps for result in results)
    seconds = sum(result.seconds for result in results)
    record_property("worlds", worlds)
    record_property("steps", steps)
    record_property("edges", len(seen))
    print(f"model: {worlds:,} distinct worlds, {steps:,} steps, {len(seen)} edges, {seconds:.0f} s")
    assert sorted(seen) == sorted(table)
    assert worlds >= (LEAST_DEEP if deep else LEAST)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_worlds_of_one_normal_form_have_the_same_futures(scenario):
    """The memory of the explorer is sound: of worlds that it takes for one, every step leads to one again."""
    steps = Steps(scenario)
    compared = 0
    with scenario.limits():
        root = first(scenario)
        known = {key_of(root, scenario): root}
        futures = {}
        waiting = [root]
        for world in waiting:
            for _, step in steps.of(world):
                after = step()
                key = key_of(after, scenario)
                if key not in known:
                    known[key] = after
                    if len(waiting) < SAMPLE:
                        waiting.append(after)
                elif known[key] != after and compared < SAMPLE:
                    if key not in futures:
                        futures[key] = {key_of(then(), scenario) for _, then in steps.of(known[key])}
                    assert {key_of(then(), scenario) for _, then in steps.of(after)} == futures[key]
                    compared += 1
    assert compared
