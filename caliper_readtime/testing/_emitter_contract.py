"""``EmitterContract``: what every emitter must do, as a pytest class to subclass. Imports pytest."""

# ruff: noqa: S101 - a test suite asserts

from __future__ import annotations

import copy
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from caliper_readtime._model import App, Article, Reader
from caliper_readtime._rules.event import TimeSpentEvents
from caliper_readtime.errors import ConfigurationError, EmitterUnavailable, EventRejected
from caliper_readtime.protocols import LimitsBatch, NeedsSensor, ReadsBack, StatesDeadline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime.protocols import Emitter

    Event = dict[str, Any]
    CommitResult = Callable[[], Sequence[Event]]

SENSOR: Final = "https://app.example.org"
_BUILDER: Final = TimeSpentEvents(SENSOR, App("Example App", SENSOR), "https://roster.example.org")
_THREADS: Final = 8
_ARRIVAL_SECONDS: Final = 5.0
_POLL_SECONDS: Final = 0.005
#: How much later than its stated deadline an emitter may end.
OVERSHOOT_SECONDS: Final = 0.5


def new_events(count: int) -> list[Event]:
    """Return finished events as a tracker sends them, with ids that were never used before."""
    reader = Reader("reader/1", "reader@example.org")
    article = Article("article-1", "Über Eulen 猫頭鷹", "https://app.example.org/owls?page=1&x=ü")
    return [
        _BUILDER.event(
            reader,
            article,
            event_id=f"urn:uuid:{uuid4()}",
            generated_id=f"urn:uuid:{uuid4()}",
            seconds=number + 1,
            started_at_ms=1_790_000_000_000,
            ended_at_ms=1_790_000_100_000,
        )
        for number in range(count)
    ]


