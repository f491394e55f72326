"""What behaviour tests share: a tracker whose clock, emitter and store are in the test's hands."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime

from caliper_readtime import (
    Activity,
    App,
    Article,
    EventRejected,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
    TimeSpentEvents,
)
from caliper_readtime._policy import MAX_DELTA_SECONDS
from caliper_readtime.testing import FlakyEmitter, ManualClock, RecordingEmitter

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ROSTER = "https://roster.example.org"
SENSOR = "https://reader.example.org"
ANNA = Reader("anna", "anna@example.org")
BEN = Reader("ben", "ben@example.org")
WAIT_SECONDS = 60.0  # for what others do at once; only a hang ever waits so long


def article(name="owls", **more):
    """An article of that name."""
    return Article(name, more.pop("title", name.title()), f"https://reader.example.org/{name}", **more)


def activity(name, kind, **more):
    """An activity of that name and kind."""
    return Activity(name, name.title(), f"https://reader.example.org/{name}", kind=kind, **more)


OWLS, BEES = article("owls"), article("bees")
#: Of each kind one, with all that it can say.
KINDS = {
    "article": article("owls", words=800),
    "video": activity("owls", "video", extensions={"runId": "ü"}),
    "assessment": activity("owls", "assessment", attempt=2),
    "another": activity("owls", "field trip", attempt=1, words=3, extensions={"bus": {"seats": [1, 2.5, True]}}),
}


def events(**more):
    """The builder that every scene uses."""
    return TimeSpentEvents(more.pop("sensor", SENSOR), App("Example Reader"), more.pop("oneroster_url", ROSTER), **more)


class Scene:
    """A tracker on a store, with a clock that stands still and an emitter that fails on command."""

    def __init__(self, make_store):
        self.make_store = make_store
        self.store = make_store()
        self.clock = ManualClock(START)
        self.emitter = FlakyEmitter()
        self.reports = []  # what on_report heard
        self.tracker = self.another()

    def another(self, emitter=None, policy=None, **more):
        """Another tracker (another host) on the same store and clock."""
        return ReadTimeTracker(
            more.pop("store", self.store),
            self.emitter if emitter is None else emitter,
            more.pop("events", events()),
            ReadTimePolicy() if policy is None else policy,
            self.clock,
            on_report=more.pop("on_report", self.reports.append),
        )

    def use(self, emitter=None, policy=None, **more):
        """Go on with a tracker of other parts on the same store; return it."""
        self.tracker = self.another(emitter, policy, **more)
        if emitter is not None:
            self.emitter = emitter
        return self.tracker

    def read(self, reader=ANNA, what=OWLS, seconds=30.0, *, tracker=None):
        """Let honest time pass and be accepted, and return the last heartbeat's result."""
        tracker = tracker or self.tracker
        if tracker.state(reader, what) is None:
            tracker.accumulate(reader, what, 0)
        left = seconds
        while left > MAX_DELTA_SECONDS:
            left -= MAX_DELTA_SECONDS
            self.read_on(reader, what, MAX_DELTA_SECONDS, tracker)
        return self.read_on(reader, what, left, tracker)

    def read_on(self, reader, what, seconds, tracker):
        """One heartbeat of honest time."""
        self.clock.advance(seconds)
        counted = tracker.accumulate(reader, what, seconds)
        assert counted.accepted_seconds == seconds
        return counted

    def state(self, reader=ANNA, what=OWLS):
        """The stored state."""
        return self.tracker.state(reader, what)

    @property
    def sent(self):
        """The values of the events that arrived, in order."""
        return [value(event) for event in self.emitter.events]


def value(event):
    """An event's seconds."""
    return event["generated"]["items"][0]["value"]


class SelectiveEmitter(RecordingEmitter):
    """Refuses every call that brings an event which ``bad`` names; ``calls`` keeps the ids of every call."""

    def __init__(self, bad, max_batch=100):
        super().__init__()
        self.bad = bad
        self.max_batch = max_batch
        self.calls = []

    def emit(self, events, /):
        self.calls.append([event["id"] for event in events])
        if any(self.bad(event) for event in events):
            raise EventRejected("refused", event_ids=self.calls[-1], status=422)
        super().emit(events)

    @property
    def singles(self):
        """How many calls brought one event that was refused alone."""
        arrived = {event["id"] for event in self.events}
        return sum(len(call) == 1 and call[0] not in arrived for call in self.calls)


def of_reader(*names):
    """Tells the events of these readers."""
    ends = tuple(f"/users/{name}" for name in names)
    return lambda event: event["actor"]["id"].endswith(ends)


def everything(_event):
    """Tells every event."""
    return True


def nothing(_event):
    """Tells no event."""
    return False


class Hooked(RecordingEmitter):
    """Does something, once, while it is delivering: what others do at that very moment."""

    def __init__(self, meanwhile=None, *, after=False):
        super().__init__()
        self.meanwhile = meanwhile
        self.after = after

    def emit(self, events, /):
        meanwhile, self.meanwhile = self.meanwhile, None
        if self.after:
            super().emit(events)
        if meanwhile is not None:
            meanwhile()
        if not self.after:
            super().emit(events)


class HeldEmitter(RecordingEmitter):
    """Stands still while delivering until ``open`` is set; ``arrived`` tells that somebody is inside."""

    def __init__(self):
        super().__init__()
        self.arrived = threading.Event()
        self.open = threading.Event()
        self.error = None

    def emit(self, events, /):
        self.arrived.set()
        assert self.open.wait(WAIT_SECONDS)
        if self.error is not None:
            raise self.error
        super().emit(events)


@contextmanager
def running(*actions):
    """Run each action in a thread of its own; yields the list in which results or errors appear, and joins."""
    results = [None] * len(actions)

    def run(position, action):
        try:
            results[position] = action()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            results[position] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(actions)]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        for thread in threads:
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


def until(condition):
    """Wait, with a bound, until a condition holds."""
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.001)


def in_threads(*actions):
    """Run the actions at the same time and return what they returned."""
    with running(*actions) as results:
        pass
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
