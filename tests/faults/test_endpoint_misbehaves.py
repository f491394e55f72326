"""The loopback endpoint when it misbehaves, hangs, goes away and comes back, and under many senders."""

import http.client
import json
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import urlsplit

import pytest

from caliper_readtime.testing._endpoint import CaliperEndpoint
from caliper_readtime.testing.behaviours import (
    AcceptThen,
    Answer,
    Conflict,
    Drop,
    EarlyHints,
    Hang,
    Limit,
    Reject,
    Trickle,
)
from tests.endpoint_client import GONE, JSON, connected, envelope, event, head, post, read
from tests.scenes import WAIT_SECONDS, until


@pytest.fixture
def endpoint():
    with CaliperEndpoint() as endpoint:
        yield endpoint


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (429, {"Retry-After": "2"}, ""),
        (503, {"Retry-After": format_datetime(datetime(2026, 11, 24, tzinfo=UTC), usegmt=True)}, "busy"),
        (307, {"Location": "http://127.0.0.1:1/elsewhere"}, ""),
        (200, {}, '{"status":"error","message":"no","errors":[]}'),
        (204, {}, ""),
        (599, {}, "odd"),
    ],
)
def test_an_answer_is_given_as_it_stands_and_records_nothing(endpoint, status, headers, body):
    """``Answer`` stands for the next POST only, whatever its status, headers and body, and accepts nothing."""
    endpoint.misbehave(Answer(status, body, headers))
    got = post(endpoint, event())
    assert (got.status, got.body) == (status, body.encode())
    assert {name: got.headers[name] for name in headers} == headers
    if status == 503:
        assert parsedate_to_datetime(got.headers["Retry-After"]) == datetime(2026, 11, 24, tzinfo=UTC)
    assert endpoint.events == ()
    assert endpoint.requests[0].status == status
    assert post(endpoint, event()).status == 200


def test_an_answer_can_end_too_early(endpoint):
    """A Content-Length that promises too much, with a closed connection, is an answer cut short."""
    endpoint.misbehave(Answer(200, '{"sta', {"Content-Length": "99", "Connection": "close"}))
    with pytest.raises(http.client.IncompleteRead):
        post(endpoint, event())


def test_accept_then_answers_otherwise(endpoint):
    """``AcceptThen`` records the events, and the sender sees the failure; a bad envelope is refused as ever."""
    endpoint.misbehave_always(AcceptThen(Answer(503)))
    assert post(endpoint, event()).status == 503
    assert endpoint.events == (event(),)
    assert post(endpoint, event("b", 0)).status == 400
    endpoint.misbehave(AcceptThen(Drop()))
    with pytest.raises(GONE):
        post(endpoint, event("c"))
    assert len(endpoint.events) == 2


@pytest.mark.parametrize(("after", "held"), [("headers", 0), ("body", 0), ("accept", 1)])
def test_a_drop_resets_the_connection(endpoint, after, held):
    """``Drop`` sends RST, not FIN: before the body is read, after it, or after the events were accepted."""
    endpoint.misbehave(Drop(after=after))
    body = json.dumps(envelope(event())).encode()
    with connected(endpoint) as connection:
        connection.sendall(head(f"Content-Length: {len(body)}") + (b"" if after == "headers" else body))
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    assert len(endpoint.events) == held
    (request,) = endpoint.requests
    assert (request.status, request.body) == (None, b"" if after == "headers" else body)
    assert post(endpoint, event()).status == 200


@pytest.mark.parametrize("accept", [False, True])
def test_a_hang_says_nothing_for_its_time(endpoint, accept):
    """``Hang`` keeps the sender waiting, then resets; it may have accepted the events before."""
    endpoint.misbehave(Hang(60, accept=accept), Hang(0.05, accept=accept))
    with pytest.raises(TimeoutError):
        post(endpoint, event(), timeout=0.1)
    until(lambda: len(endpoint.requests) == 1)
    started = time.monotonic()
    with pytest.raises(GONE):
        post(endpoint, event())
    assert time.monotonic() - started >= 0.05
    assert len(endpoint.deliveries) == (2 if accept else 0)


