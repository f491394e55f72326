"""Twelve more mistakes that hosts make, each planted in a host that is otherwise right."""

from __future__ import annotations

import sqlite3
from contextlib import suppress
from uuid import NAMESPACE_URL, uuid4, uuid5

import requests
from requests.adapters import HTTPAdapter
from urllib3 import Retry

from caliper_readtime.testing import Fault
from tests.crash.diary import LOCK, STATE, Busy, Diary


class CommitsBeforeItSends(Diary):
    """Reported moves before anything is accepted."""

    def report(self):
        claim, _ = self.cache.script(STATE, self.claim)
        if claim is not None:
            self.cache.script(STATE, lambda state: self.commit(state, claim))
            self.send(claim["event"])


class DrawsAnIdForEachTry(Diary):
    """What is sent again is another event, so that asking for the first one finds nothing."""

    def send(self, event):
        super().send({**event, "id": f"urn:uuid:{uuid4()}"})


class MakesIdsOfTheClock(Diary):
    """The id is made of the second in which it is sent, so that a later try is another event."""

    def send(self, event):
        second = int(self.clock().timestamp())
        super().send({**event, "id": f"urn:uuid:{uuid5(NAMESPACE_URL, f'anna owls {second}')}"})


class LocksForEver(Diary):
    """A killed worker's lock stays."""

    def leave(self):
        if not self.cache.set(LOCK, "locked", absent=True):
            raise Busy
        try:
            self.report()
        finally:
            with suppress(TimeoutError):
                self.cache.delete(LOCK)


class LetsItsSessionRetry(Diary):
    """The HTTP client sends a POST again by itself when its answer was lost."""

    def session(self):
        session = requests.Session()
        session.mount("http://", HTTPAdapter(max_retries=Retry(3, backoff_factor=0, allowed_methods=None)))
        return session


class TakesAbsenceForProof(Diary):
    """After a time-out it asks at once, and sends again what is not there yet."""

    def send(self, event):
        try:
            super().send(event)
        except requests.Timeout:
            if not self.holds(event["id"]):
                super().send(event)


class KeepsTimeInMemory(Diary):
    """A page's first total is known to its worker alone, and stored when the page has been read."""

    def __init__(self, steps, url):
        super().__init__(steps, url)
        self.first = {}
        steps.after_crash(self.first.clear)

    def signal(self, view, total):
        first = self.first.setdefault(view, total)
        if total == 60:
            self.cache.script(STATE, lambda state: self.add(state, view, first, total))

    def add(self, state, view, first, total):
        state["total"] += max(0, total - state["views"].get(view, first))
        state["views"][view] = total


class ForgetsAtTheEnd(Diary):
    """When all is reported the totals of the views are removed: a request that comes again counts again."""

    def leave(self):
        super().leave()
        self.clean()

    def cron(self):
        super().leave()

    def clean(self):
        with suppress(TimeoutError):
            self.cache.script(STATE, lambda state: state["views"].clear())


class AnswersThatAllIsWell(Diary):
    """The store's failure is logged, and the page told that its seconds are safe."""

    def signal(self, view, total):
        with suppress(TimeoutError):
            super().signal(view, total)


class TakesEveryAnswerForYes(Diary):
    """The endpoint's answer is not looked at: an answer is an acceptance."""

    def send(self, event):
        self.http.post(self.url, json=self.envelope(event), timeout=5)


class GivesUp(Diary):
    """After three tries the event is dropped."""

    def claim(self, state):
        claim, again = super().claim(state)
        if claim is not None:
            claim["tries"] = claim.get("tries", 0) + 1
            if claim["tries"] > 3:
                self.commit(state, claim)
                return None, False
        return claim, again


class RollsItsClaimBack(Diary):
    """The claim is part of the request's transaction, and is rolled back with it after the event was accepted."""

    def __init__(self, steps, url):
        database = sqlite3.connect(":memory:")
        steps.at_end(database.close)
        self.database = steps.wrap(database, name="database")
        self.database.execute("CREATE TABLE reading (total REAL, reported REAL, event_id TEXT)")
        self.database.execute("INSERT INTO reading VALUES (0, 0, NULL)")
        self.database.commit()
        super().__init__(steps, url)

    def schedule(self, steps):
        steps.job(self.cron)
        steps.meanwhile(lambda: None)

    def signal(self, view, total):
        with self.database:
            self.database.execute("UPDATE reading SET total = max(total, ?)", [total])

    def leave(self):
        with self.database:
            self.claimed()
            self.sent_and_reported()

    def claimed(self):
        self.database.execute("UPDATE reading SET event_id = ? WHERE event_id IS NULL", [f"urn:uuid:{uuid4()}"])

    def sent_and_reported(self):
        total, reported, event_id = self.database.execute("SELECT * FROM reading").fetchone()
        seconds = int(total - reported)
        if seconds and not self.holds(event_id):
            self.send(self.event(seconds, event_id))
        self.database.execute("UPDATE reading SET reported = reported + ?, event_id = NULL", [seconds])


class CommitsItsClaim(RollsItsClaimBack):
    """The same, done rightly: the claim is a transaction of its own."""

    def leave(self):
        with self.database:
            self.claimed()
        with self.database:
            self.sent_and_reported()


MORE = [
    (CommitsBeforeItSends, Fault.CRASH_BEFORE, "http.post", "self.http.post("),
    (DrawsAnIdForEachTry, Fault.CRASH_AFTER, "http.post", "self.http.post("),
    (MakesIdsOfTheClock, Fault.CRASH_AFTER, "http.post", "self.http.post("),
    (LocksForEver, Fault.CRASH_AFTER, "cache.set", "self.cache.set(LOCK"),
    (LetsItsSessionRetry, Fault.LOST_ANSWER, "http.post", "self.http.post("),
    (TakesAbsenceForProof, Fault.LATE, "http.post", "self.http.post("),
    (KeepsTimeInMemory, Fault.CRASH_BEFORE, "cache.script", "self.cache.script(STATE, lambda state: self.add("),
    (ForgetsAtTheEnd, Fault.CRASH_AFTER, "cache.script", 'state["views"].clear()'),
    (AnswersThatAllIsWell, Fault.UNREACHABLE, "cache.script", "self.cache.script(STATE"),
    (TakesEveryAnswerForYes, Fault.UNAVAILABLE, "http.post", "self.http.post("),
    (GivesUp, Fault.OUTAGE, "http.post", "self.http.post("),
    (RollsItsClaimBack, Fault.CRASH_AFTER, "http.post", "self.http.post("),
]
