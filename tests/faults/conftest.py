"""Servers and endpoints of a test's own, and an ear for the log."""

from __future__ import annotations

import pytest

from caliper_readtime import RedisStateStore
from caliper_readtime.testing._redis_server import RedisServer
from tests.canaries import hearing
from tests.faults.emitting import endpoint_and_emitter
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
