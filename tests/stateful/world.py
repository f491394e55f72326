"""What a simulated run stands in: one clock, seeded randomness, store and endpoint with a boundary at every effect."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from random import Random
from types import SimpleNamespace
from unittest.mock import patch
from uuid import UUID

import attrs

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    Outcome,
    Reader,
    ReadTimeTracker,
    StoreUnavailable,
)
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.protocols import UpdatesMany
from caliper_readtime.testing import ManualClock
from tests.scenes import START, article, events
from tests.stateful.oracle import Book


class Crash(BaseException):
    """The process died here."""


class SimulatedSystem:
    """Wall clock, monotonic clock, book, endpoint, and the boundaries of every effect.

    ``at`` runs on each side of each effect and is where tests hook in: it may raise, or let others run meanwhile.
    """

    def __init__(self, store, policy, *, max_batch=100, read_back=False, emit_seconds=0.0, at=lambda name: None):
        self.clock = ManualClock(START)
        self.monotonic = 0.0
        self.policy = policy
        self.emit_seconds = emit_seconds  # how long one emission takes
        self.at = at
        self.worker = None  # who is running
        self.book = Book(policy)
        # Delivery's own loop goes on for stores that apply one transition at a time.
        many = isinstance(getattr(store, "inner", store), UpdatesMany)
        self.store = (ManyFaultyStore if many else FaultyStore)(self, store)
        self.endpoint = Endpoint(self.book)
        self.emitter = (ReadBackEmitter if read_back else FaultyEmitter)(self, max_batch)

    def advance(self, seconds):
        """Let time pass."""
        self.clock.advance(seconds)
        self.monotonic += seconds

    @property
    def now_ms(self):
        return to_epoch_ms(self.clock(), "now")

    def tracker(self, **own):
        """A fresh worker, with rules of its own where they decide when it sends."""
        policy = attrs.evolve(self.policy, **own)
        tracker = ReadTimeTracker(self.store, self.emitter, events(), policy, self.clock, on_report=self._heard)
        tracker._delivery.leases.monotonic = lambda: self.monotonic
        return tracker

    def _heard(self, report):
        self.book.heard(report)
        self.at("on_report")

    def drain(self):
        """Sweep with a fresh worker until nothing is due, letting every back-off and retry time come."""
        for _ in range(100):
            self.tracker().sweep(idle_seconds=0)
            dues = [state.due.at_ms for state in map(self.load, tuple(self.book.states)) if state and state.due]
            if not dues:
                break
            self.advance(max(0, min(dues) - self.now_ms) / 1000 + 0.001)
        else:
            self.book.expect(False, f"still due after a hundred sweeps: {dues}")

    def probe(self):
        """Let a new reader's time go all the way."""
        tracker, reader, what = self.tracker(), Reader("probe", "probe@example.org"), article("probe")
        tracker.accumulate(reader, what, 0)
        self.advance(12.5)
        tracker.accumulate(reader, what, 12.5)
        report = tracker.finalize("probe", "probe")
        arrived = [event_id in self.book.arrived for event_id in report.event_ids]
        self.book.expect((report.outcome, report.delta_seconds, arrived) == (Outcome.SENT, 12.0, [True]), f"{report}")

    def load(self, key):
        """What the store holds, asked behind the boundaries' back."""
        return self.store.inner.load(key, self.now_ms)

    def ending(self):
        """All that is left of a run, in the order in which it came."""
        states = [(key, state.ledger, state.meter) for key, state in sorted(self.book.states.items())]
        return self.endpoint.log, states, self.book.seen, self.clock()


class Endpoint:
    """An endpoint's memory. ``mode``: ok, down, forbidden (403) or broken (it refuses every event)."""

    def __init__(self, book):
        self.book = book
        self.log = []  # every accepted event's bytes, in order of arrival
        self.mode = "ok"
        self.lenient = False  # takes addresses that it used to refuse
        self.poison = (
            None  # (what an event's bytes hold, the error that it always gets, whether it is kept all the same)
        )

    def take(self, events):
        """Accept all of the events, or say why not."""
        if self.mode == "down":
            raise EmitterUnavailable("503", status=503, retry_after_seconds=7)
        if self.mode == "forbidden":
            raise EndpointRefused("403", status=403)
        if self.poison is not None:
            text, error, keeps = self.poison
            if any(text in json.dumps(event) for event in events):
                self.book.seen["poisoned"] += 1
                if keeps:
                    self._keep(events)
                raise error()
        bad = [e["id"] for e in events if self.mode == "broken" or (is_bad(e["actor"]["email"]) and not self.lenient)]
        if bad:
            if len(events) == 1:
                self.book.refused.update(bad)
            else:
                self.book.seen["bisections"] += 1
            raise EventRejected("422", event_ids=bad, status=422)
        self._keep(events)

    def _keep(self, events):
        for event in events:
            body = json.dumps(event, separators=(",", ":"))
            self.log.append(body)
            self.book.came(event, body)


def is_bad(email):
    """Whether the endpoint does not know this address."""
    return email.startswith("bad")


