"""What HTTP answers mean, as a table, and what errors tell an operator."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from caliper_readtime.emitters._responses import (
    MAX_BODY_CHARACTERS,
    MAX_RETRY_AFTER_SECONDS,
    EndpointResponse,
    Verdict,
    retry_after,
)
from caliper_readtime.errors import EmitterUnavailable, EndpointRefused, EventRejected

NOW = datetime(2026, 11, 24, 16, 0, tzinfo=UTC)
WHERE = "caliper.example.org/caliper/event"


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299])
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"status":"success","message":"","errors":null}',
        b'{"jobId":"7"}',
        b"<html>",
        b"\xff\x00",
        b"[" * 60_000,
        b'["error"]',
        b'{"results":[{"status":"error"}]}',
        b'{"results":[{"status":"error"}',
        b'{"status":null}',
        b'"status"',
        b"null",
    ],
)
def test_2xx_is_accepted_whatever_the_body(status, body):
    """H1: 2xx is accepted, also with an empty body, a job id, or garbage."""
    assert EndpointResponse(status, body).verdict is Verdict.ACCEPTED
    assert EndpointResponse(status, body).error(WHERE, ["a"]) is None


@pytest.mark.parametrize("status", [200, 202])
@pytest.mark.parametrize(
    "body",
    [
        {"status": "error"},
        {"message": "no", "errors": [1], "status": "error"},
        {"status": "error", "errors": [{"text": "x" * 70_000}]},
        {"message": "no", "status": "error", "errors": [{"text": "x" * 70_000}]},
    ],
)
def test_2xx_that_says_error_is_a_rejection(status, body):
    """H1: unless the body says that it is an error, even where the body was cut: EventRejected."""
    error = EndpointResponse(status, json.dumps(body).encode()[:65_536]).error(WHERE, ["a"])
    assert isinstance(error, EventRejected)
    assert error.status == status


@pytest.mark.parametrize(
    ("verdict", "kind", "statuses"),
    [
        (Verdict.REJECTED, EventRejected, [400, 413, 422]),
        (Verdict.UNAUTHORIZED, EndpointRefused, [401]),
        (Verdict.REFUSED, EndpointRefused, [300, 301, 302, 304, 307, 308, 399]),
        (Verdict.REFUSED, EndpointRefused, [402, 403, 404, 405, 406, 407, 410, 415, 418, 426, 431, 451, 499]),
        (Verdict.UNAVAILABLE, EmitterUnavailable, [408, 425, 429, 500, 501, 502, 503, 504, 520, 599]),
        (Verdict.UNAVAILABLE, EmitterUnavailable, [101, 103, 600, 999]),
    ],
)
def test_other_statuses(verdict, kind, statuses):
    """H5, H6, H7: status by status; each error carries status, ids, and host and path."""
    for status in statuses:
        answer = EndpointResponse(status, b"<p>secret e-mail</p>", 3.0)
        error = answer.error(WHERE, ["a", "b"])
        assert answer.verdict is verdict
        assert type(error) is kind
        assert (error.status, error.event_ids) == (status, ("a", "b"))
        assert WHERE in str(error)
        assert str(status) in str(error)
        assert "secret" not in str(error) + repr(error) + repr(answer)


def test_409_is_a_conflict():
    """H2, H3: 409 to an envelope of one event means that the endpoint holds it; several have to be looked at."""
    assert EndpointResponse(409).verdict is Verdict.CONFLICT
    assert EndpointResponse(409).error(WHERE, ["a"]) is None


def test_a_rejection_carries_the_shortened_body_and_does_not_show_it():
    """The body may quote the event with its e-mail address: it is data of the error, and not in its text."""
    error = EndpointResponse(400, "é".encode() * 5000).error(WHERE, ["a"])
    assert error.body == "é" * MAX_BODY_CHARACTERS
    assert "é" not in str(error)


def test_unavailable_carries_what_the_endpoint_asked_for():
    """Retry-After reaches the tracker, which waits that long."""
    assert EndpointResponse(429, b"", 7.5).error(WHERE, []).retry_after_seconds == 7.5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("99999999999", MAX_RETRY_AFTER_SECONDS),
        (format_datetime(NOW + timedelta(seconds=90), usegmt=True), 90.0),
        ("Tue Nov 24 16:01:30 2026", 90.0),
        (format_datetime(NOW - timedelta(days=9), usegmt=True), 0.0),
        (format_datetime(NOW + timedelta(days=900), usegmt=True), MAX_RETRY_AFTER_SECONDS),
        *((nonsense, None) for nonsense in (None, "", "soon", "-5", "1.5", "٣", "nan", "9" * 5000)),
        ("Tue, 99 Nov 2026 16:01:30 GMT", None),
        ("Tue, 24 Nov 99999999999 16:01:30 GMT", None),
    ],
)
def test_retry_after(header, seconds):
    """Whole seconds and HTTP dates are understood, capped at a day; anything else is as if it were not there."""
    assert retry_after(header, NOW) == seconds


@pytest.mark.parametrize(
    ("body", "held"),
    [
        ({"event": {"id": "urn:uuid:1"}}, True),
        ({"event": {"id": 7, "externalId": "urn:uuid:1"}}, True),
        ({"event": {"id": "urn:uuid:2"}}, False),
        ({"event": {}}, False),
        ({"event": None}, False),
        ({"id": "urn:uuid:1"}, False),
        (["urn:uuid:1"], False),
    ],
)
def test_holds_needs_the_event_itself(body, held):
    """R2: absence proves nothing, and neither does a page that is shown for every path."""
    assert EndpointResponse(200, json.dumps(body).encode()).holds("urn:uuid:1") is held
    assert not EndpointResponse(200, b"<html>urn:uuid:1</html>").holds("urn:uuid:1")
