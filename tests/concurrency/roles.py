"""What child processes do: ``python -m tests.concurrency.roles ROLE ARGUMENTS``, one function a role.

A role says lines on stdout and hears lines on stdin; what it returns is said last, as JSON.
"""

from __future__ import annotations

import json
import os
import random
import resource
import signal
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

from caliper_readtime import (
    EmitError,
    EmitterUnavailable,
    InMemoryStateStore,
    JsonLinesEmitter,
    Outcome,
    ReadTimePolicy,
    ReadTimeTracker,
    RedisStateStore,
    SqliteStateStore,
    StoreUnavailable,
    Sweeper,
)
from caliper_readtime._rules.state import Key
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, BEN, OWLS, WAIT_SECONDS, article, events

#: All that is claimed is accepted, so that what was accepted is known without a clock; retries come soon.
GENEROUS = {
    "leeway_seconds": 1e6,
    "catch_up_seconds": 1e6,
    "retry_backoff_seconds": 0.02,
    "max_retry_backoff_seconds": 0.1,
}
READERS = (ANNA, BEN)
ARTICLES = (article("owls"), article("bees"))
NOBODY = 65534


def store_on(where):
    """A store in memory, on a file, or in the Redis that a URL names."""
    if where is None:
        return InMemoryStateStore()
    return RedisStateStore.from_url(where) if "://" in str(where) else SqliteStateStore(where)


def tracker_on(where, emitter=None, **policy):
    """A tracker on a file or a Redis, and its store."""
    store = store_on(where)
    return ReadTimeTracker(store, emitter, events(), ReadTimePolicy(**{**GENEROUS, **policy})), store


def log(line):
    print(line, flush=True)


def hear():
    return sys.stdin.readline()


def in_threads(number, work):
    """Run ``work(place)`` in so many threads and return the results; the first error is raised."""
    results, errors = [], []

    def run(place):
        try:
            results.append(work(place))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run, args=(place,)) for place in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in errors:
        raise error
    return results


def reading(tracker, beats, seed):
    """Heartbeats of one reader after the other, with a report now and then; return what was accepted, in ms."""
    dice, accepted = random.Random(seed), 0
    for _ in range(beats):
        reader, what = dice.choice(READERS), dice.choice(ARTICLES)
        accepted += round(tracker.accumulate(reader, what, dice.randint(500, 3000) / 1000).accepted_seconds * 1000)
        if dice.random() < 0.1:
            tracker.partial(reader, what)
    return accepted


def worker(*, path, endpoint, number, threads, beats):
    """Read in several threads; answers what was accepted."""
    tracker, store = tracker_on(path, JsonLinesEmitter(endpoint, fsync=False))
    log("ready")
    hear()
    with closing(store):
        return sum(in_threads(threads, lambda place: reading(tracker, beats, number * 1000 + place)))


def opener(*, folder, number, files):
    """Open one new file after the other, at the same moment as others do; answers what went wrong."""
    errors = []
    for place in range(files):
        log("ready")
        hear()
        try:
            SqliteStateStore(Path(folder) / f"{place}.db").close()
        except StoreUnavailable as error:
            errors.append(f"{number}: {error}")
    return errors


def holder(*, path):
    """Keep a file to itself until told."""
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("BEGIN EXCLUSIVE")
        log("held")
        hear()
        file.execute("COMMIT")
    return "let go"


def unprivileged(*, path):
    """Open a file that may only be read; answers what that came to."""
    if os.geteuid() == 0:
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
    try:
        SqliteStateStore(path, busy_seconds=0.1)
    except StoreUnavailable as error:
        return str(error.__cause__)
    return "opened"


