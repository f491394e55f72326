"""The HTTP emitter against a strict endpoint: envelope, read-back, failing fast, arguments, threads."""

import json
import logging
import re
import socket
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import pytest
import requests

from caliper_readtime import HttpCaliperEmitter
from caliper_readtime.emitters._circuit import FAIL_FAST_SECONDS
from caliper_readtime.errors import (
    ConfigurationError,
    EmitError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
)
from caliper_readtime.protocols import LimitsBatch, NeedsSensor, ReadsBack, StatesDeadline
from caliper_readtime.testing.behaviours import AcceptThen, Answer, Drop
from tests.endpoint_client import event
from tests.faults.emitting import (
    DEADLINE,
    EVENT,
    IDS,
    MANY,
    breaker_lets_through,
    emitter_for,
    endpoint_and_emitter,
    timed,
)
from tests.scenes import until

# --- the request


def test_the_envelope_is_what_the_wire_format_says(pair):
    """{sensor, sendTime, dataVersion, data} and no more, as application/json in UTF-8."""
    endpoint, emitter = pair
    titled = {**EVENT, "object": {**EVENT["object"], "activity": {"id": "https://r.example/1", "name": "Ü 漢"}}}
    before = datetime.now(UTC)
    emitter.emit([titled, MANY[1]])
    (request,) = endpoint.requests
    body = json.loads(request.body)
    assert endpoint.events == (titled, MANY[1])
    assert request.headers["Content-Type"] == "application/json"
    assert "漢".encode() in request.body
    assert set(body) == {"sensor", "sendTime", "dataVersion", "data"}
    assert body["sensor"] == "https://app.example.org"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", body["sendTime"])
    assert abs(datetime.fromisoformat(body["sendTime"]) - before) < timedelta(seconds=5)


def test_nothing_sends_nothing(pair):
    """An empty sequence does nothing."""
    endpoint, emitter = pair
    emitter.emit([])
    emitter.validate(())
    assert emitter.held([]) == frozenset()
    assert endpoint.requests == ()


@pytest.mark.parametrize(
    ("target", "sensor"),
    [
        ({"app": {"name": "A", "id": "https://a.example/app"}}, "https://a.example/app"),
        ({}, "https://app.example.org"),
        ({"id": "https://x.example:8443/page?q=1"}, "https://x.example:8443"),
        ({"id": "urn:isbn:7"}, "urn:isbn:7"),
    ],
)
def test_without_a_sensor_the_event_names_it(target, sensor):
    """Without any sensor: the app's id, else the origin of the object's id."""
    with endpoint_and_emitter(sensor=None) as (endpoint, emitter):
        emitter.emit([{**EVENT, "object": {**EVENT["object"], **target}}])
        assert json.loads(endpoint.requests[0].body)["sensor"] == sensor


def test_an_event_without_object_needs_a_sensor():
    """Where neither is there, the event is rejected, and nothing is sent."""
    with endpoint_and_emitter(sensor=None) as (endpoint, emitter):
        assert isinstance(timed(emitter.emit, [{"id": "x"}]).error, EventRejected)
        assert endpoint.requests == ()


def test_a_bound_sensor_stays(pair):
    """bind_sensor: the same one again is fine, a different one is a ConfigurationError."""
    _, emitter = pair
    emitter.bind_sensor("https://app.example.org")
    with pytest.raises(ConfigurationError, match="sensor"):
        emitter.bind_sensor("https://other.example.org")


def test_it_has_every_capability(pair):
    """deadline_seconds, max_batch, held and bind_sensor are stated as the protocols say."""
    _, emitter = pair
    assert all(isinstance(emitter, kind) for kind in (StatesDeadline, LimitsBatch, ReadsBack, NeedsSensor))
    assert (emitter.deadline_seconds, emitter.max_batch, emitter.read_back) == (DEADLINE, 100, False)


