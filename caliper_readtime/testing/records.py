"""What a ``CaliperEndpoint`` has received and stored, safe for threads."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

from caliper_readtime.testing._service import Stored

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Headers", "Records", "Request"]

Event = dict[str, Any]
#: What becomes of an event whose id is stored already: it is stored again, passed over, or its envelope is refused.
Duplicates: TypeAlias = Literal["keep", "dedupe", "refuse"]


class Headers(Mapping[str, str]):
    """HTTP header fields; their names are looked up without regard to case."""

    def __init__(self, pairs: Iterable[tuple[str, str]]) -> None:
        self._fields = {name.lower(): value for name, value in pairs}

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


@attrs.frozen
class Request:
    """One HTTP request as it arrived.

    Attributes:
        method: HTTP method.
        path: path and query.
        headers: header fields, whatever the case of their names. Not in the repr, which must not show tokens.
        body: the body as far as it was read; not in the repr.
        status: status of the answer; None while there is none, and where the connection was dropped.
        problems: what was wrong with the envelope, each with a JSON path.
    """

    method: str
    path: str
    headers: Mapping[str, str] = attrs.field(repr=False)
    body: bytes = attrs.field(default=b"", repr=False)
    status: int | None = None
    problems: tuple[str, ...] = ()


def _canonical(event: Event) -> str:
    return json.dumps(event, sort_keys=True, separators=(",", ":"))


class Records:
    """Requests in order of arrival, and events in order of acceptance."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._serials = count()
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._requests: dict[int, Request] = {}
            self._held: dict[str, Event] = {}
            self._rows: list[Stored] = []
            self._repeated: dict[str, bool] = {}  # id: whether its content ever differed

    def arrived(self, request: Request) -> int:
        """Record a request, and return the number under which ``amend`` knows it."""
        with self._lock:
            serial = next(self._serials)
            self._requests[serial] = request
            return serial

    def amend(self, serial: int, **changes: Any) -> None:
        """Add what has become known of a request, unless it was forgotten meanwhile."""
        with self._lock:
            if serial in self._requests:
                self._requests[serial] = attrs.evolve(self._requests[serial], **changes)

    def accept(
        self, events: Sequence[Event], envelope: Event, *, duplicates: Duplicates, visible_at: float
    ) -> tuple[Stored, ...] | None:
        """Store the events of one envelope, all of them or none.

        Args:
            events: the events, already found good.
            envelope: what they came in.
            duplicates: what becomes of events whose ids are stored already.
            visible_at: from when reads show them.

        Returns:
            The new rows, or None where duplicates are refused and one was among them.
        """
        with self._lock:
            if duplicates == "refuse" and any(event["id"] in self._held for event in events):
                return None
            stored = []
            for event in events:
                held = self._held.setdefault(event["id"], event)
                if held is not event:
                    differs = _canonical(held) != _canonical(event)
                    self._repeated[event["id"]] = differs or self._repeated.get(event["id"], False)
                    if duplicates == "dedupe":
                        continue
                created = datetime.now(UTC).isoformat(timespec="milliseconds")
                stored.append(
                    Stored(len(self._rows) + 1, event, envelope["sensor"], envelope["sendTime"], created, visible_at)
                )
                self._rows.append(stored[-1])
            return tuple(stored)

    def rows(self) -> tuple[Stored, ...]:
        """Return everything that is stored, in order of arrival."""
        with self._lock:
            return tuple(self._rows)

    def requests(self) -> tuple[Request, ...]:
        """Return every request."""
        with self._lock:
            return tuple(self._requests.values())

    def events(self) -> tuple[Event, ...]:
        """Return the distinct events, as they were first accepted."""
        with self._lock:
            return tuple(self._held.values())

    def repeated(self, *, differing: bool) -> tuple[str, ...]:
        """Return the ids that were accepted more than once, or only those whose content ever differed."""
        with self._lock:
            return tuple(event_id for event_id, differed in self._repeated.items() if differed or not differing)

    def seconds(self, actor_id: str | None, activity_id: str | None) -> float:
        """Return the active seconds of the distinct events of an actor, an activity, both or all."""
        return math.fsum(
            item["value"]
            for event in self.events()
            if actor_id in (None, event["actor"]["id"])
            and activity_id in (None, event["object"].get("activity", {}).get("id"))
            for item in event["generated"]["items"]
            if item["type"] == "active"
        )
