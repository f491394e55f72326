"""OAuth2 client credentials against a real token server: one fetch, early renewal, typed errors, no secret shown."""

# ruff: noqa: S105, S106 - the secrets of a loopback server

import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
import warnings
from urllib.parse import parse_qs

import pytest
import requests

from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.errors import ConfigurationError, EmitError, EmitterUnavailable, EndpointRefused
from caliper_readtime.testing._endpoint import CaliperEndpoint
from tests.endpoint_client import event
from tests.faults.emitting import SHORT, emitter_for, timed
from tests.faults.raw_server import RawServer, reply

SECRET = "s3cret+&=%/ü"  # hard to encode


def document(status=200, **fields):
    return reply(status, json.dumps(fields).encode(), "Content-Type: application/json")


def token(number, **more):
    return document(access_token=f"token-{number}", token_type="Bearer", **{"expires_in": 3600, **more})


@pytest.fixture
def server():
    with RawServer(lambda _, number: token(number)) as server:
        yield server


def auth_for(server, **more):
    return ClientCredentials(server.url.replace("/caliper/event", "/oauth2/token"), "client", SECRET, **more)


def used(auth):
    """The header that the auth puts on a request."""
    return auth(requests.Request("GET", "http://127.0.0.1/").prepare()).headers["Authorization"]


def test_the_request_is_client_credentials_in_the_body(server):
    """POST, form-urlencoded, grant_type, client_id and client_secret in the body, scope where one is given."""
    assert used(auth_for(server, scope="a b")) == "Bearer token-1"
    (request,) = server.requests
    assert request.line == "POST /oauth2/token HTTP/1.1"
    assert request.header("Content-Type").startswith("application/x-www-form-urlencoded")
    assert request.header("Authorization") is None
    assert parse_qs(request.body.decode(), strict_parsing=True) == {
        "grant_type": ["client_credentials"],
        "client_id": ["client"],
        "client_secret": [SECRET],
        "scope": ["a b"],
    }


def test_no_scope_is_sent_unless_given(server):
    """Some token servers refuse an empty scope."""
    used(auth_for(server))
    assert b"scope" not in server.requests[0].body


def test_a_token_is_used_until_shortly_before_its_end(server):
    """Renewed 60 s early: a token with 61 s left is used again, one with less than that is not."""
    auth = auth_for(server)
    assert [used(auth), used(auth)] == ["Bearer token-1"] * 2
    server.answer = lambda _, number: token(number, expires_in="61")
    auth = auth_for(server, leeway_seconds=60.9)
    assert used(auth) == "Bearer token-2"
    assert 0 < auth._token.renew_at - time.monotonic() <= 61 / 2 + 0.1


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"expires_in": 3600}, 3540),
        ({"expires_in": "600"}, 540),
        ({"expires_in": 10}, 5),
        ({"expires_in": None}, 3540),
        ({"expires_in": "3599.5"}, 3539.5),
        ({"expires_in": 600.75}, 540.75),
        ({"expires_in": "1h"}, 3540),
        ({"expires_in": [600]}, 3540),
        ({"expires_in": float("inf")}, 3540),
        ({"expires_in": float("nan")}, 3540),
        ({"expires_in": "1e400"}, 3540),
        ({"expires_in": 0}, 3540),
        ({"error": None}, 3540),
        ({"error": ""}, 3540),
    ],
)
def test_renewal_time(server, fields, seconds):
    """60 s before the end, but at most half of a short life; an hour where the answer does not say sensibly."""
    server.answer = lambda _, number: token(number, **fields)
    auth = auth_for(server)
    before = time.monotonic()
    used(auth)
    assert seconds <= auth._token.renew_at - before < seconds + 5


def test_an_expired_token_is_replaced(server):
    """A token whose time has come is never sent."""
    server.answer = lambda _, number: token(number, expires_in=-1)
    auth = auth_for(server)
    assert [used(auth), used(auth)] == ["Bearer token-1", "Bearer token-2"]


def eight(call):
    """What eight threads get from a call that they make together."""
    together, got = threading.Barrier(8), []

    def run():
        together.wait(5)
        got.append(call())

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    return got


def test_eight_threads_fetch_once(server):
    """One thread fetches, the others wait for its token."""
    auth = auth_for(server)
    assert eight(lambda: used(auth)) == ["Bearer token-1"] * 8
    assert len(server.requests) == 1


