"""A PostgreSQL of the tests' own: started in a temporary folder, killed and started again at will."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

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


class PostgresqlServer:
    """A server with a database ``readtime`` and a superuser of that name, who needs no password.

    Args:
        options: settings of the server besides those that keep it small.
    """

    def __init__(self, **options: str) -> None:
        bin_ = programs()
        assert bin_ is not None, NO_SERVER
        self.folder = Path(tempfile.mkdtemp(prefix="readtime-postgresql-"))
        # It refuses to run as root.
        self._user = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        if self._user:
            os.chown(self.folder, *pwd.getpwnam("postgres")[2:4])
        self._data = self.folder / "data"
        self._program = bin_ / "postgres"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._options = {
            "port": str(self.port),
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": str(self.folder),
            "max_connections": "60",
            "shared_buffers": "16MB",
        } | options
        self._process: subprocess.Popen[bytes] | None = None
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
            **self._user,
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
        self._process = subprocess.Popen(
            [str(self._program), "-D", str(self._data), *settings],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            cwd=self.folder,
            env=_environment(),
            **self._user,
        )
        assert self._process.stderr is not None
        heard = []
        for line in self._process.stderr:
            heard.append(line.decode())
            if b"ready to accept connections" in line:
                break
        else:
            raise RuntimeError("".join(heard))
        # It goes on logging: nobody may have to wait for a full pipe.
        self._reader = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._reader.start()

    def kill(self) -> None:
        """End it as a crash does; what was not on its way to the disk is gone."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait()
            self._reader.join()
            process.stderr.close()

    def close(self) -> None:
        """End it, and remove its files."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
