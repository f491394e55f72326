"""What child processes do on a Redis that dies, too: ``python -m tests.concurrency.redis_roles ROLE ARGUMENTS``."""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from contextlib import ExitStack, closing, suppress

from caliper_readtime import EmitError, PageView, ReadTimePolicy, StoreUnavailable
from tests.concurrency.roles import ARTICLES, GENEROUS, READERS, Unreliable, forked, hear, log
from tests.redis_scenes import Watched, tracker_on
from tests.scenes import ANNA, OWLS, WAIT_SECONDS, article, running

POLICY = {**GENEROUS, "lock_seconds": 1.0}


class Worker:
    """Reads, reports and sweeps; repeats each heartbeat until Redis has answered.

    Notes ``begun`` before, and ``done`` after every heartbeat, so that at most one is in doubt when it dies; and what
    it ``saw`` that happens only sometimes.
    """

    def __init__(self, url, endpoint, notes, seed):
        self.dice, self.store, self.seed = random.Random(seed), Watched.from_url(url), seed
        self.tracker, _ = tracker_on(self.store, Unreliable(endpoint, self.dice), ReadTimePolicy(**POLICY))
        self.notes = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.own = article(f"own{seed}")
        self.totals, self.seen, self.beats = {}, {}, 0

    def note(self, *fields):
        os.write(self.notes, (" ".join(map(str, fields)) + "\n").encode())

    def beat(self):
        """A running total, which heals itself; or a delta with an id.

        The latter on an article of its own: nobody else's ids push it out of the ring while it is repeated.
        """
        self.beats += 1
        reader, ms = self.dice.choice(READERS), self.dice.randint(200, 4000)
        what = self.dice.choice((*ARTICLES, self.own))
        self.note("begun", reader.sourced_id, what.resource_id, ms)
        if what is self.own:
            name = f"beat{self.beats}"
            self.persist(lambda: self.tracker.accumulate(reader, what, ms / 1000, heartbeat_id=name))
        else:
            total = self.totals[reader, what] = self.totals.get((reader, what), 0) + ms
            view = PageView(f"view{self.seed}", total / 1000)
            self.persist(lambda: self.tracker.observe(reader, what, view))
        self.note("done", reader.sourced_id, what.resource_id, ms)

    def persist(self, call):
        while True:
            try:
                return call()
            except StoreUnavailable:
                self.note("saw", "unavailable", 1)
                time.sleep(0.01)

    def report(self):
        """One of the verbs that report, now and then."""
        reader, what = self.dice.choice(READERS), self.dice.choice((*ARTICLES, self.own))
        with suppress(EmitError, StoreUnavailable):
            match self.dice.randrange(8):
                case 0 | 1:
                    self.tracker.partial(reader, what)
                case 2:
                    self.tracker.finalize(reader, what)
                case 3:
                    self.tracker.flush_reader(reader)
                case 4:
                    self.tracker.sweep(idle_seconds=0, limit=5)

    def look(self):
        """Note what has happened that happens only sometimes."""
        for name, count in self.store.sometimes.items():
            if count > self.seen.get(name, 0):
                self.note("saw", name, count - self.seen.get(name, 0))
                self.seen[name] = count


def killed(*, url, endpoint, notes, seed):
    """Work until killed, or until told to stop."""
    worker, stop = Worker(url, endpoint, notes, seed), threading.Event()
    threading.Thread(target=lambda: (hear(), stop.set()), daemon=True).start()
    log("ready")
    with closing(worker.store):
        while not stop.is_set():
            worker.beat()
            worker.report()
            worker.look()
    os.close(worker.notes)
    return "stopped"


def forked_while_locked(*, url):
    """Fork at a moment at which another thread holds the driver's locks; answers how the child ended, and the sum."""
    store = Watched.from_url(url)
    tracker, _ = tracker_on(store)
    inside, forking = threading.Event(), threading.Event()
    os.register_at_fork(before=forking.set)  # the last to be registered is the first to be called

    def hold():
        with ExitStack() as stack:
            for lock in locks(store.client):
                stack.enter_context(lock)
            inside.set()
            forking.wait(WAIT_SECONDS)

    def in_child():
        for what in (OWLS, article("bees")):
            tracker.accumulate(ANNA, what, 10)
        tracker.sweep(idle_seconds=0)
        store.close()

    with closing(store):
        tracker.accumulate(ANNA, OWLS, 10)
        with running(hold):
            inside.wait(WAIT_SECONDS)
            status = forked(in_child)
        tracker.accumulate(ANNA, OWLS, 10)
        return {"status": status, "total": tracker.state(ANNA, OWLS).cumulative_read_time_seconds}


def locks(client):
    """The locks that the driver takes for a command: a pool's, or those around what it knows of a cluster's slots.

    Which of the latter there are differs by its version.
    """
    manager = getattr(client, "nodes_manager", None)
    if manager is None:
        return [client.connection_pool._lock]
    own = [getattr(manager, name, None) for name in ("_initialization_lock", "_lock")]
    return [lock for lock in own if lock is not None]


if __name__ == "__main__":
    log(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
