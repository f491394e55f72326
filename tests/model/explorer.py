"""Breadth-first exploration of every history of a scenario, each world once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from tests.model.invariants import Violation, check_quiet, check_world
from tests.model.steps import Steps
from tests.model.world import Budget, ModelState, first, key_of

if TYPE_CHECKING:
    from caliper_readtime._rules.state import Phase
    from tests.model.world import Scenario


class Explored(NamedTuple):
    """What an exploration saw.

    Attributes:
        worlds: distinct worlds.
        steps: steps between them.
        depth: every history of this many steps was seen.
        complete: every history was, whatever its length.
        edges: of the state machine.
        seconds: how long it took.
    """

    worlds: int
    steps: int
    depth: int
    complete: bool
    edges: frozenset[tuple[Phase, str, Phase]]
    seconds: float


class Explorer:
    """Explores one scenario. Of a world that was seen only a 64-bit hash is kept, and that of the one before it.

    Two worlds among ten millions share a hash with a probability of about 1 in 400,000.
    """

    def __init__(self, scenario: Scenario) -> None:
        self._scenario = scenario
        self._steps = Steps(scenario)
        self._before: dict[int, int] = {}
        self._quiet: set[int] = set()

    def run(self, most: int) -> Explored:
        """Explore until all is seen, or until the level in which ``most`` worlds are reached is done.

        Raises:
            Violation: a promise is broken; its message holds the steps that lead there.
        """
        started = time.monotonic()
        steps = depth = 0
        with self._scenario.limits():
            root = first(self._scenario)
            before, key = self._before, key_of(root, self._scenario)
            before[key] = key
            level = [(key, root)]
            while level and len(before) < most:
                reached: list[tuple[int, ModelState]] = []
                for parent, world in level:
                    for name, step in self._steps.of(world):
                        steps += 1
                        try:
                            after = step()
                            key = key_of(after, self._scenario)
                            if key in before:
                                continue
                            before[key] = parent
                            self._check(after)
                        except Exception as error:
                            raise Violation(self._trace(parent, name, error)) from error
                        reached.append((key, after))
                level = reached
                depth += 1
        edges = frozenset(self._steps.edges)
        return Explored(len(before), steps, depth, not level, edges, time.monotonic() - started)

    def _check(self, world: ModelState) -> None:
        check_world(world, self._scenario)
        # Whoever is still at work may crash, so all worlds that differ only in that come to the same.
        alone = world._replace(workers=(None, None), sweeper=None, email=0, told=0, budget=Budget(), lost=None)
        quiet = key_of(alone, self._scenario)
        if quiet not in self._quiet:
            self._quiet.add(quiet)
            check_quiet(world, self._scenario)

    def _trace(self, parent: int, name: str, error: Exception) -> str:
        """Return the broken promise and the steps that lead to it, found again by their hashes."""
        keys = [parent]
        while self._before[keys[-1]] != keys[-1]:
            keys.append(self._before[keys[-1]])
        world, lines = first(self._scenario), []
        for key in reversed(keys[:-1]):
            for taken, step in self._steps.of(world):
                after = step()
                if key_of(after, self._scenario) == key:
                    world = after
                    lines.append(taken)
                    break
        steps = "\n".join(f"  {number}. {line}" for number, line in enumerate((*lines, name), 1))
        problem = str(error) or type(error).__name__
        return f"{problem}\nscenario {self._scenario.name}, after\n{steps}\nfrom the state\n  {describe(world)}"


def describe(world: ModelState) -> str:
    """Return what a world holds, in one line."""
    state = world.state
    if state is None:
        return "no state"
    return f"now {world.now}, {state.meter}, {state.ledger}, index {world.index}, sent {world.sent}"
