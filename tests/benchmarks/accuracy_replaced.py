"""Accuracy simulation, the flows that are replaced: emission on unmount, and read-modify-write with partial finalize.

The second is written from the description in the project's wire notes: its constants, and its defects as described.
"""

from __future__ import annotations

from contextlib import suppress
from typing import NamedTuple

from caliper_readtime import EmitterUnavailable
from tests.benchmarks.accuracy_traces import BEAT, SECOND, Kind
from tests.benchmarks.accuracy_world import Sent

GROWTH = 1.5  # most that a heartbeat may claim, as a multiple of the time since the last sync
LEEWAY = BEAT // 2  # least that every heartbeat may claim
FINALIZE_LOCK = 30 * SECOND
PARTIAL_LOCK = 5 * SECOND


class UnmountOnly:
    """(a) When a view closes, what it has read is sent as one event; nothing is kept, nothing is tried again."""

    def __init__(self, world):
        self.world = world
        self._sent = 0

    def handle(self, request):
        """Serve a request: only the closing of a view matters."""
        if request.kind is Kind.END:
            for step in ("store before", "store after", "claim before", "claim after", "emit before"):
                self.world.at(step)
            self._sent += 1
            seconds = request.total // SECOND
            sent = Sent(request.session, request.view, 0, request.total, seconds)
            self.world.emit([(f"unmount {self._sent}", sent)])
            for step in ("emit after", "commit before", "commit after"):
                self.world.at(step)

    def tick(self):
        """Nobody comes back."""

    replaced = deployed = drain = tick

    def carried(self, session):
        """Nothing is carried: what is below a second is dropped."""
        return 0


class Kept(NamedTuple):
    """What the read-modify-write flow stores."""

    life: int
    cumulative: float = 0
    reported: float = 0
    synced: int | None = None
    finalized: bool = False


class ReadModifyWrite:
    """(b) State is read, changed and written back whole; heartbeats bring deltas, leave beacons bring none."""

    def __init__(self, world):
        self.world = world
        self._states, self._locks = {}, {}
        self._sent = self._lives = 0

    def handle(self, request):
        """Serve a request as its routes do."""
        if request.kind in (Kind.BEAT, Kind.FINISH):
            self._accumulate(request.session, request.since_beat)
        if request.kind is Kind.FINISH:
            self._finalize(request.session)
        elif request.kind is not Kind.BEAT:
            self._partial(request.session)

    def tick(self):
        """Nobody comes back."""

    replaced = drain = tick

    def deployed(self):
        """The keys name the deployment, so the state is gone."""
        self._states.clear()
        self._locks.clear()

    def carried(self, session):
        """Nothing is carried: what is below a second is marked as reported."""
        return 0

    def _read(self, session):
        self.world.need_store()
        return self._states.get(session)

    def _accumulate(self, session, delta):
        state = self._read(session)
        if state is None:
            self._lives += 1
            state = Kept(self._lives)
        self.world.at("store before")
        if delta > 0 and not state.finalized:
            # The first heartbeat is not clamped; every later one has a fresh allowance of its own.
            if state.synced is not None:
                delta = min(delta, max(LEEWAY, GROWTH * (self.world.now - state.synced)))
            self._states[session] = state._replace(cumulative=state.cumulative + delta, synced=self.world.now)
        self.world.at("store after")

    def _lock(self, name, duration):
        """SET NX EX."""
        self.world.need_store()
        if self._locks.get(name, 0) > self.world.now:
            return False
        self._locks[name] = self.world.now + duration
        return True

    def _partial(self, session):
        # A lock of its own, not the finalizer's, that nobody deletes.
        if self._lock(("partial", session), PARTIAL_LOCK):
            self._report(session, finalized=False)

    def _finalize(self, session):
        name = ("finalize", session)
        if self._lock(name, FINALIZE_LOCK):
            self._report(session, finalized=True)
            self._locks.pop(name, None)  # whoever owns it by now

    def _report(self, session, *, finalized):
        at = self.world.at
        at("claim before")
        state = self._read(session)
        at("claim after")
        if state is None or state.finalized:
            return
        if state.cumulative > state.reported:
            at("emit before")
            self._emit(session, state)
            at("emit after")
        at("commit before")
        # All of the delta is marked as reported, and the clamp of the next heartbeat starts now.
        self._states[session] = state._replace(
            reported=state.cumulative, synced=self.world.now, finalized=finalized or state.finalized
        )
        at("commit after")

    def _emit(self, session, state):
        self._sent += 1  # a fresh id for each attempt
        seconds = int(state.cumulative - state.reported) // SECOND
        sent = Sent(session, state.life, int(state.reported), int(state.cumulative), seconds)
        with suppress(EmitterUnavailable):  # logged and swallowed
            self.world.emit([(f"replaced {self._sent}", sent)])
