"""Types: a store and an emitter of a third party, with every optional capability, and the testing kit."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar, assert_type

from caliper_readtime import (
    Emitter,
    EventRejected,
    ParkedEvent,
    ReadTimeState,
    StateStore,
    StoreError,
    StoreUnavailable,
)
from caliper_readtime._rules.state import Claim, Context, Due, Key, Ledger, Meter, Parked, Phase
from caliper_readtime.protocols import (
    DescribesItself,
    KeepsWalls,
    LimitsBatch,
    ListsEvents,
    NeedsSensor,
    ReadsBack,
    StatesDeadline,
    Transition,
    UpdatesMany,
    Validates,
    WalledTransition,
)
from caliper_readtime.stores import (
    SCHEMA,
    Account,
    Wall,
    check_meter,
    compare_meta,
    dump_heartbeats,
    dump_ledger,
    dump_views,
    dump_wall,
    load_heartbeats,
    load_ledger,
    load_views,
    load_wall,
    named,
)
from caliper_readtime.testing import (
    CaliperEndpoint,
    EmitterContract,
    FlakyEmitter,
    HasEvents,
    ManualClock,
    RecordingEmitter,
    StateStoreContract,
    assert_banked,
    assert_reported,
    banked_minutes,
    minutes_rounded_up,
)
from caliper_readtime.testing.behaviours import (
    AcceptThen,
    Answer,
    Behaviour,
    Conflict,
    Drop,
    EarlyHints,
    EmptyBody,
    Hang,
    Limit,
    Reject,
    Reply202JobId,
    StatusBody,
    Success,
    Trickle,
)
from caliper_readtime.testing.records import Request

R = TypeVar("R")


class ShelfStore:
    """A store of a third party. It inherits nothing."""

    def __init__(self) -> None:
        self._states: dict[Key, ReadTimeState] = {}
        self._walls: dict[str, str] = {}
        self._facts: dict[str, str] = {}

    def update(self, key: Key, transition: Transition[R], now: int | None = None, /) -> tuple[R, ReadTimeState | None]:
        """Apply a transition."""
        old, moment = self.load(key, now), self.now(key) if now is None else now
        if isinstance(transition, WalledTransition) and transition.walled:
            new, wall, result = transition.with_wall(old, self.wall(key.reader_sourced_id, moment), moment)
            self._walls[key.reader_sourced_id] = dump_wall(wall)
        else:
            new, result = transition(old, moment)
        if new is not None and new is not old:
            self._states[key] = self._kept(new)
        return result, new

    def update_many(
        self, changes: Sequence[tuple[Key, Transition[R]]], now: int | None = None, /
    ) -> list[tuple[R, ReadTimeState | None] | StoreError]:
        """Apply several."""
        return [self.update(key, transition, now) for key, transition in changes]

    def wall(self, reader: str, now: int | None = None) -> Wall:
        """Return what a reader has claimed."""
        text = self._walls.get(reader)
        wall = Wall() if text is None else load_wall(text, reader)
        return Wall() if wall.expired(self.now() if now is None else now) else wall

    def _kept(self, state: ReadTimeState) -> ReadTimeState:
        """Write a state down and read it back."""
        meter = state.meter
        views, heartbeats = load_views(dump_views(meter.views)), load_heartbeats(dump_heartbeats(meter.heartbeats))
        assert_type(views, tuple[tuple[str, int], ...])
        check_meter((meter.cumulative_ms, meter.last_sync_at_ms, meter.budget_ms, meter.since_at_ms, meter.clamped_ms))
        ledger = load_ledger(dump_ledger(state.ledger))
        assert_type(state.expires_at_ms, int | None)
        assert_type(state.unclaimed_ms + state.reported_ms + state.last_used_at_ms, int)
        assert_type(state.parked_events(self.now()), tuple[ParkedEvent, ...])
        assert_type(ledger.claim, Claim | None)
        assert_type(ledger.parked, tuple[Parked, ...])
        assert_type(ledger.context, Context)
        assert_type(ledger.history, str)
        assert_type(ledger.account, Account)
        kept = meter._replace(views=views, heartbeats=heartbeats)
        return ReadTimeState(state.reader_sourced_id, state.resource_id, kept, ledger)

    def load(self, key: Key, now: int | None = None) -> ReadTimeState | None:
        """Return the state."""
        state = self._states.get(key)
        return None if state is None or state.expired(self.now() if now is None else now) else state

    def keys(self, reader: str, now: int | None = None) -> tuple[Key, ...]:
        """Return a reader's keys."""
        return tuple(key for key in self._states if key.reader_sourced_id == reader)

    def due(self, limit: int, now: int | None = None, idle_ms: int = 0) -> tuple[Key, ...]:
        """Return what is due."""
        moment = self.now() if now is None else now
        dues = ((state.key, state.due) for state in self._states.values())
        return tuple(key for key, due in dues if due is not None and self._has_come(due, moment, idle_ms))[:limit]

    @staticmethod
    def _has_come(due: Due, now: int, idle_ms: int) -> bool:
        return due.at_ms + (idle_ms if due.soft else 0) <= now

    def parked(self, limit: int) -> tuple[ReadTimeState, ...]:
        """Return what holds refused events."""
        return tuple(state for state in self._states.values() if state.phase is Phase.PARKED)[:limit]

    def unreported(self, now: int | None = None) -> Iterator[ReadTimeState]:
        """Yield what waits."""
        yield from (state for state in self._states.values() if state.due is not None)

    def delete(self, reader: str) -> int:
        """Erase a reader."""
        return sum(self._states.pop(key, None) is not None for key in self.keys(reader))

    def now(self, key: Key | None = None) -> int:
        """Return the clock."""
        return 0

    def meta(self, expected: Mapping[str, str]) -> None:
        """Compare facts."""
        compare_meta(self._facts, expected)
        self._facts.update(expected)

    def swept(self, now: int | None = None) -> None:
        """Record a sweep."""

    def last_sweep(self) -> int | None:
        """Return when."""
        return None

    def close(self) -> None:
        """Release nothing."""

    def info(self) -> Mapping[str, Mapping[str, Any]]:
        """Describe it."""
        return {"shelf": {"kind": "memory", "schema": SCHEMA}}


