"""The loopback endpoint: what it accepts, what it refuses, and how it misbehaves."""

import http.client
import json
import socket
import threading
import time
from contextlib import closing
from datetime import UTC, datetime
from email.utils import format_datetime, parsedate_to_datetime
from urllib.parse import quote, urlencode, urlsplit
from uuid import NAMESPACE_URL, uuid5

import attrs
import pytest

from caliper_readtime.testing.behaviours import (
    AcceptThen,
    Answer,
    Conflict,
    Drop,
    EmptyBody,
    Hang,
    Reject,
    Reply202JobId,
    StatusBody,
    Trickle,
)
from caliper_readtime.testing.endpoint import CaliperEndpoint
from caliper_readtime.testing.wire import CALIPER_VERSION

JSON = {"Content-Type": "application/json"}
GONE = (ConnectionError, http.client.RemoteDisconnected)


def event(name="e1", seconds=42, *, reader="u1", resource="r1"):
    return {
        "@context": CALIPER_VERSION,
        "id": f"urn:uuid:{uuid5(NAMESPACE_URL, name)}",
        "type": "TimeSpentEvent",
        "profile": "TimebackProfile",
        "action": "SpentTime",
        "eventTime": "2026-11-24T16:00:42.000Z",
        "actor": {"id": f"https://roster.example/users/{reader}", "type": "TimebackUser", "email": "s@example.org"},
        "object": {
            "id": "https://app.example.org/article-1",
            "type": "TimebackActivityContext",
            "subject": "Reading",
            "app": {"name": "App"},
            "activity": {"id": f"https://roster.example/resources/{resource}", "name": "Article"},
        },
        "generated": {
            "id": "urn:uuid:0b0f6a52-2d2e-4d0f-8a0e-0d8e6e4c9a10",
            "type": "TimebackTimeSpentMetricsCollection",
            "items": [{"type": "active", "value": seconds}, {"type": "inactive", "value": 7}],
        },
    }


def envelope(*events, version=CALIPER_VERSION):
    return {
        "sensor": "https://app.example.org",
        "sendTime": "2026-11-24T16:00:42.500Z",
        "dataVersion": version,
        "data": list(events),
    }


@attrs.frozen
class Got:
    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def ask(url, method="GET", body=None, headers=None, timeout=5):
    parts = urlsplit(url)
    with closing(http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout)) as connection:
        connection.request(method, f"{parts.path}?{parts.query}" if parts.query else parts.path, body, headers or {})
        response = connection.getresponse()
        return Got(response.status, response.headers, response.read())


def post(endpoint, *events, suffix="", headers=None, timeout=5):
    return ask(endpoint.url + suffix, "POST", json.dumps(envelope(*events)), {**JSON, **(headers or {})}, timeout)


def read(endpoint, event_id):
    return ask(endpoint.url + f"s/{quote(event_id, safe='')}")


def connected(endpoint):
    return socket.create_connection(("127.0.0.1", urlsplit(endpoint.url).port), timeout=5)


def head(*fields):
    lines = ("POST /caliper/event HTTP/1.1", "Host: x", "Content-Type: application/json", *fields, "", "")
    return "\r\n".join(lines).encode()


def until(condition):
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


@pytest.fixture
def endpoint():
    with CaliperEndpoint() as endpoint:
        yield endpoint


def test_good_events_are_recorded_in_order(endpoint):
    """Accepted events, the request and its status are recorded; seconds are the active ones, by actor and activity."""
    events = [event("a", 1.5), event("b", 2, resource="r2"), event("c", 4, reader="u2")]
    got = post(endpoint, *events)
    assert (got.status, got.json) == (200, {"status": "success", "message": "", "errors": None})
    assert list(endpoint.events) == list(endpoint.deliveries) == events
    assert endpoint.seconds() == 7.5
    assert endpoint.seconds("https://roster.example/users/u1") == 3.5
    assert endpoint.seconds(activity_id="https://roster.example/resources/r2") == 2
    assert endpoint.seconds("https://roster.example/users/u2", "https://roster.example/resources/r2") == 0
    (request,) = endpoint.requests
    assert (request.method, request.path, request.status, request.problems) == ("POST", "/caliper/event", 200, ())
    assert request.headers["content-type"] == request.headers["Content-Type"] == "application/json"
    assert dict(request.headers)["content-type"] == "application/json"
    assert "content-length" in list(request.headers)
    assert json.loads(request.body) == envelope(*events)


