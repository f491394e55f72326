"""The demo: one reader, two articles, a lost heartbeat, a lost answer and a closed tab, against a loopback endpoint."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from caliper_readtime import config
from caliper_readtime.caliper import TimeSpentEvents
from caliper_readtime.emitters.http import HttpCaliperEmitter
from caliper_readtime.model import App, Article, Course, PageView, Reader, Subject
from caliper_readtime.testing import CaliperEndpoint, ManualClock, banked_minutes
from caliper_readtime.testing.endpoint import Drop
from caliper_readtime.testing.redis_server import RedisServer
from caliper_readtime.tracker import ReadTimeTracker

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime.protocols import StateStore

_READER: Final = Reader("ada", "ada@example.org")
_COURSE: Final = Course("Science G5", "science-g5")
_LEAVES: Final = Article(
    "nice_leaves", "How leaves eat light", "https://app.example.org/leaves", _COURSE, Subject.SCIENCE
)
_VOLCANOES: Final = Article(
    "nice_volcanoes", "Volcanoes", "https://app.example.org/volcanoes", _COURSE, Subject.SCIENCE
)
_EXPECTED_XP: Final = 5
_REDIS: Final = ("redis:", "rediss:", "unix:", "redis+")


def run(store: str = "sqlite", say: Callable[[str], object] = print) -> None:
    """Play the demo.

    Args:
        store: "memory", "sqlite" (in a temporary directory), "redis" (a server of its own), or a store URL.
        say: takes each line.

    Raises:
        ConfigurationError: the store URL is not known, or there is no Redis to start.
        StoreUnavailable: the store cannot be reached.
    """
    with ExitStack() as stack:
        endpoint = stack.enter_context(CaliperEndpoint())
        opened = _open(store, stack)
        stack.callback(opened.close)
        emitter = HttpCaliperEmitter(endpoint.url)
        stack.callback(emitter.close)
        events = TimeSpentEvents("https://app.example.org", App("Example App"), "https://oneroster.example.org")
        clock = ManualClock(datetime.now(UTC).replace(microsecond=0))
        tracker = stack.enter_context(ReadTimeTracker(opened, emitter, events, clock=clock))
        tracker.forget(_READER)  # a store that is kept may know her from an earlier run
        say(f"A Caliper endpoint listens at {endpoint.url}; states live in {opened!r}.")
        say("The clock is moved by hand, so minutes pass in no time.")
        _Story(tracker, clock, endpoint, say).tell()
        _receipt(endpoint, events, say)


def _open(store: str, stack: ExitStack) -> StateStore:
    if store == "memory":
        return config.store("memory://")
    if store == "sqlite":
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="readtime-"))
        return config.store((Path(directory) / "demo.db").as_uri().replace("file:", "sqlite:", 1))
    if store == "redis":
        store = stack.enter_context(RedisServer()).url
    if store.startswith(_REDIS):
        # Apart from an application's states, or the sweep would take its readers' time to the demo's endpoint.
        return config.store(store, namespace="readtime-demo")
    return config.store(store)


class _Story:
    """What happens, step by step."""

    def __init__(
        self, tracker: ReadTimeTracker, clock: ManualClock, endpoint: CaliperEndpoint, say: Callable[[str], object]
    ) -> None:
        self._tracker = tracker
        self._clock = clock
        self._endpoint = endpoint
        self._say = say
        self._began = clock()

    def tell(self) -> None:
        self._say("\nAda opens “How leaves eat light”. The page sends its running total every 10 seconds.")
        for total in (0, 10, 20, 30):
            self._beat(_LEAVES, total)
            self._clock.advance(10)
        self._line("the heartbeat that says 40 s is lost on the way")
        self._clock.advance(10)
        self._beat(_LEAVES, 50, note="the lost one is healed")
        self._clock.advance(7)
        self._say("\nShe clicks the next article. The leaving page has one last word, and it is reported at once.")
        self._beat(_LEAVES, 57)
        self._endpoint.misbehave(Drop(after="accept"))
        report = self._tracker.partial(_READER, _LEAVES)
        self._line(f"partial: {report.outcome}, {report.delta_seconds:g} s")
        self._line("the endpoint had accepted it but its answer was lost: the same event was sent again, same id")
        self._say(
            "\nShe reads “Volcanoes” for two minutes and ten seconds, then closes the tab. Its last word never arrives."
        )
        for total in range(0, 131, 10):
            self._beat(_VOLCANOES, total)
            self._clock.advance(10)
        self._line("nobody calls partial or finalize for it")
        self._clock.advance(60)
        self._say("\nA minute later the sweeper comes by.")
        swept = self._tracker.sweep(idle_seconds=60)
        self._line(f"sweep: {swept.events_sent} event sent, {swept.seconds_sent:g} s; {swept.stopped_by}")

    def _beat(self, article: Article, total: int, note: str = "") -> None:
        taken = self._tracker.observe(_READER, article, PageView(f"view-of-{article.resource_id}", total))
        state = taken.state
        self._line(
            f"heartbeat {total:>3} s: +{taken.accepted_seconds:g} s, read {state.cumulative_read_time_seconds:g} s,"
            f" reported {state.reported_read_time_seconds:g} s{note and f'  ({note})'}"
        )

    def _line(self, text: str) -> None:
        passed: timedelta = self._clock() - self._began
        self._say(f"  {int(passed.total_seconds()) // 60}:{int(passed.total_seconds()) % 60:02d}  {text}")


def _receipt(endpoint: CaliperEndpoint, events: TimeSpentEvents, say: Callable[[str], object]) -> None:
    say(f"\nThe endpoint accepted {len(endpoint.deliveries)} deliveries of {len(endpoint.events)} distinct events:")
    for event in endpoint.events:
        item = event["generated"]["items"][0]
        times = 1 + endpoint.duplicates.count(event["id"])
        say(
            f"  {event['id'][9:17]}…  {event['action']} {item['value']:>4} s  {event['object']['activity']['name']:<22}"
            f" {item['startDate'][11:19]} to {item['endDate'][11:19]}{f'  (came {times} times)' if times > 1 else ''}"
        )
    articles = {article.resource_id: article.title for article in (_LEAVES, _VOLCANOES)}
    banked = banked_minutes(endpoint.deliveries, events.actor_id(_READER.sourced_id), articles, _EXPECTED_XP)
    say("\nMinutes that would be banked:")
    for resource_id, minutes in banked.items():
        say(f"  {articles[resource_id]:<22} {minutes} min")
    say("An event sent by the unmounting page alone would have been cancelled on both: 0 min.")
