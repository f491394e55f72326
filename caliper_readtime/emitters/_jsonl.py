"""``JsonLinesEmitter``: appends events to a file, one JSON document a line."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from caliper_readtime._rules.event_text import EventTexts, takes_texts
from caliper_readtime.emitters._payload import Hidden, ids_of, to_json
from caliper_readtime.errors import ConfigurationError, EmitterUnavailable

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class JsonLinesEmitter:
    """An ``Emitter`` into a file that other programs pick up.

    Safe for threads, forks and (but for Windows) many processes on one file: each call appends with a single write
    under the file's lock, and the file may be moved away between calls. Where a crash has torn the last line, the next
    call begins a new one, so readers should pass over a line that is no JSON. The same event may stand there twice.

    Args:
        path: the file; it is created, readable for its owner alone, because events hold e-mail addresses.
        fsync: whether a call returns only once the operating system has the events on its disk.

    Raises:
        ConfigurationError: ``path`` is not a path.
    """

    def __init__(self, path: str | os.PathLike[str], *, fsync: bool = True) -> None:
        if not isinstance(path, str | os.PathLike) or not os.fspath(path):
            raise ConfigurationError("path: must be the path of a file")
        self._path = Path(path)
        self._fsync = fsync
        self._lock = Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._path)!r})"

    @takes_texts
    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Append all of these events, or none. An empty sequence does nothing.

        Raises:
            EmitterUnavailable: the file cannot be written.
            EventRejected: an event has no form in JSON.
        """
        # Rebound, because error trackers show every frame's arguments.
        hidden, events = Hidden(events), ()
        if not hidden.value:
            return
        event_ids = ids_of(hidden.value)
        if isinstance(hidden.value, EventTexts):
            lines = Hidden(hidden.value.joined("\n") + b"\n")
        else:
            lines = Hidden(b"".join(to_json(event, event_ids) + b"\n" for event in map(Hidden, hidden.value)))
        try:
            self._append(lines)
        except OSError as error:
            raise EmitterUnavailable(
                f"{self._path} cannot be written ({error.strerror or type(error).__name__})", event_ids=event_ids
            ) from error

    def close(self) -> None:
        """Do nothing: no file stays open between calls."""

    def _append(self, lines: Hidden[bytes]) -> None:
        # Opened anew each time: after a fork, a shared descriptor would share the lock, too.
        file = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)
        try:
            with self._alone(file):
                size = os.lseek(file, 0, os.SEEK_END)
                if size and not self._ends_line(file, size):
                    lines = Hidden(b"\n" + lines.value)
                if os.write(file, lines.value) < len(lines.value):
                    with suppress(OSError):
                        os.ftruncate(file, size)
                    raise OSError(errno.ENOSPC, "only a part could be written")
                if self._fsync:
                    os.fsync(file)
        finally:
            os.close(file)
        if self._fsync and not size:
            self._sync_directory()

    @staticmethod
    def _ends_line(file: int, size: int) -> bool:
        os.lseek(file, size - 1, os.SEEK_SET)
        return os.read(file, 1) == b"\n"

    @contextmanager
    def _alone(self, file: int) -> Iterator[None]:
        """Keep other threads and processes from writing; closing the file ends it."""
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        else:
            with self._lock:
                yield

    def _sync_directory(self) -> None:
        """Put a new file's name on the disk, where directories can be opened."""
        if hasattr(os, "O_DIRECTORY"):
            directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(directory)
            finally:
                os.close(directory)
