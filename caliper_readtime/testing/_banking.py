"""PURE: what an XP calculator makes of Caliper events, so that tests can say "she is paid four minutes"."""

from __future__ import annotations

from collections.abc import Mapping
from math import floor
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from caliper_readtime._rules.identity import ROSTERING
from caliper_readtime._units import minutes_rounded_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_RESOURCES: Final = "/resources/"


def active_seconds(event: Mapping[str, Any]) -> float:
    """Return the seconds of an event's ``active`` items."""
    values: list[float] = [item["value"] for item in event["generated"]["items"] if item["type"] == "active"]
    return sum(values)


def normalised_activity_id(activity_id: str) -> str:
    """Return the resource id that an activity id names: what follows ``/resources/``, or the id as it is."""
    _, found, resource_id = activity_id.rpartition(_RESOURCES)
    return unquote(resource_id) if found else activity_id


def is_named(uri: str, wanted: str) -> bool:
    """Whether this is the URI of an actor or activity, or the id that its OneRoster URL ends with."""
    # A URL elsewhere is an id of its own, and its last segment none.
    return wanted in (uri, unquote(uri), unquote(uri.rpartition("/")[2]) if ROSTERING in uri else uri)


def concerns(event: Mapping[str, Any], reader: str, article: str) -> bool:
    """Whether an event is of this reader and article, each named by its URI or id."""
    return is_named(event["actor"]["id"], reader) and is_named(event["object"]["activity"]["id"], article)


def reported_seconds(events: Iterable[Mapping[str, Any]], reader: str, article: str) -> float:
    """Return the active seconds of a reader on an article; an event that came twice counts once."""
    distinct = {event["id"]: event for event in events}
    return sum((active_seconds(event) for event in distinct.values() if concerns(event, reader, article)), 0.0)


def banked_minutes(
    events: Iterable[Mapping[str, Any]],
    actor_id: str,
    resource_ids: Iterable[str],
    expected_xp: float | Mapping[str, float],
    *,
    rounding: Callable[[float], int] = minutes_rounded_up,
) -> dict[str, int]:
    """Return the minutes that would be banked for each article.

    Counts ``SpentTime`` events alone, of exactly this actor, each event id once, and of them the ``active`` items
    whose activity is the article.

    Args:
        events: Caliper events, in any order, repeats included.
        actor_id: the reader's full OneRoster user URL.
        resource_ids: the eligible articles, as resource ids or URLs.
        expected_xp: most minutes that an article pays; one number for all, or one for each of ``resource_ids``.
        rounding: makes minutes of an article's seconds, because hosts differ.
    """
    seconds: dict[str, float] = {}
    counted: set[str] = set()
    for event in events:
        activity = event.get("object", {}).get("activity") or {}
        if event.get("action") != "SpentTime" or event.get("actor", {}).get("id") != actor_id:
            continue
        if event["id"] in counted or "id" not in activity:
            continue
        counted.add(event["id"])
        resource_id = normalised_activity_id(activity["id"])
        seconds[resource_id] = seconds.get(resource_id, 0.0) + active_seconds(event)
    banked = {}
    for resource_id in resource_ids:
        name = normalised_activity_id(resource_id)
        cap = (
            expected_xp.get(resource_id, expected_xp.get(name, 0)) if isinstance(expected_xp, Mapping) else expected_xp
        )
        banked[resource_id] = min(rounding(seconds.get(name, 0.0)), floor(cap))
    return banked