class FaultyEmitter:
    """Delivers to the endpoint, with a boundary on each side."""

    deadline_seconds = 10.0

    def __init__(self, world, max_batch):
        self.world = world
        self.max_batch = max_batch

    def emit(self, events, /):
        world = self.world
        ids = [event["id"] for event in events]
        world.book.sends(ids, world.worker, world.monotonic, self.deadline_seconds)
        world.book.expect(len(events) <= self.max_batch, "more events than max_batch")
        try:
            world.at("emit before")
            world.advance(world.emit_seconds)
            world.endpoint.take(events)
            world.at("emit after")
        except BaseException as error:
            if getattr(error, "ambiguous", not isinstance(error, EventRejected)):
                world.book.doubts.update(ids)
            raise

    def close(self):
        pass


class ReadBackEmitter(FaultyEmitter):
    """The same with the capability of asking what the endpoint holds."""

    def held(self, event_ids, /):
        self.world.at("held before")
        if self.world.endpoint.mode != "ok":
            raise EmitterUnavailable("503", status=503)
        held = frozenset(event_ids) & self.world.book.arrived.keys()
        self.world.book.seen["read back"] += len(held)
        return held


class FaultyStore:
    """A store with a boundary before each call, and after each that writes; the book sees what was applied."""

    def __init__(self, world, inner):
        self.world = world
        self.inner = inner

    def update(self, key, transition, now=None, /):
        world, verb = self.world, type(transition).__name__
        world.at(f"{verb} before")
        result, state = self.inner.update(key, transition, now)
        world.book.wrote(key, transition, now, result, state, world.worker, world.monotonic)
        world.at(f"{verb} after")
        return result, state

    def delete(self, reader, /):
        self.world.at("delete before")
        number = self.inner.delete(reader)
        self.world.book.forgot(reader)
        self.world.at("delete after")
        return number

    def meta(self, expected, /):
        self.world.at("meta before")
        recorded = self.inner.meta(expected)
        self.world.at("meta after")
        return recorded

    def swept(self, now=None, /):
        self.world.at("swept before")
        self.inner.swept(now)
        self.world.at("swept after")

    def load(self, key, now=None, /):
        self.world.at("load before")
        return self.inner.load(key, now)

    def keys(self, reader, now=None, /):
        self.world.at("keys before")
        return self.inner.keys(reader, now)

    def due(self, limit, now=None, idle_ms=0, /):
        self.world.at("due before")
        return self.inner.due(limit, now, idle_ms)

    def parked(self, limit, /):
        self.world.at("parked before")
        return self.inner.parked(limit)

    def unreported(self, now=None, /):
        self.world.at("unreported before")
        return self.inner.unreported(now)

    def now(self, key=None, /):
        return self.inner.now(key)

    def wall(self, reader, now=None, /):
        return self.inner.wall(reader, now)

    def last_sweep(self):
        self.world.at("last_sweep before")
        return self.inner.last_sweep()

    def close(self):
        self.inner.close()


class ManyFaultyStore(FaultyStore):
    """The same for a store that updates many states at once: it may also die when only some of them are written."""

    def update_many(self, changes, now=None, /):
        world, verb = self.world, f"{type(changes[0][1]).__name__} many"
        world.book.seen["many at once"] += 1
        world.at(f"{verb} before")
        half = len(changes) // 2
        answers = self._applied(changes[:half], now)
        world.at(f"{verb} between")
        answers += self._applied(changes[half:], now)
        try:
            world.at(f"{verb} one answer")
        except StoreUnavailable as error:  # written, and only this one's answer is lost
            answers[0] = error
        world.at(f"{verb} after")
        return answers

    def _applied(self, changes, now):
        world = self.world
        answers = self.inner.update_many(changes, now)
        for (key, transition), answer in zip(changes, answers, strict=True):
            result, state = answer
            world.book.wrote(key, transition, now, result, state, world.worker, world.monotonic)
        return answers


def failure(boundary):
    """The error that the effect at this boundary fails with: on_report's must be swallowed, the others pass."""
    if boundary.startswith(("emit", "held")):
        return EmitterUnavailable(f"no answer: {boundary}")
    return RuntimeError("the host's metrics") if boundary == "on_report" else StoreUnavailable(f"no answer: {boundary}")


@contextmanager
def seeded(seed, sleep=lambda seconds: None):
    """Let everything that the trackers draw at random come from a seed, and every wait of theirs from ``sleep``."""
    random = Random(f"drawn by trackers {seed}")

    def uuid4():
        return UUID(int=random.getrandbits(128), version=4)

    with ExitStack() as stack:
        stack.enter_context(patch("caliper_readtime._tracker.os", SimpleNamespace(urandom=random.randbytes)))
        stack.enter_context(patch("caliper_readtime._tracker.uuid4", uuid4))
        stack.enter_context(patch("caliper_readtime._delivery.report.uuid4", uuid4))
        stack.enter_context(patch("caliper_readtime._delivery.lease._RANDOM", random))
        stack.enter_context(patch("caliper_readtime._delivery.flush.time", SimpleNamespace(sleep=sleep)))
        yield
