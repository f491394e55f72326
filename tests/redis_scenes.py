"""What the fault tests of Redis share: every verb, what a server holds byte by byte, and what has happened in a run."""

from __future__ import annotations

from collections import Counter

from caliper_readtime import PageView, ReadTimePolicy, ReadTimeTracker, RedisStateStore
from caliper_readtime._rules import AcquireClaim
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._redis.encoding import Layout, state_of
from caliper_readtime.stores._redis.remembered import Known
from caliper_readtime.stores._walls import walled
from caliper_readtime.testing import FlakyEmitter
from tests.scenes import ANNA, OWLS, events

#: Every verb of the tracker that asks the store for something.
VERBS = {
    "accumulate": lambda tracker: tracker.accumulate(ANNA, OWLS, 10, heartbeat_id="again"),
    "observe": lambda tracker: tracker.observe(ANNA, OWLS, PageView("again", 10)),
    "partial": lambda tracker: tracker.partial(ANNA, OWLS),
    "defer": lambda tracker: tracker.partial(ANNA, OWLS, defer=True),
    "finalize": lambda tracker: tracker.finalize(ANNA, OWLS),
    "flush": lambda tracker: tracker.flush_reader(ANNA),
    "sweep": lambda tracker: tracker.sweep(idle_seconds=0),
    "state": lambda tracker: tracker.state(ANNA, OWLS),
    "states": lambda tracker: tracker.states(ANNA),
    "status": lambda tracker: tracker.status(),
    "explain": lambda tracker: tracker.explain(ANNA, OWLS),
    "parked": lambda tracker: tracker.parked(),
    "unpark": lambda tracker: tracker.unpark(ANNA, OWLS),
    "forget": lambda tracker: tracker.forget(ANNA),
}
#: Those that write.
WRITING = ("accumulate", "observe", "partial", "defer", "finalize", "flush", "sweep", "unpark", "forget")
#: All that is claimed is accepted, so that what was accepted is known without a clock.
GENEROUS = ReadTimePolicy(
    leeway_seconds=1e6, catch_up_seconds=1e6, retry_backoff_seconds=0.02, max_retry_backoff_seconds=0.1
)


def names_of(reader=ANNA, what=OWLS, shards=16):
    """The names of a state's keys."""
    return Layout("readtime", shards).names(Key(reader.sourced_id, what.resource_id))


_READS = {
    "hash": lambda admin, key: admin.hgetall(key),
    "zset": lambda admin, key: admin.zrange(key, 0, -1, withscores=True),
    "set": lambda admin, key: admin.smembers(key),
    "list": lambda admin, key: admin.lrange(key, 0, -1),
    "string": lambda admin, key: admin.get(key),
}


def content(admin, pattern="*"):
    """All that a server holds below a pattern, and whether it has a time to live."""
    return {key: (_READS[admin.type(key)](admin, key), admin.pttl(key) > 0) for key in admin.scan_iter(pattern)}


def tracker_on(store, emitter=None, policy=GENEROUS, clock=None):
    """A tracker on a store, by the store's own clock, and its emitter."""
    emitter = FlakyEmitter() if emitter is None else emitter
    return ReadTimeTracker(store, emitter, events(), policy, clock), emitter


class Watched(RedisStateStore):
    """A store that counts what is rare: claims taken over, and races lost against others."""

    def __init__(self, *args, **more):
        super().__init__(*args, **more)
        self.sometimes = Counter()

    def _transition(self, key, names, transition, found, *more):
        answer = super()._transition(key, names, transition, found, *more)
        fields = () if isinstance(found, Known) else found[2:-1] if walled(transition) else found[2:]
        stored = found.state if isinstance(found, Known) else state_of(key, fields)
        old, new = (None if state is None else state.ledger.claim for state in (stored, answer[1]))
        if isinstance(transition, AcquireClaim) and old is not None and new is not None:
            same, other = old.event_id == new.event_id, old.owner not in (None, new.owner)
            self.sometimes["taken-over"] += same and other
        return answer

    def _write(self, *args):
        written = super()._write(*args)
        self.sometimes["lost-race"] += written.count(False)
        return written


def reloaded(admin):
    """How often a script had to be sent again as text."""
    return admin.info("commandstats").get("cmdstat_eval", {"calls": 0})["calls"]
