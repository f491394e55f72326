"""Redaction by canary strings: through every verb and failure at DEBUG, no address, token, secret or body comes out."""

from __future__ import annotations

import logging
import sqlite3
from contextlib import closing

import pytest

from caliper_readtime import (
    App,
    Article,
    ConfigurationError,
    CorruptState,
    EmitError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    HttpCaliperEmitter,
    InMemoryStateStore,
    InvalidInput,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
    SqliteStateStore,
    StoreUnavailable,
    TimeSpentEvents,
)
from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.testing import CaliperEndpoint, FlakyEmitter, ManualClock
from caliper_readtime.testing._endpoint import AcceptThen, Answer, Drop
from tests.backends import STORES
from tests.faults.raw_server import RawServer, reply
from tests.redaction import (
    ARTICLE,
    BODY,
    BUG,
    EVENTS,
    MAIL,
    READER,
    SECRET,
    TOKEN,
    drive,
    silent,
    texts,
)

EVENT = {"id": "urn:uuid:1", "object": {"id": "https://app.example.org/x"}}

FAILURES = {
    "none": None,
    "unavailable": EmitterUnavailable("down"),
    "refused": EndpointRefused("401", status=401),
    "rejected": EventRejected("422", status=422, body=f"{BODY} {MAIL}"),
    "bug": RuntimeError(f"{BUG} about {BODY}"),
}


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
@pytest.mark.parametrize("delivered", [False, True])
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_no_canary_sings(make_store, tmp_path, heard, failure, delivered):
    """G2: e-mails, tokens, bodies are never logged; nor in what a verb returns or raises, or what a state keeps."""
    clock, emitter, reports = ManualClock(), FlakyEmitter(), []
    if failure is not None:
        emitter.fail(*[failure] * 50, delivered=delivered)
    store = make_store(tmp_path)

    def bad_hook(report):
        reports.append(report)
        raise ValueError(BODY)

    with ReadTimeTracker(store, emitter, EVENTS, ReadTimePolicy(), clock, on_report=bad_hook) as tracker:
        seen = [*drive(tracker, clock), *reports]
    store.close()
    silent(*[text for value in seen for text in texts(value, failure)])
    assert any("article accumulate: delta" in text for text in heard)
    silent(*heard)


@pytest.mark.parametrize("make_store", STORES.values(), ids=STORES)
def test_of_a_strangers_exception_only_its_kind_is_kept(make_store, tmp_path):
    """L4: any other exception of an emitter is chained as the cause; a state keeps its kind alone."""
    store, emitter, clock = make_store(tmp_path), FlakyEmitter(), ManualClock()
    tracker = ReadTimeTracker(store, emitter, EVENTS, clock=clock)
    tracker.accumulate(READER, ARTICLE, 10.0)
    bug = KeyError(BUG)
    emitter.fail(bug)
    with pytest.raises(EmitterUnavailable) as failed:
        tracker.partial(READER, ARTICLE)
    assert failed.value.__cause__ is bug
    state = tracker.state(READER, ARTICLE)
    assert state.last_error == "EmitterUnavailable: the emitter failed with KeyError"
    assert state.history[-1].detail == state.last_error
    silent(*texts(state), *texts(failed.value, bug))
    store.close()


def bearer(request):
    """An auth that puts the token on a request."""
    request.headers["Authorization"] = f"Bearer {TOKEN}"
    return request


ECHO = f"{MAIL}@example.org {BODY} {TOKEN}"


@pytest.mark.parametrize(
    "behaviour",
    [
        Answer(422, f'{{"message": "{ECHO}"}}'),
        Answer(400, ECHO),
        Answer(401, f"jwt expired {ECHO}"),
        Answer(403, ECHO),
        Answer(409, ECHO),
        Answer(429, ECHO),
        Answer(500, ECHO),
        Answer(302, b"", [("Location", f"https://x.example/{TOKEN}")]),
        AcceptThen(Answer(200, f'{{"status": "error", "message": "{ECHO}"}}')),
        Drop(after="accept"),
    ],
    ids=["422", "400", "401", "403", "409", "429", "500", "302", "200-error", "drop"],
)
def test_no_canary_sings_over_http(tmp_path, heard, behaviour):
    """The real emitter with a token, against an endpoint that echoes what it was told."""
    clock = ManualClock()
    with CaliperEndpoint(token=TOKEN) as endpoint:
        endpoint.misbehave_always(behaviour)
        emitter = HttpCaliperEmitter(endpoint.url, auth=bearer, attempts=1, deadline_seconds=2, read_back=True)
        store = SqliteStateStore(tmp_path / "readtime.db")
        with ReadTimeTracker(store, emitter, EVENTS, clock=clock) as tracker:
            shown = [text for value in drive(tracker, clock) for text in texts(value)]
        emitter.close()
        store.close()
        assert endpoint.requests
    silent(*shown, repr(emitter), repr(tracker), repr(endpoint))
    silent(*heard)