def test_eight_threads_that_were_refused_renew_once(server):
    """renew() replaces the token that this thread used, and only if nobody else has."""
    auth = auth_for(server)
    together = threading.Barrier(8)

    def call():
        used(auth)
        together.wait(5)
        auth.renew()
        return used(auth)

    assert eight(call) == ["Bearer token-2"] * 8
    assert len(server.requests) == 2


def test_renew_without_use_fetches(server):
    """Whoever renews without having used a token gets a new one."""
    auth = auth_for(server)
    auth.renew()
    auth.renew()
    assert used(auth) == "Bearer token-2"


def test_an_expired_jwt_is_replaced_within_one_emit(server):
    """H6: 401 renews the auth once: 401 "jwt expired", new token, accepted."""
    with CaliperEndpoint(token="token-2") as endpoint, emitter_for(endpoint.url, auth=auth_for(server)) as emitter:
        emitter.emit([event()])
        assert [request.status for request in endpoint.requests] == [401, 200]
        emitter.emit([event("e2")])
    assert len(server.requests) == 2


def test_a_token_that_is_never_good_is_a_refusal(server):
    """H6: a second 401 is EndpointRefused; two tokens were fetched, and none is shown."""
    with CaliperEndpoint(token="other") as endpoint, emitter_for(endpoint.url, auth=auth_for(server)) as emitter:
        error = timed(emitter.emit, [event()]).error
        assert type(error) is EndpointRefused
        assert (error.status, error.event_ids) == (401, (event()["id"],))
        assert len(endpoint.requests) == len(server.requests) == 2
        assert "token-" not in str(error)


@pytest.mark.parametrize(
    ("answer", "kind", "status", "text"),
    [
        (document(400, error="invalid_client", error_description=SECRET), EndpointRefused, 400, "invalid_client"),
        (document(401, error="invalid_client"), EndpointRefused, 401, "client_secret"),
        (document(200, error="unauthorized_client"), EndpointRefused, 200, "unauthorized_client"),
        (document(400, error=f"<{SECRET}>"), EndpointRefused, 400, "token_url"),
        (reply(403, b"<html>"), EndpointRefused, 403, "token_url"),
        (reply(404, b"[]"), EndpointRefused, 404, "token_url"),
        (reply(302, b"", "Location: http://["), EndpointRefused, 302, "token_url"),
        (reply(307, b"", "Location: /elsewhere"), EndpointRefused, 307, "token_url"),
        (reply(500, b"oops"), EmitterUnavailable, 500, "try again"),
        (document(503, error="temporarily_unavailable"), EmitterUnavailable, 503, "try again"),
        (reply(429, b"", "Retry-After: 30"), EmitterUnavailable, 429, "try again"),
        (reply(200, b"<html>"), EmitterUnavailable, None, "usable"),
        (reply(200, b""), EmitterUnavailable, None, "usable"),
        (reply(200, b"[" * 60_000), EmitterUnavailable, None, "usable"),
        (reply(200, b"x" * 200_000), EmitterUnavailable, None, "usable"),
        (document(token_type="Bearer"), EmitterUnavailable, None, "usable"),
        (document(access_token=""), EmitterUnavailable, None, "usable"),
        (document(access_token=7), EmitterUnavailable, None, "usable"),
        (document(access_token="a\r\nb"), EmitterUnavailable, None, "usable"),
        (b"", EmitterUnavailable, None, "no token"),
    ],
)
def test_errors_of_the_token_server(server, answer, kind, status, text):
    """Wrong credentials or URL are EndpointRefused, everything that can pass EmitterUnavailable; no secret shows."""
    server.answer = lambda connection, _: connection.sendall(answer) or False
    auth = auth_for(server)
    with pytest.raises(EmitError) as caught:
        used(auth)
    error = caught.value
    assert (type(error), error.status) == (kind, status)
    assert text in str(error)
    assert f"127.0.0.1:{server.port}/oauth2/token" in str(error)
    assert len(server.requests) == 1
    while error is not None:
        assert SECRET not in str(error)
        error = error.__cause__ or error.__context__
    if status == 429:
        assert caught.value.retry_after_seconds == 30


def test_nobody_listens():
    """A token server that is down is EmitterUnavailable, requests' error its cause."""
    with RawServer() as gone:
        pass
    with pytest.raises(EmitterUnavailable) as caught:
        used(auth_for(gone))
    assert isinstance(caught.value.__cause__, requests.ConnectionError)


