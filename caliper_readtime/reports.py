"""PURE: how a ``Report`` is made of a state, and one of two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime.errors import EventRejected
from caliper_readtime.results import Outcome, Report

if TYPE_CHECKING:
    from datetime import datetime

    from caliper_readtime.state import Key, Parked, ReadTimeState


def retry_at(state: ReadTimeState | None) -> datetime | None:
    """Return when a state's claim, or what is due of it, is tried again."""
    return None if state is None else state.due_at


def waiting(key: Key, parked: Parked, state: ReadTimeState | None) -> Report:
    """Return the report of a parked event that must wait until somebody has mended it."""
    error = EventRejected(
        f"an event of reader {key.reader_sourced_id}, article {key.resource_id} is parked ({parked.reason}):"
        " correct the Reader or Article, or unpark it",
        event_ids=(parked.event_id,),
        status=parked.status,
    )
    return Report(Outcome.PARKED, *key, event_ids=error.event_ids, state=state, error=error, retry_at=retry_at(state))


def merge(first: Report, last: Report) -> Report:
    """Return two reports of one state as one: what was sent adds up, the last word counts for the rest."""
    sent = first.delta_seconds + last.delta_seconds
    quiet = last.outcome in (Outcome.NOTHING_TO_SEND, Outcome.IN_FLIGHT, Outcome.DEFERRED)
    return Report(
        outcome=Outcome.SENT if sent and quiet else last.outcome,
        reader_sourced_id=last.reader_sourced_id,
        resource_id=last.resource_id,
        delta_seconds=sent,
        event_ids=tuple(dict.fromkeys((*first.event_ids, *last.event_ids))),
        state=last.state,
        error=last.error or first.error,
        retry_at=last.retry_at,
    )