def limited(*, path):
    """Write until the file system takes no more, see that all is as it was, and go on once it does."""
    tracker, store = tracker_on(path)
    with closing(store):
        tracker.accumulate(ANNA, OWLS, 5)
        free = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (256 * 1024, free[1]))
        accepted, refused = 5, None
        while refused is None:
            before = tracker.state(ANNA, OWLS)
            try:
                tracker.accumulate(ANNA, OWLS, 1)
                accepted += 1
            except StoreUnavailable as error:
                refused = str(error.__cause__)
        same = tracker.state(ANNA, OWLS) == before
        resource.setrlimit(resource.RLIMIT_FSIZE, free)
        tracker.accumulate(ANNA, OWLS, 1)
        return {"refused": refused, "same": same, "lost": accepted + 1 - tracker.state(ANNA, OWLS).unreported_seconds}


# Forks


def forked(work, seconds=20.0):
    """Run ``work`` in a fork; return its exit status, or None where it hung."""
    pid = os.fork()
    if not pid:
        status = 1
        try:
            work()
            status = 0
        finally:
            os._exit(status)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return None


def preloaded(*, path, endpoint):
    """Build a tracker, use it, fork, and use it on both sides; a child's child as well."""
    tracker, store = tracker_on(path, JsonLinesEmitter(endpoint, fsync=False))
    with closing(store):
        tracker.accumulate(ANNA, OWLS, 10)
        tracker.partial(ANNA, OWLS)

        def in_child():
            tracker.accumulate(ANNA, OWLS, 20)
            assert tracker.partial(ANNA, OWLS).outcome is Outcome.SENT
            assert forked(lambda: tracker.accumulate(ANNA, OWLS, 40)) == 0
            store.close()

        statuses = [forked(in_child), forked(in_child)]
        tracker.accumulate(ANNA, OWLS, 5)
        tracker.partial(ANNA, OWLS)
        return {"statuses": statuses, "total": tracker.state(ANNA, OWLS).cumulative_read_time_seconds}


def survivor(*, path):
    """Use a tracker, fork, close it in the parent, and go on in the child when told; answers what the child sees."""
    tracker, store = tracker_on(path)
    tracker.accumulate(ANNA, OWLS, 10)
    pid = os.fork()
    if pid:
        store.close()
        log("closed")
        _, status = os.waitpid(pid, 0)
        return os.waitstatus_to_exitcode(status)
    tracker.accumulate(ANNA, OWLS, 20)
    log("forked")
    hear()
    tracker.accumulate(ANNA, OWLS, 40)
    os._exit(0)


def busy_fork(*, path, forks):
    """Fork again and again while threads are inside ``update``; answers how the children ended and what adds up."""
    store = store_on(path)
    tracker = ReadTimeTracker(store, None, None, ReadTimePolicy(**GENEROUS))
    tracker.accumulate(ANNA, OWLS, 0)
    stop = threading.Event()

    def beats(_):
        accepted = 0.0
        while not stop.is_set():
            accepted += tracker.accumulate(ANNA, OWLS, 1).accepted_seconds
        return accepted

    def in_child():
        for _ in range(3):
            tracker.accumulate(ANNA, OWLS, 1)

    statuses = []

    def forking():
        try:
            statuses.extend(forked(in_child) for _ in range(forks))
        finally:
            stop.set()

    accepted = sum(in_threads(5, lambda place: forking() or 0.0 if place == 4 else beats(place)))
    total = tracker.state(ANNA, OWLS).cumulative_read_time_seconds
    store.close()
    return {"statuses": statuses, "accepted": accepted, "total": total}


def held_fork(*, path):
    """Fork at the very moment at which another thread is inside ``update``; answers how the child ended."""
    store = store_on(path)
    tracker = ReadTimeTracker(store, None, None, ReadTimePolicy(**GENEROUS))
    inside, forking = threading.Event(), threading.Event()
    os.register_at_fork(before=forking.set)  # the last to be registered is the first to be called

    def stay(state, _now):
        inside.set()
        return state, forking.wait(WAIT_SECONDS)

    def fork(_):
        assert inside.wait(WAIT_SECONDS)
        return forked(lambda: tracker.accumulate(ANNA, OWLS, 1))

    statuses = in_threads(2, lambda place: fork(place) if place else store.update(Key("anna", "owls"), stay)[0])
    store.close()
    return sorted(statuses, key=str)


# Death


