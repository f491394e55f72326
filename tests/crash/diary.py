"""A host that counts and reports reading time by hand, and does it rightly: the defects are planted in it."""

from __future__ import annotations

import json
from contextlib import suppress
from urllib.parse import quote
from uuid import uuid4

import requests

from caliper_readtime._units import to_epoch_ms
from tests.scenes import ANNA, OWLS, events

STATE, LOCK = "state:anna:owls", "lock:anna:owls"
FRESH = '{"total": 0, "reported": 0, "synced": null, "carry": 0, "views": {}, "claim": null}'
EVENTS = events()
LOCK_SECONDS = 30


class Busy(Exception):
    """Another worker reports; the route answers 503, and the client comes back."""


class Cache:
    """What a Redis server is to a host: values in JSON, some with an expiry, and scripts that nobody interrupts."""

    def __init__(self, clock):
        self._clock = clock
        self._values, self._ends = {}, {}

    def get(self, key):
        if self._ends.get(key, float("inf")) <= self._clock().timestamp():
            self.delete(key)
        found = self._values.get(key)
        return None if found is None else json.loads(found)

    def set(self, key, value, *, seconds=None, absent=False):
        if absent and self.get(key) is not None:
            return False
        self._values[key] = json.dumps(value)
        self._ends.pop(key, None)
        if seconds is not None:
            self._ends[key] = self._clock().timestamp() + seconds
        return True

    def delete(self, key):
        self._values.pop(key, None)
        self._ends.pop(key, None)

    def delete_if(self, key, value):
        if self.get(key) == value:
            self.delete(key)

    def script(self, key, change, *, seconds=None):
        """Change a value atomically, and return what the change returns; a given expiry starts anew."""
        value = self.get(key) or json.loads(FRESH)
        result = change(value)
        ends = self._ends.get(key)
        self.set(key, value, seconds=seconds)
        if seconds is None and ends is not None:
            self._ends[key] = ends
        return result


class Diary:
    """The host: two routes, ``signal`` and ``leave``, and a job, ``cron``."""

    def __init__(self, steps, url):
        self.clock = steps.clock
        self.url = url
        self.cache = steps.wrap(Cache(steps.clock))
        session = self.session()
        steps.at_end(session.close)
        self.http = steps.wrap(session, name="http")
        self.schedule(steps)

    def session(self):
        return requests.Session()

    def schedule(self, steps):
        """The job runs now and then; also while a request is served."""
        steps.job(self.cron)
        steps.meanwhile(self.cron)

    # Time comes in

    def signal(self, view, total):
        """Take a page view's running total."""
        self.cache.script(STATE, lambda state: self.count(state, view, total))

    def count(self, state, view, total):
        """Add what is new, as far as wall time goes; all views share it."""
        now = self.clock().timestamp()
        claimed = max(0, total - state["views"].get(view, 0))
        allowed = self.allowed(state, now)
        accepted = min(claimed, allowed)
        state["views"][view] = max(total, state["views"].get(view, 0))
        if accepted or state["synced"] is None:
            state["total"] += accepted
            state["carry"], state["synced"] = allowed - accepted, now

    def allowed(self, state, now):
        return 0 if state["synced"] is None else now - state["synced"] + state["carry"]

    # Time goes out

    def leave(self):
        """Report what is unreported, one worker at a time."""
        token = uuid4().hex
        if not self.cache.set(LOCK, token, seconds=LOCK_SECONDS, absent=True):
            raise Busy
        try:
            self.report()
        finally:
            with suppress(TimeoutError):  # it expires
                self.cache.delete_if(LOCK, token)

    def cron(self):
        """Report what browsers and killed workers have left."""
        self.leave()

    def report(self):
        """Write down the finished event, send it, write down that it was sent."""
        claim, again = self.cache.script(STATE, self.claim)
        if claim is None:
            return
        if not (again and self.holds(claim["event"]["id"])):
            self.send(claim["event"])
        self.cache.script(STATE, lambda state: self.commit(state, claim))

    def claim(self, state):
        """Return the claim, an older one first, and whether it is older."""
        if state["claim"] is not None:
            return state["claim"], True
        seconds = int(state["total"] - state["reported"])
        if seconds:
            state["claim"] = {"event": self.event(seconds), "to": state["reported"] + seconds}
        return state["claim"], False

    def commit(self, state, claim):
        if state["claim"] is not None and state["claim"]["event"]["id"] == claim["event"]["id"]:
            state["reported"], state["claim"] = claim["to"], None

    def event(self, seconds, event_id=None):
        now = to_epoch_ms(self.clock(), "now")
        return EVENTS.event(
            ANNA,
            OWLS,
            event_id=event_id or f"urn:uuid:{uuid4()}",
            generated_id=f"urn:uuid:{uuid4()}",
            seconds=seconds,
            started_at_ms=now - seconds * 1000,
            ended_at_ms=now,
        )

    def send(self, event):
        answer = self.http.post(self.url, json=self.envelope(event), timeout=5)
        answer.raise_for_status()

    def envelope(self, event):
        return EVENTS.envelope([event], sent_ms=to_epoch_ms(self.clock(), "now"))

    def holds(self, event_id):
        """Whether the endpoint has an event."""
        there = self.url.removesuffix("/event") + f"/events/{quote(event_id)}"
        return self.http.get(there, timeout=5).status_code == 200


# What its readers do. Everywhere a minute is read.


def a_reader_leaves(diary, _steps=None):
    """48.5 s are known; the last request brings the rest, and leaves."""
    diary.signal("v", 0)
    diary.clock.advance(48.5)
    diary.signal("v", 48.5)
    diary.clock.advance(11.5)

    def request():
        diary.signal("v", 60)
        diary.leave()

    return request


class Page:
    """A page that sends running totals, and goes on whatever comes of them."""

    def __init__(self, diary):
        self.diary = diary
        self.total = 0

    def beat(self):
        with suppress(TimeoutError):
            self.diary.signal("v", self.total)

    def leave(self):
        self.diary.signal("v", self.total)
        self.diary.leave()


def a_page_goes_on(diary, _steps, page=Page):
    """Two heartbeats and a leave; only the leave is sent again."""
    diary.signal("v", 0)
    page = page(diary)

    def visit():
        for total in (48.5, 60):
            diary.clock.advance(max(0, total - page.total))
            page.total = max(total, page.total)
            page.beat()
        page.leave()

    return visit


def two_tabs(diary, steps):
    """As ``a_reader_leaves``, while a second tab claims the same 11.5 s."""

    def second_tab():
        diary.signal("second", 11.5)
        diary.leave()

    steps.meanwhile(second_tab)
    return a_reader_leaves(diary)


def a_beacon(diary, steps):
    """The page is closed, and nobody sends the request again; no other worker happens to be about."""
    a_reader_leaves(diary)
    diary.signal("v", 60)
    steps.meanwhile(lambda: None)
    return diary.leave
