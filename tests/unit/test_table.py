"""The state machine's table: complete, and made of pure functions."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import caliper_readtime
from caliper_readtime import _checks, _model, _policy, _results, _rules, _units
from caliper_readtime._rules import TABLE, Caller, Verb
from caliper_readtime._rules.state import Phase
from tests.scenes import ANNA, OWLS
from tests.unit.builders import NOW, POLICY, Life

VERBS = {"signal", "claim", "commit", "release", "renew", "park", "defer", "unpark"}
ROOMS = sorted(Path(_rules.__file__).parent.glob("*.py"))
PURE = [Path(module.__file__) for module in (_checks, _model, _policy, _results, _units)] + ROOMS
IMPURE = {
    "redis",
    "requests",
    "tenacity",
    "sqlite3",
    "socket",
    "time",
    "threading",
    "random",
    "secrets",
    "os",
    "logging",
}
PURE_NAMES = {
    "_checks",
    "_interruptions",
    "_model",
    "_notebook",
    "_policy",
    "_records",
    "_results",
    "_rules",
    "_units",
    "errors",
}


def test_the_table_has_every_phase_and_verb():
    """The rules live once: a row for each verb in each phase, and no other."""
    assert set(TABLE) == {(phase, verb) for phase in Phase for verb in VERBS}
    assert set(Verb.__subclasses__()) == set(_rules._VERBS)


@pytest.mark.parametrize(("phase", "verb"), TABLE, ids=str)
def test_every_row_makes_sense(phase, verb):
    """No verb ends a state, only a signal gives birth to one, and each row names its end phases."""
    function, ends = TABLE[phase, verb]
    assert inspect.isfunction(function)
    assert inspect.getdoc(function)
    assert ends
    assert ends <= set(Phase)
    assert (Phase.ABSENT in ends) == (phase is Phase.ABSENT and verb != "signal")
    assert phase is Phase.ABSENT or phase in ends or verb in ("park", "commit", "signal")


def lives():
    """A life in each phase."""
    found = {Phase.ABSENT: Life(), Phase.SETTLED: Life().sent(), Phase.UNREPORTED: Life().read(), Phase.CLAIMED: Life()}
    found[Phase.CLAIMED].claimed()
    found[Phase.RELEASED] = Life()
    found[Phase.RELEASED].release(found[Phase.RELEASED].claimed())
    found[Phase.PARKED] = Life()
    found[Phase.PARKED].rejected()
    return found


@pytest.mark.parametrize("phase", Phase)
def test_every_verb_keeps_to_its_row(phase):
    """The table is what runs: from each phase each verb ends where its row says, and forgets no time."""
    other = Life().claimed()

    def attempts(life):
        claim = life.ledger.claim if life.state and life.ledger.claim else other
        yield "signal", lambda: life.beat(5, reader=ANNA, article=OWLS)
        yield from (("claim", lambda caller=caller: life.take("b", caller)) for caller in Caller)
        yield "commit", lambda: life.commit(claim, life.ledger.generation if life.state else "g")
        yield "release", lambda: life.release(claim)
        yield "renew", lambda: life.renew(claim)
        yield "park", lambda: life.park(claim)
        yield "defer", lambda: life.defer(finalize=True)
        yield "unpark", life.unpark

    for number in range(10):
        life = lives()[phase]
        assert (Phase.ABSENT if life.state is None else life.state.phase) is phase
        verb, attempt = list(attempts(life))[number]
        before = 0 if life.state is None else life.meter.cumulative_ms
        life.wait(60)
        attempt()
        assert (Phase.ABSENT if life.state is None else life.state.phase) in TABLE[phase, verb].ends
        assert life.state is None or life.meter.cumulative_ms >= before


def test_a_transition_is_pure():
    """T1: the same transition on the same state gives an equal answer, and leaves its input alone."""
    life = Life().read()
    before, copied = life.state, repr(life.state.meter) + repr(life.state.ledger)
    signal = life._signal("f" * 32, 5, heartbeat_id="h")
    first, second = signal(before, NOW), signal(before, NOW)
    assert first == second
    assert repr(before.meter) + repr(before.ledger) == copied
    born = [life._signal("f" * 32, 5, heartbeat_id="h")(None, NOW) for _ in range(2)]
    assert born[0] == born[1]


def test_transitions_are_frozen_hashable_values():
    """T1: transitions are frozen callable values."""
    life = Life().read()
    signal = life._signal("f" * 32, 5, heartbeat_id="h")
    with pytest.raises(AttributeError):
        signal.offered_ms = 9
    for verb in Verb.__subclasses__():
        assert verb.__setattr__ is not object.__setattr__
        assert callable(verb)
    assert hash(POLICY) == hash(type(POLICY)())


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_pure_modules_import_nothing_impure(path):
    """Pure modules know no store, no network, no clock, no chance, and only each other."""
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported |= (
                {node.module} if node.module != "caliper_readtime" else {f"{node.module}.{a.name}" for a in node.names}
            )
    own = {name.split(".")[1] for name in imported if name.startswith("caliper_readtime.")}
    assert own <= PURE_NAMES
    assert IMPURE.isdisjoint(name.partition(".")[0] for name in imported)


@pytest.mark.parametrize("path", PURE, ids=lambda path: path.stem)
def test_pure_modules_call_no_clock_and_no_chance(path):
    """Tokens and nonces are drawn outside the transition, and time is passed in."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names |= {node.attr} if isinstance(node, ast.Attribute) else {node.id} if isinstance(node, ast.Name) else set()
    assert names.isdisjoint({"utcnow", "today", "uuid1", "uuid4", "urandom", "open", "print", "fromtimestamp", "eval"})


def test_the_rules_alone_load_no_machinery():
    """The pure part stands by itself: the modules of its own package that it loads are pure as well."""
    code = (
        "import sys, types; p = types.ModuleType('caliper_readtime'); p.__path__ = [sys.argv[1]];"
        "sys.modules['caliper_readtime'] = p; import caliper_readtime._rules;"
        "print(*(n.split('.')[1] for n in sys.modules if n.startswith('caliper_readtime.')))"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code, str(Path(caliper_readtime.__file__).parent)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert set(answer.stdout.split()) <= PURE_NAMES
