"""L5: what a host raises into running code from outside passes through, and the claim is left to its lease."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from caliper_readtime import EmitterUnavailable, Outcome
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, OWLS, Scene


class SoftTimeLimitExceeded(Exception):
    """Named and based as Celery's and billiard's is."""


class BaseTimeoutException(Exception):
    """Named and based as RQ's is."""


class JobTimeoutException(BaseTimeoutException):
    """As RQ raises it, from a timer thread where there is no SIGALRM."""


class OfTheHost(Exception):
    """A name that nobody has heard of."""


@contextmanager
def alarm(error):
    """The host raises that error from a signal handler."""

    def handler(_number, _frame):
        raise error

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)


class Interrupted(RecordingEmitter):
    """Calls something in the middle of an emission, and takes what it raises for its own failure where ``wraps``."""

    def __init__(self, action, *, wraps=False):
        super().__init__()
        self.action, self.wraps = action, wraps

    def emit(self, events, /):
        try:
            self.action()
        except Exception as error:
            if self.wraps:
                raise EmitterUnavailable("failed") from error
            raise
        super().emit(events)


def passes(scene, expected, emitter):
    """Each verb lets it through; afterwards the claim is its owner's still, until the lease ends."""
    scene.use(emitter)
    for verb in ("partial", "finalize", "flush", "sweep"):
        scene.read(seconds=30)
        with pytest.raises(expected):
            if verb == "flush":
                scene.tracker.flush_reader(ANNA)
            elif verb == "sweep":
                scene.tracker.sweep(idle_seconds=0)
            else:
                getattr(scene.tracker, verb)(ANNA, OWLS)
        claim = scene.state().ledger.claim
        assert (claim.owner is not None, claim.attempts, scene.state().last_error) == (True, 0, None)
        emitter.action = list
        assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
        scene.clock.advance(30)
        assert scene.tracker.flush_reader(ANNA).settled
        emitter.action = emitter.first


@pytest.mark.parametrize("wraps", [False, True])
@pytest.mark.parametrize("error", [OfTheHost, TimeoutError, SoftTimeLimitExceeded])
def test_what_a_signal_handler_raises_passes_through(memory_scene: Scene, error, wraps):
    """L5: whatever its class is: it has passed a frame of the handler."""
    with alarm(error()) as kill:
        emitter = Interrupted(kill, wraps=wraps)
        emitter.first = kill
        passes(memory_scene, error, emitter)


@pytest.mark.parametrize("error", [SoftTimeLimitExceeded, JobTimeoutException])
def test_what_a_queue_raises_from_another_thread_passes_through(memory_scene: Scene, error):
    """L5: then no handler shows, but its name does."""

    def raises():
        raise error

    emitter = Interrupted(raises)
    emitter.first = raises
    passes(memory_scene, error, emitter)


def test_billiards_own_soft_time_limit_passes_through(memory_scene: Scene):
    """L5: the real class, where it is installed."""
    exceptions = pytest.importorskip("billiard.exceptions")

    def raises():
        raise exceptions.SoftTimeLimitExceeded

    emitter = Interrupted(raises)
    emitter.first = raises
    passes(memory_scene, exceptions.SoftTimeLimitExceeded, emitter)


def test_an_emitters_own_time_out_is_its_own(memory_scene: Scene):
    """L4: the same class without a handler is a failure of the emitter."""
    scene = memory_scene

    def raises():
        raise TimeoutError

    scene.use(Interrupted(raises))
    scene.read(seconds=30)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert scene.state().attempts == 1


@pytest.mark.parametrize("where", ["on_report", "builder"])
def test_listeners_and_builders_swallow_it_as_little(memory_scene: Scene, where):
    """L5: on_report may not break a report, nor a builder park an event, but a soft time limit is neither's fault."""
    scene = memory_scene

    def raises(*_args, **_more):
        raise SoftTimeLimitExceeded

    scene.read(seconds=30)
    if where == "on_report":
        scene.use(on_report=raises)
    else:
        known = scene.tracker.events
        scene.use(events=SimpleNamespace(event=raises, sensor=known.sensor, oneroster_url=known.oneroster_url))
    with pytest.raises(SoftTimeLimitExceeded):
        scene.tracker.partial(ANNA, OWLS)
    assert scene.tracker.parked() == ()
    assert scene.state().unreported_seconds == (0.0 if where == "on_report" else 30.0)
