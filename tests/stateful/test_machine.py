"""Random histories: memory and SQLite must agree on everything, and wall time bounds what is accepted."""

from __future__ import annotations

import tempfile
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from caliper_readtime import (
    InMemoryStateStore,
    PageView,
    Reader,
    ReadTimeError,
    ReadTimePolicy,
    ReadTimeTracker,
    SqliteStateStore,
)
from caliper_readtime._logs import logger
from caliper_readtime._rules import Signal
from caliper_readtime._rules.state import Key
from caliper_readtime._rules.wall import beside
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.testing import ManualClock
from tests.scenes import START, article
from tests.stateful.oracle import AcceptedTime, faults_in
from tests.stateful.world import Crash, SimulatedSystem, seeded

READERS, ARTICLES = ("anna", "ben"), ("owls", "bees")
KEYS = [Key(reader, what) for reader in READERS for what in ARTICLES]
EVERYTHING = 10_000
readers, whats, keys = st.sampled_from(READERS), st.sampled_from(ARTICLES), st.sampled_from(KEYS)
# A few names, so that they come again, and more of them than a state remembers.
numbers = st.one_of(st.integers(0, 2), st.integers(0, 20))
views, beats = (numbers.map(f"{kind}-{{}}".format) for kind in ("view", "beat"))
seconds = st.one_of(st.floats(0, 120), st.floats(0, 100_000), st.sampled_from([0.0, 0.0005, 0.999, 1.0, 86_400.0]))
waits = st.one_of(st.floats(0, 60), st.sampled_from([0.001, 31.0, 3601.0, 86_401.0, 40 * 86_400.0, -3.0]))
policies = st.builds(
    ReadTimePolicy,
    heartbeat_seconds=st.sampled_from([1.0, 10.0]),
    leeway_seconds=st.sampled_from([0.0, 5.0]),
    catch_up_seconds=st.sampled_from([0.0, 300.0, 200_000.0]),
    max_delta_seconds=st.sampled_from([None, None, 30.0]),
    completion_dwell_seconds=st.sampled_from([None, 60.0]),
    completion=st.sampled_from(["send", "defer"]),
    partial_min_seconds=st.sampled_from([0.0, 10.0]),
    reader_budget=st.sampled_from(["off", "measure", "enforce"]),
)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """Failures on purpose are many."""
    monkeypatch.setattr(logger, "disabled", True)


class InOrder:
    """A store whose lists come in order of keys: the contract leaves ties open, and two stores break them their way."""

    def __init__(self, inner):
        self.inner = inner

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def keys(self, reader, now=None, /):
        return tuple(sorted(self.inner.keys(reader, now)))

    def due(self, limit, now=None, idle_ms=0, /):
        return tuple(sorted(self.inner.due(EVERYTHING, now, idle_ms))[:limit])

    def delete(self, reader, /):
        """Erase, but tell no number: it may count what had expired and still lay there."""
        self.inner.delete(reader)
        return 0

    def parked(self, limit, /):
        return tuple(sorted(self.inner.parked(EVERYTHING), key=lambda state: state.key)[:limit])


