"""Canonical scenarios, and a stage that lets one fault happen at any one boundary of them."""

from __future__ import annotations

from contextlib import suppress
from enum import StrEnum

from caliper_readtime import EmitError, MissingField, PageView, Reader, ReadTimePolicy, StoreUnavailable
from tests.scenes import ANNA, BEN, OWLS, activity
from tests.stateful.world import Crash, SimulatedSystem, failure, seeded

ANTS, BEES = activity("ants", "assessment", attempt=2), activity("bees", "video", extensions={"runId": "1"})
CLEO = Reader("cleo", "cleo@example.org")
BAD_ANNA, BAD_BEN, BAD_CLEO = (Reader(reader.sourced_id, f"bad-{reader.email}") for reader in (ANNA, BEN, CLEO))


class Fault(StrEnum):
    """What happens at the boundary."""

    CRASH = "crash"  # the process dies
    FAILURE = "failure"  # the call fails
    OVERTAKEN = "overtaken"  # it stands still past its lease, and others sweep
    HELD = "held"  # the same, and another worker has its claims in hand
    REBORN = "reborn"  # others forget a reader, who begins anew


class Stage:
    """A world in which one fault happens at the ``at``-th boundary (from 1; 0 for never)."""

    def __init__(self, store, scenario, *, at=0, fault=Fault.CRASH, again=False):
        options = {"policy": ReadTimePolicy(), **getattr(scenario, "options", {})}
        self.world = SimulatedSystem(store, at=self._boundary, **options)
        self.scenario = scenario
        self.passed = []  # names of the boundaries so far
        self._at, self._fault = at, fault
        self._again = again  # whoever called makes the call again that met the fault
        self._hit = False
        self.counts = True  # False while a scenario prepares what another one looks at
        self.tracker = self.world.tracker()

    def _boundary(self, name):
        if not self.counts:
            return
        if self.world.worker == "another":
            # It is never heard of again, and its claims live on for a whole lease.
            if self._fault is Fault.HELD and name == "emit before":
                raise Crash(name)
            return
        self.passed.append(name)
        if len(self.passed) != self._at:
            return
        self._hit = True
        match self._fault:
            case Fault.CRASH:
                raise Crash(name)
            case Fault.FAILURE:
                raise failure(name)
        stopped, self.world.worker = self.world.worker, "another"
        tracker = self.world.tracker()
        if self._fault is Fault.REBORN:
            tracker.forget(ANNA)
            tracker.accumulate(ANNA, OWLS, 0.0)
            self.world.advance(4.5)
            tracker.accumulate(ANNA, OWLS, 4.5)
        else:
            self.world.advance(self.world.policy.lock_seconds + 1)
            with suppress(Crash):
                tracker.sweep(idle_seconds=0)
        self.world.worker = stopped

    def do(self, verb, *args, **more):
        """Call a verb of the living worker; after a crash there is a fresh one."""
        met_before = self._hit
        self.world.worker = self.tracker
        try:
            return getattr(self.tracker, verb)(*args, **more)
        except Crash:
            self.tracker = self.world.tracker()
        except (StoreUnavailable, EmitError, MissingField):
            pass  # MissingField: the signal that would have brought the context was lost
        return self.do(verb, *args, **more) if self._again and self._hit and not met_before else None

    def read(self, reader, what, seconds, *, view="v"):
        """Let a view's total grow by honest time."""
        self.do("observe", reader, what, PageView(view, 0.0), opened_at=self.world.clock())
        self.world.advance(seconds)
        self.do("observe", reader, what, PageView(view, seconds))

    def run(self):
        """Play the scenario, then let everything heal, drain it and audit it. Returns the book."""
        with seeded(0, self.world.advance):
            self.scenario(self)
            self._at = 0
            self.world.endpoint.mode, self.world.endpoint.lenient = "ok", True
            self.world.worker = "last"
            self.world.drain()
            self.world.probe()
        self.world.book.audit(self.world.load)
        return self.world.book


def one_article(stage):
    """Heartbeats, a partial, a finalize, and time after it."""
    stage.do("accumulate", ANNA, OWLS, 0.0, heartbeat_id="h0")
    for beat in range(1, 4):
        stage.world.advance(10.4)
        stage.do("accumulate", "anna", "owls", 10.4, heartbeat_id=f"h{beat}")
        if beat == 2:
            stage.do("partial", ANNA, OWLS)
    stage.do("finalize", "anna", "owls")
    stage.world.advance(7)
    stage.do("accumulate", "anna", "owls", 7.0, heartbeat_id="h4")
    stage.do("partial", "anna", "owls")


def outage(stage):
    """The endpoint is away for two reports; a sweep finds what they left."""
    stage.read(ANNA, OWLS, 30.5)
    stage.world.endpoint.mode = "down"
    stage.do("partial", ANNA, OWLS)
    stage.read(ANNA, OWLS, 20.0, view="w")
    stage.do("finalize", ANNA, OWLS)
    stage.do("sweep", idle_seconds=0)
    stage.world.endpoint.mode = "ok"
    stage.world.advance(40)
    stage.do("sweep", idle_seconds=0)


