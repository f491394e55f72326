"""PURE: what an endpoint holds of a reader, beside what our states say was accepted (chapter J of the protocol)."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from caliper_readtime._results import ArticleReconciliation, EventSum
from caliper_readtime._rules.account import recent
from caliper_readtime._rules.reconcile import committed, id_of
from caliper_readtime._units import MAX_SECONDS, to_epoch_ms, to_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from caliper_readtime._rules.account import SentEvent
    from caliper_readtime._rules.state import ReadTimeState

#: J5: how long, in seconds, an endpoint may take to show what it has accepted. 3 to 5 s is what one host's notes say
#: of a good day; nothing is lost by waiting longer.
SETTLE_SECONDS: Final = 300.0


class HeldEvent(NamedTuple):
    """What an endpoint shows of one delivery.

    Attributes:
        event_id: ``urn:uuid:…``.
        activity_id: what it was read on; None where it says nothing.
        ms: its active time.
        at_ms: its time, milliseconds since the epoch; None where it says nothing.
        sensor: who sent it; None where the endpoint does not say.
        deleted: the endpoint has it marked as deleted.
    """

    event_id: str
    activity_id: str | None
    ms: int
    at_ms: int | None = None
    sensor: str | None = None
    deleted: bool = False


def held_event(document: Mapping[str, Any]) -> HeldEvent | None:
    """Return what a listed event says; None where it is no TimeSpentEvent.

    Timeback's service shows an event's id as ``externalId``, and as ``id`` a number of its own.
    """
    name = document.get("externalId", document.get("id"))
    target, generated = document.get("object"), document.get("generated")
    items = generated.get("items") if isinstance(generated, dict) else None
    if not isinstance(name, str) or not isinstance(items, list):
        return None
    activity = target.get("activity") if isinstance(target, dict) else None
    activity_id = activity.get("id") if isinstance(activity, dict) else None
    values = (one.get("value") for one in items if isinstance(one, dict) and one.get("type") == "active")
    # What cannot be a time (Python reads 1e999 and NaN in JSON) is none: somebody's event must not hide all others.
    ms = sum(round(value * 1000) for value in values if isinstance(value, int | float) and 0 <= value <= MAX_SECONDS)
    return HeldEvent(
        name,
        activity_id if isinstance(activity_id, str) else None,
        ms,
        _time(document.get("eventTime")),
        document.get("sensor"),
        document.get("deleted_at") is not None,
    )


def _time(text: object) -> int | None:
    try:
        return to_epoch_ms(datetime.fromisoformat(str(text)), "eventTime")
    except (ValueError, OverflowError):
        return None


class Comparison(NamedTuple):
    """A state beside what the endpoint holds.

    Attributes:
        article: what there is to say.
        shown: ids of the last events that the endpoint shows, and had not shown before.
        resendable: the last events that are missing.
    """

    article: ArticleReconciliation
    shown: frozenset[str]
    resendable: tuple[SentEvent, ...]


def compared(
    state: ReadTimeState,
    listed: Sequence[HeldEvent],
    activity_id: str,
    sensor: str,
    *,
    now: int,
    settle_ms: int,
    since_ms: int | None,
) -> Comparison:
    """Hold one state against everything that the endpoint shows of its reader.

    Args:
        state: read after the endpoint was asked.
        listed: every delivery, of whatever article.
        activity_id: the article, as events name it.
        sensor: ours.
        now: milliseconds since the epoch.
        settle_ms: what was sent within this time is not judged.
        since_ms: leave out events whose time ended before, as far as that is known; milliseconds since the epoch.
    """
    held = [event for event in listed if not event.deleted]
    ours, untold_ms = committed(state)
    last = {id_of(state, event): event for event in recent(state.ledger.account)}
    settled_ms = now - settle_ms
    # What is not among the last ones was accepted before them all.
    old_is_settled = all(event.sent_at_ms <= settled_ms for event in list(last.values())[:1])
    if since_ms is not None:
        # When one that is not among the last ones ended, the endpoint may show; or else: before the first was accepted.
        before = {one.event_id for one in held if one.at_ms is not None and one.at_ms < since_ms}
        first_ms = next((event.sent_at_ms for event in last.values()), since_ms)
        old = {
            name
            for name in ours
            if (last[name].ended_at_ms < since_ms if name in last else name in before or first_ms < since_ms)
        }
        ours = {name: ms for name, ms in ours.items() if name not in old}
        held = [one for one in held if one.event_id in ours or one.event_id not in old | before]
        untold_ms = 0 if first_ms < since_ms else untold_ms
    open_ms = {entry.event_id: entry.end_ms - entry.start_ms for entry in state.ledger.parked}
    claim = state.ledger.claim
    if claim is not None:
        open_ms[claim.event_id] = claim.end_ms - claim.start_ms
    marked = {event.event_id for event in listed if event.deleted}
    times = Counter(event.event_id for event in held)
    shown_ms = {event.event_id: event.ms for event in held}
    missing = [name for name in ours if name not in times]
    young = [name for name in missing if (last[name].sent_at_ms > settled_ms if name in last else not old_is_settled)]
    gone = [name for name in missing if name not in young]
    deleted = [name for name in gone if name in marked or (name in last and last[name].shown)]
    lost = [name for name in gone if name not in deleted]
    altered = [name for name, ms in ours.items() if name in times and shown_ms[name] != ms]
    known = {*ours, *open_ms}
    others = [event for event in held if event.activity_id == activity_id and event.event_id not in known]
    foreign, earlier = (
        {one.event_id: one.ms * times[one.event_id] for one in others if (one.sensor == sensor) is mine}
        for mine in (False, True)
    )
    doubled = {name: ms * (times[name] - 1) for name, ms in {**ours, **open_ms}.items() if times[name] > 1}
    article = ArticleReconciliation(
        state.resource_id,
        to_seconds(state.reported_ms),
        to_seconds(sum(event.ms for event in held if event.activity_id == activity_id)),
        matching=_sum({name: ours[name] for name in ours if name in times and name not in altered}),
        missing=_sum({name: ours[name] for name in lost}),
        deleted=_sum({name: ours[name] for name in deleted}),
        doubled=_sum(doubled),
        altered=_sum({name: shown_ms[name] for name in altered}),
        foreign=_sum(foreign),
        earlier=_sum(earlier),
        pending=_sum(
            {name: ours[name] for name in young} | {name: ms for name, ms in open_ms.items() if name in times}
        ),
        untold_seconds=to_seconds(untold_ms),
    )
    shown = frozenset(name for name, event in last.items() if name in times and not event.shown)
    return Comparison(article, shown, tuple(last[name] for name in lost if name in last))


def _sum(events: Mapping[str, int]) -> EventSum:
    return EventSum(to_seconds(sum(events.values())), tuple(events))


def elsewhere(held: Iterable[HeldEvent], activity_ids: Iterable[str]) -> EventSum:
    """Return what the endpoint holds of a reader on articles that no state is about."""
    known = set(activity_ids)
    return _sum({event.event_id: event.ms for event in held if event.activity_id not in known and not event.deleted})
