"""Redaction by canary strings: through every verb and failure at DEBUG, no address, token, secret or body comes out."""

from __future__ import annotations

import logging

import attrs
import pytest

from caliper_readtime import (
    App,
    Article,
    CorruptState,
    EmitError,
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    HttpCaliperEmitter,
    InMemoryStateStore,
    InvalidInput,
    PageView,
    Reader,
    ReadTimeError,
    ReadTimePolicy,
    ReadTimeTracker,
    SqliteStateStore,
    TimeSpentEvents,
)
from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.testing import CaliperEndpoint, FlakyEmitter, ManualClock
from caliper_readtime.testing.endpoint import AcceptThen, Answer, Drop
from tests.backends import STORES

MAIL, TOKEN, SECRET, BODY, BUG = (f"canary-{name}-7f3a" for name in ("mail", "token", "secret", "body", "bug"))
CANARIES = (MAIL, TOKEN, SECRET, BODY)
READER = Reader("u1", f"{MAIL}@example.org")
CORRECTED = Reader("u1", f"{MAIL}.two@example.org")
ARTICLE = Article("nice_x1", "Leaves", "https://app.example.org/leaves")
EVENTS = TimeSpentEvents("https://app.example.org", App("App"), "https://oneroster.example.org")


class Everything(logging.Handler):
    """Keeps every record of every logger, whole."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.said: list[str] = []

    def emit(self, record):
        text = logging.Formatter("%(message)s").format(record)  # with exception and stack, where there are any
        self.said.append(text + repr({k: v for k, v in vars(record).items() if k not in ("exc_info", "args")}))


@pytest.fixture
def heard():
    """All that is logged by the package, and by whom it calls but urllib3, whose debug lines are the host's choice."""
    handler, root = Everything(), logging.getLogger()
    before, noisy = root.level, logging.getLogger("urllib3")
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    noisy.setLevel(logging.WARNING)
    yield handler.said
    root.removeHandler(handler)
    root.setLevel(before)
    noisy.setLevel(logging.NOTSET)


def chain(error):
    """An error and everything that stands behind it."""
    found = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def texts(value):
    """All that a value shows of itself when it is printed, and all that its errors say."""
    shown = [repr(value), str(value)]
    if isinstance(value, BaseException):
        shown += [f"{error!r} {error}" for error in chain(value)]
    elif isinstance(value, tuple):
        shown += [text for inner in value for text in texts(inner)]
    elif attrs.has(type(value)):
        for attribute in attrs.fields(type(value)):
            inner = getattr(value, attribute.name)
            if isinstance(inner, BaseException | tuple) or attrs.has(type(inner)):
                shown += texts(inner)
    return shown


def silent(*shown, canaries=CANARIES):
    """No canary sings."""
    for text in shown:
        for canary in canaries:
            assert canary not in text


def drive(tracker, clock):
    """Every verb once or more; returns what came back or was raised."""
    seen = []

    def call(verb, *args, **kwargs):
        try:
            seen.append(getattr(tracker, verb)(*args, **kwargs))
        except ReadTimeError as error:
            seen.append(error)

    call("accumulate", READER, ARTICLE, 10.0, heartbeat_id="h", position_seconds=1, duration_seconds=60)
    clock.advance(10)
    call("observe", "u1", "nice_x1", PageView("view", 12.0), opened_at=clock())
    call("accumulate", "u1", "nice_x1", 500.0)
    call("accumulate", "u1", "nice_x1", 1.0, duration_seconds=600)
    for verb in ("partial", "finalize", "unpark"):
        clock.advance(30)
        call("accumulate", CORRECTED, ARTICLE, 20.0)
        call(verb, READER, ARTICLE)
    call("finalize", READER, ARTICLE, defer=True)
    clock.advance(90_000)
    call("accumulate", "u1", "nice_x1", 20.0, position_seconds=59)
    call("sweep", idle_seconds=0)
    call("flush_reader", READER, confirm=True)
    for verb, args in (("state", (READER, ARTICLE)), ("states", (READER,)), ("parked", ())):
        call(verb, *args)
        if verb == "state" and seen[-1] is not None:
            seen += [seen[-1].last_error, seen[-1].history, seen[-1].parked]
    call("forget", READER)
    return seen


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
    """Logs: e-mails, tokens, bodies never; nor in what a verb returns or raises, or what a state keeps."""
    clock, emitter = ManualClock(), FlakyEmitter()
    if failure is not None:
        emitter.fail(*[failure] * 50, delivered=delivered)
    store = make_store(tmp_path)

    def bad_hook(_report):
        raise ValueError(f"{BODY}")

    with ReadTimeTracker(store, emitter, EVENTS, ReadTimePolicy(), clock, on_report=bad_hook) as tracker:
        for value in drive(tracker, clock):
            shown = texts(value)
            if isinstance(failure, RuntimeError):
                # A stranger's own exception is chained as it is; what the package says and keeps of it is its kind.
                shown = [text for text in shown if BUG not in text]
            silent(*shown)
    store.close()
    assert any("article accumulate: delta" in text for text in heard)
    silent(*heard)


