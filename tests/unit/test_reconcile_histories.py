"""Random histories against an endpoint that loses, doubles, delays, deletes and reorders: no repair is ever false."""

from __future__ import annotations

import json
from collections import Counter
from random import Random

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EventRejected,
    InMemoryStateStore,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
)
from caliper_readtime._delivery.reconcile import Reconciling
from caliper_readtime._rules.account import MAX_RECENT, recent
from caliper_readtime._rules.reconcile import MarkShown, SendAgain, committed
from caliper_readtime.testing import ManualClock
from tests.scenes import ANNA, OWLS, START, activity, events
from tests.stateful.world import seeded

SETTLE = 300.0
ARTICLES = (OWLS, activity("bees", "video", extensions={"runId": "ü"}), activity("ants", "assessment", attempt=2))
HISTORIES, PROOF_HISTORIES, DEEP_HISTORIES = 150, 2_000, 10_000


class Endpoint:
    """What it does with an event is decided when the event arrives; nobody is told."""

    deadline_seconds = 10.0

    def __init__(self, random, clock):
        self.random, self.clock = random, clock
        self.copies = []  # (id, document, bytes, visible from)
        self.arrived = {}  # id -> bytes of its first arrival
        self.gone = set()
        self.repairing = self.calm = False
        self.false, self.seen = [], Counter()

    def now(self):
        return (self.clock() - START).total_seconds()

    def emit(self, batch, /):
        fate = "ok" if self.calm else self.random.choices(
            ["ok", "down", "rejected", "unanswered"], [80, 7, 3, 10]
        )[0]  # fmt: skip
        if fate == "down":
            raise EmitterUnavailable("down")
        if fate == "rejected" and not self.repairing:
            self.seen["rejected"] += 1
            raise EventRejected("refused", event_ids=[event["id"] for event in batch], status=422)
        for event in batch:
            self.take(event)
        if fate == "unanswered":
            raise EmitterUnavailable("no answer")

    def take(self, event):
        name, body = event["id"], json.dumps(event)
        if self.repairing:
            self.seen["repairs"] += 1
            if name in self.ever() or body != self.arrived[name]:
                self.false.append(name)
        self.arrived[name] = body
        fate = "ok" if self.calm else self.random.choices(["ok", "lost", "doubled", "late"], [60, 15, 8, 17])[0]
        self.seen[fate] += 1
        delay = self.random.uniform(0, SETTLE - 1) if fate == "late" else 0
        for _ in range({"lost": 0, "doubled": 2}.get(fate, 1)):
            self.copies.append((name, event, self.now() + delay))

    def ever(self):
        """Ids that are held, shown already or not, and those that were deleted after they had been shown."""
        return {name for name, _, _ in self.copies} | self.gone

    def listed(self, actor_id, /):
        found = [
            event for _, event, visible in self.copies
            if visible <= self.now() and event["actor"]["id"] == actor_id
        ]  # fmt: skip
        self.random.shuffle(found)
        return found

    def held(self, event_ids, /):
        return frozenset(name for name, _, visible in self.copies if visible <= self.now()) & frozenset(event_ids)

    def delete(self, shown):
        """An operator removes an event that a reconciliation has seen."""
        if shown:
            name = self.random.choice(sorted(shown))
            self.copies = [copy for copy in self.copies if copy[0] != name]
            self.gone.add(name)
            self.seen["deleted"] += 1


