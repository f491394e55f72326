"""Stand-ins for hosts' unit tests: emitters that record or fail on command, and a clock that is moved by hand."""

from __future__ import annotations

import copy
import threading
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from caliper_readtime._model import Activity, Reader
from caliper_readtime._units import plural, to_epoch_ms
from caliper_readtime.testing._minutes import reported_seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence


class ManualClock:
    """A clock that stands still until it is told otherwise. Pass it as ``ReadTimeTracker(clock=…)``.

    Args:
        start: an aware datetime.

    Raises:
        InvalidInput: ``start`` is naive.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        to_epoch_ms(start, "start")
        self._now = start
        self._lock = threading.Lock()

    def __call__(self) -> datetime:
        """Return the time."""
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Move forward, or back where ``seconds`` is negative; return the new time."""
        with self._lock:
            self._now += timedelta(seconds=seconds)
            return self._now


class RecordingEmitter:
    """An ``Emitter`` that accepts everything and keeps it.

    Attributes:
        events: every event, in order of arrival, repeats included.
        batches: how many events each call brought.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.batches: list[int] = []
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({plural(len(self.events), 'event')})"

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Keep a copy of the events."""
        with self._lock:
            self.events += copy.deepcopy([dict(event) for event in events])
            self.batches.append(len(events))

    def held(self, event_ids: Collection[str], /) -> frozenset[str]:
        """Return those of the ids that have arrived."""
        return frozenset(event_ids) & {event["id"] for event in self.events}

    def listed(self, actor_id: str, /) -> list[dict[str, Any]]:
        """Return every event of an actor that has arrived, repeats included."""
        return [event for event in self.events if event["actor"]["id"] == actor_id]

    def close(self) -> None:
        """Keep the events: tests look at them afterwards."""

    def seconds(self, reader: Reader | str, article: Activity | str) -> float:
        """Return the active seconds of a reader on an article; an event that came twice counts once."""
        sourced_id = reader.sourced_id if isinstance(reader, Reader) else reader
        resource_id = article.resource_id if isinstance(article, Activity) else article
        return reported_seconds(self.events, sourced_id, resource_id)


class FlakyEmitter:
    """An ``Emitter`` in front of another one that fails on command.

    Args:
        inner: what delivers when nothing fails; a new ``RecordingEmitter`` by default.
    """

    def __init__(self, inner: Any = None) -> None:
        self.inner: Any = RecordingEmitter() if inner is None else inner
        self._faults: deque[tuple[BaseException, bool]] = deque()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.inner!r})"

    def fail(self, *errors: BaseException, delivered: bool = False) -> None:
        """Let each of the next calls raise one of these errors.

        Args:
            errors: one for each call, in order.
            delivered: the events arrive all the same, and only the answer is lost.
        """
        self._faults += [(error, delivered) for error in errors]

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver, or fail as told."""
        error, delivered = self._faults.popleft() if self._faults else (None, True)
        if delivered:
            self.inner.emit(events)
        if error is not None:
            raise error

    def close(self) -> None:
        """Close the inner emitter."""
        self.inner.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """What the inner emitter has recorded."""
        events: list[dict[str, Any]] = self.inner.events
        return events

    def seconds(self, reader: Reader | str, article: Activity | str) -> float:
        """Return the inner emitter's ``seconds``."""
        seconds: float = self.inner.seconds(reader, article)
        return seconds
