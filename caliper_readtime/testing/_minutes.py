"""PURE: the seconds of Caliper events, and the minutes that they pay by the XP calculator."""

from __future__ import annotations

from collections.abc import Mapping
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


def _paid_seconds(event: Mapping[str, Any]) -> float:
    """Return what the calculator counts of an event: its first ``active`` item, whatever follows."""
    for item in event.get("generated", {}).get("items", ()):
        if item["type"] == "active":
            value: float = item["value"]
            return value
    return 0.0


def banked_minutes(
    events: Iterable[Mapping[str, Any]],
    actor_id: str,
    resource_ids: Iterable[str],
    expected_xp: float | Mapping[str, float],
    *,
    rounding: Callable[[float], int] = minutes_rounded_up,
    distinct: bool = False,
) -> dict[str, float]:
    """Return the minutes that the production calculator would bank for each article.

    It counts ``SpentTime`` events alone, of exactly this actor, and adds **every delivery**: it knows no event ids, so
    an event that came twice is paid twice. Of an event it counts the first ``active`` item. An activity is the article
    where its id, or what follows ``/resources/`` in it, is the resource id to the letter: nothing is percent-decoded,
    so an id that a URL must encode is found only as a plain activity id (``TimeSpentEvents(activity_ids="plain")``).
    A compound id ``nice_<unit>_<x>`` of an event is taken for ``nice_<x>``.

    Args:
        events: Caliper events in any order, one for each delivery, such as ``CaliperEndpoint.deliveries``.
        actor_id: the reader's full OneRoster user URL.
        resource_ids: the eligible articles, as resource ids or URLs.
        expected_xp: most minutes that an article pays, fractions included; one number for all, or one for each of
            ``resource_ids``.
        rounding: makes minutes of an article's seconds, because hosts differ.
        distinct: count each event id once, as an endpoint that recognises repeated ids would have it.
    """
    summed = calculator_seconds(events, distinct=distinct)
    seconds = {resource_id: value for (actor, resource_id), value in summed.items() if actor == actor_id}
    banked: dict[str, float] = {}
    for resource_id in resource_ids:
        name = _named(resource_id)
        cap = (
            expected_xp.get(resource_id, expected_xp.get(name, 0)) if isinstance(expected_xp, Mapping) else expected_xp
        )
        banked[resource_id] = min(rounding(seconds.get(name, 0.0)), cap)
    return banked


def calculator_seconds(events: Iterable[Mapping[str, Any]], *, distinct: bool = False) -> dict[tuple[str, str], float]:
    """Return the seconds that the production calculator adds up, by actor id and reduced resource id.

    Args:
        events: one for each delivery.
        distinct: count each event id once.
    """
    seconds: dict[tuple[str, str], float] = {}
    counted: set[str] = set()
    for event in events:
        activity = event.get("object", {}).get("activity") or {}
        actor = event.get("actor", {}).get("id")
        if event.get("action") != "SpentTime" or actor is None or "id" not in activity:
            continue
        if distinct:
            if event["id"] in counted:
                continue
            counted.add(event["id"])
        key = (actor, reduced(_named(activity["id"])))
        seconds[key] = seconds.get(key, 0.0) + _paid_seconds(event)
    return seconds


def _named(activity_id: str) -> str:
    return activity_id.rpartition(_RESOURCES)[2] or activity_id


def reduced(resource_id: str) -> str:
    """Return what the calculator makes of a compound id, ``nice_<unit>_<x>``: ``nice_<x>``."""
    parts = resource_id.split("_")
    return f"nice_{parts[2]}" if len(parts) == 3 and parts[0] == "nice" else resource_id  # noqa: PLR2004 - nice, unit, x
