"""PURE: the minutes that Caliper events pay by the XP calculator, and what a test says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import unquote

from caliper_readtime._model import Article, Reader
from caliper_readtime._rules.identity import ROSTERING
from caliper_readtime._units import minutes_rounded_up, to_plain_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

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


class HasEvents(Protocol):
    """Where events arrive: a ``RecordingEmitter``, a ``FlakyEmitter``, a ``CaliperEndpoint``."""

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """What has arrived, in order."""


def assert_reported(endpoint: HasEvents, reader: Reader | str, article: Article | str, seconds: float) -> None:
    """Assert that so many active seconds of a reader on an article have arrived; an event that came twice counts once.

    Args:
        endpoint: where events arrive.
        reader: the reader, their sourced id, or their OneRoster URL.
        article: the article, its resource id, or its OneRoster URL.
        seconds: how many, to the millisecond.

    Raises:
        AssertionError: there are more or fewer; it lists what has arrived, and for whom.
    """
    __tracebackhide__ = True
    who, what = _ids(reader, article)
    found = round(reported_seconds(endpoint.events, who, what), 3)
    if found != round(seconds, 3):
        raise AssertionError(
            f"{who} on {what}: {_shown(found)} are reported, not {_shown(seconds)}\n{_timeline(endpoint, who, what)}"
        )


def assert_banked(
    endpoint: HasEvents,
    reader: Reader | str,
    article: Article | str,
    minutes: float,
    *,
    expected_xp: float | None = None,
    rounding: Callable[[float], int] = minutes_rounded_up,
) -> None:
    """Assert that the XP calculator would bank so many minutes, as ``banked_minutes`` has it: every delivery counts.

    Args:
        endpoint: where events arrive.
        reader: the reader, their sourced id, or their OneRoster URL.
        article: the article, its resource id, or its OneRoster URL.
        minutes: how many.
        expected_xp: most minutes that the article pays; None for no limit.
        rounding: makes minutes of seconds.

    Raises:
        AssertionError: it would bank more or fewer; it lists what has arrived, and for whom.
    """
    __tracebackhide__ = True
    who, what = _ids(reader, article)
    actors = {event["actor"]["id"] for event in endpoint.events if is_named(event["actor"]["id"], who)}
    # A calculator knows one actor by the whole URL; an event by another one is not theirs.
    actor = who if len(actors) != 1 else actors.pop()
    cap = float(1 << 31) if expected_xp is None else expected_xp
    # The calculator sums deliveries; where only events are known, each is one.
    arrived = getattr(endpoint, "deliveries", endpoint.events)
    found = banked_minutes(arrived, actor, [what], cap, rounding=rounding)[what]
    if found != minutes:
        raise AssertionError(
            f"{who} on {what}: {found:g} min would be banked, not {minutes:g} min"
            f"{'' if expected_xp is None else f' (the article pays at most {expected_xp:g} min)'}"
            f"\n{_timeline(endpoint, who, what)}"
        )


def _ids(reader: Reader | str, article: Article | str) -> tuple[str, str]:
    return (
        reader.sourced_id if isinstance(reader, Reader) else reader,
        article.resource_id if isinstance(article, Article) else normalised_activity_id(article),
    )


def _shown(seconds: float) -> str:
    return f"{to_plain_seconds(round(seconds * 1000))} s"


def _timeline(endpoint: HasEvents, who: str, what: str) -> str:
    times: dict[str, int] = {}
    for event in endpoint.events:
        times[event["id"]] = times.get(event["id"], 0) + 1
    if not times:
        return "Nothing has arrived. Was it finalized, flushed or swept?"
    theirs, others = [], []
    for event in sorted({event["id"]: event for event in endpoint.events}.values(), key=_start):
        again = f", came {times[event['id']]} times" if times[event["id"]] > 1 else ""
        line = f"  {_start(event)} to {_end(event)}  {_shown(active_seconds(event))}  {event['id']}{again}"
        if concerns(event, who, what):
            theirs.append(line)
        else:
            others.append(f"{line}\n    {event['actor']['id']} on {event['object']['activity']['id']}")
    said = ["Arrived:", *theirs] if theirs else ["Nothing of theirs on it has arrived."]
    return "\n".join([*said, *(["Arrived for others, or on others:", *others] if others else [])])


def _start(event: Mapping[str, Any]) -> str:
    return str(min(item.get("startDate", "?") for item in event["generated"]["items"]))


def _end(event: Mapping[str, Any]) -> str:
    return str(max(item.get("endDate", "?") for item in event["generated"]["items"]))
