"""What an error tracker sees: the real sentry-sdk, with the local variables of every frame, and no canary sings."""

import json
import signal
import threading
from contextlib import closing

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport
from sentry_sdk.utils import event_from_exception

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    HttpCaliperEmitter,
    InMemoryStateStore,
    JsonLinesEmitter,
    ReadTimeTracker,
)
from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.testing import CaliperEndpoint
from caliper_readtime.testing.behaviours import Answer, Drop, Hang
from tests.faults.raw_server import RawServer, reply
from tests.redaction import ARTICLE, CANARIES, EVENTS, MAIL, READER, SECRET, TOKEN, chain

THIS = "tests/faults/test_error_trackers.py"


class Collected(Transport):
    """Keeps what would be sent to Sentry."""

    def __init__(self):
        super().__init__()
        self.texts = []

    def capture_envelope(self, envelope):
        self.texts += [json.dumps(item.payload.json) for item in envelope.items]


@pytest.fixture
def sentry():
    """Reports an error and all that stands behind it, suppressed or not; returns what Sentry would be sent."""
    collected = Collected()
    # Longer than the defaults, so that nothing passes because it was cut off.
    client = sentry_sdk.Client("http://key@127.0.0.1:9/1", transport=collected, max_value_length=100_000)
    assert client.options["include_local_variables"]

    def report(error):
        for one in chain(error):
            event, hint = event_from_exception(one, client_options=client.options)
            client.capture_event(event, hint)
        return collected.texts

    with closing(client):
        yield report


def told(texts, frame):
    """That frame's local variables are there, so this shows something; and only the test's frames have a canary."""
    seen = []
    for text in texts:
        event = json.loads(text)
        for error in event["exception"]["values"]:
            frames = error.get("stacktrace", {}).get("frames", [])
            error["stacktrace"] = [one for one in frames if one["filename"] != THIS]
            seen += [one["function"] for one in error["stacktrace"] if one.get("vars")]
        assert not [canary for canary in CANARIES if canary in json.dumps(event)]
    assert frame in seen


def test_a_canary_would_be_heard(sentry):
    """What this module rests on: Sentry shows the locals of frames, and looks into dicts, lists and bytes."""

    def fail(events, body):
        raise EmitterUnavailable("down")

    with pytest.raises(EmitterUnavailable) as failed:
        fail([{"email": MAIL}], SECRET.encode())
    (text,) = sentry(failed.value)
    assert MAIL in text
    assert SECRET in text


def tracker_for(emitter):
    tracker = ReadTimeTracker(InMemoryStateStore(), emitter, EVENTS)
    tracker.accumulate(READER, ARTICLE, 10.0)
    return tracker


def bearer(request):
    request.headers["Authorization"] = f"Bearer {TOKEN}"
    return request


def broken(request):
    request.headers["Authorization"] = f"Bearer {TOKEN}\r\nX: y"
    return request


@pytest.mark.parametrize(
    ("behaviour", "auth", "kind"),
    [
        (Drop(after="accept"), bearer, EmitterUnavailable),
        (Hang(2.0), bearer, EmitterUnavailable),
        (Answer(500, MAIL), bearer, EmitterUnavailable),
        (Answer(429, MAIL), bearer, EmitterUnavailable),
        (Answer(403, MAIL), bearer, EndpointRefused),
        (Answer(401, MAIL), bearer, EndpointRefused),
        (Answer(422, MAIL), bearer, EventRejected),
        (Answer(200), broken, EndpointRefused),
    ],
    ids=["drop", "hang", "500", "429", "403", "401", "422", "header"],
)
@pytest.mark.parametrize("read_back", [False, True])
def test_no_frame_of_a_failed_report_shows_what_is_private(sentry, behaviour, auth, kind, read_back):
    """G2: neither e-mail, token nor a key in the URL stands in a local variable, whatever the endpoint does."""
    with CaliperEndpoint() as endpoint:
        endpoint.misbehave_always(behaviour)
        url = f"{endpoint.url}?key={TOKEN}"
        timeout = 0.2 if isinstance(behaviour, Hang) else None
        emitter = HttpCaliperEmitter(url, auth=auth, attempts=2, timeout=timeout, read_back=read_back)
        with closing(emitter), closing(tracker_for(emitter)) as tracker, pytest.raises(kind) as failed:
            tracker.finalize(READER, ARTICLE)
    told(sentry(failed.value), "finalize")


