"""The twelve defects of the flow that this package replaces, each planted in a host that is otherwise right."""

from __future__ import annotations

import json
from contextlib import suppress

import requests

from caliper_readtime.testing import Fault
from tests.crash.diary import (
    FRESH,
    LOCK,
    LOCK_SECONDS,
    STATE,
    Busy,
    Diary,
    Page,
    a_beacon,
    a_page_goes_on,
    a_reader_leaves,
    two_tabs,
)


class ReadsChangesAndWrites(Diary):
    """1: two at once read the same state, and one of them is lost."""

    def signal(self, view, total):
        state = self.cache.get(STATE) or json.loads(FRESH)
        self.count(state, view, total)
        self.cache.set(STATE, state)


class EverySignalHasItsOwnLeeway(Diary):
    """2: one and a half times what has passed, at least five seconds: two tabs count the same time."""

    def allowed(self, state, now):
        return 0 if state["synced"] is None else max(5, 1.5 * (now - state["synced"]))


class ReportsWithoutALock(Diary):
    """3: a report that asks nobody sends what another one is just sending."""

    def leave(self):
        self.report()


class SendsBeforeItWrites(Diary):
    """4: what was accepted and could not be written down is sent again under another id."""

    def report(self):
        state = self.cache.get(STATE)
        seconds = int(state["total"] - state["reported"])
        if seconds:
            self.send(self.event(seconds))
            self.cache.script(STATE, lambda state: state.update(reported=state["reported"] + seconds))


class MarksFractionsAsReported(Diary):
    """5: whole seconds are sent, and the fraction is marked as reported."""

    def commit(self, state, claim):
        super().commit(state, claim)
        state["reported"] = state["total"]


class ReportsMoveTheClock(Diary):
    """6: a report moves the time of the last signal, so that the next honest one is cut."""

    def commit(self, state, claim):
        super().commit(state, claim)
        state["carry"], state["synced"] = 0, self.clock().timestamp()


class StatesExpire(Diary):
    """7: after seven days a state is gone, reported or not."""

    def signal(self, view, total):
        self.cache.script(STATE, lambda state: self.count(state, view, total), seconds=7 * 86_400)


class FreesAnybodysLock(Diary):
    """8: who does not get the lock deletes it."""

    def leave(self):
        try:
            if not self.cache.set(LOCK, "locked", seconds=LOCK_SECONDS, absent=True):
                raise Busy
            self.report()
        finally:
            with suppress(TimeoutError):
                self.cache.delete(LOCK)


class ThrowsAwayWhatComesAfterTheEnd(Diary):
    """9: once an article is finalized its time is not counted any more."""

    def count(self, state, view, total):
        if not state.get("finalized"):
            super().count(state, view, total)

    def commit(self, state, claim):
        super().commit(state, claim)
        state["finalized"] = True


class Deltas(Page):
    """10: a failed heartbeat's seconds are gone, and the leave brings none."""

    known = 0

    def beat(self):
        delta, self.known = self.total - self.known, self.total
        with suppress(TimeoutError):
            self.diary.signal(f"beat {self.total}", delta)

    def leave(self):
        self.diary.leave()


class NobodyComesBack(Diary):
    """11: no job looks for what a closed page has left."""

    def schedule(self, steps):
        pass


class SwallowsErrors(Diary):
    """12: an error of the endpoint is logged, and the seconds are marked as reported."""

    def send(self, event):
        with suppress(requests.RequestException):
            super().send(event)


def deltas(diary, steps):
    """A page that sends deltas."""
    return a_page_goes_on(diary, steps, Deltas)


#: The host, its scene, what is said of the call of ``crash_every_step``, then the fault that finds it, the step, and
#: what the line of that step has.
TWELVE = [
    (ReadsChangesAndWrites, a_reader_leaves, {}, Fault.MEANWHILE, "cache.set", "self.cache.set(STATE, state)"),
    # Its run without faults is wrong already. Time passes before a client comes back, and is the second tab's then.
    (EverySignalHasItsOwnLeeway, two_tabs, {"faults": [Fault.MEANWHILE]}, None, "http.post", "self.http.post("),
    (ReportsWithoutALock, a_reader_leaves, {}, Fault.MEANWHILE, "http.post", "self.http.post("),
    (SendsBeforeItWrites, a_reader_leaves, {}, Fault.CRASH_AFTER, "http.post", "self.http.post("),
    (MarksFractionsAsReported, a_reader_leaves, {}, Fault.MEANWHILE, "cache.script", "self.cache.script(STATE"),
    (ReportsMoveTheClock, a_reader_leaves, {}, Fault.MEANWHILE, "cache.script", "self.cache.script(STATE"),
    (StatesExpire, a_reader_leaves, {}, Fault.OUTAGE, "http.post", "self.http.post("),
    (FreesAnybodysLock, a_reader_leaves, {}, Fault.MEANWHILE, "http.post", "self.http.post("),
    (ThrowsAwayWhatComesAfterTheEnd, a_reader_leaves, {}, Fault.MEANWHILE, "cache.script", "self.cache.script(STATE"),
    (Diary, deltas, {}, Fault.UNREACHABLE, "cache.script", "self.cache.script(STATE"),
    (NobodyComesBack, a_beacon, {"retried": False}, Fault.CRASH_BEFORE, "cache.set", "self.cache.set(LOCK"),
    (SwallowsErrors, a_reader_leaves, {}, Fault.UNREACHABLE, "http.post", "self.http.post("),
]
