"""PURE: the real service's shape of what it stores: rows, the filters of its list, and its pages."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DEFAULT_LIMIT: Final = 100
MAX_LIMIT: Final = 1000


@attrs.frozen
class Stored:
    """One row: an event as it was delivered, and what the service adds.

    Attributes:
        number: the service's own id, an integer.
        event: the event as it was delivered.
        sensor: of its envelope.
        send_time: of its envelope.
        created_at: when it was stored.
        visible_at: from when reads show it, in seconds of the endpoint's clock.
    """

    number: int
    event: Mapping[str, Any] = attrs.field(repr=False)
    sensor: str
    send_time: str
    created_at: str
    visible_at: float

    def document(self) -> dict[str, Any]:
        """Return the row as the service shows it: the event's id is ``externalId``, and ``id`` is an integer."""
        rest = {name: value for name, value in self.event.items() if name not in ("id", "@context")}
        return {
            "id": self.number,
            "externalId": self.event["id"],
            "sensor": self.sensor,
            "sendTime": self.send_time,
            "created_at": self.created_at,
            "updated_at": None,
            "deleted_at": None,
            **rest,
        }


class BadQueryError(ValueError):
    """The list cannot be asked like that."""


def page(rows: Sequence[Stored], query: Mapping[str, str]) -> dict[str, Any]:
    """Return one page of the rows that a query asks for, in order of arrival, as the service answers it.

    Raises:
        BadQueryError: a number or a date of the query is not one.
    """
    try:
        limit, offset = int(query.get("limit", DEFAULT_LIMIT)), int(query.get("offset", 0))
        since, until = (_moment(query[name]) if name in query else None for name in ("startDate", "endDate"))
    except ValueError as error:
        raise BadQueryError("limit, offset, startDate or endDate is not a number or a date") from error
    if not 1 <= limit <= MAX_LIMIT or offset < 0:
        raise BadQueryError(f"limit must be 1 to {MAX_LIMIT}, and offset at least 0")
    wanted: dict[str, Callable[[Stored], object]] = {
        "sensor": lambda row: row.sensor,
        "actorId": lambda row: _of(row.event.get("actor"), "id"),
        "actorEmail": lambda row: _of(row.event.get("actor"), "email"),
    }
    found = [
        row
        for row in rows
        if all(query[name] == read(row) for name, read in wanted.items() if name in query)
        and (since is None or _moment(row.event["eventTime"]) >= since)
        and (until is None or _moment(row.event["eventTime"]) <= until)
    ]
    return {
        "events": [row.document() for row in found[offset : offset + limit]],
        "pagination": {
            "total": len(found),
            "totalPages": -(-len(found) // limit),
            "currentPage": offset // limit + 1,
            "limit": limit,
        },
    }


def job(job_id: str, rows: Sequence[Stored]) -> dict[str, Any]:
    """Return the status of the job that stored these rows."""
    results = [{"allocatedId": str(row.number), "externalId": row.event["id"]} for row in rows]
    done = max((row.created_at for row in rows), default=None)
    return {
        "job": {
            "id": job_id,
            "state": "completed",
            "returnValue": {"status": "success", "results": results},
            "processedOn": done,
        }
    }


def _of(entity: object, name: str) -> object:
    """Return a property of a Caliper entity, which may be a mere URI."""
    if isinstance(entity, Mapping):
        return entity.get(name)
    return entity if name == "id" else None


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
