"""The demo that is played: one reader, two articles, a lost heartbeat, a lost answer and a closed tab."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from caliper_readtime._demo import parts
from caliper_readtime._demo.parts import LEAVES, READER, VOLCANOES
from caliper_readtime._model import PageView
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.emitters._http import HttpCaliperEmitter
from caliper_readtime.errors import EmitterUnavailable
from caliper_readtime.testing import CaliperEndpoint, ManualClock, banked_minutes
from caliper_readtime.testing._endpoint import Drop

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime._model import Article
    from caliper_readtime._rules.event import TimeSpentEvents


def run(store: str = "sqlite", log: Callable[[str], object] = print) -> None:
    """Play the demo.

    Args:
        store: "memory", "sqlite" (in a temporary directory), "redis" (a server of its own), or a store URL.
        log: takes each line.

    Raises:
        ConfigurationError: the store URL is not known, or there is no Redis to start.
        StoreUnavailable: the store cannot be reached.
    """
    with ExitStack() as stack:
        endpoint = stack.enter_context(CaliperEndpoint())
        opened = parts.store(store, stack)
        emitter = HttpCaliperEmitter(endpoint.url, read_back=True)
        stack.callback(emitter.close)
        events = parts.events()
        clock = ManualClock(datetime.now(UTC).replace(microsecond=0))
        tracker = stack.enter_context(ReadTimeTracker(opened, emitter, events, clock=clock))
        tracker.forget(READER)  # a store that is kept may know Ada from an earlier run
        log(f"A Caliper endpoint listens at {endpoint.url}; states live in {opened!r}.")
        log("The clock is moved by hand, so minutes pass in no time.")
        _Story(tracker, clock, endpoint, log).tell()
        _receipt(endpoint, events, log)


class _Story:
    """What happens, step by step."""

    def __init__(
        self, tracker: ReadTimeTracker, clock: ManualClock, endpoint: CaliperEndpoint, log: Callable[[str], object]
    ) -> None:
        self._tracker = tracker
        self._clock = clock
        self._endpoint = endpoint
        self._log = log
        self._began = clock()

    def tell(self) -> None:
        self._log("\nAda opens “How leaves eat light”. The page sends its running total every 10 seconds.")
        for total in (0, 10, 20, 30):
            self._beat(LEAVES, total)
            self._clock.advance(10)
        self._line("the heartbeat that says 40 s is lost on the way")
        self._clock.advance(10)
        self._beat(LEAVES, 50, note="the lost one is healed")
        self._clock.advance(7)
        self._log("\nAda clicks the next article. The leaving page has one last word, and it is reported at once.")
        self._beat(LEAVES, 57)
        self._endpoint.misbehave(Drop(after="accept"))
        with suppress(EmitterUnavailable):
            self._tracker.partial(READER, LEAVES)
        self._line("partial: the endpoint accepts it, but its answer is lost on the way, so nobody knows")
        self._clock.advance(10)
        report = self._tracker.partial(READER, LEAVES)
        self._line(
            f"partial: {report.outcome}, {report.delta_seconds:g} s: the endpoint holds it already; no copy goes out"
        )
        self._log(
            "\nAda reads “Volcanoes” for two minutes and ten seconds, then closes the tab. Its last word never arrives."
        )
        for total in range(0, 131, 10):
            self._beat(VOLCANOES, total)
            self._clock.advance(10)
        self._line("nobody calls partial or finalize for it")
        self._clock.advance(60)
        self._log("\nA minute later the sweeper comes by.")
        swept = self._tracker.sweep(idle_seconds=60)
        self._line(f"sweep: {swept.events_sent} event sent, {swept.seconds_sent:g} s; {swept.stopped_by}")

    def _beat(self, article: Article, total: int, note: str = "") -> None:
        counted = self._tracker.observe(READER, article, PageView(f"view-of-{article.resource_id}", total))
        state = counted.state
        self._line(
            f"heartbeat {total:>3} s: +{counted.accepted_seconds:g} s, read {state.cumulative_read_time_seconds:g} s,"
            f" reported {state.reported_read_time_seconds:g} s{note and f'  ({note})'}"
        )

    def _line(self, text: str) -> None:
        passed: timedelta = self._clock() - self._began
        self._log(f"  {int(passed.total_seconds()) // 60}:{int(passed.total_seconds()) % 60:02d}  {text}")


def _receipt(endpoint: CaliperEndpoint, events: TimeSpentEvents, log: Callable[[str], object]) -> None:
    log(f"\nThe endpoint accepted {len(endpoint.deliveries)} deliveries of {len(endpoint.events)} distinct events:")
    for event in endpoint.events:
        item = event["generated"]["items"][0]
        times = 1 + endpoint.duplicates.count(event["id"])
        log(
            f"  {event['id'][9:17]}…  {event['action']} {item['value']:>4} s  {event['object']['activity']['name']:<22}"
            f" {item['startDate'][11:19]} to {item['endDate'][11:19]}{f'  (came {times} times)' if times > 1 else ''}"
        )
    articles = {article.resource_id: article.title for article in (LEAVES, VOLCANOES)}
    banked = banked_minutes(endpoint.deliveries, events.actor_id(READER.sourced_id), articles, parts.EXPECTED_XP)
    log("\nMinutes that would be banked:")
    for resource_id, minutes in banked.items():
        log(f"  {articles[resource_id]:<22} {minutes:g} min")
    log("An event sent by the unmounting page alone would have been cancelled on both: 0 min.")