_ECHO = ECHO.encode()
GARBAGE = {
    "no-status-line": _ECHO + b"\r\n\r\n",
    "no-status": b"HTTP/1.1 " + _ECHO + b"\r\n\r\n",
    "no-version": b"HTTP/" + _ECHO + b" 200 OK\r\n\r\n",
    "reason": b"HTTP/1.1 422 " + _ECHO + b"\r\nContent-Length: 0\r\n\r\n",
    "no-header": b"HTTP/1.1 200 OK\r\n" + _ECHO + b"\r\nContent-Length: 0\r\n\r\n",
    "no-chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + _ECHO + b"\r\n",
    "no-length": b"HTTP/1.1 200 OK\r\nContent-Length: " + _ECHO + b"\r\n\r\n",
    "no-moment": b"HTTP/1.1 429 Odd\r\nRetry-After: " + _ECHO + b"\r\nContent-Length: 0\r\n\r\n",
    "no-gzip": b"HTTP/1.1 400 Odd\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n" + _ECHO,
    "headers": b"HTTP/1.1 403 Odd\r\nContent-Type: %b\r\nSet-Cookie: a=%b\r\n\r\n" % (_ECHO, _ECHO),
    "broken-off": b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n" + _ECHO,
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE)
def test_what_is_no_http_is_not_quoted(heard, garbage):
    """What http.client and urllib3 cannot read, they quote: none of it comes out, not even behind an error."""
    error = None
    with RawServer(lambda connection, _: bool(connection.sendall(garbage))) as server:
        emitter = HttpCaliperEmitter(server.url, auth=bearer, attempts=1, deadline_seconds=2)
        try:
            emitter.emit([EVENT])
        except EmitError as raised:
            error = raised
        emitter.close()
        assert server.requests
    silent(*texts(error), *heard)


_REFUSALS = (b"x\r\n\r\n", reply(500, b"", "no header"), *map(reply, (500, 401, 422, 302)))


@pytest.mark.parametrize("answer", _REFUSALS)
def test_a_key_in_the_endpoints_query_is_not_shown(caplog, answer):
    """An endpoint's query may hold a key: only urllib3's own DEBUG lines, which name each request's target, show it."""
    caplog.set_level(logging.DEBUG)
    with RawServer(lambda connection, _: bool(connection.sendall(answer))) as server:
        emitter = HttpCaliperEmitter(f"{server.url}?key={TOKEN}", attempts=1, deadline_seconds=2)
        with pytest.raises(EmitError) as failed:
            emitter.emit([EVENT])
        emitter.close()
    with pytest.raises(EmitError) as silence:
        emitter.emit([EVENT])  # nobody listens any more
    emitter.close()
    loud = [r.getMessage() for r in caplog.records if not (r.name.startswith("urllib3") and r.levelno == logging.DEBUG)]
    silent(*texts(failed.value), *texts(silence.value), repr(emitter), *loud)


_TOKENS = {
    "invalid-client": reply(401, b'{"error": "invalid_client", "error_description": "%b"}' % SECRET.encode()),
    "odd-error": reply(400, b'{"error": "%b"}' % SECRET.encode()),
    "error-in-200": reply(200, b'{"error": "x", "error_description": "%b"}' % SECRET.encode()),
    "no-json": reply(200, SECRET.encode()),
    "list": reply(200, b'["%b"]' % SECRET.encode()),
    "odd-expiry": reply(200, b'{"access_token": "a %b", "expires_in": "%b"}' % (TOKEN.encode(), SECRET.encode())),
    "odd-token": reply(200, b'{"access_token": "%b\\u0000"}' % TOKEN.encode()),
    "blank-in-token": reply(200, b'{"access_token": "a %b"}' % TOKEN.encode()),
    "no-token": reply(200, b'{"token": "%b"}' % TOKEN.encode()),
    "down": reply(500, SECRET.encode()),
    "no-http": SECRET.encode() + b"\r\n\r\n",
}


@pytest.mark.parametrize("answer", _TOKENS.values(), ids=_TOKENS)
def test_a_client_secret_is_silent(heard, answer):
    """OAuth2: neither the secret nor the token is shown by the auth, by what it raises, or by what stands behind it."""
    with RawServer(lambda connection, _: bool(connection.sendall(answer))) as token_server:
        auth = ClientCredentials(token_server.url, "client", SECRET, timeout=1)
        emitter = HttpCaliperEmitter(token_server.url, auth=auth, attempts=1, deadline_seconds=2)
        with pytest.raises(EmitterUnavailable) as refused:
            emitter.emit([EVENT])
        emitter.close()
    silent(*texts(refused.value), repr(auth), repr(emitter), *heard)


