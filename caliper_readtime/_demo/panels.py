"""PURE: what the page's panels show, as one JSON document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caliper_readtime._rules.state import SECOND
from caliper_readtime.testing._minutes import active_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caliper_readtime._rules.state import ReadTimeState

    Event = Mapping[str, Any]


def state_panel(state: ReadTimeState, events: Sequence[Event], killed: str | None = None) -> dict[str, Any]:
    """Return what the server knows of the reader's time; all times in milliseconds.

    Args:
        state: the reader's.
        events: what the endpoint has accepted.
        killed: id of the event whose worker was killed.
    """
    claim = state.ledger.claim
    return {
        "read": state.meter.cumulative_ms,
        "reported": state.reported_ms,
        "unreported": state.meter.cumulative_ms - state.reported_ms,
        "finalized": state.ledger.finalized_at_ms,
        "spans": spans(state, events),
        "claim": claim
        and {
            "event": claim.event_id,
            "length": claim.end_ms - claim.start_ms,
            "held": claim.owner is not None,
            "dead": claim.owner is not None and claim.event_id == killed,
            "until": claim.until_at_ms,
            "attempts": claim.attempts,
        },
    }


def spans(state: ReadTimeState, events: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the accepted time from its first to its last millisecond, cut where what has become of it changes.

    Args:
        state: whose time.
        events: the distinct events that the endpoint has accepted, in order: claims never overlap, so they lie end to
            end.
    """
    cuts: list[dict[str, Any]] = []

    def cut(kind: str, end: int, event: str | None = None) -> None:
        start = cuts[-1]["to"] if cuts else 0
        if end > start:
            cuts.append({"kind": kind, "from": start, "to": end, "event": event})

    accepted = 0
    for event in events:
        accepted += round(active_seconds(event) * SECOND)
        cut("reported", min(accepted, state.reported_ms), event["id"])
    claim = state.ledger.claim
    if claim is not None:
        cut("claimed", claim.end_ms, claim.event_id)
    cut("unreported", state.meter.cumulative_ms)
    return cuts


def event_rows(deliveries: Iterable[Event]) -> list[dict[str, Any]]:
    """Return the distinct events in order of their first arrival, and how often each has come."""
    rows: dict[str, dict[str, Any]] = {}
    for event in deliveries:
        (item,) = event["generated"]["items"]
        row = rows.setdefault(
            event["id"],
            {
                "id": event["id"],
                "seconds": active_seconds(event),
                "from": item["startDate"],
                "to": item["endDate"],
                "times": 0,
            },
        )
        row["times"] += 1
    return list(rows.values())


def short(event_id: str) -> str:
    """Return as much of an event's id as tells it from the others on one page."""
    return event_id.removeprefix("urn:uuid:")[:8]
