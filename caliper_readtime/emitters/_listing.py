"""``EventList``: reads a list of events that an endpoint hands out page by page, whole or not at all.

Imports requests, so it is imported late.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime.emitters._transport import answer_limit
from caliper_readtime.errors import EmitterUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime.emitters._responses import EndpointResponse

#: Events asked for at once; an endpoint may hand out fewer.
PAGE: Final = 1000
#: How much of a page is read, in bytes; a page of events with the longest titles is below.
MAX_PAGE_BYTES: Final = 16 * 1024 * 1024
#: How often a list that changes while it is read is begun again.
TRIES: Final = 3

_OK: Final = range(200, 300)


class EventList:
    """The events of one list.

    Args:
        where: name of the endpoint, for errors.
        ask: asks for a page; takes the query.
    """

    def __init__(self, where: str, ask: Callable[[dict[str, str]], EndpointResponse]) -> None:
        self._where = where
        self._ask = ask

    def read(self, actor_id: str) -> list[dict[str, Any]]:
        """Return all of an actor's events.

        Raises:
            EmitterUnavailable: it changed each time while it was read, or a page makes no sense.
            EndpointRefused: the endpoint does not list events.
        """
        before = answer_limit.set(MAX_PAGE_BYTES)
        try:
            for _ in range(TRIES):
                events = self._pages(actor_id)
                if events is not None:
                    return events
        finally:
            answer_limit.reset(before)
        raise EmitterUnavailable(f"{self._where}: its list of events changed while it was read: try again later")

    def _pages(self, actor_id: str) -> list[dict[str, Any]] | None:
        """Return the events of every page; None where the list has changed between two of them."""
        events: list[dict[str, Any]] = []
        total = None
        while total is None or len(events) < total:
            answer = self._ask({"actorId": actor_id, "limit": str(PAGE), "offset": str(len(events))})
            page, now = self._page(answer)
            if total not in (None, now):
                return None
            total = now
            events += page
            if not page:
                break
        # A row of the service's that stands on two pages: its order has changed, and another row is on neither.
        rows = [event["id"] for event in events if "externalId" in event and isinstance(event.get("id"), int | str)]
        return events if len(events) == total and len(rows) == len(set(rows)) else None

    def _page(self, answer: EndpointResponse) -> tuple[list[dict[str, Any]], int]:
        if answer.status not in _OK:
            raise answer.refused(self._where, ())
        try:
            document = json.loads(answer.body)
            events, total = document["events"], document["pagination"]["total"]
            if type(total) is int and isinstance(events, list) and all(isinstance(event, dict) for event in events):
                return events, total
        except (ValueError, RecursionError, KeyError, TypeError):
            pass
        raise EmitterUnavailable(f"{self._where}: its answer is not a list of events, or is too long to read")
