"""A left page's time goes out in the background: no request waits for the endpoint, and the sweeper has the rest."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from itertools import pairwise
from types import SimpleNamespace

import pytest

from caliper_readtime import EmitterUnavailable, InMemoryStateStore, Reader, ReadTimePolicy, StoreUnavailable
from caliper_readtime.testing import CaliperEndpoint
from caliper_readtime.testing.behaviours import Hang
from caliper_readtime.web import _background as module
from caliper_readtime.web._background import (
    DRAIN_SECONDS,
    GATHER_SECONDS,
    MOST_AT_ONCE,
    READER_SECONDS,
    BackgroundSender,
    Waiting,
    threads_stand_still,
)
from tests.scenes import WAIT_SECONDS
from tests.web.sites import OWLS, ROOT

CROWD = {f"r{n}": Reader(f"r{n}", f"r{n}@example.org") for n in range(40)}


def arrived(site, *, drain=True):
    """What the endpoint has of all readers, seconds; first what the sender has still to send, if not told otherwise."""
    emitter = site.emitter if drain else site._emitter
    return sum(emitter.seconds(name, "owls") for name in (*CROWD, "anna"))


class Gate:
    """An emitter whose endpoint hangs until it is opened."""

    def __init__(self, inner):
        self.inner = inner
        self.open = threading.Event()
        self.entered = threading.Event()

    def emit(self, events, /):
        self.entered.set()
        assert self.open.wait(WAIT_SECONDS)
        self.inner.emit(events)

    def close(self):
        pass


@pytest.fixture
def gated(make_site):
    """A site whose endpoint hangs, and its gate."""
    site = make_site(reader=CROWD.get)
    gate = Gate(site._emitter)
    site.tracker._delivery.emitter = gate
    yield site, gate
    gate.open.set()
    assert site.counter.close(WAIT_SECONDS)


# What a request waits for


@pytest.mark.parametrize("more", [{"l": True}, {"c": True}, {"p": 1.0}])
def test_no_request_waits_for_the_endpoint(gated, more):
    """A1: while the endpoint hangs, leaves and completions of every kind are answered; then all of it arrives."""
    site, gate = gated
    tickets = [site.ticket(name, duration_seconds=300) for name in CROWD]
    site.clock.advance(10)
    assert site.log(tickets[0], 10, **more).status_code == 204
    assert gate.entered.wait(WAIT_SECONDS)
    for ticket in tickets[1:]:
        assert site.log(ticket, 10, **more).status_code == 204
    assert site.get("/readtime/health").status_code == 200
    assert site._emitter.events == []
    assert all(site.tracker.state(name, OWLS).due_at is not None for name in CROWD), "it is durable before the answer"
    gate.open.set()
    assert arrived(site) == 10 * len(CROWD)
    finalized = {site.tracker.state(name, OWLS).finalized_at is not None for name in CROWD}
    assert finalized == {"l" not in more}


def test_many_leaves_share_an_envelope(make_site):
    """A2: forty readers who leave together cost the endpoint one request."""
    site = make_site(reader=CROWD.get)
    tickets = [site.ticket(name) for name in CROWD]
    site.clock.advance(10)
    for ticket in tickets:
        site.log(ticket, 10, l=True)
    assert arrived(site) == 400
    assert len(site.emitter.inner.batches) <= 2  # a busy machine may need longer than the sender gathers


def test_a_small_rest_waits_for_the_next_trigger(make_site):
    """What is below ``partial_min_seconds`` is left to it, as ``partial`` does."""
    site = make_site(policy=ReadTimePolicy(partial_min_seconds=30))
    ticket = site.ticket()
    site.read(ticket, 10, l=True)
    assert site.emitter.events == []
    site.read(ticket, 40, l=True)
    assert arrived(site) == 40


def test_send_waits_and_defer_sends_nothing(make_site):
    """The other two settings do what they say, in the request."""
    for leave, sent in (("send", 10), ("defer", 0)):
        site = make_site(settings={"LEAVE": leave})
        site.read(site.ticket(), 10, l=True)
        assert arrived(site, drain=False) == sent


# Outages


def test_an_outage_leaves_it_to_the_sweeper(make_site):
    """An endpoint that is away is tried once for many, and the sweeper delivers when it is back."""
    tries = []

    class Away(Gate):
        def emit(self, events, /):
            tries.append(len(events))
            if not self.open.is_set():
                raise EmitterUnavailable("down")
            self.inner.emit(events)

    site = make_site(reader=CROWD.get)
    away = site.tracker._delivery.emitter = Away(site._emitter)
    tickets = [site.ticket(name) for name in CROWD]
    site.clock.advance(10)
    for ticket in tickets:
        assert site.log(ticket, 10, l=True).status_code == 204
    assert (arrived(site), len(tries)) == (0, 1)
    away.open.set()
    site.clock.advance(60)
    assert site.tracker.sweep(idle_seconds=0).seconds_sent == 400


def test_between_tries_it_waits_longer_and_longer(monkeypatch):
    """After each failed try the pause doubles up to its most; a success ends that; no trouble ends the thread."""
    pauses, answers = [], iter(["unavailable", StoreUnavailable("down"), "refused", *["unavailable"] * 4, "drained"])

    def send(_):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(stopped_by=answer)

    sender = BackgroundSender(send)
    rounds = iter([["x"]] * 8)

    def taken(here, pause):
        pauses.append(pause)
        return next(rounds, [])

    monkeypatch.setattr(sender, "_taken", taken)
    sender._run(None)
    assert pauses == [0, 1, 2, 4, 8, 16, 30, 30, 0]


def test_whatever_the_sender_meets_it_goes_on(make_site, caplog):
    """A store that is away, or an error of anybody's, is one line in the log; the next leave is sent."""

    class Down(InMemoryStateStore):
        broken = True

        def update_many(self, changes, now=None, /):
            if self.broken:
                raise StoreUnavailable("the store is down")
            return super().update_many(changes, now)

        def update(self, key, transition, now=None, /):
            if self.broken and type(transition).__name__ == "AcquireClaim":
                raise StoreUnavailable("the store is down")
            return super().update(key, transition, now)

    store = Down()
    site = make_site(store=store)
    ticket = site.ticket()
    site.read(ticket, 10, l=True)
    assert site.emitter.events == []
    assert "leaves: not sent states=1 error=the store is down" in caplog.text
    store.broken = False
    site.read(ticket, 20, l=True)
    assert arrived(site) == 20


