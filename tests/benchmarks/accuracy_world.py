"""Accuracy simulation: one flow lives through a trace, with its clock, endpoint, outages, crashes and concurrency."""

from __future__ import annotations

from random import Random
from typing import NamedTuple

from caliper_readtime import EmitError, EmitterUnavailable, StoreUnavailable
from tests.benchmarks.accuracy_traces import MINUTE, Fate, draw_fate, within
from tests.stateful.world import Crash


class Sent(NamedTuple):
    """An event: its seconds, and of which stretch of a life (a state's or a view's) the flow says that they are."""

    session: int
    life: object
    start: int
    end: int
    seconds: int


class Endpoint:
    """What the endpoint accepted."""

    def __init__(self):
        self.events = {}  # id -> Sent
        self.deliveries = 0  # accepted events, repeats included
        self.seconds = 0  # of them

    def accept(self, event_id, sent):
        """Accept an event; one id is one event."""
        assert self.events.setdefault(event_id, sent) == sent, f"{event_id} came twice with another content"
        self.deliveries += 1
        self.seconds += sent.seconds


class _Call:
    """The serving of one arrival."""

    def __init__(self, arrival):
        self.arrival = arrival
        self.fate, self.waiting = arrival.fate, arrival.meanwhile


class FlowDriver:
    """Serves a trace's arrivals to one flow.

    A flow has ``handle(request)``, ``tick()`` (a minute has passed), ``replaced()`` (a worker died), ``deployed()``
    (all of them are new) and ``drain()`` (nothing fails any more); it calls ``at`` beside every step.
    """

    def __init__(self, trace):
        self.trace = trace
        self.now = 0
        self.endpoint = Endpoint()
        self.seen = {"crashes": 0, "served meanwhile": 0, "emissions failed": 0, "store down": 0}
        self.faults_on = True
        self._flow = self._call = None
        self._random = Random(f"{trace.seed} sweeps")

    def play(self, flow):
        """Live through the day, then drain."""
        self._flow = flow
        deployments, minute = list(self.trace.day.deployments), MINUTE
        for arrival in self.trace.arrivals:
            while arrival.at >= minute:
                self.now = minute
                self._guarded(flow.tick)
                minute += MINUTE
            while deployments and arrival.at >= deployments[0]:
                self.now = deployments.pop(0)
                flow.deployed()
            self._serve(arrival)
        self.faults_on = False
        self.now = max(self.now, minute)
        flow.drain()

    def _serve(self, arrival):
        outer, self._call = self._call, _Call(arrival)
        self.now = arrival.at
        self._guarded(lambda: self._flow.handle(arrival.request))
        call, self._call = self._call, outer
        if call.waiting is not None:
            self._serve(call.waiting)

    def _guarded(self, act):
        try:
            act()
        except Crash:
            self.seen["crashes"] += 1
            self._flow.replaced()
        except (EmitError, StoreUnavailable):
            pass  # the client is told, and sends nothing again

    def at(self, step):
        """Pass a step: others may be served now, and the worker may die."""
        call = self._call
        if call is None:
            if self.faults_on and self._random.random() < self.trace.rates.crash:
                raise Crash(step)
            return
        if call.waiting is not None and call.arrival.meanwhile_at == step:
            waiting, call.waiting = call.waiting, None
            self.seen["served meanwhile"] += 1
            self._serve(waiting)
        if call.arrival.crash == step:
            raise Crash(step)

    def need_store(self):
        """Raise where the store is down."""
        if self.faults_on and within(self.now, self.trace.day.restarts):
            self.seen["store down"] += 1
            raise StoreUnavailable("it restarts")

    def emit(self, events):
        """Deliver (id, Sent) pairs; an arrival's fate is that of its first emission."""
        call, fate = self._call, Fate.ACCEPTED
        if call is not None:
            fate, call.fate = call.fate, Fate.ACCEPTED
        elif self.faults_on:
            fate = draw_fate(self._random, self.trace.rates)
        if fate is Fate.REFUSED or (self.faults_on and within(self.now, self.trace.day.outages)):
            self.seen["emissions failed"] += 1
            raise EmitterUnavailable("5xx")
        for event_id, sent in events:
            self.endpoint.accept(event_id, sent)
        if fate is Fate.UNANSWERED:
            self.seen["emissions failed"] += 1
            raise EmitterUnavailable("no answer")
