"""The model tests the code; this tests the model: each rule, taken out of the code, must be missed."""

from __future__ import annotations

import pytest

from tests.model.explorer import Explorer
from tests.model.invariants import Violation
from tests.model.mutations import MUTATIONS
from tests.model.scenarios import SCENARIOS

#: A mutant has to be found among so many worlds.
MOST = 30_000
_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.rule)
def test_a_broken_rule_is_noticed(mutation):
    """Tests that test the tests: without this rule the exploration fails, by a promise and with its trace."""
    explorer = Explorer(_BY_NAME[mutation.scenario])
    with mutation.applied(), pytest.raises(Violation) as caught:
        explorer.run(MOST)
    assert isinstance(caught.value.__cause__, Violation), "the mutant does not even run"
    assert "  1. " in str(caught.value)
    print(f"{mutation.rule}: {str(caught.value).splitlines()[0]}")