def test_repeats_are_duplicates_and_different_content_is_a_conflict(endpoint):
    """An event counts once; its id is listed when it comes again, and apart when its canonical bytes differ."""
    first, other = event("a", 1), event("b", 2)
    post(endpoint, first, other)
    post(endpoint, dict(reversed(first.items())))
    post(endpoint, event("b", 2.0))
    assert endpoint.duplicates == (first["id"], other["id"])
    assert endpoint.conflicts == (other["id"],)
    assert list(endpoint.events) == [first, other]
    assert len(endpoint.deliveries) == 4
    assert endpoint.seconds() == 3


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        pytest.param(b"{", JSON, 400, id="not JSON"),
        pytest.param(b"\xff", JSON, 400, id="not UTF-8"),
        pytest.param(b"[" * 100_000, JSON, 400, id="bottomless"),
        pytest.param(b"", JSON, 400, id="empty"),
        pytest.param(b'{"a":1,"a":1}', JSON, 400, id="key twice"),
        pytest.param(json.dumps(envelope(event("a", float("nan")))), JSON, 400, id="NaN"),
        pytest.param(json.dumps(envelope()), JSON, 400, id="no events"),
        pytest.param(json.dumps(envelope(event("a", 0))), JSON, 400, id="no seconds"),
        pytest.param(json.dumps(envelope(event(), {})), JSON, 400, id="one bad event among good ones"),
        pytest.param(json.dumps(envelope(event(), version="http://other")), JSON, 422, id="dataVersion"),
        pytest.param(json.dumps(envelope(event())), {"Content-Type": "text/plain"}, 415, id="content type"),
        pytest.param(json.dumps(envelope(event())), {}, 415, id="no content type"),
    ],
)
@pytest.mark.parametrize("suffix", ["", "/validate"])
def test_bad_requests_are_refused(endpoint, body, headers, status, suffix):
    """400, 415 and 422 come with an error body, also from /validate, and nothing of the envelope is accepted."""
    got = ask(endpoint.url + suffix, "POST", body, headers)
    assert (got.status, got.json["status"]) == (status, "error")
    assert endpoint.events == ()
    assert bool(endpoint.requests[0].problems) is (status != 415)


def test_a_charset_is_allowed_in_the_content_type(endpoint):
    """``application/json; charset=utf-8`` is JSON."""
    assert post(endpoint, event(), headers={"Content-Type": "Application/JSON; charset=utf-8"}).status == 200


def test_a_body_of_unknown_length_is_refused(endpoint):
    """A chunked body is not read: 400, and the connection ends, since nobody knows where the body would."""
    with connected(endpoint) as connection:
        connection.sendall(head("Transfer-Encoding: chunked"))
        with connection.makefile("rb") as answer:
            assert answer.read().startswith(b"HTTP/1.1 400 ")


def test_a_body_that_ends_early_is_never_accepted(endpoint):
    """A sender that dies within the body leaves a request without status, and no event."""
    with connected(endpoint) as connection:
        connection.sendall(head("Content-Length: 100") + b"{")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(1) == b""
    assert [(r.body, r.status) for r in endpoint.requests] == [(b"", None)]


def test_plain_activity_ids_can_be_allowed():
    """A host that sends plain activity ids says so, and is not refused."""
    plain = event()
    plain["object"]["activity"]["id"] = "r1"
    with CaliperEndpoint(activity_ids="plain") as endpoint:
        assert post(endpoint, plain).status == 200
        assert endpoint.seconds(activity_id="r1") == 42


def test_validate_stores_nothing(endpoint):
    """POST to /validate checks as the endpoint does and accepts nothing."""
    assert post(endpoint, event(), suffix="/validate").status == 200
    assert endpoint.events == ()