@pytest.mark.parametrize("accept", [False, True])
def test_a_trickle_arrives_in_the_end(endpoint, accept):
    """``Trickle`` sends the usual reply byte by byte; each byte beats a read time-out, the whole does not come soon."""
    endpoint.misbehave(Trickle(0.001, accept=accept))
    started = time.monotonic()
    got = post(endpoint, event(), timeout=5)
    assert got.json["status"] == "success"
    assert time.monotonic() - started > 0.001 * len(got.body)
    assert len(endpoint.events) == accept
    assert endpoint.requests[0].status == 200


def test_reject_refuses_envelopes_with_a_matching_event(endpoint):
    """``Reject`` answers 422 to an envelope with a matching event, accepting nothing of it, and accepts others."""
    endpoint.misbehave_always(Reject(lambda event: event["generated"]["items"][0]["value"] == 13))
    assert post(endpoint, event("a"), event("b", 13)).status == 422
    assert post(endpoint, event("a")).status == 200
    assert endpoint.events == (event("a"),)


def test_a_mistake_in_a_predicate_is_shown(endpoint, capfd):
    """A predicate that raises ends the connection without an answer, and its traceback is printed."""
    endpoint.misbehave(Reject(lambda event: event["no such key"]))
    with pytest.raises(GONE):
        post(endpoint, event())
    endpoint.close()  # joins the thread that prints
    assert "no such key" in capfd.readouterr().err


def test_conflict_refuses_envelopes_with_a_held_event(endpoint):
    """``Conflict`` answers 409 when any id is held, accepting nothing of that envelope, and accepts others."""
    endpoint.misbehave_always(Conflict())
    assert post(endpoint, event("a")).status == 200
    assert post(endpoint, event("a"), event("b")).status == 409
    assert post(endpoint, event("b")).status == 200
    assert endpoint.duplicates == ()


def test_queued_behaviours_come_first_and_one_for_each_post(endpoint):
    """The queue is used up POST by POST, then ``misbehave_always`` holds, until it is taken back."""
    endpoint.misbehave_always(Answer(500))
    endpoint.misbehave(Answer(501), Answer(502))
    assert [post(endpoint, event()).status for _ in range(4)] == [501, 502, 500, 500]
    endpoint.misbehave_always(None)
    assert post(endpoint, event()).status == 200


def test_reads_can_fail_too(endpoint):
    """``misbehave_reads`` concerns every GET and no POST."""
    endpoint.misbehave_reads(Answer(500))
    assert post(endpoint, event()).status == 200
    assert read(endpoint, event()["id"]).status == 500
    endpoint.misbehave_reads(Drop())
    with pytest.raises(GONE):
        read(endpoint, event()["id"])
    endpoint.misbehave_reads(None)
    assert read(endpoint, event()["id"]).status == 200


def test_reset_forgets_everything(endpoint):
    """After ``reset`` there are no records and no behaviours, on the same socket."""
    url = endpoint.url
    post(endpoint, event())
    post(endpoint, event("a"), event("a", 1))
    endpoint.misbehave(Answer(500))
    endpoint.misbehave_always(Answer(500))
    endpoint.misbehave_reads(Answer(500))
    endpoint.hold_reads(True)
    endpoint.reset()
    assert (
        endpoint.requests == endpoint.events == endpoint.deliveries == endpoint.duplicates == endpoint.conflicts == ()
    )
    assert post(endpoint, event()).status == 200
    assert read(endpoint, event()["id"]).status == 200
    assert endpoint.url == url


def test_reset_forgets_requests_that_are_still_being_answered(endpoint):
    """A request that was under way at ``reset`` does not come back when it ends."""
    endpoint.misbehave(Trickle(0.001))
    with connected(endpoint) as connection:
        connection.sendall(head("Content-Length: 2"))
        until(lambda: endpoint.requests)
        endpoint.reset()
        connection.sendall(b"{}")
        assert connection.recv(1) == b"H"
    assert endpoint.requests == ()


def test_close_ends_hanging_replies_at_once_and_leaves_no_thread():
    """``close`` returns promptly with hanging, trickling and idle connections open, and every thread has ended."""
    before = set(threading.enumerate())
    endpoint = CaliperEndpoint()
    endpoint.misbehave(Hang(600), Trickle(60), Hang(600, accept=True))
    ended = []

    def send():
        try:
            post(endpoint, event(), timeout=60)
        except (OSError, http.client.HTTPException) as error:
            ended.append(error)

    senders = [threading.Thread(target=send) for _ in range(3)]
    for sender in senders:
        sender.start()
    with connected(endpoint):
        until(lambda: len(endpoint.requests) == 3)
        started = time.monotonic()
        endpoint.close()
        took = time.monotonic() - started
    for sender in senders:
        sender.join(5)
    assert took < 60
    assert len(ended) == 3
    assert set(threading.enumerate()) == before
    endpoint.close()


