"""The model's values: a world (one state, its due entry, workers, endpoint, clock) and what a scenario allows in it."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple
from unittest import mock

from caliper_readtime._model import Article, Reader
from caliper_readtime._policy import ReadTimePolicy
from caliper_readtime._rules import claim, heartbeat, identity, outcome, state

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caliper_readtime._rules.state import Claim, Due, ReadTimeState

START = 1_000_000_000
ARTICLE = Article("article", "An article", "https://example.org/article")
#: The addresses that a host may know of its reader. No event can be built with the last one.
READERS = tuple(Reader("reader", f"{name}@example.org") for name in ("old", "new", "unbuildable"))


class Events:
    """Builds a small event with the signature of the real builder."""

    def event(self, reader, article, *, event_id, generated_id, seconds, started_at_ms, ended_at_ms):
        if reader is READERS[2]:
            raise ValueError
        return {"id": event_id, "seconds": seconds, "email": reader.email}


EVENTS = Events()
read_event = lru_cache(maxsize=65536)(json.loads)


class Item(NamedTuple):
    """One signal that the client may send, again and again, late and in any order.

    Attributes:
        view: page view, or None for a delta.
        total_ms: the view's running total, or the delta.
        acknowledged_ms: what the client knows that the server has.
        opened_at_ms: when its page was opened, after START.
        after: index of the item that an orderly client has sent before.
    """

    view: str | None
    total_ms: int
    acknowledged_ms: int = 0
    opened_at_ms: int | None = None
    after: int | None = None


class Budget(NamedTuple):
    """How often each thing may happen in one history; everything not listed is free."""

    signals: int = 0
    ticks: int = 0
    backs: int = 0  # the clock steps back
    faults: int = 0  # not delivered, or delivered with the answer lost
    rejects: int = 0  # 422
    crashes: int = 0
    corrections: int = 0  # the host learns another address
    unparks: int = 0
    defers: int = 0
    ends: int = 0  # forget, or expiry
    replays: int = 0  # a driver repeats a write whose answer was lost
    failovers: int = 0  # the store loses its last write


class Scenario(NamedTuple):
    """What may happen, and how large things are.

    Attributes:
        name: for the report.
        menu: signals.
        budget: bounds of one history.
        policy: the rules.
        programs: what a worker may start: partial, finalize.
        rounds: of a finalize, so that loops stay short.
        ticks: by how much the clock may advance.
        back: by how much it may step back.
        idle_ms: of the sweeper.
        minimum_ms: partial_min.
        sends: a heartbeat that completes the article finalizes it.
        orderly: the client sends each item once, after the one it follows, and no reply to it is lost.
        late: an event that was given up may still arrive at any later time.
        emails: how many addresses there are.
        sweeps: there is a sweeper.
        max_event_ms: longest event.
        max_parked: length of the parked list.
        max_views: views that a state remembers.
    """

    name: str
    menu: tuple[Item, ...]
    budget: Budget
    policy: ReadTimePolicy = ReadTimePolicy(
        heartbeat_seconds=2,
        leeway_seconds=1,
        catch_up_seconds=4,
        lock_seconds=5,
        retry_backoff_seconds=4,
        max_retry_backoff_seconds=16,
        state_ttl_seconds=1000,
    )
    programs: tuple[str, ...] = ("partial", "finalize")
    rounds: int = 2
    ticks: tuple[int, ...] = (1500, 6000)
    back: int = 3000
    idle_ms: int = 1000
    minimum_ms: int = 0
    sends: bool = True
    orderly: bool = False
    late: bool = False
    emails: int = 2
    sweeps: bool = True
    max_event_ms: int = 86_400_000
    max_parked: int = 8
    max_views: int = 16

    @contextmanager
    def limits(self) -> Iterator[None]:
        """Shrink the package's constants, and remember derived ids, which are pure."""
        with ExitStack() as stack:
            for module, name, value in (
                (claim, "MAX_EVENT_MS", self.max_event_ms),
                (claim, "MAX_PARKED", self.max_parked),
                (outcome, "MAX_PARKED", self.max_parked),
                (state, "MAX_PARKED", self.max_parked),
                (heartbeat, "MAX_VIEWS", self.max_views),
                (claim, "event_ids", lru_cache(maxsize=4096)(identity.event_ids)),
                (claim, "generated_id", lru_cache(maxsize=4096)(identity.generated_id)),
            ):
                stack.enter_context(mock.patch.object(module, name, value))
            yield


class Worker(NamedTuple):
    """One process in the middle of a report.

    Attributes:
        kind: partial, finalize, heartbeat or sweep.
        owner: its token.
        stage: what it does next.
        rounds: how many claims of new time it may still make.
        generation: of the state that it claimed from.
        claim: in hand.
        again: the claim is older than this report.
        retry: the claim is of a parked event.
        tried: events that failed in this report.
    """

    kind: str
    owner: str
    stage: str
    rounds: int = 1
    generation: str = ""
    claim: Claim | None = None
    again: bool = False
    retry: bool = False
    tried: frozenset[str] = frozenset()