def test_an_event_that_is_no_json_is_rejected(pair):
    """What JSON cannot express is an EventRejected, and nothing is sent."""
    endpoint, emitter = pair
    error = timed(emitter.emit, [{**EVENT, "x": float("nan")}]).error
    assert isinstance(error, EventRejected)
    assert error.event_ids == (EVENT["id"],)
    assert endpoint.requests == ()


# --- read-back and validation


def test_a_trailing_slash_is_no_segment(pair):
    """H14: an endpoint with a slash at its end is read back beside it, not below it."""
    endpoint, _ = pair
    with emitter_for(endpoint.url + "/") as emitter:
        emitter.held([EVENT["id"]])
    assert [request.path for request in endpoint.requests] == [f"/caliper/events/{EVENT['id'].replace(':', '%3A')}"]


def test_held_asks_for_each_id(pair):
    """H14: the endpoint's last segment replaced by events/<quoted id>; 404 is an absence."""
    endpoint, emitter = pair
    emitter.emit(MANY[:2])
    assert emitter.held(IDS[:3]) == frozenset(IDS[:2])
    gets = [request for request in endpoint.requests if request.method == "GET"]
    assert [request.path for request in gets] == [f"/caliper/events/{entry.replace(':', '%3A')}" for entry in IDS[:3]]
    assert all("Content-Type" not in request.headers for request in gets)


@pytest.mark.parametrize("status", [400, 401, 403, 405, 302])
def test_held_never_rejects(pair, status):
    """Read-back raises EmitterUnavailable or its subclass, never EventRejected."""
    endpoint, emitter = pair
    endpoint.misbehave_reads(Answer(status, b"", {"Location": "/x"}))
    error = timed(emitter.held, IDS).error
    assert (type(error), error.status, error.event_ids) == (EndpointRefused, status, IDS)
    assert len(endpoint.requests) == 1


@pytest.mark.parametrize("reply", [Answer(503), Drop()])
def test_read_back_that_fails_does_not_keep_events_from_being_sent(pair, reply):
    """A failed read-back is unavailable after one request, and opens no window."""
    endpoint, emitter = pair
    endpoint.misbehave_reads(reply)
    error = timed(emitter.held, [EVENT["id"]]).error
    assert type(error) is EmitterUnavailable
    assert len(endpoint.requests) == 1
    assert timed(emitter.emit, [EVENT]).error is None


def test_held_returns_what_it_found_before_it_failed(pair):
    """What is known to be there need not be sent again, whatever became of the rest."""
    endpoint, emitter = pair
    emitter.emit(MANY)
    known = []

    def once(request):
        known.append(request)
        if len(known) == 3:
            endpoint.close()
        return request

    with emitter_for(endpoint.url, auth=once) as reader:
        assert reader.held(IDS) == frozenset(IDS[:2])


def test_held_takes_no_page_for_an_event(pair):
    """R2: a website that answers 200 to every path holds nothing."""
    endpoint, emitter = pair
    endpoint.misbehave_reads(Answer(200, f"<html>{EVENT['id']}</html>"))
    assert emitter.held([EVENT["id"]]) == frozenset()


def test_validate_stores_nothing(pair):
    """H14: POST to endpoint + /validate, with the same errors."""
    endpoint, emitter = pair
    emitter.validate([EVENT])
    assert endpoint.requests[0].path == "/caliper/event/validate"
    assert endpoint.events == ()
    with pytest.raises(EventRejected) as caught:
        emitter.validate([{**EVENT, "action": "Odd"}])
    assert (caught.value.status, caught.value.event_ids) == (400, (EVENT["id"],))


