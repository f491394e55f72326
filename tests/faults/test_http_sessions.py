"""The HTTP emitter's connections: one session for each thread and process, none left behind, TLS always verified."""

import gc
import multiprocessing
import threading
import warnings

import pytest
import requests

from caliper_readtime.errors import EmitterUnavailable
from caliper_readtime.testing._endpoint import CaliperEndpoint
from tests.endpoint_client import event
from tests.faults.emitting import SHORT, emitter_for, endpoint_and_emitter, timed
from tests.faults.raw_server import RawServer
from tests.scenes import until


def in_thread(call, *args):
    thread = threading.Thread(target=call, args=args)
    thread.start()
    thread.join(10)


def test_short_lived_threads_leave_no_connection():
    """A thread's session is closed when the thread ends, without close()."""
    with RawServer() as server, emitter_for(server.url) as emitter:
        for number in range(20):
            in_thread(emitter.emit, [event(str(number))])
        assert server.connections == 20
        until(lambda: not server._open)
        gc.collect()
        assert len(emitter._here().sessions._slots) == 0


def test_close_closes_the_sessions_of_living_threads():
    """close() ends every connection that this process opened, and threads may go on afterwards."""
    with RawServer() as server, emitter_for(server.url) as emitter:
        sent, go_on = threading.Event(), threading.Event()

        def run():
            emitter.emit([event("1")])
            sent.set()
            go_on.wait(5)
            emitter.emit([event("2")])

        thread = threading.Thread(target=run)
        thread.start()
        assert sent.wait(5)
        assert len(server._open) == 1
        emitter.close()
        until(lambda: not server._open)
        go_on.set()
        thread.join(5)
        assert len(server.requests) == 2


def test_each_thread_has_its_own_session():
    """A Session is not thread-safe: threads never share one."""
    with endpoint_and_emitter() as (_, emitter):
        sessions = []
        together = threading.Barrier(4)

        def run():
            sessions.append(emitter._here().sessions.current())
            assert emitter._here().sessions.current() is sessions[-1] or len(sessions) > 1
            together.wait(5)

        threads = [threading.Thread(target=run) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert len({id(session) for session in sessions}) == 4


def _child(emitter, name, queue):
    try:
        emitter.emit([event(name)])
        emitter.emit([event(name + " again")])
        emitter.close()
        queue.put(None)
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        queue.put(repr(error))


def test_children_use_connections_of_their_own():
    """Preload: an emitter that was used before the fork works in parent and children, on separate connections."""
    context = multiprocessing.get_context("fork")
    with CaliperEndpoint() as endpoint, emitter_for(endpoint.url, attempts=1) as emitter:
        emitter.emit([event("before")])
        queue = context.SimpleQueue()
        children = [context.Process(target=_child, args=(emitter, f"child {number}", queue)) for number in range(3)]
        forking(lambda: [child.start() for child in children])
        for number in range(10):
            emitter.emit([event(f"parent {number}")])
        assert [queue.get() for _ in children] == [None] * 3
        for child in children:
            child.join(10)
        assert len(endpoint.events) == 1 + 3 * 2 + 10
        assert endpoint.duplicates == ()


def forking(call):
    """Fork although the endpoint's threads run, which newer Pythons warn about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        call()


def test_a_fork_while_threads_are_sending_does_not_hang():
    """Locks and windows are a process's own: a child is never stuck with what another thread held."""
    context = multiprocessing.get_context("fork")
    with CaliperEndpoint() as endpoint, emitter_for(endpoint.url, attempts=1, timeout=5) as emitter:
        over = threading.Event()

        def run(name):
            number = 0
            while not over.is_set():
                number += 1
                emitter.emit([event(f"{name} {number}")])

        threads = [threading.Thread(target=run, args=(f"thread {number}",)) for number in range(4)]
        for thread in threads:
            thread.start()
        queue = context.SimpleQueue()
        children = [context.Process(target=_child, args=(emitter, f"child {number}", queue)) for number in range(8)]
        forking(lambda: [child.start() for child in children])
        for child in children:
            child.join(20)
        over.set()
        for thread in threads:
            thread.join(10)
        assert [child.exitcode for child in children] == [0] * 8
        assert [queue.get() for _ in children] == [None] * 8


def test_a_child_leaves_sessions_of_lost_threads_alone():
    """A lock that another thread held during the fork stays locked in the child, which therefore never asks for it."""
    context = multiprocessing.get_context("fork")
    with CaliperEndpoint() as endpoint, emitter_for(endpoint.url) as emitter:
        locked, go_on = threading.Event(), threading.Event()

        def run():
            emitter.emit([event("thread")])
            adapter = emitter._here().sessions.current().get_adapter(endpoint.url)
            with adapter.poolmanager.pools.lock:  # as while it takes a connection from its pool
                locked.set()
                go_on.wait(10)

        thread = threading.Thread(target=run)
        thread.start()
        assert locked.wait(5)
        queue = context.SimpleQueue()
        child = context.Process(target=_child, args=(emitter, "child", queue))
        forking(child.start)
        child.join(10)
        stuck = child.is_alive()
        child.kill()
        go_on.set()
        thread.join(5)
        assert not stuck
        assert queue.get() is None


def test_an_unknown_certificate_is_refused(tls_server):
    """TLS verification is on: nothing is sent to a peer whose certificate is not known."""
    with emitter_for(tls_server.url) as emitter:
        error = timed(emitter.emit, [event()]).error
    assert type(error) is EmitterUnavailable
    assert not error.ambiguous
    assert isinstance(error.__cause__, requests.exceptions.SSLError)
    assert "SSLError" in str(error)
    assert tls_server.requests == []


def test_a_known_certificate_is_accepted(tls_server, certificate):
    """``ca_bundle`` takes the path of CA certificates; the connection is kept."""
    with emitter_for(tls_server.url, ca_bundle=certificate / "cert.pem") as emitter:
        emitter.emit([event("1")])
        emitter.emit([event("2", seconds=3), {**event("3"), "extensions": {"text": "x" * 100_000}}])
    assert len(tls_server.requests) == 2
    assert tls_server.connections == 1


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 O", b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"])
def test_trickling_over_tls_gains_no_time(tls_server, certificate, head):
    """The deadline holds over TLS as well."""
    tls_server.answer = lambda connection, _: tls_server.trickle(connection, head + b"x" * 5000)
    ca_bundle = str(certificate / "cert.pem")
    with emitter_for(tls_server.url, ca_bundle=ca_bundle, deadline_seconds=SHORT) as emitter:
        ended = timed(emitter.emit, [event()], deadline=SHORT)
    assert type(ended.error) is EmitterUnavailable


def test_a_peer_that_never_shakes_hands_is_left():
    """A TLS handshake that is not answered ends with the deadline."""
    with RawServer() as server:
        url = server.url.replace("http:", "https:")
        with emitter_for(url, timeout=30, deadline_seconds=SHORT) as emitter:
            error = timed(emitter.emit, [event()], deadline=SHORT).error
            assert (type(error), error.ambiguous) == (EmitterUnavailable, False)