class TwoStores(RuleBasedStateMachine):
    """The same calls, at the same time, with the same random numbers, on both stores."""

    @initialize(policy=policies, read_back=st.booleans(), max_batch=st.sampled_from([1, 2, 100]))
    def build(self, policy, read_back, max_batch):
        self.folder = tempfile.TemporaryDirectory()
        stores = InMemoryStateStore(), SqliteStateStore(Path(self.folder.name) / "readtime.db")
        self.worlds = [
            SimulatedSystem(InOrder(s), policy, max_batch=max_batch, read_back=read_back, at=self.at) for s in stores
        ]
        self.trackers = [world.tracker() for world in self.worlds]
        self.calls = 0
        self.totals = {}
        self.crash_at = None  # name of the boundary at which the next call dies

    def teardown(self):
        if hasattr(self, "worlds"):
            for world in self.worlds:
                world.store.close()
            self.folder.cleanup()

    def at(self, name):
        if name == self.crash_at:
            raise Crash(name)

    def both(self, verb, *args, **more):
        """Make a call on both sides and compare what comes of it."""
        self.calls += 1
        outcomes = []
        for side, world in enumerate(self.worlds):
            world.worker = self.trackers[side]
            with seeded(self.calls, world.advance):
                try:
                    outcomes.append(("returned", told(getattr(world.worker, verb)(*args, **more))))
                except (ReadTimeError, Crash) as error:
                    outcomes.append((type(error), str(error), vars(error)))
                    if isinstance(error, Crash):
                        self.trackers[side] = world.tracker()
        assert outcomes[0] == outcomes[1]

    @rule(key=keys, gaps=st.lists(st.floats(0.5, 40), min_size=1, max_size=3))
    def read(self, key, gaps):
        """Honest time of one long view."""
        for gap in (0, *gaps):
            self.wait(gap)
            self.totals[key] = self.totals.get(key, 0.0) + gap
            who = key if self.worlds[0].load(key) else named(key)
            self.both("observe", *who, PageView("long", self.totals[key]))

    @rule(
        key=keys, gaps=st.lists(st.floats(1, 40), min_size=1, max_size=2), verb=st.sampled_from(["partial", "finalize"])
    )
    def read_and_report(self, key, gaps, verb):
        self.read(key, gaps)
        self.both(verb, *key)

    @rule(
        key=keys,
        view=views,
        total=seconds,
        known=seconds,
        opened=st.none() | seconds,
        position=st.none() | seconds,
        bare=st.booleans(),
    )
    def observe(self, key, view, total, known, opened, position, bare):
        """Anything that a browser may claim."""
        more = {} if opened is None else {"opened_at": self.worlds[0].clock() - timedelta(seconds=opened)}
        if position is not None:
            more |= {"position_seconds": position, "duration_seconds": 100.0}
        self.both("observe", *(key if bare else named(key)), PageView(view, total, known), **more)

    @rule(key=keys, delta=seconds, beat=st.none() | beats, bare=st.booleans())
    def accumulate(self, key, delta, beat, bare):
        self.both("accumulate", *(key if bare else named(key)), delta, heartbeat_id=beat)

    @rule(key=keys, verb=st.sampled_from(["partial", "finalize"]), bare=st.booleans(), defer=st.booleans())
    def report(self, key, verb, bare, defer):
        self.both(verb, *(key if bare else named(key)), defer=defer)

    @rule(
        key=keys,
        boundary=st.sampled_from(["Take after", "emit before", "emit after", "Commit after", "Refuse before"]),
        wait=st.sampled_from([0.0, 31.0]),
    )
    def die(self, key, boundary, wait):
        """A process dies while it reports: its claim stays, and the next calls are IN_FLIGHT or take it over."""
        self.read(key, [5.0])
        self.crash_at = boundary
        self.both("finalize", *key)
        self.crash_at = None
        self.wait(wait)

    @rule(reader=readers, some=st.none() | st.just(["owls"]), confirm=st.booleans())
    def flush(self, reader, some, confirm):
        self.both("flush_reader", reader, resource_ids=some, confirm=confirm)

    @rule(idle=st.sampled_from([0, 60]), limit=st.sampled_from([1, 2, 1000]))
    def sweep(self, idle, limit):
        self.both("sweep", idle_seconds=idle, limit=limit)

    @rule(key=keys, address=st.sampled_from(["bad@example.org", "bad@example.org", "good@example.org", None]))
    def address(self, key, address):
        """The reader's address changes, or an operator unparks."""
        if address is None:
            self.both("unpark", *key)
        else:
            self.both("partial", Reader(key.reader_sourced_id, address), key.resource_id, defer=True)

    @rule(reader=readers, number=st.integers(0, 9))
    def forget(self, reader, number):
        if number == 7:  # rare, or no history grows long
            self.both("forget", reader)
        else:
            self.both("states", reader)
            self.both("parked", limit=3)

    @rule(mode=st.sampled_from(["ok", "ok", "ok", "ok", "down", "forbidden", "broken"]))
    def mode(self, mode):
        for world in self.worlds:
            world.endpoint.mode = mode

    @rule(wait=waits)
    def wait(self, wait):
        for world in self.worlds:
            world.clock.advance(wait)
            world.monotonic += max(0.0, wait)

    @invariant()
    def agree(self):
        """States, due lists and what the endpoint got are the same, and no promise is broken in either."""
        if not hasattr(self, "worlds"):
            return
        sides = []
        for world in self.worlds:
            assert world.book.faults == []
            states = [world.load(key) for key in KEYS]
            # Conservation: cumulative = reported + parked + claimed + unclaimed.
            assert [faults_in(state) for state in states if state is not None] == [[]] * (4 - states.count(None))
            due = world.store.inner.due(EVERYTHING, world.now_ms, 0)
            walls = [world.store.wall(reader, world.now_ms) for reader in READERS]
            assert [beside(wall.stretches) for wall in walls] == [0, 0]
            inner = world.store.inner
            sides.append((list(map(face, states)), walls, due, world.endpoint.log, inner.last_sweep()))
        assert sides[0] == sides[1]


