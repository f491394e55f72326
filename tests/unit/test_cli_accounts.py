"""The audit's arithmetic, on states that no verb of ours would leave."""

from __future__ import annotations

import attrs
import pytest

from caliper_readtime._cli.accounts import account
from tests.scenes import ANNA, OWLS
from tests.unit.builders import NOW


@pytest.fixture
def state(scene):
    """Half a minute, of which twenty seconds were sent."""
    scene.read(ANNA, OWLS, 20)
    scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, OWLS, 10)
    return scene.state()


def bent(state, **ledger):
    """The state with another ledger."""
    return attrs.evolve(state, ledger=attrs.evolve(state.ledger, **ledger))


def test_a_sound_state(state):
    """Nothing is wrong, and the parts make the whole."""
    one = account(state)
    assert one.problems == ()
    assert (one.cumulative, one.reported, one.parked, one.claimed, one.rest) == (30, 20, 0, 0, 10)
    assert [entry.seconds for entry in one.sent] == [20]


def test_a_pointer_beyond_the_time(state):
    """More was reported than was ever accepted."""
    assert account(bent(state, pointer_ms=50_000)).problems == (
        "rest is -20 s",
        "history says 20 s were sent, the state says 50 s",
    )


def test_a_pointer_that_fell_back(state):
    """History remembers more than the state counts: the next report would send it again."""
    (problem,) = account(bent(state, pointer_ms=5_000)).problems
    assert problem == "history says 20 s were sent, the state says 5 s"


def test_a_history_that_has_forgotten(state):
    """A full history may remember less than was reported, but never more."""
    claimed, sent = f'[{NOW},"claimed",1000]\n', state.ledger.history.splitlines(keepends=True)[-1]
    full = bent(state, history=claimed * 31 + sent, pointer_ms=25_000)
    assert account(full).problems == ()
    assert account(bent(full, pointer_ms=19_000)).problems != ()