class Unreliable:
    """Delivers into a file, and fails at random before or after."""

    def __init__(self, path, dice):
        self.inner, self.dice = JsonLinesEmitter(path, fsync=False), dice

    def emit(self, events, /):
        fate = self.dice.random()
        if fate < 0.1:
            raise EmitterUnavailable("before")
        self.inner.emit(events)
        if fate < 0.25:
            raise EmitterUnavailable("after")

    def close(self):
        self.inner.close()


def killed(*, path, endpoint, notes, seed):
    """Read, report and sweep until killed, or until told to stop.

    Notes ``begun`` before, and ``done`` after every heartbeat, so that at most one is in doubt when it dies.
    """
    dice = random.Random(seed)
    tracker, store = tracker_on(path, Unreliable(endpoint, dice), lock_seconds=1.0)
    stop = threading.Event()
    threading.Thread(target=lambda: (hear(), stop.set()), daemon=True).start()
    file = os.open(notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(*fields):
        os.write(file, (" ".join(map(str, fields)) + "\n").encode())
        os.fsync(file)

    log("ready")
    with closing(store):
        while not stop.is_set():
            reader, what, ms = dice.choice(READERS), dice.choice(ARTICLES), dice.randint(200, 4000)
            note("begun", reader.sourced_id, what.resource_id, ms)
            accepted = tracker.accumulate(reader, what, ms / 1000).accepted_seconds
            note("done", reader.sourced_id, what.resource_id, round(accepted * 1000))
            try:
                match dice.randrange(8):
                    case 0 | 1:
                        tracker.partial(reader, what)
                    case 2:
                        tracker.finalize(reader, what)
                    case 3:
                        tracker.flush_reader(reader)
                    case 4:
                        tracker.sweep(idle_seconds=0, limit=5)
            except EmitError:
                pass
    os.close(file)
    return "stopped"


class Pausing:
    """A store or an emitter that says where it is, and waits there until it is told to go on."""

    def __init__(self, inner, where):
        self.inner, self.where = inner, where

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def update(self, key, transition, now=None, /):
        answer = self.inner.update(key, transition, now)
        if type(transition).__name__ == "AcquireClaim":
            self.pause("claimed")
        return answer

    def emit(self, events, /):
        self.pause("sending")
        self.inner.emit(events)
        self.pause("sent")

    def pause(self, where):
        if where == self.where:
            self.where = None
            log(where)
            hear()


def slow_owner(*, path, endpoint, lock_seconds, where):
    """Read half a minute and report it, pausing on the way; answers what the report came to."""
    store = SqliteStateStore(path)
    policy = ReadTimePolicy(**{**GENEROUS, "lock_seconds": lock_seconds})
    emitter = Pausing(JsonLinesEmitter(endpoint), where)
    tracker = ReadTimeTracker(Pausing(store, where), emitter, events(), policy)
    with closing(store):
        tracker.accumulate(ANNA, OWLS, 30)
        try:
            report = tracker.partial(ANNA, OWLS)
        except EmitterUnavailable as error:
            return {"outcome": "raised", "error": str(error)}
        return {"outcome": report.outcome, "delta": report.delta_seconds}


def swept_fork():
    """Fork while a sweeper's thread runs; answers who has a thread, and whether a child can have its own."""
    sweeper = Sweeper(ReadTimeTracker(InMemoryStateStore(), RecordingEmitter(), events()), jitter=0)
    sweeper.start()
    reading, writing = os.pipe()

    def in_child():
        before = sweeper.running
        sweeper.start()
        found = {"child_before": before, "child_after": sweeper.running, "child_stopped": sweeper.stop(WAIT_SECONDS)}
        os.write(writing, json.dumps(found).encode())

    assert forked(in_child) == 0
    answer = {**json.loads(os.read(reading, 1000)), "parent": sweeper.running}
    assert sweeper.stop(WAIT_SECONDS)
    return answer


if __name__ == "__main__":
    log(json.dumps(globals()[sys.argv[1]](**json.loads(sys.argv[2]))))
