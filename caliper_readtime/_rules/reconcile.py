"""PURE: what a reconciliation writes down, and how an event is built again (chapter J of the protocol)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from caliper_readtime._rules.account import SentEvent, digest, recent, spans, with_recent
from caliper_readtime._rules.identity import event_id, generated_id
from caliper_readtime._rules.state import SECOND, ReadTimeState, evolved

if TYPE_CHECKING:
    from caliper_readtime._rules.event import TimeSpentEvents


def id_of(state: ReadTimeState, event: SentEvent) -> str:
    """Return the id of one of the state's last events."""
    return event_id(state.ledger.generation, state.key, event.start_ms, event.end_ms)


def committed(state: ReadTimeState) -> tuple[dict[str, int], int]:
    """Return id and milliseconds of every event of this life that was accepted, and the milliseconds of all others.

    J1: what was refused and is still parked was cut as well, and has not been accepted.
    """
    ledger = state.ledger
    parked = {entry.event_id for entry in ledger.parked}
    known: dict[str, int] = {}
    untold = 0
    for span in spans(ledger.account, ledger.pointer_ms):
        if not span.known:
            inside = (one for one in ledger.parked if span.start_ms <= one.start_ms < span.end_ms)
            untold += span.end_ms - span.start_ms - sum(one.end_ms - one.start_ms for one in inside)
            continue
        name = event_id(ledger.generation, state.key, span.start_ms, span.end_ms)
        if name not in parked:
            known[name] = span.end_ms - span.start_ms
    return known, untold


def rebuilt(events: TimeSpentEvents, state: ReadTimeState, event: SentEvent) -> str | None:
    """Return the bytes of an event that was sent; None where they cannot be had again (J6)."""
    span = event.start_ms, event.end_ms
    try:
        document = events.event(
            event.context.reader,
            event.context.article,
            event_id=id_of(state, event),
            generated_id=generated_id(state.ledger.generation, state.key, *span),
            seconds=(event.end_ms - event.start_ms) // SECOND,
            started_at_ms=event.began_at_ms,
            ended_at_ms=event.ended_at_ms,
        )
        body = json.dumps(document, separators=(",", ":"), allow_nan=False)
    except Exception:  # noqa: BLE001 - whatever a builder raises: the event cannot be had again
        return None
    return body if digest(body) == event.digest else None


@attrs.frozen
class MarkShown:
    """A transition: the endpoint has shown these events, so none of them is ever sent again unasked."""

    generation: str
    event_ids: frozenset[str]

    def __call__(self, state: ReadTimeState | None, _now: int, /) -> tuple[ReadTimeState | None, None]:
        """Apply it; after a rebirth it changes nothing."""
        if state is None or state.ledger.generation != self.generation:
            return state, None
        before = recent(state.ledger.account)
        after = tuple(event._replace(shown=event.shown or id_of(state, event) in self.event_ids) for event in before)
        return (state if after == before else _with_recent(state, after)), None


@attrs.frozen
class SendAgain:
    """A transition: somebody is about to send this missing event again. Answers whether it is the caller who may.

    Attributes:
        generation: of the state that was looked at.
        event_id: the event.
        sent_at_ms: when it had been sent last, as the caller knows it: of several callers one is right.
    """

    generation: str
    event_id: str
    sent_at_ms: int

    def __call__(self, state: ReadTimeState | None, now: int, /) -> tuple[ReadTimeState | None, bool]:
        """Apply it; after a rebirth, and where the event was sent or shown meanwhile, it changes nothing."""
        if state is None or state.ledger.generation != self.generation:
            return state, False
        before = recent(state.ledger.account)
        mine = [event for event in before if id_of(state, event) == self.event_id]
        if not mine or mine[0].shown or mine[0].sent_at_ms != self.sent_at_ms:
            return state, False
        after = (event._replace(sent_at_ms=now) if event is mine[0] else event for event in before)
        return _with_recent(state, tuple(after)), True


def _with_recent(state: ReadTimeState, events: tuple[SentEvent, ...]) -> ReadTimeState:
    account = with_recent(state.ledger.account, events)
    return evolved(state, ledger=evolved(state.ledger, account=account))