def classroom(stage):
    """Three readers in one sweep; the address of one is refused, and is found by halving."""
    for reader in (ANNA, BAD_BEN, CLEO):
        stage.read(reader, OWLS, 15.25)
        stage.read(reader, BEES, 5.0)
    stage.do("sweep", idle_seconds=0)
    stage.do("sweep", idle_seconds=0)


def corrected(stage):
    """A refused event is set aside, later time is too, and a corrected address heals both."""
    stage.read(BAD_ANNA, OWLS, 12.0)
    stage.do("partial", BAD_ANNA, OWLS)
    stage.read(BAD_ANNA, OWLS, 9.5, view="w")
    stage.do("partial", "anna", "owls")
    stage.do("finalize", ANNA, OWLS)


def unparked(stage):
    """An operator mends the endpoint and unparks."""
    stage.read(BAD_ANNA, OWLS, 12.0)
    stage.do("finalize", "anna", "owls")
    stage.do("parked")
    stage.world.endpoint.lenient = True
    stage.do("unpark", "anna", "owls")
    stage.do("finalize", "anna", "owls")


def banked(stage):
    """Everything of a reader is flushed and confirmed, one refused event apart."""
    for what in (OWLS, BEES, ANTS):
        stage.read(ANNA, what, 11.0)
    stage.do("accumulate", BAD_ANNA, BEES, 0.0, heartbeat_id="wrong")
    stage.do("flush_reader", "anna", wait_seconds=1.0, confirm=True)
    stage.do("flush_reader", ANNA)


def completed(stage):
    """A heartbeat at the end of the article finalizes it, at once or after an outage."""
    stage.read(ANNA, OWLS, 20.0)
    stage.do("observe", ANNA, OWLS, PageView("v", 20.0), position_seconds=99, duration_seconds=100)
    stage.world.endpoint.mode = "down"
    stage.read(BEN, OWLS, 20.0)
    stage.do("observe", BEN, OWLS, PageView("v", 21.0), position_seconds=99, duration_seconds=100)
    stage.do("observe", BEN, OWLS, PageView("v", 22.0), position_seconds=99, duration_seconds=100)


def left_over(stage):
    """Reports are deferred, and sweeps with small limits share them."""
    for reader in (ANNA, BEN, CLEO):
        stage.read(reader, OWLS, 11.0)
        stage.do("partial" if reader is ANNA else "finalize", reader, OWLS, defer=True)
    stage.do("sweep", limit=1)
    stage.do("sweep", limit=2, budget_seconds=20)


def broken(stage):
    """The endpoint refuses everything of everybody: nothing is parked before the third refusal."""
    for reader in (ANNA, BEN, CLEO):
        stage.read(reader, OWLS, 11.0)
    stage.world.endpoint.mode = "broken"
    for _ in range(3):
        stage.do("sweep", idle_seconds=0)
        stage.world.advance(3700)
    stage.world.endpoint.mode = "ok"
    stage.do("sweep", idle_seconds=0)


def full_list(stage):
    """Nine refusals: the parked list is full and the ninth event stays in the claim slot."""
    for number in range(9):
        stage.counts = number > 6  # the first seven refusals are like the eighth
        stage.read(BAD_ANNA, OWLS, 2.0, view=f"v{number}")
        stage.do("partial", BAD_ANNA, OWLS)
    stage.do("finalize", ANNA, OWLS)


def two_days(stage):
    """More than a day in one state is split."""
    stage.read(ANNA, OWLS, 90_000.5)
    stage.do("finalize", ANNA, OWLS)


def forgotten(stage):
    """A reader is forgotten between a failure and its retry, and comes back."""
    stage.read(ANNA, OWLS, 20.0)
    stage.world.endpoint.mode = "down"
    stage.do("partial", ANNA, OWLS)
    stage.do("forget", ANNA)
    stage.world.endpoint.mode = "ok"
    stage.read(ANNA, OWLS, 8.0, view="w")
    stage.do("sweep", idle_seconds=0)


def expired(stage):
    """A settled state is gone after its time, and the reader comes back to a new one."""
    stage.read(ANNA, OWLS, 20.25)
    stage.do("finalize", ANNA, OWLS)
    stage.world.advance(31 * 86_400)
    stage.do("state", "anna", "owls")
    stage.read(ANNA, OWLS, 8.5, view="w")


classroom.options = {"max_batch": 4, "emit_seconds": 9.0}
banked.options = {"read_back": True, "max_batch": 2}
outage.options = {"read_back": True}
two_days.options = {"policy": ReadTimePolicy(catch_up_seconds=300_000, max_delta_seconds=None)}

SCENARIOS = (
    one_article,
    outage,
    classroom,
    corrected,
    unparked,
    banked,
    completed,
    left_over,
    broken,
    full_list,
    two_days,
    forgotten,
    expired,
)