def test_no_frame_shows_what_is_private_where_nobody_listens(sentry):
    """G2: a proxy's password is no local variable either."""
    emitter = HttpCaliperEmitter(
        f"http://127.0.0.1:9/x?key={TOKEN}", attempts=1, proxies=f"http://u:{SECRET}@127.0.0.1:9"
    )
    with closing(emitter), closing(tracker_for(emitter)) as tracker, pytest.raises(EmitterUnavailable) as failed:
        tracker.partial(READER, ARTICLE)
    told(sentry(failed.value), "partial")


@pytest.mark.parametrize(
    "answer",
    [
        reply(401, b'{"error": "invalid_client"}'),
        reply(500, SECRET.encode()),
        reply(200, b'{"access_token": "a %b"}' % TOKEN.encode()),
        reply(200, SECRET.encode()),
        b"",
    ],
    ids=["401", "500", "odd token", "no json", "reset"],
)
def test_no_frame_of_a_failed_token_fetch_shows_the_secret(sentry, answer):
    """G2: the frames of the OAuth2 library hold the client secret in the body, so none of them is kept."""
    with RawServer(lambda connection, _: bool(connection.sendall(answer))) as server:
        auth = ClientCredentials(server.url, "client", SECRET)
        emitter = HttpCaliperEmitter(server.url, auth=auth, attempts=1)
        with closing(emitter), closing(tracker_for(emitter)) as tracker, pytest.raises(EmitterUnavailable) as failed:
            tracker.partial(READER, ARTICLE)
    told(sentry(failed.value), "partial")


def test_no_frame_of_an_event_that_is_no_json_shows_it(sentry, tmp_path):
    """G2: json's own error quotes nothing, but its frames hold the event."""
    for emitter in (HttpCaliperEmitter("http://127.0.0.1:9/x"), JsonLinesEmitter(tmp_path / "events")):
        with closing(emitter), pytest.raises(EventRejected) as failed:
            emitter.emit([{"id": "urn:uuid:1", "object": {"id": "urn:x"}, "actor": {"email": MAIL}, "x": float("nan")}])
        told(sentry(failed.value), "emit")


def test_no_frame_of_a_file_that_cannot_be_written_shows_the_lines(sentry, tmp_path):
    """G2: the file's emitter hides its lines, too."""
    emitter = JsonLinesEmitter(tmp_path / "missing" / "events.jsonl")
    with closing(tracker_for(emitter)) as tracker, pytest.raises(EmitterUnavailable) as failed:
        tracker.partial(READER, ARTICLE)
    told(sentry(failed.value), "partial")


class SoftTimeLimitExceeded(Exception):
    """As Celery raises it from a signal handler, in the middle of whatever runs."""


@pytest.mark.parametrize(
    "limit", [SoftTimeLimitExceeded, TimeoutError, ConnectionError, ValueError], ids=lambda kind: kind.__name__
)
@pytest.mark.parametrize("slow", ["endpoint", "answer", "tokens", "auth"])
def test_what_interrupts_a_call_passes_without_the_frames_that_hold_what_is_private(sentry, slow, limit):
    """L5: a soft time limit comes out of the emitter as it is, stripped of the frames in which it was raised."""

    def interrupt(*_):
        raise limit

    def waiting(request):
        threading.Event().wait(5)
        return request

    with RawServer() as server:
        server.answer = server.hang
        if slow == "answer":
            server.answer = lambda connection, _: server.trickle(connection, reply(200, b"x" * 1000))
        auth = {"tokens": ClientCredentials(server.url, "client", SECRET), "auth": waiting}.get(slow, bearer)
        emitter = HttpCaliperEmitter(f"{server.url}?key={TOKEN}", auth=auth)
        before = signal.signal(signal.SIGALRM, interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        try:
            with closing(emitter), pytest.raises(limit) as passed:
                emitter.emit([{"id": "urn:uuid:1", "object": {"id": "urn:x"}, "actor": {"email": MAIL}}])
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    told(sentry(passed.value), "emit")
