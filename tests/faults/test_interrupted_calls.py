"""L5: what is interrupted from outside, wherever that is, leaves no deadline, lock or probe, and costs no second."""

import json
import math
import threading
from contextlib import closing
from itertools import count

import pytest
import requests

from caliper_readtime import HttpCaliperEmitter, InMemoryStateStore, PageView, SqliteStateStore
from caliper_readtime._circuit import LOST_PROBE_SECONDS, Circuit
from caliper_readtime.emitters._circuit import left
from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.testing import CaliperEndpoint, ManualClock, RecordingEmitter
from caliper_readtime.web import _background
from caliper_readtime.web._background import BackgroundSender, Waiting
from tests.django_databases import database, sqlite
from tests.faults.raw_server import RawServer, reply
from tests.interrupting import OURS, interrupted
from tests.redis_scenes import tracker_on
from tests.scenes import ANNA, BEN, OWLS, WAIT_SECONDS, article

# What is in hand when it is interrupted is left to Python to close.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")

VERBS = {
    "partial": lambda tracker, owls: tracker.partial(ANNA, owls),
    "finalize": lambda tracker, owls: tracker.finalize(ANNA, owls),
    "flush": lambda tracker, _: tracker.flush_reader(ANNA),
    "sweep": lambda tracker, _: tracker.sweep(),
}
LIBRARIES = (*OURS, "/requests/", "/urllib3/", "http/client", "/tenacity/", "/authlib/")


def everywhere(make, call, where=OURS):
    """Interrupt a call at one place after the other, each time on something new that ``make`` returns.

    Yields it and the number of the place, while the frames of what was raised are still alive.
    """
    place, error = 1, True
    while error is not None:
        made = make()
        error = interrupted(lambda made=made: call(made), place, where)
        if error is not None:
            yield made, place
        place += 1
    assert place > 10


def report_everywhere(make_store, verb, where):
    """After each interruption others report at once, and in the end every second was reported once, in one event."""
    with CaliperEndpoint() as endpoint, closing(HttpCaliperEmitter(endpoint.url)) as emitter:

        def make():
            clock, owls = ManualClock(), article(f"owls-{next(turns)}")  # what is on its way may arrive much later
            tracker, _ = tracker_on(make_store(), emitter, clock=clock)
            for seconds in (0, 20):
                tracker.observe(ANNA, owls, PageView("hers", seconds))
                tracker.observe(BEN, owls, PageView("his", seconds))
                clock.advance(100)
            return tracker, clock, owls

        turns = count()
        for (tracker, clock, owls), place in everywhere(make, lambda made: VERBS[verb](made[0], made[2]), where):
            assert left() == math.inf, place
            tracker.observe(BEN, owls, PageView("his", 25))
            tracker.partial(BEN, owls)  # what the interrupted sweep has claimed waits for the end of its lease
            for _ in range(3):
                clock.advance(600)
                tracker.sweep()
            activity_id = tracker.events.activity_id(owls.resource_id)
            assert endpoint.seconds(None, activity_id) == 45, place
            assert not tracker.status().unreported_states
            tracker._store.close()
        assert endpoint.conflicts == ()


@pytest.fixture(params=["memory", "sqlite"])
def make_store(request, tmp_path):
    """Makes a store that holds nothing."""
    if request.param == "memory":
        return InMemoryStateStore

    def make():
        for file in tmp_path.iterdir():
            file.unlink()
        return SqliteStateStore(tmp_path / "readtime.db", busy_seconds=0.2)

    return make


def test_an_interrupted_report_is_made_up_for():
    """L5: it leaves its claim to its lease and nothing else; what is sent again is the same event."""
    report_everywhere(InMemoryStateStore, "partial", OURS)


@pytest.mark.proof
@pytest.mark.parametrize("verb", VERBS)
def test_an_interrupted_report_is_made_up_for_wherever_it_is(make_store, verb):
    """L5: in the midst of requests and urllib3, too: no answer is read by another request."""
    report_everywhere(make_store, verb, LIBRARIES)


