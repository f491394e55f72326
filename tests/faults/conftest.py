"""Servers and endpoints of a test's own, and an ear for the log."""

from __future__ import annotations

import ipaddress
import ssl
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from caliper_readtime import RedisStateStore
from caliper_readtime.testing._redis_server import RedisServer
from tests.faults.emitting import endpoint_and_emitter
from tests.faults.raw_server import RawServer
from tests.postgresql_server import PostgresqlServer
from tests.redaction import hearing
from tests.redis_topologies import Node, program
from tests.scenes import Scene


@pytest.fixture
def heard():
    """All that is logged at DEBUG, by the package and by whatever it calls."""
    with hearing() as said:
        yield said


@pytest.fixture
def pair():
    """A well-behaved endpoint, and an emitter for it."""
    with endpoint_and_emitter() as both:
        yield both


@pytest.fixture
def node(request):
    """A server (its options: the test's parameter) and its administrator's connection."""
    with Node(RedisServer(getattr(request, "param", None), program=program())) as one:
        yield one


@pytest.fixture
def redis(node):
    """A scene on that server."""
    scene = Scene(lambda: RedisStateStore.from_url(node.server.url))
    yield scene
    scene.store.close()


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A self-signed certificate for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "loopback")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls")
    (path / "cert.pem").write_bytes(built.public_bytes(serialization.Encoding.PEM))
    (path / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")
    with RawServer(tls=context) as server:
        yield server


@pytest.fixture
def server():
    """A PostgreSQL that this test may kill; it waits for its disk as a real one does."""
    with closing(PostgresqlServer()) as server:
        yield server
