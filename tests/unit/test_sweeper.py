"""The sweeper: rounds that nothing ends but who asked for it, their waits, and what is logged of trouble."""

from __future__ import annotations

import logging
import os
import threading

import pytest

from caliper_readtime import (
    ConfigurationError,
    EmitterUnavailable,
    EndpointRefused,
    InvalidInput,
    Reader,
    ReadTimeTracker,
    StoreUnavailable,
    Sweeper,
)
from tests.concurrency.children import child
from tests.scenes import (
    ANNA,
    BEES,
    BEN,
    OWLS,
    WAIT_SECONDS,
    HeldEmitter,
    SelectiveEmitter,
    of_reader,
    running,
    until,
)


class Script:
    """A ``Stop`` that keeps the waits it was asked for, does what the test wants meanwhile, and ends the last one."""

    def __init__(self, *meanwhile):
        self.meanwhile = list(meanwhile)
        self.waits = []

    def is_set(self):
        return not self.meanwhile

    def wait(self, timeout):
        self.waits.append(timeout)
        self.meanwhile.pop(0)()
        return self.is_set()


def nothing():
    """Let time pass."""


def reader(number):
    """One of many readers."""
    return Reader(f"reader-{number}", "r@example.org")


class Rounds:
    """A sweeper of a scene, without jitter, and what it tells of its rounds."""

    def __init__(self, scene, **more):
        self.reports = []
        self.clock = 0.0
        self.sweeper = Sweeper(scene.tracker, jitter=0, on_round=self.reports.append, **more)
        self.sweeper.monotonic = lambda: self.clock

    def play(self, *meanwhile):
        """Run a round, then each of these after another round; return the waits between."""
        script = Script(*meanwhile, nothing)
        self.sweeper.run(script)
        return script.waits[: len(meanwhile)]

    def pass_seconds(self, seconds):
        def passing():
            self.clock += seconds

        return passing


class BrokenStore:
    """A tracker whose store is away until it is told otherwise."""

    def __init__(self, tracker, error):
        self.emitter = tracker.emitter
        self.tracker = tracker
        self.error = error

    def sweep_while(self, go_on, **arguments):
        if self.error is not None:
            raise self.error
        return self.tracker.sweep_while(go_on, **arguments)

    def mend(self):
        self.error = None


def lines(caplog):
    return [record.getMessage() for record in caplog.records if record.getMessage().startswith("sweeper")]


def test_once_reports_what_was_left_behind(scene):
    """A job queue's call: one sweep by the sweeper's settings."""
    scene.read(ANNA, OWLS, 30)
    scene.read(BEN, BEES, 20)
    sweeper = Sweeper(scene.tracker, idle_seconds=10)
    assert sweeper.run_once().events_sent == 1  # Ben has just been active
    scene.clock.advance(10)
    report = sweeper.run_once()
    assert (report.events_sent, report.stopped_by) == (1, "drained")
    assert scene.sent == [30, 20]


def test_once_tells_its_caller_of_a_lost_store(scene):
    """A job queue sees the failure; nothing is swallowed."""
    sweeper = Sweeper(BrokenStore(scene.tracker, StoreUnavailable("gone")))
    with pytest.raises(StoreUnavailable, match="gone"):
        sweeper.run_once()


def test_rounds_go_on_at_the_interval(scene):
    """Between rounds it waits the interval, and each round finds what has come since."""
    rounds = Rounds(scene, interval_seconds=7, idle_seconds=0)
    scene.read(ANNA, OWLS, 30)
    waits = rounds.play(lambda: scene.read(ANNA, OWLS, 12), nothing)
    assert waits == [7, 7]
    assert scene.sent == [30, 12]
    assert [report.events_sent for report in rounds.reports] == [1, 1, 0]


def test_no_wait_while_more_is_due(scene):
    """A backlog above the limit is worked off at once, but a time budget ends a round for good."""
    for number in range(5):
        scene.read(reader(number), OWLS, 10)
    scene.clock.advance(60)
    rounds = Rounds(scene, limit=2)
    assert rounds.play() == []
    assert [report.events_sent for report in rounds.reports] == [2, 2, 1]
    scene.read(ANNA, OWLS, 10)
    hasty = Rounds(scene, interval_seconds=3, idle_seconds=0, budget_seconds=0)
    assert hasty.play(nothing) == [3]
    assert [report.stopped_by for report in hasty.reports] == ["budget", "budget"]