def test_an_outage_can_be_played():
    """After ``close`` connections are refused; ``start`` serves on the same port, with the same records."""
    endpoint = CaliperEndpoint()
    url = endpoint.url
    post(endpoint, event("a"))
    endpoint.close()
    with pytest.raises(ConnectionRefusedError):
        post(endpoint, event("b"))
    with endpoint.start():
        assert endpoint.url == url
        assert post(endpoint, event("b")).status == 200
        assert endpoint.events == (event("a"), event("b"))


def test_connections_are_kept_alive(endpoint):
    """Several requests, a refused one among them, go over one connection."""
    with closing(
        http.client.HTTPConnection("127.0.0.1", urlsplit(endpoint.url).port, timeout=WAIT_SECONDS)
    ) as connection:
        for body, status in ((json.dumps(envelope(event())), 200), ("{", 400), (json.dumps(envelope(event())), 200)):
            connection.request("POST", "/caliper/event", body, JSON)
            response = connection.getresponse()
            response.read()
            assert response.status == status
            assert connection.sock is not None


def test_many_senders_at_once_lose_nothing(endpoint):
    """Every event and every duplicate that concurrent senders deliver is recorded."""

    def send(sender):
        for number in range(20):
            post(endpoint, event(f"{sender}-{number}"), event("shared"))

    senders = [threading.Thread(target=send, args=(n,)) for n in range(8)]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(30)
    assert len(endpoint.events) == 8 * 20 + 1
    assert len(endpoint.deliveries) == 2 * 8 * 20
    assert endpoint.duplicates == (event("shared")["id"],)
    assert endpoint.conflicts == ()
    assert [request.status for request in endpoint.requests] == [200] * 160


@pytest.mark.parametrize(
    ("make", "value"), [(Drop, "never"), (Hang, 0), (Hang, 601), (Trickle, -1), (AcceptThen, Conflict())]
)
def test_behaviours_check_their_values(make, value):
    """A behaviour that cannot be meant is refused where it is written."""
    with pytest.raises((ValueError, TypeError)):
        make(value)


@pytest.mark.parametrize("status", [403, 404, 500])
def test_one_event_among_others_may_be_refused_by_any_status(endpoint, status):
    """``Reject`` with a status: the envelope is refused as a whole, and nothing of it is stored."""
    endpoint.misbehave_always(Reject(lambda one: one["id"] == event("b")["id"], status))
    assert [post(endpoint, *map(event, names)).status for names in ("ab", "b", "a")] == [status, status, 200]
    assert list(endpoint.deliveries) == [event("a")]


def test_an_envelope_may_be_too_large(endpoint):
    """``Limit``: an envelope of more events than that times out at the gateway; nothing of it is stored."""
    endpoint.misbehave_always(Limit(2))
    assert [post(endpoint, *map(event, names)).status for names in ("abc", "ab")] == [504, 200]
    assert len(endpoint.deliveries) == 2


def test_informational_answers_go_before_the_answer(endpoint):
    """``EarlyHints``: a client that knows HTTP skips them and finds the answer."""
    endpoint.misbehave(EarlyHints(3))
    body = json.dumps(envelope(event())).encode()
    with connected(endpoint) as client:
        client.sendall(head(f"Content-Length: {len(body)}", "Connection: close") + body)
        said = b""
        while said.count(b"HTTP/1.1") < 4:
            said += client.recv(65536)
    assert [line.split()[1] for line in said.split(b"\r\n") if line.startswith(b"HTTP/1.1")] == [b"103"] * 3 + [b"200"]
    assert len(endpoint.deliveries) == 1


def test_an_answer_may_come_late(endpoint):
    """``AcceptThen`` with seconds: stored at once, answered after the sender has given up."""
    endpoint.misbehave(AcceptThen(Answer(200), 60))
    with pytest.raises(TimeoutError):
        post(endpoint, event(), timeout=0.3)
    assert list(endpoint.deliveries) == [event()]