TestTwoStores = TwoStores.TestCase


def named(key):
    """The objects that a host passes for a key."""
    return Reader(key.reader_sourced_id, f"{key.reader_sourced_id}@example.org"), article(key.resource_id)


def face(state):
    """Everything that a state shows in public, and the parts themselves."""
    if state is None:
        return None
    public = (name for name, kind in vars(type(state)).items() if isinstance(kind, property))
    return {name: getattr(state, name) for name in public}, state.meter, state.ledger


def told(result):
    """A result in a form that compares errors by what they say."""
    if isinstance(result, tuple):
        return tuple(map(told, result))
    if isinstance(result, Exception):
        return type(result), str(result)
    fields = getattr(type(result), "__attrs_attrs__", None)
    return result if fields is None else {field.name: told(getattr(result, field.name)) for field in fields}


# The budget

signals = st.tuples(
    waits,
    st.none() | views,
    beats,
    seconds,
    st.one_of(st.just(0.0), seconds),
    st.none() | st.floats(-10, 100_000),
)


@given(policies, st.lists(signals, min_size=1, max_size=60))
def test_no_history_goes_beyond_wall_time(policy, history):
    """B7, B8: cumulative <= last sync - min(where the budget begins, earliest opening) + leeway over any history."""
    clock, state, model = ManualClock(START), None, AcceptedTime(policy)
    reader, what = named(KEYS[0])
    for number, (wait, view, beat, claimed, known, opened) in enumerate(history):
        clock.advance(wait)
        now = to_epoch_ms(clock(), "clock")
        opened_at_ms = None if view is None or opened is None else now - round(opened * 1000)
        known_ms = round(known * 1000)
        signal = Signal(
            policy, f"{number:032x}", round(claimed * 1000), reader, what, beat, view, known_ms, opened_at_ms
        )
        state, counted = signal(state, now)
        assert counted.accepted_ms == model.hear(signal, now)
        assert state.meter.cumulative_ms == model.spent <= model.bound
        assert state.meter.last_sync_at_ms == model.last
        assert state.ledger.widened_ms == model.before


@given(st.lists(st.tuples(st.floats(0.5, 30), st.floats(0, 1), st.floats(0, 300), st.integers(0, 2)), min_size=1))
def test_totals_heal_lost_late_and_reordered_heartbeats(beats):
    """S1: whatever is lost, doubled, late (within catch_up) or reordered: once the last total is there, all time is."""
    clock = ManualClock(START)
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=clock)
    sent, total, arrivals = 0.0, 0.0, [(0.0, 0.0)]
    for gap, share, delay, copies in beats:
        sent += gap
        total += round(gap * share, 3)
        arrivals += [(sent + delay * copy, total) for copy in range(1, copies + 1)]
    arrivals.append((sent + 300, total))
    reader, what = named(KEYS[0])
    for arrival, so_far in sorted(arrivals):
        clock.advance(arrival - (clock() - START).total_seconds())
        tracker.observe(reader, what, PageView("view", so_far), opened_at=START)
    state = tracker.state("anna", "owls")
    assert state.cumulative_read_time_seconds == pytest.approx(total, abs=0.002)
    assert state.clamped_seconds == pytest.approx(0, abs=0.002)


@given(st.lists(st.tuples(st.floats(0.5, 30), st.booleans()), min_size=1), st.integers(2, 30))
def test_many_tabs_share_one_budget(beats, tabs):
    """B1: however many views claim all of the time at once, and whatever is repeated, wall time is spent once."""
    clock = ManualClock(START)
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=clock)
    reader, what = named(KEYS[0])
    elapsed = 0.0
    for gap, again in beats:
        clock.advance(gap)
        elapsed += gap
        for tab in [*range(tabs)] * (1 + again):
            state = tracker.observe(reader, what, PageView(f"tab-{tab}", elapsed)).state
    policy = ReadTimePolicy()
    span = state.meter.last_sync_at_ms - state.ledger.first_sync_at_ms
    assert state.meter.cumulative_ms <= span + policy.heartbeat_ms + policy.leeway_ms
