"""How many copies of an event each fault leaves at an endpoint that keeps every one: at most one a try (H8, H9)."""

import socket
from contextlib import closing

import pytest

from caliper_readtime import EmitterUnavailable, HttpCaliperEmitter, InMemoryStateStore, ReadTimeTracker
from caliper_readtime.testing import CaliperEndpoint
from caliper_readtime.testing.behaviours import AcceptThen, Answer, Drop, Hang
from tests.redaction import ARTICLE, EVENTS, READER

TRIES = 3
TIMEOUT_SECONDS = 0.3
RETRY = {"Retry-After": "0"}
LATE = Hang(2.0, accept=True)  # stores at once, and answers after the time-out

#: What each try leaves, and what a try with read_back leaves beside the first one's.
FAULTS = {
    "answer comes too late": (LATE, 1),
    "reset after it was stored": (Drop(after="accept"), 1),
    "reset before it was stored": (Drop(after="body"), 0),
    "500 after it was stored": (AcceptThen(Answer(500)), 1),
    "502 after it was stored": (AcceptThen(Answer(502)), 1),
    "503 without Retry-After after it was stored": (AcceptThen(Answer(503)), 1),
    "408 after it was stored": (AcceptThen(Answer(408)), 1),
    "answer cut short": (AcceptThen(Answer(200, "{", {"Content-Length": "99", "Connection": "close"})), 1),
    "429": (Answer(429), 0),
    "503 with Retry-After": (Answer(503, b"", RETRY), 0),
}


@pytest.fixture
def endpoint():
    with CaliperEndpoint() as endpoint:
        yield endpoint


def tracker_for(endpoint, store=None, **options):
    """One worker's emitter and tracker; another worker's circuit breaker knows nothing of this one's failures."""
    emitter = HttpCaliperEmitter(endpoint.url, timeout=TIMEOUT_SECONDS, deadline_seconds=4, attempts=4, **options)
    tracker = ReadTimeTracker(store or InMemoryStateStore(), emitter, EVENTS)
    if tracker.state(READER, ARTICLE) is None:
        tracker.accumulate(READER, ARTICLE, 10.0)
    return emitter, tracker


@pytest.mark.parametrize(("fault", "copies"), FAULTS.values(), ids=FAULTS)
@pytest.mark.parametrize("read_back", [False, True])
def test_a_fault_leaves_at_most_one_copy_a_try(endpoint, fault, copies, read_back):
    """H8, H9, R1: whatever was possibly stored is not sent again in the same try, and with read-back never again."""
    store = InMemoryStateStore()
    endpoint.misbehave_always(fault)
    for _ in range(1 if read_back else TRIES):
        emitter, tracker = tracker_for(endpoint, store, read_back=read_back)
        with closing(emitter), pytest.raises(EmitterUnavailable):
            tracker.partial(READER, ARTICLE)
    assert len(endpoint.deliveries) == (copies if read_back else copies * TRIES)
    if read_back and copies:
        emitter, tracker = tracker_for(endpoint, store, read_back=True)
        with closing(emitter):
            tracker.partial(READER, ARTICLE)
        assert len(endpoint.deliveries) == 1


@pytest.mark.parametrize("error", [socket.gaierror(-3, "try again"), ConnectionRefusedError(), TimeoutError()])
def test_a_connection_that_could_not_be_made_is_made_again(endpoint, monkeypatch, error):
    """H8: DNS, refusal and a time-out while connecting: the same emission tries again, and one copy arrives."""
    failures, real = [error, error], socket.getaddrinfo

    def look_up(*args, **kwargs):
        if failures:
            raise failures.pop()
        return real(*args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    emitter, tracker = tracker_for(endpoint)
    with closing(emitter), closing(tracker):
        tracker.partial(READER, ARTICLE)
    assert (failures, len(endpoint.deliveries)) == ([], 1)


def test_a_connection_that_cannot_be_made_leaves_none(endpoint):
    """H8: nobody listens for the whole emission: it is not ambiguous, and nothing is there afterwards."""
    emitter, tracker = tracker_for(endpoint)
    endpoint.close()
    with closing(emitter), closing(tracker):
        with pytest.raises(EmitterUnavailable) as failed:
            tracker.partial(READER, ARTICLE)
        assert not failed.value.ambiguous
    assert endpoint.deliveries == ()
