"""The flow that is replaced: it reads a JSON state, changes it, writes it back, and sends what it has not sent.

It is here to be migrated away from. Its defects are left in: of two heartbeats at once one is lost, what is cut off
below a second is lost, and an event whose answer was lost is sent again under another id.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from uuid import uuid4

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from datetime import datetime

    from caliper_readtime import Article, Reader, TimeSpentEvents


class OldFlow:
    """The old flow.

    Args:
        cache: the states, JSON by key; a Redis client's ``get`` and ``set`` in a real host.
        send: delivers events.
        events: builds them.
        clock: the time.
    """

    def __init__(
        self,
        cache: MutableMapping[str, str],
        send: Callable[[list[dict[str, Any]]], object],
        events: TimeSpentEvents,
        clock: Callable[[], datetime],
    ) -> None:
        self.cache = cache
        self._send = send
        self._events = events
        self._clock = clock

    def heartbeat(self, reader: Reader, article: Article, delta_seconds: float) -> None:
        """Add a heartbeat's time, at most one and a half times what has passed."""
        state = self._state(reader, article)
        now = self._clock().timestamp()
        if state["last"] is not None:
            delta_seconds = min(delta_seconds, max(2.5, 1.5 * (now - state["last"])))
        self._keep(reader, article, {**state, "cumulative": state["cumulative"] + delta_seconds, "last": now})

    def leave(self, reader: Reader, article: Article) -> None:
        """Send what is not sent yet."""
        state = self._state(reader, article)
        delta = state["cumulative"] - state["reported"]
        if delta < 1:
            return
        now_ms = round(self._clock().timestamp() * 1000)
        event = self._events.event(
            reader,
            article,
            event_id=f"urn:uuid:{uuid4()}",
            generated_id=f"urn:uuid:{uuid4()}",
            seconds=int(delta),
            started_at_ms=now_ms - round(delta * 1000),
            ended_at_ms=now_ms,
        )
        self._send([event])
        self._keep(reader, article, {**state, "reported": state["cumulative"]})

    def forget(self, reader: Reader, article: Article) -> None:
        """Remove a state."""
        self.cache.pop(self.key(reader, article), None)

    @staticmethod
    def key(reader: Reader, article: Article) -> str:
        """The key of a state."""
        return f"article:state:{reader.sourced_id}:{article.resource_id}"

    def _state(self, reader: Reader, article: Article) -> dict[str, Any]:
        fresh = '{"cumulative": 0, "reported": 0, "last": null}'
        state: dict[str, Any] = json.loads(self.cache.get(self.key(reader, article)) or fresh)
        return state

    def _keep(self, reader: Reader, article: Article, state: dict[str, Any]) -> None:
        self.cache[self.key(reader, article)] = json.dumps(state)
