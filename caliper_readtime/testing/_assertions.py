"""What hosts' tests assert of a reader's time, and what they are told when it is not so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from caliper_readtime._model import Activity, Reader
from caliper_readtime._rules.state import SECOND
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime._units import minutes_rounded_up, shown
from caliper_readtime.testing._minutes import (
    active_seconds,
    banked_minutes,
    concerns,
    is_named,
    normalised_activity_id,
    reported_seconds,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from caliper_readtime._rules.state import ReadTimeState


class HasEvents(Protocol):
    """Where events arrive: a ``RecordingEmitter``, a ``FlakyEmitter``, a ``CaliperEndpoint``."""

    @property
    def events(self) -> Sequence[Mapping[str, Any]]:
        """What has arrived, in order."""


def assert_reported(
    endpoint: HasEvents | ReadTimeTracker, reader: Reader | str, article: Activity | str, seconds: float
) -> None:
    """Assert that so many active seconds of a reader on an article have arrived; an event that came twice counts once.

    Args:
        endpoint: where events arrive; or a tracker: then its emitter, and where that keeps no events, what the tracker
            knows to have been accepted. A tracker knows more to say when it is not so.
        reader: the reader, their sourced id, or their OneRoster URL.
        article: the article, its resource id, or its OneRoster URL.
        seconds: how many, to the millisecond.

    Raises:
        AssertionError: there are more or fewer; it lists what has arrived, and for whom, and from a tracker what was
            clamped and what waits.
    """
    __tracebackhide__ = True
    who, what = _ids(reader, article)
    tracker = endpoint if isinstance(endpoint, ReadTimeTracker) else None
    state = None if tracker is None else tracker.state(reader, article)
    arrived = _keeper(endpoint)
    if arrived is not None:
        found, story = round(reported_seconds(arrived.events, who, what), 3), _timeline(arrived, who, what)
    else:
        found, story = 0.0 if state is None else state.reported_read_time_seconds, "The emitter keeps no events."
    if found != round(seconds, 3):
        hints = _hints(state, known=tracker is not None) if found < seconds else ()
        raise AssertionError(
            "\n".join([f"{who} on {what}: {shown(found)} are reported, not {shown(seconds)}", story, *hints])
        )


def _keeper(endpoint: HasEvents | ReadTimeTracker) -> HasEvents | None:
    """Return where events arrive and are kept, of a tracker its emitter; None where that keeps none."""
    kept: Any = endpoint.emitter if isinstance(endpoint, ReadTimeTracker) else endpoint
    return kept if hasattr(kept, "events") else None


def _hints(state: ReadTimeState | None, *, known: bool) -> Iterator[str]:
    """Say why less may have arrived than a test expects."""
    if not known:
        yield "Was time clamped, or not sent yet? Pass the tracker in place of its endpoint: it knows."
    elif state is None:
        yield "Nothing is stored of them: no heartbeat was accepted."
    else:
        if state.clamped_seconds:
            yield (
                f"Clamped: {shown(state.clamped_seconds)}, claimed beyond the time that has passed. Let the test's"
                " clock advance by what a heartbeat brings, before it comes."
            )
        for event in state.parked:
            yield f"Refused: {shown(event.seconds)}, {event.reason}"
        if state.unreported_ms >= SECOND and not state.parked:
            where = "In flight" if state.in_flight else "Not sent yet"
            yield f"{where}: {shown(state.unreported_seconds)}. partial, finalize, flush_reader or a sweep sends them."


def assert_banked(
    endpoint: HasEvents | ReadTimeTracker,
    reader: Reader | str,
    article: Activity | str,
    minutes: float,
    *,
    expected_xp: float | None = None,
    rounding: Callable[[float], int] = minutes_rounded_up,
) -> None:
    """Assert that the XP calculator would bank so many minutes, as ``banked_minutes`` has it: every delivery counts.

    Args:
        endpoint: where events arrive; or a tracker whose emitter keeps them.
        reader: the reader, their sourced id, or their OneRoster URL.
        article: the article, its resource id, or its OneRoster URL.
        minutes: how many.
        expected_xp: most minutes that the article pays; None for no limit.
        rounding: makes minutes of seconds.

    Raises:
        AssertionError: it would bank more or fewer; it lists what has arrived, and for whom.
        TypeError: the tracker's emitter keeps no events.
    """
    __tracebackhide__ = True
    who, what = _ids(reader, article)
    kept = _keeper(endpoint)
    if kept is None:
        raise TypeError("the tracker's emitter keeps no events: pass where they arrive")
    actors = {event["actor"]["id"] for event in kept.events if is_named(event["actor"]["id"], who)}
    # A calculator knows one actor by the whole URL; an event by another one is not theirs.
    actor = who if len(actors) != 1 else actors.pop()
    cap = float(1 << 31) if expected_xp is None else expected_xp
    # The calculator sums deliveries; where only events are known, each is one.
    arrived = getattr(kept, "deliveries", kept.events)
    found = banked_minutes(arrived, actor, [what], cap, rounding=rounding)[what]
    if found != minutes:
        raise AssertionError(
            f"{who} on {what}: {found:g} min would be banked, not {minutes:g} min"
            f"{'' if expected_xp is None else f' (the article pays at most {expected_xp:g} min)'}"
            f"\n{_timeline(kept, who, what)}"
        )


def _ids(reader: Reader | str, article: Activity | str) -> tuple[str, str]:
    return (
        reader.sourced_id if isinstance(reader, Reader) else reader,
        article.resource_id if isinstance(article, Activity) else normalised_activity_id(article),
    )


def _timeline(endpoint: HasEvents, who: str, what: str) -> str:
    times: dict[str, int] = {}
    for event in endpoint.events:
        times[event["id"]] = times.get(event["id"], 0) + 1
    if not times:
        return "Nothing has arrived. Was it finalized, flushed or swept?"
    theirs, others = [], []
    for event in sorted({event["id"]: event for event in endpoint.events}.values(), key=_start):
        again = f", came {times[event['id']]} times" if times[event["id"]] > 1 else ""
        line = f"  {_start(event)} to {_end(event)}  {shown(active_seconds(event))}  {event['id']}{again}"
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