class QueueEmitter:
    """An emitter of a third party, with every capability. It inherits nothing."""

    max_batch = 10
    deadline_seconds = 5.0

    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver."""
        if not all("id" in event for event in events):
            raise EventRejected("no id", event_ids=(), status=422, body="{}")

    def held(self, event_ids: Collection[str], /) -> frozenset[str]:
        """Say what has arrived."""
        return frozenset(event_ids)

    def validate(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Have them checked."""

    def bind_sensor(self, sensor: str, /) -> None:
        """Take the sensor."""

    def close(self) -> None:
        """Release nothing."""


def they_fit() -> tuple[StateStore, Emitter, list[object]]:
    """Check that structure alone makes them what they are, with every capability."""
    store, emitter = ShelfStore(), QueueEmitter()
    many: UpdatesMany = store
    walls: KeepsWalls = store
    described: DescribesItself = store
    batched: LimitsBatch = emitter
    bounded: StatesDeadline = emitter
    asked: ReadsBack = emitter
    checked: Validates = emitter
    bound: NeedsSensor = emitter
    return store, emitter, [many, walls, described, batched, bounded, asked, checked, bound]


def corrupt(error: StoreError) -> StoreError:
    """Name what cannot be read."""
    from caliper_readtime import CorruptState  # noqa: PLC0415

    return named(error, Key("u1", "r1")) if isinstance(error, CorruptState) else StoreUnavailable("away")


class TestShelfStore(StateStoreContract):
    """A third party's proof of its store."""


class TestQueueEmitter(EmitterContract):
    """A third party's proof of its emitter."""


def tested(meter: Meter, ledger: Ledger) -> float:
    """Use what hosts' tests use."""
    clock = ManualClock()
    clock.advance(10)
    recording = RecordingEmitter()
    flaky = FlakyEmitter(recording)
    flaky.fail(EventRejected("no"), delivered=True)
    flaky.emit([])
    assert_type(flaky.events, list[dict[str, Any]])
    assert_type(flaky.seconds("u1", "r1"), float)
    assert_type(recording.held(["a"]), frozenset[str])
    lists: list[ListsEvents] = [recording]
    assert_type(lists[0].listed("u1"), Sequence[Mapping[str, Any]])
    recording.close()
    accepted: list[Success] = [StatusBody(), Reply202JobId(), EmptyBody()]
    wrong: list[Behaviour] = [
        Answer(503, "away", {"Retry-After": "2"}),
        Answer.json(500, {}),
        AcceptThen(Drop("accept")),
        Hang(1, accept=True),
        Trickle(0.1),
        Reject(lambda event: "id" not in event),
        Conflict(),
        Limit(10, status=504),
        EarlyHints(2),
        *accepted,
    ]
    assert_type(accepted[0].answer(), Answer)
    with CaliperEndpoint(token="t", reads=True, success=accepted[0], activity_ids="uri") as endpoint:  # noqa: S106
        endpoint.misbehave(*wrong)
        endpoint.misbehave_always(None)
        endpoint.misbehave_reads(Drop())
        endpoint.hold_reads(True)
        assert_type(endpoint.url, str)
        assert_type(endpoint.requests, tuple[Request, ...])
        assert_type(endpoint.deliveries, tuple[dict[str, Any], ...])
        assert_type(endpoint.duplicates + endpoint.conflicts, tuple[str, ...])
        minutes = banked_minutes(
            endpoint.deliveries, "u1", ["r1"], {"r1": 5.0}, rounding=minutes_rounded_up, distinct=True
        )
        assert_type(minutes, dict[str, float])
        assert_reported(endpoint, "u1", "r1", 10.0)
        assert_banked(endpoint, "u1", "r1", 0, expected_xp=5, rounding=minutes_rounded_up)
        heard: tuple[HasEvents, ...] = (endpoint, recording, flaky)
        for one in heard:
            assert_reported(one, "u1", "r1", 0)
        endpoint.reset()
        endpoint.close()
        endpoint.start()
        return endpoint.seconds("u1", activity_id="r1") + meter.cumulative_ms + ledger.pointer_ms