def test_jitter_spreads_hosts(scene):
    """Each wait is varied by at most the given part of itself, and the first round of a thread begins at random."""
    sweeper = Sweeper(scene.tracker, interval_seconds=100, jitter=0.2)
    waits = []
    for drawn in (0.0, 0.5, 1.0):
        sweeper.random = lambda drawn=drawn: drawn
        script = Script(nothing)
        sweeper.run(script)
        waits += script.waits
    assert waits == pytest.approx([80, 100, 120])


def test_a_lost_store_never_ends_it(scene, caplog):
    """The wait doubles up to its bound, and one line tells of the trouble, one of its end."""
    caplog.set_level(logging.INFO)
    rounds = Rounds(scene, interval_seconds=10, max_backoff_seconds=60)
    broken = rounds.sweeper._tracker = BrokenStore(scene.tracker, StoreUnavailable("Redis at h:1: gone"))
    pause = rounds.pass_seconds(10)
    assert rounds.play(pause, pause, pause, pause, broken.mend, nothing) == [10, 20, 40, 60, 60, 10]
    began, ended = lines(caplog)
    assert "the store cannot be used" in began
    assert "Redis at h:1: gone" in began
    assert "works again" in ended
    assert "40s ago" in ended
    assert [isinstance(one, StoreUnavailable) for one in rounds.reports] == [True] * 5 + [False] * 2


def test_trouble_that_lasts_is_told_again_now_and_then(scene, caplog):
    """Every ten minutes, not every round; and at once where it changes."""
    rounds = Rounds(scene)
    broken = rounds.sweeper._tracker = BrokenStore(scene.tracker, StoreUnavailable("gone"))

    def other():
        broken.error = ConfigurationError("this store is in use with sensor=x")

    rounds.play(*[rounds.pass_seconds(100)] * 7, other)
    said = lines(caplog)
    assert [("store" in line, "configuration" in line) for line in said] == [(True, False)] * 2 + [(True, True)]
    assert "lasts=600s" in said[1]


@pytest.mark.parametrize(
    ("error", "words"),
    [(EmitterUnavailable("h does not answer"), "does not answer"), (EndpointRefused("h answered 401"), "refuses us")],
)
def test_a_lost_endpoint_never_ends_it(scene, caplog, error, words):
    """The trouble is over when something was sent, not when there is only nothing due because of back-offs."""
    rounds = Rounds(scene, interval_seconds=10, idle_seconds=0)
    scene.read(ANNA, OWLS, 30)
    scene.emitter.fail(error)
    assert rounds.play(nothing, lambda: scene.clock.advance(3600)) == [10, 10]
    assert [report.stopped_by for report in rounds.reports] == [error_kind(error), "drained", "drained"]
    assert scene.sent == [30]
    began, ended = lines(caplog)
    assert words in began
    assert str(error) in began
    assert "works again" in ended


def error_kind(error):
    return "refused" if isinstance(error, EndpointRefused) else "unavailable"


def test_a_mistake_never_ends_it_and_quotes_nobody(scene, caplog):
    """Whatever an exception of somebody else's says, only its kind and place are logged."""
    rounds = Rounds(scene)
    rounds.sweeper._tracker = BrokenStore(scene.tracker, RuntimeError("anna@example.org"))
    rounds.play(nothing)
    (line,) = lines(caplog)
    assert "RuntimeError" in line
    assert "test_sweeper.py" in line
    assert "anna@" not in caplog.text


def test_a_base_exception_ends_it(scene):
    """Whoever ends the process ends the sweeper."""
    rounds = Rounds(scene)
    rounds.sweeper._tracker = BrokenStore(scene.tracker, SystemExit(1))
    with pytest.raises(SystemExit):
        rounds.play(nothing)


def test_listeners_cannot_break_a_round(scene, caplog):
    """Metrics that raise are logged, and the time arrives."""

    def broken(_):
        raise RuntimeError("metrics")

    scene.read(ANNA, OWLS, 30)
    sweeper = Sweeper(scene.tracker, idle_seconds=0, jitter=0, on_round=broken, on_progress=broken)
    sweeper.run(Script(nothing))
    assert scene.sent == [30]
    assert all("a listener raised" in line for line in lines(caplog))
    assert len(lines(caplog)) >= 2


def test_a_stop_ends_a_round_between_envelopes(scene):
    """No further envelope begins, what was claimed and not sent is given back without an attempt, nothing is lost."""
    for number in range(150):
        scene.read(reader(number), OWLS, 10)
    scene.clock.advance(60)
    stop = threading.Event()
    sweeper = Sweeper(scene.tracker, on_progress=lambda reports: stop.set() if reports else None)
    report = sweeper.run_once(stop)
    assert (report.events_sent, report.stopped_by, report.more) == (100, "stopped", True)
    assert sweeper.run_once().events_sent == 50
    assert scene.sent == [10] * 150


