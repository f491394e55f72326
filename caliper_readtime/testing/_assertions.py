"""PURE: what a test says of a reader's minutes, and what it is told, event by event, when that is not so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from caliper_readtime._model import Article, Reader
from caliper_readtime._units import minutes_rounded_up, to_plain_seconds
from caliper_readtime.testing._banking import (
    active_seconds,
    banked_minutes,
    concerns,
    is_named,
    normalised_activity_id,
    reported_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


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
