"""Redis by TLS: one server and a cluster, an authority of one's own, a client's certificate, and whom nobody trusts."""

from __future__ import annotations

from contextlib import ExitStack, closing
from itertools import count

import pytest
import redis as driver
import trustme

from caliper_readtime import RedisStateStore, StoreUnavailable
from caliper_readtime.testing._redis_server import RedisServer
from tests.redis_scenes import tracker_on
from tests.redis_topologies import Node, program, wait
from tests.scenes import ANNA, OWLS

pytestmark = pytest.mark.redis
_PORTS = count(22_001)  # above those that RedisServer takes


class Authority:
    """Whoever signs the server's certificate and a client's, and the files that name all three."""

    def __init__(self, directory):
        authority = trustme.CA()
        self.ca, self.server, self.client = (directory / f"{name}.pem" for name in ("ca", "server", "client"))
        authority.cert_pem.write_to_path(self.ca)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(self.server)
        authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(self.client)


class Encrypted:
    """A server that also listens for TLS."""

    def __init__(self, stack, authority, **more):
        options = {
            "tls-cert-file": str(authority.server),
            "tls-key-file": str(authority.server),
            "tls-ca-cert-file": str(authority.ca),
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        for self.tls_port in _PORTS:
            try:
                server = RedisServer({**options, "tls-port": str(self.tls_port)}, program=program())
            except StoreUnavailable as error:
                if "directive" in str(error) or self.tls_port % 50 == 0:  # it knows no TLS, or never starts
                    raise
            else:
                self.node = stack.enter_context(Node(server))
                return


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """Signs for the server and for a client."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def server(authority):
    """A server that asks no client for a certificate."""
    with ExitStack() as stack:
        yield Encrypted(stack, authority, tls_auth_clients="no")


def reads(store):
    """Ten seconds are read and reported by way of this store."""
    tracker, emitter = tracker_on(store)
    tracker.accumulate(ANNA, OWLS, 10)
    tracker.finalize(ANNA, OWLS)
    return emitter.seconds(ANNA, OWLS)


def test_one_server(server, authority):
    """``rediss://`` with the authority's file: time is kept and reported; the client's own settings do it as well."""
    with closing(
        RedisStateStore.from_url(f"rediss://127.0.0.1:{server.tls_port}/0?ssl_ca_certs={authority.ca}")
    ) as store:
        assert reads(store) == 10
    client = driver.Redis(port=server.tls_port, host="127.0.0.1", ssl=True, ssl_ca_certs=str(authority.ca))
    with closing(client), closing(RedisStateStore(client, namespace="other")) as store:
        assert reads(store) == 10


def test_a_cluster(authority):
    """``rediss+cluster://``: the nodes' addresses that the cluster names are spoken to by TLS too."""
    with ExitStack() as stack:
        only = Encrypted(stack, authority, tls_auth_clients="no", cluster_enabled="yes", tls_cluster="yes")
        only.node.admin.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        wait(lambda: "cluster_state:ok" in str(only.node.admin.execute_command("CLUSTER", "INFO")), "it serves")
        url = f"rediss+cluster://127.0.0.1:{only.tls_port}?ssl_ca_certs={authority.ca}"
        with closing(RedisStateStore.from_url(url)) as store:
            assert reads(store) == 10


@pytest.mark.parametrize("own", [True, False], ids=["with", "without"])
def test_a_server_that_asks_for_a_certificate(authority, own):
    """A client's certificate by ``ssl_certfile`` and ``ssl_keyfile``; without one it is a StoreUnavailable."""
    with ExitStack() as stack:
        port = Encrypted(stack, authority, tls_auth_clients="yes").tls_port
        mine = f"&ssl_certfile={authority.client}&ssl_keyfile={authority.client}" if own else ""
        url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={authority.ca}{mine}"
        with closing(RedisStateStore.from_url(url)) as store:
            if own:
                assert reads(store) == 10
            else:
                with pytest.raises(StoreUnavailable, match=f"127.0.0.1:{port}"):
                    store.now()


@pytest.mark.parametrize("wrong", ["unknown authority", "another name", "no TLS", "no such file"])
def test_what_cannot_be_trusted_is_unavailable(server, authority, tmp_path, wrong):
    """StoreUnavailable that names the place; nothing is sent to whoever it is."""
    host, port, file = "127.0.0.1", server.tls_port, authority.ca
    if wrong == "unknown authority":
        file = Authority(tmp_path).ca
    elif wrong == "another name":
        host = "localhost"
    elif wrong == "no TLS":
        port = server.node.port
    else:
        file = tmp_path / "none.pem"
    with closing(RedisStateStore.from_url(f"rediss://:hunter2@{host}:{port}/0?ssl_ca_certs={file}")) as store:
        with pytest.raises(StoreUnavailable, match=f"{host}:{port}") as caught:
            store.now()
        assert "hunter2" not in repr((caught.value, caught.value.__cause__))
        if wrong != "no such file":
            # A handshake is work for both sides: it is not tried again at once.
            with pytest.raises(StoreUnavailable, match="a moment ago"):
                store.now()
