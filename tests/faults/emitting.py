"""What tests of the HTTP emitter share: events, short deadlines, and one call with its error and duration."""

import time
from contextlib import contextmanager

import attrs

from caliper_readtime import HttpCaliperEmitter
from caliper_readtime.errors import EmitError, EmitterUnavailable
from caliper_readtime.testing._endpoint import CaliperEndpoint
from tests.endpoint_client import event

DEADLINE = 30.0  # roomy, so that a slow machine changes nothing
SHORT = 0.5  # where only the deadline ends a call
OVERSHOOT = 10.0  # of a busy machine; without its deadline each of these calls would go on for longer
EVENT = event("alone")
MANY = [event(f"e{number}") for number in range(8)]
IDS = tuple(entry["id"] for entry in MANY)


@contextmanager
def emitter_for(url, **more):
    """An emitter with two attempts, closed in the end."""
    settings = {"attempts": 2, "deadline_seconds": DEADLINE, "sensor": "https://app.example.org"}
    emitter = HttpCaliperEmitter(url, **{**settings, **more})
    try:
        yield emitter
    finally:
        emitter.close()


@attrs.frozen
class Ended:
    error: EmitError | None
    seconds: float


def timed(call, *args, deadline=DEADLINE):
    """Make a call that may only raise an EmitError, and only in time."""
    started, error = time.monotonic(), None
    try:
        call(*args)
    except EmitError as raised:
        error = raised
    seconds = time.monotonic() - started
    assert seconds < deadline + OVERSHOOT
    return Ended(error, seconds)


@contextmanager
def endpoint_and_emitter(**more):
    """A well-behaved endpoint, and an emitter for it."""
    with CaliperEndpoint() as endpoint, emitter_for(endpoint.url, **more) as emitter:
        yield endpoint, emitter


def breaker_lets_through(emitter):
    """Whether the emitter's circuit breaker would let a call through."""
    try:
        emitter._here().breaker.check(())
    except EmitterUnavailable:
        return False
    return True