# Whose turn it is


def test_one_reader_once_in_a_few_seconds():
    """A2: a reader (or a thief) who leaves each second for a minute costs one envelope in five seconds."""
    waiting, sent = Waiting(), []
    for tenth in range(600):
        now = tenth / 10
        if tenth % 10 == 0:
            waiting.add(("anna", f"article-{tenth % 30}"), now)
        if (waiting.next_at() or 1e9) <= now:
            assert waiting.take(now)
            sent.append(now)
    assert len(sent) == 12
    assert min(later - earlier for earlier, later in pairwise(sent)) >= READER_SECONDS
    assert len(waiting) <= 5


def test_others_need_not_wait_for_her():
    """Everybody else's leave waits just long enough to share an envelope."""
    waiting = Waiting()
    waiting.add(("anna", "owls"), 0)
    assert waiting.next_at() == GATHER_SECONDS
    assert waiting.take(GATHER_SECONDS - 0.01) == []
    assert waiting.take(GATHER_SECONDS) == [("anna", "owls")]
    waiting.add(("anna", "owls"), 1)
    waiting.add(("ben", "owls"), 1)
    assert waiting.take(2) == [("ben", "owls")]
    assert waiting.next_at() == GATHER_SECONDS + READER_SECONDS
    assert waiting.take(2, every=True) == [("anna", "owls")]
    assert (len(waiting), waiting.next_at()) == (0, None)


def test_the_memory_is_bounded():
    """A3: beyond the most that may wait nothing is kept, a call takes a bounded number, who was served is forgotten."""
    waiting = Waiting(most=500)
    for n in range(2000):
        waiting.add((f"r{n}", "owls"), 0)
        waiting.add((f"r{n}", "owls"), 0)
    assert len(waiting) == 500
    calls = 0
    while len(waiting):
        assert len(waiting.take(10 + calls)) <= MOST_AT_ONCE
        calls += 1
    assert calls == 5
    waiting.add(("x", "owls"), 100)
    waiting.take(101)
    assert list(waiting._sent) == ["x"]


# Threads and processes


def test_the_thread_begins_late_and_ends_by_itself(make_site, monkeypatch):
    """No thread before the first leave, none some time after the last, and another for the next."""
    for name in ("IDLE_SECONDS", "GATHER_SECONDS", "READER_SECONDS"):
        monkeypatch.setattr(module, name, 0.01)
    site = make_site()
    here = site.counter._sender._here()
    ticket = site.ticket()
    site.read(ticket, 10)
    assert here.thread is None
    for total in (20, 40):
        site.read(ticket, total, l=True)
        thread = here.thread
        thread.join(WAIT_SECONDS)
        assert (thread.is_alive(), here.thread, thread.daemon) == (False, None, True)
        assert arrived(site, drain=False) == total