@pytest.mark.parametrize("trickled", [False, True])
def test_the_fetch_has_a_time_out_of_its_own(server, trickled):
    """Used with plain requests, without an emitter: a fetch that hangs or trickles ends with ``timeout``."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    server.answer = lambda connection, _: server.trickle(connection, head + b"x" * 5000) if trickled else server.hang()
    assert type(timed(used, auth_for(server, timeout=SHORT), deadline=SHORT).error) is EmitterUnavailable


def test_the_emitters_deadline_cuts_the_fetch(server):
    """H15: the total deadline includes token fetches, and waiting for another thread's fetch."""
    server.answer = server.hang
    auth = auth_for(server, timeout=30)
    with CaliperEndpoint() as endpoint, emitter_for(endpoint.url, auth=auth, deadline_seconds=SHORT) as emitter:
        ended = eight(lambda: timed(emitter.emit, [event()], deadline=SHORT))
        assert {type(end.error) for end in ended} == {EmitterUnavailable}
        assert {end.error.event_ids for end in ended} == {(event()["id"],)}
        assert endpoint.requests == ()


def test_a_token_server_that_recovers_is_asked_again_within_one_emit(server):
    """One 503 of the token server costs a back-off, not the emission."""
    server.answer = lambda _, number: reply(503) if number == 1 else token(number)
    with CaliperEndpoint(token="token-2") as endpoint, emitter_for(endpoint.url, auth=auth_for(server)) as emitter:
        assert timed(emitter.emit, [event()]).error is None


def test_nothing_secret_is_in_the_repr(server):
    """repr shows where tokens come from, and neither secret nor token."""
    auth = auth_for(server)
    used(auth)
    shown = repr(auth) + repr(auth._token)
    assert "client" in shown
    assert SECRET not in shown
    assert "token-1" not in shown


def _child(auth, queue):
    queue.put(used(auth))


def test_a_child_forked_during_a_fetch_does_not_hang(server):
    """The lock is a process's own: a fetch under way in the parent does not lock the child."""
    fetching, go_on = threading.Event(), threading.Event()

    def answer(_, number):
        if number == 1:
            fetching.set()
            go_on.wait(5)
        return token(number)

    server.answer = answer
    auth = auth_for(server)
    thread = threading.Thread(target=used, args=(auth,))
    thread.start()
    assert fetching.wait(5)
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    child = context.Process(target=_child, args=(auth, queue))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child.start()
    assert queue.get() == "Bearer token-2"
    child.join(5)
    go_on.set()
    thread.join(5)
    assert used(auth) == "Bearer token-1"


@pytest.mark.parametrize(
    "arguments",
    [
        *({"token_url": url} for url in ("", None, "/token", "ftp://x/y", "https://a:SECRET@x/y", "https://x/y#z")),
        *({"client_id": value} for value in ("", None, 7)),
        *({"client_secret": value} for value in ("", None, b"SECRET")),
        *({"timeout": value} for value in (0, -1, None, True, "5", float("nan"))),
        *({"leeway_seconds": value} for value in (-1, None, True, "5")),
        {"scope": ["a"]},
    ],
)
def test_wrong_arguments_are_configuration_errors(arguments):
    """Each argument is judged at construction, and a secret is not quoted."""
    good = {"token_url": "https://x/token", "client_id": "c", "client_secret": "SECRET"}
    with pytest.raises(ConfigurationError) as caught:
        ClientCredentials(**{**good, **arguments})
    assert next(iter(arguments)) in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_missing_authlib_says_what_to_install(monkeypatch):
    """Without the extra: a ConfigurationError at construction that names the command."""
    for name in ("authlib", "authlib.integrations", "authlib.integrations.requests_client"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigurationError) as caught:
        ClientCredentials("https://x/token", "c", "s")
    assert 'pip install "caliper-readtime[oauth2]"' in str(caught.value)


def test_authlib_warns_about_nothing():
    """Hosts that turn warnings into errors can use it."""
    code = "from caliper_readtime.emitters.oauth2 import ClientCredentials; ClientCredentials('https://x/t', 'c', 's')"
    run = subprocess.run([sys.executable, "-W", "error", "-c", code], check=False, env={**os.environ}, timeout=60)
    assert run.returncode == 0
