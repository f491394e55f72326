"""``status --watch``: the same figures again and again, by an injected clock."""

from __future__ import annotations

import io

import pytest

from caliper_readtime import InMemoryStateStore, StoreUnavailable
from caliper_readtime._cli.parser import own_parser
from caliper_readtime._cli.running import choose
from caliper_readtime._cli.session import Session
from caliper_readtime._cli.status import WATCH_SECONDS, watch
from tests.commands import Terminal, command, complained
from tests.scenes import ANNA, OWLS, Scene


class Rounds:
    """Stops after some rounds; between two of them it does something, and time goes by."""

    def __init__(self, clock, *between):
        self.clock = clock
        self.between = list(between)
        self.waited = []

    def is_set(self):
        return len(self.waited) > len(self.between)

    def wait(self, timeout, /):
        self.waited.append(timeout)
        self.clock.advance(timeout)
        if len(self.waited) <= len(self.between):
            self.between[len(self.waited) - 1]()
        return self.is_set()


def watched(scene, *words, between=(), terminal=False):
    """Watch the scene's status for a round more than there are deeds; return what was said, and the waits."""
    out = Terminal() if terminal else io.StringIO()
    rounds = Rounds(scene.clock, *between)
    arguments = own_parser(settings=False).parse_args(["status", "--watch", *words])
    watch(arguments, Session(scene.tracker, choose(out, io.StringIO())), rounds)
    return out.getvalue(), rounds.waited


def test_each_round_says_what_has_changed(scene):
    """A table with the time and, from the second round on, by how much each figure has moved."""
    said, waited = watched(scene, "30", between=[lambda: scene.read(ANNA, OWLS, 12.5)])
    first, second = said.split("\n\n", 1)
    assert first.splitlines()[0].split() == ["status", "2026-03-02", "08:00:00Z", "change"]
    assert "unreported seconds    12.5                  +12.5" in second
    assert waited == [30, 30]


def test_the_interval_may_be_left_out(scene):
    """Then it is five seconds."""
    assert watched(scene)[1] == [WATCH_SECONDS]


def test_json_is_a_line_each_round(scene):
    """For other programs, with the thresholds that are exceeded."""
    scene.read(ANNA, OWLS, 30)
    said, _ = watched(scene, "--json", "--max-states", "0", between=[lambda: scene.tracker.flush_reader(ANNA)])
    assert '"exceeded": ["1 state with unreported time (at most 0)"]' in said.splitlines()[0]
    assert '"exceeded": []' in said.splitlines()[1]


def test_thresholds_stand_below_the_table(scene):
    """What is wrong is said with the figures, on a terminal too."""
    scene.read(ANNA, OWLS, 30)
    for terminal in (False, True):
        said, _ = watched(scene, "--max-states", "0", terminal=terminal)
        assert "1 state with unreported time (at most 0)" in said
        assert "unreported seconds" in said


@pytest.mark.parametrize("terminal", [True, False])
def test_a_store_that_is_away_is_asked_again(terminal):
    """It says so and goes on; the next round shows the figures again."""

    class Away(InMemoryStateStore):
        away = True

        def unreported(self, now=None):
            if self.away:
                raise StoreUnavailable("redis.example.org does not answer")
            return super().unreported(now)

    scene = Scene(Away)
    for form in ((), ("--json",)):
        scene.store.away = True
        said, _ = watched(scene, *form, between=[lambda: setattr(scene.store, "away", False)], terminal=terminal)
        assert "redis.example.org does not answer; looking again in 5 s" in said
        assert "unreported" in said


def test_metrics_are_not_watched(scene):
    """OpenMetrics text is one document, so a watch of it is wrong usage."""
    assert "--watch goes with" in complained(command("status", "--watch", "--openmetrics", tracker=scene.tracker), 2)
