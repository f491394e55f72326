"""The loopback endpoint when it behaves: what it accepts, refuses, records and reads back."""

import json
import socket
from unittest.mock import ANY
from urllib.parse import urlencode

import pytest

from caliper_readtime.testing._endpoint import CaliperEndpoint
from caliper_readtime.testing._strict_schema import CALIPER_VERSION
from caliper_readtime.testing.behaviours import EmptyBody, Reply202JobId, StatusBody
from tests.endpoint_client import JSON, ask, connected, envelope, event, head, post, read


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


def stored(number, one):
    """What the service shows of an event: its own number, and the event's id as externalId."""
    rest = {name: value for name, value in one.items() if name not in ("id", "@context")}
    row = {"id": number, "externalId": one["id"], "sensor": "https://app.example.org"}
    times = {"sendTime": "2026-11-24T16:00:42.500Z", "created_at": ANY, "updated_at": None, "deleted_at": None}
    return {**row, **times, **rest}


def test_events_can_be_read_back(endpoint):
    """GET by quoted id answers the event or 404; until held reads are released, nothing is found."""
    endpoint.hold_reads(True)
    post(endpoint, event("a"), event("b"))
    known, unknown = event("a")["id"], event("c")["id"]
    assert read(endpoint, known).status == 404
    assert ask(endpoint.url + "s").json["events"] == []
    endpoint.hold_reads(False)
    assert read(endpoint, known).json == {"event": stored(1, event("a"))}
    assert read(endpoint, unknown).status == 404


def test_events_can_be_listed_by_page(endpoint):
    """GET events gives the events of an actor, or of all, page by page in order of acceptance."""
    events = [event(str(n), n + 1, reader=f"u{n % 2}") for n in range(10)]
    post(endpoint, *events)
    query = {"actorId": "https://roster.example/users/u1", "limit": 2, "offset": 4}
    assert ask(f"{endpoint.url}s?{urlencode(query)}").json == {
        "events": [stored(10, events[9])],
        "pagination": {"total": 5, "totalPages": 3, "currentPage": 3, "limit": 2},
    }
    assert ask(endpoint.url + "s").json == {
        "events": [stored(number + 1, one) for number, one in enumerate(events)],
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
    ("query", "numbers"),
    [
        ({"sensor": "https://app.example.org"}, [1, 2, 3]),
        ({"sensor": "https://elsewhere.example.org"}, []),
        ({"actorEmail": "s@example.org", "limit": 2}, [1, 2]),
        ({"startDate": "2026-11-24T16:00:42Z"}, [1, 2, 3]),
        ({"startDate": "2026-11-25"}, []),
        ({"endDate": "2026-11-24T18:00:42.000+02:00"}, [1, 2, 3]),
        ({"endDate": "2026-11-24"}, []),
    ],
    ids=str,
)
def test_the_list_is_filtered_as_the_service_filters(endpoint, query, numbers):
    """GET events takes the filters that the official client sends."""
    post(endpoint, *map(event, "abc"))
    assert [row["id"] for row in ask(f"{endpoint.url}s?{urlencode(query)}").json["events"]] == numbers


@pytest.mark.parametrize("query", ["limit=x", "limit=1001", "offset=-1", "startDate=soon"])
def test_a_bad_query_is_a_400(endpoint, query):
    """Numbers and dates that are none, or out of bounds, are refused."""
    assert ask(f"{endpoint.url}s?{query}").status == 400


def test_what_comes_twice_is_stored_twice():
    """``duplicates="keep"``: nothing published promises that the service knows ids."""
    with CaliperEndpoint() as endpoint:
        assert [post(endpoint, event()).status for _ in range(2)] == [200, 200]
        rows = ask(endpoint.url + "s").json["events"]
    assert [(row["id"], row["externalId"]) for row in rows] == [(1, event()["id"]), (2, event()["id"])]
    assert (len(endpoint.events), len(endpoint.deliveries)) == (1, 2)


def test_what_comes_twice_is_passed_over():
    """``duplicates="dedupe"``: accepted, and stored once."""
    with CaliperEndpoint(duplicates="dedupe") as endpoint:
        assert [post(endpoint, event(), event("b")).status for _ in range(2)] == [200, 200]
    assert len(endpoint.deliveries) == 2
    assert len(endpoint.duplicates) == 2


def test_what_comes_twice_is_refused():
    """``duplicates="refuse"``: 400, and nothing of the envelope is stored."""
    with CaliperEndpoint(duplicates="refuse") as endpoint:
        post(endpoint, event())
        again = post(endpoint, event(), event("b"))
        assert (again.status, "already exists" in again.json["message"]) == (400, True)
    assert list(endpoint.deliveries) == [event()]


def test_reads_lag_behind_acceptance():
    """``ingestion_lag_seconds``: what was accepted shows in reads once the lag is over, by the endpoint's clock."""
    now = [0.0]
    with CaliperEndpoint(ingestion_lag_seconds=3.0, monotonic=lambda: now[0]) as endpoint:
        post(endpoint, event())
        found = []
        for now[0] in (0.0, 2.9, 3.0):
            found.append((read(endpoint, event()["id"]).status, len(ask(endpoint.url + "s").json["events"])))
    assert found == [(404, 0), (404, 0), (200, 1)]
    assert len(endpoint.deliveries) == 1


def test_what_the_published_schema_takes():
    """``strict=False``: other kinds of events, times of any precision and keys of one's own; nulls never."""
    other = {**event(), "type": "ActivityEvent", "action": "Completed", "eventTime": "2026-11-24T16:00:42.548597Z"}
    with CaliperEndpoint(strict=False) as lenient, CaliperEndpoint() as strict:
        assert [post(endpoint, other).status for endpoint in (lenient, strict)] == [200, 400]
        assert post(lenient, {**event("b"), "anything": 1}).status == 200
        assert post(lenient, {**event("c"), "extensions": None}).status == 400
        assert post(lenient, {**event("d"), "eventTime": "yesterday"}).status == 400


def test_a_job_tells_what_it_stored():
    """GET /jobs/<id>/status: the rows of a 202, and 404 for a job that is none."""
    with CaliperEndpoint(success=Reply202JobId()) as endpoint:
        job = post(endpoint, event()).json["jobId"]
        base = endpoint.url.removesuffix("/caliper/event")
        told = ask(f"{base}/jobs/{job}/status").json["job"]
        assert (told["state"], told["returnValue"]["results"]) == (
            "completed",
            [{"allocatedId": "1", "externalId": event()["id"]}],
        )
        assert ask(f"{base}/jobs/none/status").status == 404