def test_a_query_is_kept_and_never_shown(pair):
    """An endpoint may have a query, which may be a key: it is sent, and stands in no text, cause included."""
    endpoint, _ = pair
    with emitter_for(endpoint.url + "?key=secret") as emitter:
        endpoint.misbehave(AcceptThen(Answer(200)))
        emitter.emit([EVENT])
        emitter.validate([EVENT])
        emitter.held([EVENT["id"]])
        endpoint.close()
        error = timed(emitter.emit, [EVENT]).error
    paths = [request.path for request in endpoint.requests]
    quoted = EVENT["id"].replace(":", "%3A")
    assert paths == [f"/caliper/{end}?key=secret" for end in ("event", "event/validate", f"events/{quoted}")]
    shown = [repr(emitter)]
    while error is not None:
        shown.append(str(error))
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    assert len(shown) == 3
    assert "secret" not in "".join(shown)


# --- failing fast


def test_after_an_outage_calls_fail_fast_until_one_of_them_gets_through(pair):
    """H11: an outage costs the host's workers nothing; the error says that nothing was tried, and for how long."""
    endpoint, emitter = pair
    endpoint.close()
    assert isinstance(timed(emitter.emit, [EVENT]).error.__cause__, requests.ConnectionError)
    ended = timed(emitter.emit, [MANY[1]])
    assert type(ended.error) is EmitterUnavailable
    assert ended.error.event_ids == (IDS[1],)
    assert 0 < ended.error.retry_after_seconds <= FAIL_FAST_SECONDS
    assert (ended.error.tried, ended.error.ambiguous) == (False, False)
    assert type(timed(emitter.held, IDS).error) is EmitterUnavailable
    endpoint.start()
    until(lambda: timed(emitter.emit, [EVENT]).error is None)
    assert timed(emitter.emit, MANY).error is None


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_binds_the_endpoint(pair, status):
    """H10: whoever hears Retry-After keeps every event of the process back until then; the error says how long."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(status, b"", {"Retry-After": "300"}))
    assert timed(emitter.emit, [EVENT]).error.tried
    for call in (emitter.emit, emitter.emit):
        error = timed(call, [MANY[1]]).error
        assert (error.tried, error.ambiguous, error.event_ids) == (False, False, (IDS[1],))
        assert 290 < error.retry_after_seconds <= 300
    assert timed(emitter.held, [EVENT["id"]]).error.tried is False
    assert len(endpoint.requests) == 1


def test_others_keep_still_while_one_waits_as_long_as_was_asked(pair):
    """H10: while one call waits to try again, those of other threads are not sent."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(429, b"", {"Retry-After": "1"}))
    waiting = threading.Thread(target=emitter.emit, args=([EVENT],))
    waiting.start()
    until(lambda: not breaker_lets_through(emitter))
    assert timed(emitter.emit, [MANY[1]]).error.tried is False
    waiting.join(5)
    assert endpoint.deliveries == (EVENT,)
    assert timed(emitter.emit, [MANY[1]]).error is None


def test_one_event_that_fails_the_endpoint_does_not_hold_up_the_others(pair):
    """H11: a quick 500 may be about the event: the next call goes through, so that an envelope can be halved."""
    endpoint, emitter = pair
    endpoint.misbehave(*[Answer(500)] * 8)
    for _ in range(8):
        assert timed(emitter.emit, [EVENT]).error.status == 500
    assert timed(emitter.emit, [MANY[1]]).error is None


def test_a_refusal_opens_no_window(pair):
    """EndpointRefused says that the endpoint is there."""
    endpoint, emitter = pair
    endpoint.misbehave(Answer(403))
    assert type(timed(emitter.emit, [EVENT]).error) is EndpointRefused
    assert timed(emitter.emit, [EVENT]).error is None


# --- construction


