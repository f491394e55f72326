"""Accuracy simulation, this library: the real tracker on a store, by deltas and by running totals, with real sweeps."""

from __future__ import annotations

from datetime import timedelta

from caliper_readtime import (
    Article,
    InMemoryStateStore,
    PageView,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
)
from caliper_readtime._rules import AcquireClaim, Commit, Signal
from caliper_readtime._rules.state import Key
from tests.benchmarks.accuracy_traces import DAY, SECOND, Kind
from tests.benchmarks.accuracy_world import Sent
from tests.scenes import START, events

BUILDER = events()
ARTICLE = Article("owls", "Owls", "https://reader.example.org/owls")
START_MS = int(START.timestamp()) * SECOND
STEP_OF = {Signal: "store", AcquireClaim: "claim", Commit: "commit"}


class WatchedStore:
    """A store with a step on each side of what matters; it notes which range an event id was claimed for."""

    def __init__(self, world, inner):
        self.world, self.inner = world, inner
        self.ranges = {}  # event id -> (generation, start_ms, end_ms)
        self.births = {}  # session -> from when on its wall time counts, in epoch milliseconds

    def update(self, key, transition, now=None, /):
        """Apply a transition between two steps."""
        self.world.need_store()
        step = STEP_OF.get(type(transition))
        if step is None:
            return self.inner.update(key, transition, now)
        self.world.at(f"{step} before")
        result, state = self.inner.update(key, transition, now)
        if step == "store":
            session, begins = int(key.reader_sourced_id), state.ledger.counts_from_at_ms
            opened = begins if transition.opened_at_ms is None else transition.opened_at_ms
            self.births[session] = min(begins, opened, self.births.get(session, begins))
        elif step == "claim" and result.claim is not None:
            claim = result.claim
            span = (state.ledger.generation, claim.start_ms, claim.end_ms)
            assert self.ranges.setdefault(claim.event_id, span) == span, "one id, two ranges"
        self.world.at(f"{step} after")
        return result, state

    def due(self, limit, now=None, idle_ms=0, /):
        """Return what is due, unless the store is down."""
        self.world.need_store()
        return self.inner.due(limit, now, idle_ms)

    def keys(self, reader, now=None, /):
        """Return a reader's keys."""
        return self.inner.keys(reader, now)

    def meta(self, expected, /):
        """Record or compare what the store is for."""
        return self.inner.meta(expected)

    def swept(self, now=None, /):
        """Record that a sweep has run."""
        self.inner.swept(now)


class WatchedEmitter:
    """Delivers to the world's endpoint."""

    deadline_seconds = 10.0
    max_batch = 100

    def __init__(self, world, ranges):
        self.world, self.ranges = world, ranges

    def emit(self, events, /):
        """Deliver all of the events, or say why not."""
        self.world.at("emit before")
        self.world.emit([(event["id"], self._sent(event)) for event in events])
        self.world.at("emit after")

    def _sent(self, event):
        session = int(event["actor"]["id"].rpartition("/")[2])
        return Sent(session, *self.ranges[event["id"]], event["generated"]["items"][0]["value"])

    def close(self):
        """Hold nothing."""


class Library:
    """What (c) and (d) share: reports when a tab leaves or finishes, a sweep a minute, and a drain by sweeps."""

    def __init__(self, world, store=None, policy=None):
        self.world = world
        self.store = WatchedStore(world, store or InMemoryStateStore())
        self.emitter = WatchedEmitter(world, self.store.ranges)
        self.policy = policy or ReadTimePolicy()
        self.replaced()

    def replaced(self):
        """Another process takes over; there is nothing but the store to take over."""
        self.tracker = ReadTimeTracker(self.store, self.emitter, BUILDER, self.policy, self._clock)
        self.tracker._delivery.leases.monotonic = lambda: self.world.now / SECOND

    def deployed(self):
        """Every worker is another process."""
        self.replaced()

    @property
    def births(self):
        """From when on each session's wall time counts, in epoch milliseconds."""
        return self.store.births

    def _clock(self):
        return START + timedelta(milliseconds=self.world.now)

    def handle(self, request):
        """Count what a request brings, and report where its tab leaves or the article was read."""
        reader = Reader(str(request.session), "reader@example.org")
        self.count(reader, request)
        if request.kind is Kind.FINISH:
            self.tracker.finalize(reader, ARTICLE)
        elif request.kind is not Kind.BEAT:
            self.tracker.partial(reader, ARTICLE)

    def tick(self):
        """Sweep, as a host does every minute."""
        self.tracker.sweep()

    def drain(self):
        """Sweep until nothing is due, letting every lease and back-off end."""
        for _ in range(1000):
            self.tracker.sweep(idle_seconds=0)
            coming = self.store.inner.due(1, START_MS + 100 * DAY)
            if not coming:
                return
            due = self.state(int(coming[0].reader_sourced_id)).due.at_ms
            self.world.now = max(self.world.now, due - START_MS)
        raise AssertionError("still due after a thousand sweeps")

    def state(self, session):
        """Return a session's state, or None."""
        return self.store.inner.load(Key(str(session), ARTICLE.resource_id), START_MS + self.world.now)

    def carried(self, session):
        """What is below a second and stays in the state, to be reported with what may come."""
        state = self.state(session)
        return 0 if state is None else state.unclaimed_ms


class Deltas(Library):
    """(c) ``accumulate``: each request brings what is new since the one before it, and its id."""

    def count(self, reader, request):
        """Add a delta."""
        name = f"{request.view}-{request.number}"
        self.tracker.accumulate(reader, ARTICLE, request.since_any / SECOND, heartbeat_id=name)


class Totals(Library):
    """(d) ``observe``: each request brings its view's running total, and the page's ticket when it was opened."""

    def count(self, reader, request):
        """Take note of a total."""
        opened = self.world.trace.sessions[request.session].opened[request.view]
        view = PageView(str(request.view), request.total / SECOND)
        self.tracker.observe(reader, ARTICLE, view, opened_at=START + timedelta(milliseconds=opened))