@pytest.mark.parametrize(
    "behaviour",
    [
        Answer(422, f'{{"message": "{BODY} {MAIL}"}}'),
        Answer(400, BODY),
        Answer(401, f"jwt expired {TOKEN}"),
        Answer(403, f"{TOKEN} {MAIL}"),
        Answer(500, BODY),
        Answer(302, b"", [("Location", f"https://x.example/{TOKEN}")]),
        AcceptThen(Answer(200, f'{{"status": "error", "message": "{MAIL} {BODY}"}}')),
        Drop(after="accept"),
    ],
    ids=["422", "400", "401", "403", "500", "302", "200-error", "drop"],
)
def test_no_canary_sings_over_http(tmp_path, heard, behaviour):
    """The real emitter with a token, against an endpoint that echoes what it was told."""

    class Bearer:
        def __call__(self, request):
            request.headers["Authorization"] = f"Bearer {TOKEN}"
            return request

        def __repr__(self):
            return "Bearer(…)"

    clock = ManualClock()
    with CaliperEndpoint(token=TOKEN) as endpoint:
        endpoint.misbehave_always(behaviour)
        emitter = HttpCaliperEmitter(endpoint.url + f"?key={TOKEN}", auth=Bearer(), attempts=1, deadline_seconds=2)
        store = SqliteStateStore(tmp_path / "readtime.db")
        with ReadTimeTracker(store, emitter, EVENTS, clock=clock) as tracker:
            shown = [text for value in drive(tracker, clock) for text in texts(value)]
        emitter.close()
        store.close()
        assert endpoint.requests
    silent(*shown, repr(emitter), repr(tracker), repr(endpoint))
    silent(*heard)


def test_a_client_secret_is_silent(heard):
    """OAuth2: neither the secret nor the token is shown by the auth or by what it raises."""
    with CaliperEndpoint() as token_server:
        token_server.misbehave_always(Answer.json(401, {"error": "invalid_client", "error_description": SECRET}))
        auth = ClientCredentials(token_server.url, "client", SECRET)
        emitter = HttpCaliperEmitter(token_server.url, auth=auth, attempts=1, deadline_seconds=2)
        with pytest.raises(EndpointRefused) as refused:
            emitter.emit([{"id": "urn:uuid:1", "object": {"id": "https://app.example.org/x"}}])
        emitter.close()
    silent(*texts(refused.value), repr(auth), repr(emitter), *heard)


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
    sqlite = store.connection().sqlite
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
    """PROTOCOL: an event that cannot be built is parked; what the builder said may hold an address."""

    class Broken(TimeSpentEvents):
        def event(self, reader, *_, **__):
            raise ValueError(f"cannot build for {reader.email}")

    clock = ManualClock()
    broken = Broken("https://app.example.org", App("App"), "https://oneroster.example.org")
    tracker = ReadTimeTracker(InMemoryStateStore(), FlakyEmitter(), broken, clock=clock)
    seen = drive(tracker, clock)
    assert any(isinstance(value, EmitError) for value in seen)
    silent(*[text for value in seen for text in texts(value)], *heard)