@pytest.mark.parametrize(
    "wrong",
    [
        {"store_url": f"redis://:{SECRET}@host:port/0"},
        {"store_url": f"redis://:{SECRET}@[::1/0"},
        {"store_url": f"redis+cluster://:{SECRET}@host/7"},
        {"store_url": f"redis+sentinel://:{SECRET}@host"},
        {"store_url": f"redis+other://:{SECRET}@host/0"},
        {"store_url": f"sqlite://{SECRET}/x"},
        {"endpoint": f"https://user:{SECRET}@host/caliper/event"},
        {"endpoint": f"https://host/caliper/event?key={TOKEN}#x"},
        {"endpoint": f"ftp://host/{TOKEN}"},
        {"token_url": f"https://user:{SECRET}@host/token"},
        {"client_id": None},
        {"client_secret_file": "no-such-file"},
        {"lock_seconds": -1},
    ],
    ids="-".join,
)
def test_wrong_settings_do_not_quote_secrets(heard, wrong):
    """Settings: an error names the setting, and quotes no URL that may hold a password."""
    settings = {
        "store_url": "memory://",
        "endpoint": "https://host/caliper/event",
        "oneroster_url": "https://oneroster.example.org",
        "sensor": "https://app.example.org",
        "app_name": "App",
        "token_url": "https://host/token",
        "client_id": "client",
        "client_secret": SECRET,
    }
    with pytest.raises(ConfigurationError) as refused:
        ReadTimeTracker.from_settings({**settings, **wrong})
    silent(*texts(refused.value), *heard)


def test_a_store_that_is_locked_says_nothing_of_its_content(tmp_path, heard):
    """StoreUnavailable: what SQLite says of a file in use, and no more."""
    store = SqliteStateStore(tmp_path / "readtime.db", busy_seconds=0.01)
    clock = ManualClock()
    tracker = ReadTimeTracker(store, FlakyEmitter(), EVENTS, clock=clock)
    tracker.accumulate(READER, ARTICLE, 10.0)
    with closing(sqlite3.connect(tmp_path / "readtime.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        seen = drive(tracker, clock)
    store.close()
    assert any(isinstance(value, StoreUnavailable) for value in seen)
    silent(*[text for value in seen for text in texts(value)], *heard)


def test_bad_values_are_not_quoted(heard):
    """An e-mail that is refused is not repeated, nor is a value that is none."""
    for make in (
        lambda: Reader("u1", f"{MAIL} at example.org"),
        lambda: Reader("u1", f"{MAIL}@"),
        lambda: Article("r1", "T", f"{TOKEN} no url"),
        lambda: ReadTimeTracker(InMemoryStateStore()).accumulate(f"{MAIL}\x00", ARTICLE, 1),
    ):
        with pytest.raises(InvalidInput) as refused:
            make()
        silent(*texts(refused.value))
    silent(*heard)


def test_a_corrupt_state_is_not_quoted(tmp_path, heard):
    """A stored text that cannot be read holds an address: neither the error nor its chain quotes it."""
    store = SqliteStateStore(tmp_path / "readtime.db")
    tracker = ReadTimeTracker(store)
    tracker.accumulate(READER, ARTICLE, 10.0)
    sqlite = store._file.connection().sqlite
    sqlite.execute("UPDATE state SET ledger = ?", ('{"schema": [1, 0], "' + MAIL,))
    with pytest.raises(CorruptState) as corrupt:
        tracker.state(READER, ARTICLE)
    assert tracker.states(READER) == ()
    sqlite.execute("UPDATE state SET ledger = CAST(? AS TEXT)", (b"\xff" + MAIL.encode(),))
    with pytest.raises(CorruptState) as undecodable:
        tracker.state(READER, ARTICLE)
    store.close()
    silent(*texts(corrupt.value), *texts(undecodable.value), *heard)


def test_events_that_cannot_be_built_say_only_their_kind(heard):
    """C5: an event that cannot be built is parked; what the builder said may hold an address."""

    class Broken(TimeSpentEvents):
        def event(self, reader, *_, **__):
            raise ValueError(f"cannot build for {reader.email}")

    clock = ManualClock()
    broken = Broken("https://app.example.org", App("App"), "https://oneroster.example.org")
    tracker = ReadTimeTracker(InMemoryStateStore(), FlakyEmitter(), broken, clock=clock)
    seen = drive(tracker, clock)
    assert any(isinstance(value, EmitError) for value in seen)
    silent(*[text for value in seen for text in texts(value)], *heard)