@pytest.mark.proof
def test_an_interruption_leaves_no_transaction_of_django(tmp_path):
    """L5: what we begin of Django's database ends, so that the thread's connection is as it was before."""
    with database(sqlite(tmp_path)) as alias:
        from django.db import connections  # noqa: PLC0415

        from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415

        def make():
            clock = ManualClock()
            tracker, emitter = tracker_on(DjangoStateStore(alias), RecordingEmitter(), clock=clock)
            tracker.forget(ANNA.sourced_id)
            for seconds in (0, 20):
                tracker.observe(ANNA, OWLS, PageView("hers", seconds))
                clock.advance(100)
            return tracker, emitter, clock

        for (tracker, emitter, clock), place in everywhere(make, lambda made: made[0].partial(ANNA, OWLS)):
            assert connections[alias].get_autocommit(), place
            assert not connections[alias].in_atomic_block, place
            clock.advance(600)
            tracker.sweep()
            assert {event["id"] for event in emitter.events} == {event["id"] for event in emitter.events[:1]}, place
            assert tracker.state(ANNA, OWLS).reported_read_time_seconds == 20, place


def test_an_interrupted_token_fetch_leaves_no_lock():
    """L5: other threads fetch a token at once, though the frames of the interrupted fetch are still alive."""
    token = {"access_token": "t", "token_type": "Bearer", "expires_in": 3600}
    with RawServer(lambda *_: reply(200, json.dumps(token).encode(), "Content-Type: application/json")) as server:
        for auth, place in everywhere(lambda: ClientCredentials(server.url, "client", "secret"), fetched):
            got = []
            thread = threading.Thread(target=lambda auth=auth, got=got: got.append(fetched(auth)), daemon=True)
            thread.start()
            thread.join(WAIT_SECONDS)
            assert got == ["Bearer t"], place
            assert left() == math.inf


def fetched(auth):
    """The header that the auth puts on a request."""
    return auth(requests.Request("GET", "http://127.0.0.1/").prepare()).headers["Authorization"]


def test_an_interrupted_probe_keeps_others_from_trying_for_a_while_only():
    """L5: nobody may ever say that it is over, so it counts for half a minute."""
    now = [0.0]
    circuit = Circuit(1.0, 8.0, clock=lambda: now[0])
    circuit.leave(0, failed=True)
    now[0] += 8.0
    assert circuit.enter() == 1
    now[0] += LOST_PROBE_SECONDS - 0.1
    assert circuit.shut() == 0.0
    assert circuit.enter() is None
    now[0] += 0.2
    assert circuit.enter() == 1
    circuit.leave(1, failed=False)
    assert circuit.enter() == 0


def test_a_leave_that_is_interrupted_keeps_no_later_one_from_being_sent():
    """L5: not the same reader's, though their first was in the midst of being put down, and nobody else's."""
    for waiting, place in everywhere(Waiting, leave_twelve):
        for reader in ("anna", "ben"):
            waiting.add((reader, "bees"), 0.0)
        taken = []
        while waiting.next_at() is not None:
            taken += waiting.take(0.0, every=True)
        assert {("anna", "bees"), ("ben", "bees")} <= set(taken), place
        assert len(waiting) == 0


def leave_twelve(waiting):
    for name in range(6):
        waiting.add(("anna", str(name)), 0.0)
        waiting.add((f"reader {name}", "owls"), 0.0)


def test_an_interrupted_leave_does_not_stop_the_sender(monkeypatch):
    """L5: its thread goes on, or the next leave starts another; other threads' leaves do not wait for a lock."""
    monkeypatch.setattr(_background, "IDLE_SECONDS", 0.01)  # within which a thread hears what no one has told it
    for (sender, sent), place in everywhere(sending, lambda made: made[0].add(("anna", "owls")), (*OURS, "threading")):
        thread = threading.Thread(target=sender.add, args=(("ben", "owls"),), daemon=True)
        thread.start()
        thread.join(WAIT_SECONDS)
        assert not thread.is_alive(), place
        assert sender.stop(WAIT_SECONDS), place
        assert ("ben", "owls") in sent, place


def sending():
    sent = []

    def send(keys):
        sent.extend(keys)
        return type("Report", (), {"stopped_by": "drained"})

    return BackgroundSender(send), sent
