"""The way to the endpoint: proxies, certificates, the environment, and recorders that stand in between."""

import socket
import threading

import pytest
import vcr

from caliper_readtime.emitters.oauth2 import ClientCredentials
from caliper_readtime.errors import EmitterUnavailable
from tests.faults.emitting import EVENT, IDS, MANY, SHORT, emitter_for, endpoint_and_emitter, timed
from tests.faults.raw_server import RawServer, reply

PASSWORD = "proxy-s3cret"  # noqa: S105 - a canary
BASIC = "Basic dTpwcm94eS1zM2NyZXQ="  # u:proxy-s3cret
ELSEWHERE = "http://caliper.example.org/caliper/event"


def url_of(proxy, user="u"):
    return f"http://{user}:{PASSWORD}@127.0.0.1:{proxy.port}"


def tunnel_to(port):
    """An answer of a proxy that opens a tunnel to a port of this host, whatever it was asked for."""

    def answer(connection, _):
        with socket.create_connection(("127.0.0.1", port)) as target:
            connection.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            back = threading.Thread(target=pump, args=(target, connection))
            back.start()
            pump(connection, target)
            back.join(5)
        return False

    return answer


def pump(source, target):
    try:
        while piece := source.recv(65536):
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


@pytest.mark.parametrize("mapping", [False, True])
def test_a_proxy_gets_the_request(mapping):
    """``proxies``: one URL for everything, or a mapping; its password goes to the proxy and into no text."""
    with RawServer() as proxy:
        proxies = {"http": url_of(proxy), "https": "http://127.0.0.1:9"} if mapping else url_of(proxy)
        with emitter_for(ELSEWHERE, proxies=proxies) as emitter:
            assert timed(emitter.emit, [EVENT]).error is None
            assert proxy.requests[0].line == f"POST {ELSEWHERE} HTTP/1.1"
            assert proxy.requests[0].header("Proxy-Authorization") == BASIC
            proxy.answer = lambda *_: False
            error = timed(emitter.emit, [EVENT]).error
            assert PASSWORD not in f"{error} {error.__cause__} {emitter!r} {vars(emitter)}"


def test_a_proxy_that_is_down_has_sent_nothing():
    """H8: a connection to the proxy that cannot be made is one that certainly delivered nothing."""
    with RawServer() as gone:
        pass
    with emitter_for(ELSEWHERE, proxies=url_of(gone)) as emitter:
        error = timed(emitter.emit, [EVENT]).error
    assert (type(error), error.ambiguous) == (EmitterUnavailable, False)
    assert PASSWORD not in f"{error} {error.__cause__}"


def test_tls_goes_through_a_tunnel(tls_server, certificate):
    """An https endpoint behind a proxy: the certificate is the endpoint's, and the tunnel is kept."""
    with (
        RawServer(tunnel_to(tls_server.port)) as proxy,
        emitter_for(tls_server.url, proxies=url_of(proxy), ca_bundle=certificate / "cert.pem") as emitter,
    ):
        for _ in range(2):
            assert timed(emitter.emit, [EVENT]).error is None
        assert len(proxy.requests) == 1
        assert proxy.requests[0].line.startswith(f"CONNECT 127.0.0.1:{tls_server.port} HTTP/")
        assert proxy.requests[0].header("Proxy-Authorization") == BASIC
        assert len(tls_server.requests) == 2
        assert tls_server.requests[0].header("Proxy-Authorization") is None


@pytest.mark.parametrize("answer", [reply(407), reply(502), b"", b"no HTTP at all\r\n\r\n"])
def test_a_tunnel_that_is_refused_has_sent_nothing(tls_server, answer):
    """H8: what fails before the endpoint is reached is tried again within the emission, and is not ambiguous."""
    with (
        RawServer(lambda connection, _: connection.sendall(answer) or False) as proxy,
        emitter_for(tls_server.url, proxies=url_of(proxy)) as emitter,
    ):
        error = timed(emitter.emit, [EVENT]).error
        assert (type(error), error.ambiguous) == (EmitterUnavailable, False)
        assert len(proxy.requests) == 2
        assert PASSWORD not in f"{error} {error.__cause__}"


def test_a_tunnel_that_hangs_ends_with_the_deadline(tls_server):
    """H15: a proxy gains no time either."""
    with RawServer() as proxy:
        proxy.answer = proxy.hang
        with emitter_for(tls_server.url, proxies=url_of(proxy), timeout=30, deadline_seconds=SHORT) as emitter:
            assert type(timed(emitter.emit, [EVENT], deadline=SHORT).error) is EmitterUnavailable


def test_tokens_take_the_same_way():
    """``ClientCredentials`` has the same three parameters: a token server is often behind the same proxy."""
    token = reply(200, b'{"access_token": "t", "token_type": "Bearer"}', "Content-Type: application/json")
    with RawServer(lambda _, number: token if number == 1 else reply()) as proxy:
        auth = ClientCredentials("http://auth.example.org/token", "c", "s", proxies=url_of(proxy))
        with emitter_for(ELSEWHERE, auth=auth, proxies=url_of(proxy)) as emitter:
            assert timed(emitter.emit, [EVENT]).error is None
        assert [request.line for request in proxy.requests] == [
            "POST http://auth.example.org/token HTTP/1.1",
            f"POST {ELSEWHERE} HTTP/1.1",
        ]
        assert proxy.requests[1].header("Authorization") == "Bearer t"


def test_the_environment_counts_where_that_is_said(monkeypatch, tmp_path, tls_server, certificate):
    """``trust_env``: proxies and CA certificates of the environment count; a netrc file never does."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine caliper.example.org login user password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate / "cert.pem"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with RawServer() as proxy:
        monkeypatch.setenv("http_proxy", url_of(proxy))
        with emitter_for(ELSEWHERE, trust_env=True) as emitter:
            assert timed(emitter.emit, [EVENT]).error is None
        assert proxy.requests[0].line == f"POST {ELSEWHERE} HTTP/1.1"
        assert proxy.requests[0].header("Authorization") is None
    with emitter_for(tls_server.url, trust_env=True) as emitter:
        assert timed(emitter.emit, [EVENT]).error is None


def test_vcrpy_records_and_replays(tmp_path):
    """A host's test may record with vcrpy: our own connections give way, those that are open already included."""
    cassette = str(tmp_path / "cassette.yaml")
    with endpoint_and_emitter() as (endpoint, emitter):
        emitter.emit([MANY[1]])
        with vcr.use_cassette(cassette):
            emitter.emit([EVENT])
            assert emitter.held([EVENT["id"], IDS[0]]) == {EVENT["id"]}
        assert endpoint.events == (MANY[1], EVENT)
        endpoint.close()
        with vcr.use_cassette(cassette, record_mode="none") as replayed:
            emitter.emit([EVENT])
            assert emitter.held([EVENT["id"], IDS[0]]) == {EVENT["id"]}
        assert replayed.play_count == 3