def test_a_stop_in_the_middle_of_halving(scene):
    """A refused envelope is not taken apart any further; its claims are free at once, unchanged."""
    emitter = SelectiveEmitter(of_reader("reader-1"))
    tracker = scene.use(emitter)
    for number in range(4):
        scene.read(reader(number), OWLS, 10)
    scene.clock.advance(60)
    asked = []

    def go_on(reports):
        asked.append(len(reports))
        return not emitter.calls

    report = tracker.sweep_while(go_on)
    assert (report.stopped_by, len(emitter.calls), report.parked) == ("stopped", 1, 0)
    assert [state.attempts for number in range(4) for state in tracker.states(f"reader-{number}")] == [0] * 4
    assert tracker.sweep().events_sent == 3


def test_a_thread_starts_and_stops(scene):
    """It sweeps by itself, starting twice is starting once, and stopping leaves no thread."""
    scene.read(ANNA, OWLS, 30)
    done = threading.Event()
    before = threading.active_count()
    sweeper = Sweeper(scene.tracker, idle_seconds=0, jitter=0, on_round=lambda _: done.set())
    assert not sweeper.running
    assert sweeper.stop()
    with sweeper:
        sweeper.start()
        assert sweeper.running
        assert threading.active_count() == before + 1
        assert done.wait(WAIT_SECONDS)
    assert not sweeper.running
    assert scene.sent == [30]
    scene.read(ANNA, OWLS, 5)
    done.clear()
    with sweeper:  # and again
        assert done.wait(WAIT_SECONDS)
    assert scene.sent == [30, 5]


def test_stopping_waits_no_longer_than_asked(scene):
    """An endpoint that hangs holds a stop up for the time-out alone; the envelope under way is still accounted for."""
    gate = HeldEmitter()
    scene.use(gate)
    scene.read(ANNA, OWLS, 30)
    sweeper = Sweeper(scene.tracker, idle_seconds=0, jitter=0)
    sweeper.start()
    assert gate.arrived.wait(WAIT_SECONDS)
    assert not sweeper.stop(timeout=0.01)
    assert sweeper.running
    gate.open.set()
    assert sweeper.stop(timeout=WAIT_SECONDS)
    assert scene.state().reported_read_time_seconds == 30


def test_it_may_stop_itself(scene):
    """A listener that stops its own sweeper does not wait for itself."""
    answers = []
    sweeper = Sweeper(scene.tracker, jitter=0, on_round=lambda _: answers.append(sweeper.stop()))
    sweeper.start()
    until(lambda: not sweeper.running)
    assert answers == [False]
    assert sweeper.stop()


def test_many_at_once_share_the_work(scene):
    """However many sweep, each event is sent once."""
    for number in range(30):
        scene.read(reader(number), OWLS, 10)
    scene.clock.advance(60)
    sweepers = [Sweeper(scene.another(), limit=5) for _ in range(4)]

    def drain(sweeper):
        report = sweeper.run_once()
        while report.more:
            report = sweeper.run_once()

    with running(*[lambda sweeper=sweeper: drain(sweeper) for sweeper in sweepers]) as results:
        pass
    assert results == [None] * 4
    assert scene.sent == [10] * 30
    assert len({event["id"] for event in scene.emitter.events}) == 30


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_takes_no_thread_along():
    """A forked child is not running, and can start a thread of its own; the parent's goes on."""
    with child("swept_fork") as parent:
        assert parent.result() == {"child_before": False, "child_after": True, "child_stopped": True, "parent": True}


@pytest.mark.parametrize(
    "wrong",
    [
        {"interval_seconds": 0},
        {"interval_seconds": -1},
        {"interval_seconds": "1"},
        {"idle_seconds": float("nan")},
        {"limit": 0},
        {"budget_seconds": -1},
        {"jitter": 1.5},
        {"jitter": True},
        {"max_backoff_seconds": float("inf")},
    ],
)
def test_bad_arguments(scene, wrong):
    """They are refused at once, by name, and not by the thread."""
    with pytest.raises(InvalidInput) as refused:
        Sweeper(scene.tracker, **wrong)
    assert refused.value.field in wrong


def test_a_tracker_that_cannot_send(scene):
    """It is refused at once."""
    with pytest.raises(ConfigurationError, match="no emitter"):
        Sweeper(ReadTimeTracker(scene.store))