def test_every_request_needs_the_token():
    """With a token set, 401 "jwt expired" answers whoever does not carry it; it can be renewed."""
    with CaliperEndpoint(token="one") as endpoint:  # noqa: S106 - opens nothing but this endpoint
        for got in (post(endpoint, event()), post(endpoint, event(), suffix="/validate"), ask(endpoint.url)):
            assert (got.status, got.body) == (401, b"jwt expired")
        assert read(endpoint, event()["id"]).status == 401
        assert post(endpoint, event(), headers={"Authorization": "Bearer one"}).status == 200
        endpoint.token = "two"  # noqa: S105 - as above
        assert post(endpoint, event(), headers={"Authorization": "Bearer one"}).status == 401
        assert len(endpoint.deliveries) == 1
        assert "one" not in repr(endpoint.requests)


@pytest.mark.parametrize(
    ("success", "status", "keys"),
    [(StatusBody(), 200, {"status", "message", "errors"}), (Reply202JobId(), 202, {"jobId"}), (EmptyBody(), 200, None)],
)
def test_the_answer_to_acceptance_can_be_chosen(success, status, keys):
    """Acceptance is answered by a status body, a job id or nothing: for all POSTs, or for one."""
    with CaliperEndpoint(success=success) as always, CaliperEndpoint() as once:
        once.misbehave(success)
        for got in (post(always, event()), post(once, event())):
            assert got.status == status
            assert (set(got.json) if got.body else None) == keys
        assert len(always.events) == len(once.events) == 1
        assert post(once, event()).json["status"] == "success"


def test_events_can_be_read_back(endpoint):
    """GET by quoted id answers the event or 404; until held reads are released, nothing is found."""
    endpoint.hold_reads(True)
    post(endpoint, event("a"), event("b"))
    known, unknown = event("a")["id"], event("c")["id"]
    assert read(endpoint, known).status == 404
    assert ask(endpoint.url + "s").json["events"] == []
    endpoint.hold_reads(False)
    assert read(endpoint, known).json == {"event": event("a")}
    assert read(endpoint, unknown).status == 404


def test_events_can_be_listed_by_page(endpoint):
    """GET events gives the events of an actor, or of all, page by page in order of acceptance."""
    events = [event(str(n), n + 1, reader=f"u{n % 2}") for n in range(10)]
    post(endpoint, *events)
    query = {"actorId": "https://roster.example/users/u1", "limit": 2, "offset": 4}
    assert ask(f"{endpoint.url}s?{urlencode(query)}").json == {
        "events": [events[9]],
        "pagination": {"total": 5, "totalPages": 3, "currentPage": 3, "limit": 2},
    }
    assert ask(endpoint.url + "s").json == {
        "events": events,
        "pagination": {"total": 10, "totalPages": 1, "currentPage": 1, "limit": 100},
    }


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "offset=-1"])
def test_a_bad_page_is_refused(endpoint, query):
    """Limits outside 1 to 1000 and negative offsets are answered by 400."""
    assert ask(f"{endpoint.url}s?{query}").status == 400


def test_without_reads_nothing_is_found():
    """``reads=False`` answers 404 to reading, and still tells its configuration."""
    with CaliperEndpoint(reads=False) as endpoint:
        post(endpoint, event())
        assert read(endpoint, event()["id"]).status == 404
        assert ask(endpoint.url + "s").status == 404
        assert ask(endpoint.url).json == {"caliperSupportedVersions": [CALIPER_VERSION]}


@pytest.mark.parametrize(("method", "suffix"), [("POST", "s"), ("PUT", ""), ("GET", "/validate"), ("GET", "x")])
def test_whatever_is_not_there_is_not_found(endpoint, method, suffix):
    """Other paths and methods are answered by 404."""
    assert ask(endpoint.url + suffix, method).status == 404


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
    got = post(endpoint, event(), timeout=1)
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
    assert took < 1
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
    with closing(http.client.HTTPConnection("127.0.0.1", urlsplit(endpoint.url).port, timeout=5)) as connection:
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