def test_without_an_emitter_no_thread_begins(make_site):
    """Somebody else's sweep sends."""
    site = make_site(emits=False)
    site.read(site.ticket(), 10, l=True)
    assert site.counter._sender._here().thread is None


@pytest.mark.parametrize(("opt", "still"), [({}, True), ({b"threads": b"2"}, False), ({"enable-threads": True}, False)])
def test_uwsgi_without_threads_is_told(make_site, monkeypatch, caplog, opt, still):
    """There a warning says so, once, and everything is left to the sweeper."""
    uwsgi = SimpleNamespace(opt=opt)
    assert threads_stand_still(uwsgi) is still
    assert threads_stand_still(None) is False
    monkeypatch.setitem(sys.modules, "uwsgi", uwsgi)
    site = make_site()
    ticket = site.ticket()
    for total in (10, 20):
        site.read(ticket, total, l=True)
    assert arrived(site) == (0 if still else 20)
    assert caplog.text.count("threads do not run in this worker") == still


def test_a_thread_that_stands_still_is_told(caplog):
    """Whatever keeps threads from running: a leave finds that the sender has not looked for long, and says so."""
    now = [0.0]
    sender = BackgroundSender(lambda _: SimpleNamespace(stopped_by="drained"), monotonic=lambda: now[0])
    here = sender._here()
    here.thread, here.looked_at = threading.Thread(), 0.0  # never started
    sender.add(("anna", "owls"))
    now[0] = module.STALLED_SECONDS + 1
    sender.add(("anna", "owls"))
    sender.add(("ben", "owls"))
    assert caplog.text.count("threads do not run in this worker") == 1


def test_no_more_threads(monkeypatch):
    """Where none can be started it is the sweeper's, and the memory of it goes."""
    sender = BackgroundSender(lambda _: None)

    def start(_):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    sender.add(("anna", "owls"))
    assert sender.stop()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_worker_has_a_sender_of_its_own():
    """Forked while the parent's thread holds what it holds, a worker sends what it adds itself, and nothing else."""
    sent, entered, let_go = [], threading.Event(), threading.Event()

    def send(keys):
        sent.append(keys)
        entered.set()
        let_go.wait(WAIT_SECONDS)
        return SimpleNamespace(stopped_by="drained")

    sender = BackgroundSender(send)
    sender.add(("anna", "owls"))
    assert entered.wait(WAIT_SECONDS)
    sender.add(("ben", "owls"))
    child = os.fork()
    if not child:
        sent.clear()
        let_go.set()
        sender.add(("carl", "owls"))
        os._exit(0 if sender.stop(WAIT_SECONDS) and sent == [[("carl", "owls")]] else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    let_go.set()
    assert sender.stop(WAIT_SECONDS)
    assert sent == [[("anna", "owls")], [("ben", "owls")]]


WORKER = """
import signal, sys
from caliper_readtime import HttpCaliperEmitter, InMemoryStateStore, ReadTimeTracker, SqliteStateStore
from tests.web.sites import flask_site
from tests.scenes import events

signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # as gunicorn's workers do
with flask_site() as site:
    store, emitter = SqliteStateStore(sys.argv[2]), HttpCaliperEmitter(sys.argv[1])
    site.counter.tracker = site.tracker = ReadTimeTracker(store, emitter, events(), clock=site.clock)
    assert site.read(site.ticket(), 10, l=True).status_code == 204
    print("left", flush=True)
    signal.pause()
"""


@pytest.mark.parametrize("hangs", [False, True])
def test_a_worker_that_is_told_to_end_sends_first(tmp_path, hangs):
    """SIGTERM: what waits is sent; an endpoint that hangs holds the worker no longer than the stated time."""
    with CaliperEndpoint() as endpoint:
        if hangs:
            endpoint.misbehave_always(Hang())
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, endpoint.url, str(tmp_path / "readtime.db")],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
        )
        try:
            assert worker.stdout.readline() == b"left\n"
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(DRAIN_SECONDS + 15) == 0
        finally:
            worker.kill()
            worker.stdout.close()
        assert endpoint.seconds() == (0 if hangs else 10)