class History:
    """One reader, a few articles, and whatever may happen to what is reported of them."""

    def __init__(self, seed):
        self.seed, self.random = seed, Random(seed)
        self.clock = ManualClock(START)
        self.endpoint = Endpoint(self.random, self.clock)
        self.store = InMemoryStateStore()
        self.shown = set()
        policy = ReadTimePolicy(retry_backoff_seconds=1, max_retry_backoff_seconds=5)
        self.tracker = ReadTimeTracker(self.store, self.endpoint, events(), policy, self.clock)

    def run(self):
        long = self.seed % 12 == 0  # of one article, with more events than can be built again
        steps, self.articles = (250, ARTICLES[:1]) if long else (70, ARTICLES)
        with seeded(0, self.clock.advance):
            for _ in range(steps):
                self.step()
            self.settle()
        return self

    def step(self):
        what = self.random.choice(self.articles)
        match self.random.choices(["read", "partial", "finalize", "sweep", "reconcile", "wait", "delete", "mail"],
                                  [30, 30, 4, 4, 10, 6, 2, 3])[0]:  # fmt: skip
            case "read":
                self.read(what, self.random.uniform(1, 60))
            case "partial" | "finalize" as verb:
                self.attempt(getattr(self.tracker, verb), "anna", what.resource_id)
            case "sweep":
                self.tracker.sweep(idle_seconds=0)
            case "reconcile":
                self.reconcile(repair=self.random.random() < 0.8)
            case "wait":
                self.clock.advance(self.random.choice([10, 200, SETTLE, 2 * SETTLE, 90_000]))
            case "delete":
                self.endpoint.delete(self.shown - self.endpoint.gone)
            case "mail":
                self.tracker.accumulate(Reader("anna", f"a{self.random.randrange(9)}@example.org"), what, 0)

    def read(self, what, seconds):
        if self.tracker.state(ANNA, what) is None:
            self.tracker.accumulate(ANNA, what, 0)
        self.clock.advance(seconds)
        self.tracker.accumulate("anna", what.resource_id, seconds)

    @staticmethod
    def attempt(verb, *args, **more):
        try:
            return verb(*args, **more)
        except (EmitterUnavailable, EventRejected):
            return None

    def reconcile(self, *, repair):
        self.endpoint.repairing = True
        found = self.attempt(self.tracker.reconcile, "anna", repair=repair, settle_seconds=SETTLE)
        self.endpoint.repairing = False
        for one in () if found is None else found.articles:
            # What is doubled, altered or pending as well was seen; only what is among the last ones is remembered.
            self.shown |= {name for name in one.matching.event_ids if name in self.last()}
        return found

    def last(self):
        """Ids of the last events, of which a state remembers more."""
        return {
            entry.event_id for state in self.tracker.states("anna") for entry in state.history if entry.kind == "sent"
        }

    def settle(self):
        """The endpoint behaves from now on: everything is reported, and what can be repaired is."""
        self.endpoint.calm = True
        for _ in range(6):
            self.clock.advance(90_000)
            self.tracker.sweep(idle_seconds=0)
        self.clock.advance(SETTLE)
        self.found = self.reconcile(repair=True)
        self.clock.advance(SETTLE)
        self.after = self.reconcile(repair=True)

    def check(self):
        """Every loss is found, every double, and nothing else; and what was repaired is there."""
        assert self.endpoint.false == []
        before, after = self.found, self.after
        copies = Counter(name for name, _, _ in self.endpoint.copies)
        repaired = {name for one in before.articles for name in one.repaired.event_ids}
        for one, state in zip(before.articles, self.tracker.states("anna"), strict=True):
            known, untold = committed(state)
            assert untold == 0
            assert sum(known.values()) == state.reported_ms
            lost = {name for name in known if name not in copies or name in repaired}
            assert set(one.missing.event_ids) | set(one.deleted.event_ids) == lost
            assert set(one.doubled.event_ids) == {name for name in known if copies[name] > 1}
            assert set(one.deleted.event_ids) <= self.endpoint.gone
            assert (bool(one.foreign), bool(one.altered)) == (False, False)
            assert set(one.missing.event_ids) == set(one.repaired.event_ids) | {name for name, _ in one.unrepaired}
            last = recent(state.ledger.account)
            assert len(last) == min(MAX_RECENT, len(known))
            assert all("too old" in why or "built from" in why for _, why in one.unrepaired)
        for one in after.articles:
            assert not repaired & {*one.missing.event_ids, *one.doubled.event_ids}
        return self.endpoint.seen


def play(histories):
    """Play so many histories; return what they have met."""
    seen = Counter()
    for seed in range(histories):
        history = History(seed).run()
        try:
            seen += history.check()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        seen["unrepaired"] += sum(len(one.unrepaired) for one in history.found.articles)
    return seen


WORTH_MEETING = ("ok", "lost", "doubled", "late", "rejected", "deleted", "repairs", "unrepaired")


@pytest.mark.parametrize("histories", [HISTORIES, pytest.param(PROOF_HISTORIES, marks=pytest.mark.proof)])
def test_no_repair_is_false_and_every_loss_is_found(histories, record_property, pytestconfig):
    """J4 to J7: over random histories nothing is sent again that the endpoint holds, and every loss is found."""
    if histories == PROOF_HISTORIES and pytestconfig.getoption("deep"):
        histories = DEEP_HISTORIES
    seen = play(histories)
    record_property("seen", dict(seen))
    print(f"{histories} histories: {dict(seen)}")
    assert [name for name in WORTH_MEETING if not seen[name]] == []


def impatient(monkeypatch):
    """J5: what was sent a moment ago is judged as well."""
    original = Reconciling.__init__
    monkeypatch.setattr(
        Reconciling, "__init__", lambda self, *args, settle_ms, **more: original(self, *args, settle_ms=0, **more)
    )


def forgetful(monkeypatch):
    """J6: nobody writes down what the endpoint has shown."""
    monkeypatch.setattr(MarkShown, "__call__", lambda self, state, now: (state, None))


def careless(monkeypatch):
    """J6: nobody writes down that an event is being sent again."""
    monkeypatch.setattr(SendAgain, "__call__", lambda self, state, now: (state, True))


@pytest.mark.parametrize("fault", [impatient, forgetful, careless])
def test_without_any_of_its_rules_a_repair_is_false(fault, monkeypatch):
    """J5, J6: the proof has teeth: each rule, taken out, makes some repair false."""
    fault(monkeypatch)
    with pytest.raises(AssertionError, match="seed"):
        play(HISTORIES)