class EmitterContract:
    """The rules of ``caliper_readtime.protocols.Emitter``, checked on a real destination.

    Subclass it in a test module, and override ``emitter`` and ``accepted``; ``rejecting`` and ``unavailable`` add the
    checks of errors. For pytest's detailed messages call
    ``pytest.register_assert_rewrite("caliper_readtime.testing._emitter_contract")`` in your ``conftest.py``.

    Example::

        class TestMyEmitter(EmitterContract):
            @pytest.fixture
            def emitter(self, server):
                with closing(MyEmitter(server.url)) as emitter:
                    yield emitter

            @pytest.fixture
            def accepted(self, server):
                return lambda: server.events
    """

    @pytest.fixture
    def emitter(self) -> Any:
        """The emitter, on a destination that accepts everything and holds nothing yet."""
        raise NotImplementedError("override the fixture `emitter`")

    @pytest.fixture
    def accepted(self) -> Any:
        """A function that returns the events that have arrived at ``emitter``'s destination, parsed, in order."""
        raise NotImplementedError("override the fixture `accepted`")

    @pytest.fixture
    def rejecting(self) -> Any:
        """An emitter on a destination that will never accept any event."""
        pytest.skip("no fixture `rejecting`")

    @pytest.fixture
    def unavailable(self) -> Any:
        """An emitter whose destination does not answer."""
        pytest.skip("no fixture `unavailable`")

    def test_one_event_arrives_as_it_is(self, emitter: Emitter, accepted: CommitResult) -> None:
        """What arrives equals, as JSON, what was sent; the sender's own object stays as it was."""
        events = new_events(1)
        sent = copy.deepcopy(events)
        emitter.emit(sent)
        assert arrived(accepted, events) == events
        assert sent == events

    def test_many_events_arrive_in_order(self, emitter: Emitter, accepted: CommitResult) -> None:
        """One call may bring many events, in any sequence type; several calls keep their order, too."""
        events = new_events(min(20, emitter.max_batch if isinstance(emitter, LimitsBatch) else 20))
        emitter.emit(tuple(events))
        more = new_events(1)
        emitter.emit(more)
        assert arrived(accepted, events + more) == events + more

    def test_no_event_is_fine(self, emitter: Emitter, accepted: CommitResult) -> None:
        """An empty sequence is accepted, and nothing arrives."""
        emitter.emit([])
        assert list(accepted()) == []

    def test_the_same_event_again_is_harmless(self, emitter: Emitter, accepted: CommitResult) -> None:
        """An event that was delivered may come again, alone or with others."""
        events = new_events(2)
        emitter.emit(events[:1])
        emitter.emit(events[:1])
        emitter.emit(events[: emitter.max_batch] if isinstance(emitter, LimitsBatch) else events)
        for event in arrived(accepted, events[:1]):
            assert event in events

    def test_threads_share_an_emitter(self, emitter: Emitter, accepted: CommitResult) -> None:
        """Called from eight threads at once, every event arrives."""
        events = new_events(_THREADS * 5)
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda event: emitter.emit([event]), events))
        found = arrived(accepted, events)
        assert sorted(event["id"] for event in found) == sorted(event["id"] for event in events)
        assert all(event in events for event in found)

    def test_closing_twice_is_fine(self, emitter: Emitter) -> None:
        """close() may be called again, also on an emitter that never sent."""
        emitter.close()
        emitter.close()

    def test_a_stated_deadline_is_a_time(self, emitter: Emitter) -> None:
        """``deadline_seconds``, where it is stated, is a positive number."""
        if not isinstance(emitter, StatesDeadline):
            pytest.skip("states no deadline")
        assert emitter.deadline_seconds > 0

    def test_a_stated_batch_is_a_number(self, emitter: Emitter) -> None:
        """``max_batch``, where it is stated, is a whole number of at least 1."""
        if not isinstance(emitter, LimitsBatch):
            pytest.skip("states no batch size")
        assert isinstance(emitter.max_batch, int)
        assert emitter.max_batch >= 1

    def test_read_back_tells_only_what_is_there(self, emitter: Emitter, accepted: CommitResult) -> None:
        """``held`` returns a subset of what was asked for and has arrived; absence proves nothing."""
        if not isinstance(emitter, ReadsBack):
            pytest.skip("does not read back")
        events = new_events(2)
        emitter.emit(events[:1])
        arrived(accepted, events[:1])
        held = emitter.held([event["id"] for event in events])
        assert isinstance(held, frozenset)
        assert held <= {events[0]["id"]}
        assert emitter.held([]) == frozenset()

    def test_a_second_sensor_is_refused(self, emitter: Emitter) -> None:
        """``bind_sensor`` takes the same sensor again, and no other."""
        if not isinstance(emitter, NeedsSensor):
            pytest.skip("needs no sensor")
        emitter.bind_sensor(SENSOR)
        emitter.bind_sensor(SENSOR)
        with pytest.raises(ConfigurationError):
            emitter.bind_sensor(f"{SENSOR}/other")

    def test_rejection_is_typed(self, rejecting: Emitter) -> None:
        """An event that will never be accepted is an ``EventRejected`` that names it."""
        events = new_events(1)
        with closing(rejecting), pytest.raises(EventRejected) as caught:
            rejecting.emit(events)
        assert caught.value.event_ids == (events[0]["id"],)

    def test_absence_is_typed_and_in_time(self, unavailable: Emitter) -> None:
        """A destination that does not answer is an ``EmitterUnavailable``, within the stated deadline, every time."""
        events = new_events(2)
        for event in events:
            started = time.monotonic()
            with closing(unavailable), pytest.raises(EmitterUnavailable) as caught:
                unavailable.emit([event])
            assert caught.value.event_ids == (event["id"],)
            if isinstance(unavailable, StatesDeadline):
                assert time.monotonic() - started < unavailable.deadline_seconds + OVERSHOOT_SECONDS


def arrived(accepted: CommitResult, events: Sequence[Event]) -> list[Event]:
    """Return what has arrived, once it is as much as was sent or the time is up."""
    over_at = time.monotonic() + _ARRIVAL_SECONDS
    while len(accepted()) < len(events) and time.monotonic() < over_at:
        time.sleep(_POLL_SECONDS)
    return list(accepted())