@pytest.mark.parametrize(
    "arguments",
    [
        {"endpoint": "https://user:secret@example.org/x"},
        {"endpoint": "https://secret@example.org/x"},
        {"endpoint": "ftp://example.org/secret"},
        {"endpoint": "https://example.org/x#secret"},
        {"endpoint": "/secret"},
        {"endpoint": ""},
        {"endpoint": None},
        {"endpoint": "https://example.org:99999/"},
        *({"timeout": value} for value in (0, -1, True, "5", float("nan"), float("inf"), (1, 2, 3), (1, 0))),
        *({"attempts": value} for value in (0, -1, True, 1.5, "4", None)),
        *({"deadline_seconds": value} for value in (0, -1, True, "5", None, float("inf"))),
        *({"ca_bundle": value} for value in (False, True, 0, 1, "", "/no/such/bundle.pem")),
        *({"proxies": value} for value in (7, "", "secret", "ftp://secret/", {"https": "secret"}, {7: "http://x/"})),
        *({"trust_env": value} for value in (None, "yes", 1)),
        *({"duplicate_answers": value} for value in (409, "409", True)),
        *({"auth": value} for value in ("secret", ("u",), ("u", 7), ["u", "secret"], 7)),
        *({"sensor": value} for value in ("", " ", 7)),
        {"read_back": "yes"},
    ],
)
def test_wrong_arguments_are_configuration_errors(arguments):
    """Each argument is judged at construction; a secret in it is not quoted."""
    with pytest.raises(ConfigurationError) as caught:
        HttpCaliperEmitter(**{"endpoint": "https://example.org/x", **arguments})
    assert next(iter(arguments)) in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "warned"),
    [
        ("http://caliper.example.org/event?key=secret", True),
        ("https://caliper.example.org/event", False),
        ("http://localhost:9/event", False),
        ("http://127.8.8.8:9/event", False),
        ("http://[::1]:9/event", False),
    ],
)
def test_plain_http_to_elsewhere_is_warned_about_once(url, warned, caplog):
    """Events hold e-mail addresses; on the loopback interface nobody listens."""
    with caplog.at_level(logging.WARNING, "caliper_readtime"):
        HttpCaliperEmitter(url)
    assert ["caliper.example.org/event" in line and "secret" not in line for line in caplog.messages] == [True] * warned


def test_importing_loads_no_driver():
    """requests, tenacity and Authlib load with the first emitter, not with the module."""
    code = (
        "import sys; import caliper_readtime.emitters._http, caliper_readtime.emitters.oauth2;"
        "sys.exit(len({'requests', 'urllib3', 'tenacity', 'authlib'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# --- threads


def test_eight_threads_share_an_emitter(pair):
    """Each thread has a connection of its own; all events arrive once."""
    endpoint, emitter = pair
    together = threading.Barrier(8)

    def run(number):
        together.wait(5)
        for call in range(5):
            emitter.emit([event(f"{number}-{call}")])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(endpoint.events) == 40
    assert endpoint.duplicates == ()


def test_closing_twice_and_sending_afterwards(pair):
    """close() is no end: a later call opens new connections."""
    endpoint, emitter = pair
    emitter.emit([EVENT])
    emitter.close()
    emitter.close()
    emitter.emit([MANY[1]])
    assert len(endpoint.events) == 2


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("odd")])
def test_a_name_that_cannot_be_resolved(pair, monkeypatch, error):
    """A name that is unknown, perhaps only now, is EmitterUnavailable."""

    def fail(*_, **__):
        raise error

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    with emitter_for("http://nowhere.localhost/x") as emitter:
        raised = timed(emitter.emit, [EVENT]).error
    assert type(raised) is EmitterUnavailable
    assert isinstance(raised.__cause__, requests.ConnectionError)


def test_connection_refused(pair):
    """Nobody listens: EmitterUnavailable, its cause the connection error, its text without a secret."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with emitter_for(f"http://127.0.0.1:{port}/x") as emitter:
        error = timed(emitter.emit, [EVENT]).error
    assert type(error) is EmitterUnavailable
    assert f"127.0.0.1:{port}/x" in str(error)
    assert isinstance(error.__cause__, requests.ConnectionError)
    assert isinstance(error, EmitError)
    assert not error.ambiguous
