"""The scene of the promise: five articles, five faults, and the calculator that sums every delivery banks exactly."""

from __future__ import annotations

from contextlib import closing

import pytest

from caliper_readtime import EmitterUnavailable, HttpCaliperEmitter, ReadTimeTracker
from caliper_readtime.testing import CaliperEndpoint, ManualClock, banked_minutes
from caliper_readtime.testing.behaviours import AcceptThen, Answer, Drop
from tests.backends import STORES
from tests.scenes import ANNA, START, article, events

TIMEOUT_SECONDS = 0.3
#: Seconds that are read of each article, and the minutes that they are worth; no article pays above nine.
READ = {"nice_x1": (61, 2), "nice_x2": (21, 1), "nice_x3": (300, 5), "nice_x4": (20, 0), "nice_x5": (725, 9)}


class WorkerKilledError(BaseException):
    """The process has ended."""


@pytest.fixture(params=STORES.values(), ids=STORES)
def worker(request, tmp_path):
    """Makes trackers of new worker processes, all on one store, clock and endpoint."""
    clock = ManualClock(START)
    with closing(request.param(tmp_path)) as store, CaliperEndpoint() as endpoint:
        opened = []

        def make():
            emitter = HttpCaliperEmitter(endpoint.url, timeout=TIMEOUT_SECONDS, attempts=1, read_back=True)
            opened.append(emitter)
            return ReadTimeTracker(store, emitter, events(), clock=clock)

        make.clock, make.endpoint = clock, endpoint
        yield make
        for emitter in opened:
            emitter.close()


def killed_while_sending(tracker, what):
    """The worker's event arrives, and the worker dies before it hears of it."""
    emitter = tracker.emitter
    send = emitter.emit

    def die(batch, /):
        send(batch)
        raise WorkerKilledError

    emitter.emit = die
    with pytest.raises(WorkerKilledError):
        tracker.partial(ANNA, what)


def fails(tracker, endpoint, fault, what):
    """The endpoint misbehaves once."""
    endpoint.misbehave(fault)
    with pytest.raises(EmitterUnavailable):
        tracker.partial(ANNA, what)


def test_five_articles_five_faults_and_every_minute_once(worker):
    """K1, R1: worker killed, reply lost, slow endpoint, outage and a closed tab; each second is delivered once."""
    endpoint, clock = worker.endpoint, worker.clock
    articles = {name: article(name) for name in READ}
    reading = worker()
    for name, (seconds, _) in READ.items():
        reading.accumulate(ANNA, articles[name], 0)
        clock.advance(seconds)
        reading.accumulate(ANNA, articles[name], seconds)
    killed_while_sending(worker(), articles["nice_x1"])
    fails(worker(), endpoint, Drop(after="accept"), articles["nice_x2"])
    fails(worker(), endpoint, AcceptThen(Answer(200), 60), articles["nice_x3"])
    fails(worker(), endpoint, Answer(503), articles["nice_x4"])
    # Of nice_x5 nothing is ever asked for: its tab was closed.
    clock.advance(reading.policy.lock_seconds)
    flushed = worker().flush_reader(ANNA, confirm=True)
    assert (flushed.settled, flushed.confirmed) == (True, True)
    with closing(reading):
        reported = {state.resource_id: state.reported_read_time_seconds for state in reading.states(ANNA)}
    assert reported == {name: float(seconds) for name, (seconds, _) in READ.items()}
    assert len(endpoint.deliveries) == len(endpoint.events) == len(READ)
    paid = banked_minutes(endpoint.deliveries, events().actor_id("anna"), READ, 9)
    assert paid == {name: minutes for name, (_, minutes) in READ.items()}
