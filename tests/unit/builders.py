"""Small builders for tests of the pure part: one state and the clock it lives by, moved by the verbs themselves."""

from __future__ import annotations

import json
from itertools import count

from caliper_readtime import ReadTimePolicy
from caliper_readtime._policy import MAX_DELTA_SECONDS
from caliper_readtime._rules import AcquireClaim, Caller, Commit, Defer, Park, Release, Renew, Signal, Unpark
from caliper_readtime._units import to_epoch_ms
from tests.scenes import ANNA, OWLS, START, events

NOW = to_epoch_ms(START, "start")
DAY = 86_400
EVENTS = events()
POLICY = ReadTimePolicy()
_NONCES = count(1)


def ms(seconds):
    """Seconds as whole milliseconds."""
    return None if seconds is None else round(seconds * 1000)


class Broken:
    """A builder that cannot build."""

    def event(self, *_args, **_more):
        raise RuntimeError("anna@example.org")


class Life:
    """A state, from before its birth, and its clock. Every verb takes seconds and returns the verb's own answer."""

    def __init__(self, policy=POLICY, **more):
        self.policy = ReadTimePolicy(**more) if more else policy
        self.state = None
        self.now = NOW

    def wait(self, seconds):
        self.now += ms(seconds)
        return self

    def do(self, verb):
        self.state, answer = verb(self.state, self.now)
        return answer

    @property
    def meter(self):
        return self.state.meter

    @property
    def ledger(self):
        return self.state.ledger

    @property
    def total(self):
        return self.state.cumulative_read_time_seconds

    @property
    def kinds(self):
        return [entry.kind for entry in self.state.history]

    def beat(self, delta=0.0, *, name=None, **more):
        """A delta."""
        nonce = f"{next(_NONCES):032x}"
        return self.do(self._signal(nonce, delta, heartbeat_id=nonce[16:] if name is None else name, **more))

    def view(self, total, name="v", *, acknowledged=0.0, **more):
        """A page view's running total."""
        nonce = f"{next(_NONCES):032x}"
        return self.do(
            self._signal(nonce, total, heartbeat_id=nonce, view_id=name, acknowledged_ms=ms(acknowledged), **more)
        )

    def _signal(self, nonce, claimed, *, reader=ANNA, article=OWLS, opened=None, position=None, duration=None, **more):
        return Signal(
            self.policy,
            nonce,
            ms(claimed),
            reader,
            article,
            opened_at_ms=opened,
            position_ms=ms(position),
            duration_ms=ms(duration),
            **more,
        )

    def read(self, seconds=30.0):
        """Honest reading: time passes and all of it is accepted."""
        if self.state is None:
            self.beat()
        while seconds > 0:
            step = min(seconds, MAX_DELTA_SECONDS)
            counted = self.wait(step).beat(step)
            assert counted.accepted_ms == ms(step)
            seconds -= step
        return self

    def take(self, owner="a", caller=Caller.EXPLICIT, *, jitter=0.0, builder=EVENTS, **more):
        return self.do(AcquireClaim(owner, self.policy, builder, caller, jitter, **more))

    def commit(self, claim, generation=None):
        generation = self.ledger.generation if generation is None else generation
        return self.do(Commit(generation, claim.event_id, claim.start_ms, claim.end_ms))

    def release(self, claim, owner="a", *, jitter=0.0, error="down", **more):
        return self.do(Release(owner, claim.event_id, self.policy, jitter, error, **more))

    def park(self, claim, owner="a", *, jitter=0.0, status=422, reason="bad"):
        return self.do(Park(owner, claim.event_id, self.policy, jitter, status, reason))

    def renew(self, claim, owner="a"):
        return self.do(Renew(owner, claim.event_id, self.policy.lock_ms))

    def defer(self, *, finalize=False, **more):
        return self.do(Defer(finalize, **more))

    def unpark(self):
        return self.do(Unpark())

    def claimed(self, seconds=30.0, owner="a"):
        """Read and claim; return the claim."""
        return self.read(seconds).take(owner).claim

    def sent(self, seconds=30.0):
        """Read, claim and commit."""
        self.commit(self.claimed(seconds))
        return self

    def rejected(self, seconds=30.0):
        """Read, claim and be refused; return the claim."""
        claim = self.claimed(seconds)
        self.park(claim)
        return claim

    def fill(self, seconds=30.0):
        """Park until the list is full."""
        return [self.rejected(seconds) for _ in range(8)]


def span(claim):
    """A claim's range in seconds."""
    return claim.start_ms / 1000, claim.end_ms / 1000


def body(claim):
    """A claim's finished event."""
    return json.loads(claim.event)


def item(claim):
    """The one item of a claim's finished event."""
    (only,) = body(claim)["generated"]["items"]
    return only