class Sent(NamedTuple):
    """What the endpoint and the network know of one event id. ``body`` is None once the event was refused."""

    generation: str
    start_ms: int
    end_ms: int
    event_id: str
    body: str | None
    held: bool
    under_way: bool


class ModelState(NamedTuple):
    """Everything at one moment.

    Attributes:
        now: the clock of the store.
        state: the stored state, a real one.
        index: its entry in the due index.
        workers: two processes that report; None where idle.
        sweeper: a process that sweeps.
        sent: every event id that was ever sent, in the order of ranges.
        email: the address that the host knows.
        told: bit set of the menu items that were ever delivered to this state.
        earlier_ms: accepted by states of this key that have expired.
        births: of this key.
        budget: what may still happen.
        tokens: owner tokens drawn so far.
        lost: state and index before the last claim, where a fail-over may lose it.
    """

    now: int
    state: ReadTimeState | None
    index: Due | None
    workers: tuple[Worker | None, Worker | None]
    sweeper: Worker | None
    sent: tuple[Sent, ...]
    email: int
    told: int
    earlier_ms: int
    births: int
    budget: Budget
    tokens: int
    lost: tuple[ReadTimeState, Due | None] | None


def first(scenario: Scenario) -> ModelState:
    """Return the world in which nothing has happened."""
    return ModelState(START, None, None, (None, None), None, (), 0, 0, 0, 0, scenario.budget, 0, None)


def key_of(world: ModelState, scenario: Scenario) -> int:
    """Return what makes this world differ from others: a 64-bit hash of its normal form.

    Worlds with one normal form have the same futures, so one of them is enough:

    * Times count only by their distance from now: transitions compare and add them, nothing reads the calendar. A time
      that has passed by more than the clock can still step back (and a sweeper's idle time) is as good as any other.
    * Dropped, because no transition decides by them: history, what was clamped, last_error, first_sync_at_ms and the
      times that an event merely carries (began, ended, claimed, since). That events carry them unchanged, and that no
      signal raises total and budget by more than the time since the last sync, is checked at every step instead.
    * Owner tokens are compared for equality and never drawn twice: what counts is who, if anybody alive, holds it.
    * The two workers may do the same things, so their order does not count.
    """
    now = world.now
    floor = -(world.budget.backs * scenario.back + scenario.idle_ms)
    state, owner = world.state, None
    if state is not None and state.ledger.claim is not None:
        owner = state.ledger.claim.owner
    one, two = (_worker_key(worker, owner, scenario) for worker in world.workers)
    if one > two:
        one, two = two, one
    index, lost = world.index, world.lost
    return hash(
        (
            _state_key(state, now, floor, scenario),
            None if index is None else (max(index.at_ms - now, floor), index.soft),
            one,
            two,
            _worker_key(world.sweeper, owner, scenario),
            world.sent,
            world.email,
            world.told,
            world.earlier_ms,
            world.births,
            world.budget,
            # A page's age caps its total, up to the largest one.
            min(now - START, 8000) if scenario.menu[0].opened_at_ms is not None else 0,
            None if lost is None else (_state_key(lost[0], now, floor, scenario), lost[1] is None),
        )
    )


def _worker_key(worker: Worker | None, owner: str | None, scenario: Scenario) -> tuple[object, ...]:
    if worker is None:
        return ()
    claim = worker.claim
    return (
        worker.kind,
        worker.stage,
        worker.rounds,
        worker.owner == owner,
        worker.generation,
        worker.again,
        worker.retry,
        tuple(sorted(worker.tried)),
        () if claim is None else (claim.event_id, claim.rejections, claim.event),
    )


def _state_key(state: ReadTimeState | None, now: int, floor: int, scenario: Scenario) -> object:
    if state is None:
        return None
    meter, ledger = state.meter, state.ledger
    claim, deferred = ledger.claim, ledger.deferred_at_ms
    # What elapsed beyond the largest claim and the budget's limit changes nothing.
    oldest = floor - scenario.policy.catch_up_ms - 8000
    return (
        meter.cumulative_ms,
        max(meter.last_sync_at_ms - now, oldest),
        meter.budget_ms,
        meter.views,
        meter.heartbeats,
        ledger.generation,
        ledger.context.reader.email,
        ledger.pointer_ms,
        ledger.accepted_to_ms,
        None
        if claim is None
        else (
            claim.event_id,
            claim.owner is None,
            max(claim.until_at_ms - now, floor),
            claim.attempts,
            claim.rejections,
            claim.event,
            claim.ambiguous,
        ),
        tuple(
            (
                parked.event_id,
                parked.context.reader.email,
                max(parked.retry_at_ms - now, floor),
                max(parked.parked_at_ms - now, floor),
                parked.attempts,
                parked.ambiguous,
                parked.refused,
                parked.tried,
                # Whether a retry that is on its way was claimed for its time or for its context.
                claim is None or claim.event_id != parked.event_id or parked.retry_at_ms <= claim.first_claimed_at_ms,
            )
            for parked in ledger.parked
        ),
        ledger.finalize_wanted,
        ledger.finalized_at_ms is None,
        None if deferred is None else max(deferred - now, floor),
    )
