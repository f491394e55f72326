"""A PostgreSQL of the tests' own: started in a temporary folder, killed and started again at will; and PgBouncer."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_SERVER = "NO POSTGRESQL TO TEST WITH: apt-get install postgresql"
REQUIRED = "CALIPER_READTIME_REQUIRE_POSTGRESQL"


@cache
def programs() -> Path | None:
    """The folder of initdb and postgres, of the newest version; None where there is none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/createdb"), key=lambda path: float(path.parts[-3]))
    on_path = shutil.which("createdb")  # where it is no Debian
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def required() -> bool:
    """Whether a test that needs a server fails where there is none."""
    return bool(os.environ.get(REQUIRED) or os.environ.get("CI"))


def _user() -> dict[str, str]:
    """As whom: none of these programs runs as root."""
    return {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    return port


class Program:
    """A program that tells on standard error when it is ready."""

    def __init__(self, *command: object, ready: bytes, folder: Path) -> None:
        self._process = subprocess.Popen(
            [*map(str, command)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=folder,
            env=_environment(),
            **_user(),
        )
        heard = []
        for line in self._process.stderr:
            heard.append(line.decode())
            if ready in line:
                break
        else:
            raise RuntimeError("".join(heard))
        # It goes on logging: nobody may have to wait for a full pipe.
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()

    def end(self, how: signal.Signals = signal.SIGQUIT) -> None:
        """End it by a signal."""
        self._process.send_signal(how)
        self._process.wait()
        self._reader.join()
        self._process.stderr.close()


@contextmanager
def pooled(server: PostgresqlServer) -> Iterator[dict[str, object]]:
    """Put PgBouncer in transaction mode, with two connections for all, in front of a server; give a DATABASES entry."""
    file, port = server.folder / "pgbouncer.ini", _free_port()
    file.write_text(
        f"[databases]\nreadtime = host=127.0.0.1 port={server.port} user=readtime dbname=readtime\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\nauth_type = any\n"
        "pool_mode = transaction\ndefault_pool_size = 2\n",
        encoding="utf-8",
    )
    program = Program(shutil.which("pgbouncer"), file, ready=b"process up", folder=server.folder)
    try:
        yield server.database | {"PORT": str(port)}
    finally:
        program.end(signal.SIGINT)


class PostgresqlServer:
    """A server with a database ``readtime`` and a superuser of that name, who needs no password.

    Args:
        options: settings of the server besides those that keep it small.
    """

    def __init__(self, **options: str) -> None:
        bin_ = programs()
        assert bin_ is not None, NO_SERVER
        self.folder = Path(tempfile.mkdtemp(prefix="readtime-postgresql-"))
        if _user():
            os.chown(self.folder, *pwd.getpwnam("postgres")[2:4])
        self._data = self.folder / "data"
        self._program = bin_ / "postgres"
        self.port = _free_port()
        self._options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
            "shared_buffers": "16MB",
        } | options
        self._running: Program | None = None
        self._run(bin_ / "initdb", "-D", self._data, "-U", "readtime", "-A", "trust", "--no-sync", "-E", "UTF8")
        self.start()
        self._run(bin_ / "createdb", "-h", self.folder, "-p", str(self.port), "-U", "readtime", "readtime")

    def _run(self, *command: object) -> None:
        subprocess.run(
            [*map(str, command)],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=self.folder,
            env=_environment(),
            **_user(),
        )

    @property
    def database(self) -> dict[str, object]:
        """An entry of Django's DATABASES."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "readtime",
            "USER": "readtime",
            "HOST": "127.0.0.1",
            "PORT": str(self.port),
            "OPTIONS": {"connect_timeout": 5},
        }

    def start(self) -> None:
        """Start it, and return when it answers."""
        settings = [word for name, value in self._options.items() for word in ("-c", f"{name}={value}")]
        command = (self._program, "-D", self._data, *settings)
        self._running = Program(*command, ready=b"ready to accept connections", folder=self.folder)

    def kill(self) -> None:
        """End it as a crash does; what was not on its way to the disk is gone."""
        if self._running is not None:
            self._running.end()
        self._running = None

    def close(self) -> None:
        """End it, and remove its files."""
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
