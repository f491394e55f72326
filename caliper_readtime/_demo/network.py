"""The workers' way to the endpoint: a real emitter, and one whose worker dies of it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime.emitters._http import HttpCaliperEmitter

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

#: Shorter than the leases of the demo's claims.
_DEADLINE_SECONDS: Final = 4.0
_ATTEMPTS: Final = 1


class WorkerKilled(BaseException):
    """The process has ended. No ``Exception``, because nothing in a process that has ended can handle one."""


class LossyNetwork:
    """An ``Emitter`` by HTTP that can be told to forget an outage.

    Args:
        url: the endpoint's.
        sensor: whose events it sends.
    """

    deadline_seconds = _DEADLINE_SECONDS

    def __init__(self, url: str, sensor: str) -> None:
        self._url = url
        self._sensor = sensor
        self._open = ExitStack()
        self.renew()

    def renew(self) -> None:
        """Try the endpoint at once again: the real one fails fast for up to half a minute after a long outage."""
        self._emitter = HttpCaliperEmitter(
            self._url,
            attempts=_ATTEMPTS,
            deadline_seconds=_DEADLINE_SECONDS,
            sensor=self._sensor,
            read_back=True,
        )
        self._open.callback(self._emitter.close)

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver, as ``HttpCaliperEmitter`` does."""
        self._emitter.emit(events)

    def held(self, event_ids: Collection[str], /) -> frozenset[str]:
        """Return which events the endpoint shows, as ``HttpCaliperEmitter`` asks it."""
        return self._emitter.held(event_ids)

    def close(self) -> None:
        """Close the connections."""
        self._open.close()


class DyingWorkerEmitter:
    """An ``Emitter`` whose worker is killed once it has sent, whatever the endpoint has made of it.

    Args:
        wire: what it sends by.
    """

    deadline_seconds = _DEADLINE_SECONDS

    def __init__(self, wire: LossyNetwork) -> None:
        self._wire = wire

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver, and never return.

        Raises:
            WorkerKilled: always.
        """
        try:
            self._wire.emit(events)
        finally:
            raise WorkerKilled

    def close(self) -> None:
        """Leave the wire to its owner."""
