"""One reader's two articles and their record: every short history of signals, claims, failures, losses and retries."""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

import pytest

from caliper_readtime import Article, Reader, ReadTimePolicy
from caliper_readtime._rules import (
    AcquireClaim,
    AcquireResult,
    Caller,
    Commit,
    Park,
    Release,
    Signal,
    Unpark,
    claim,
    wall,
)
from caliper_readtime._rules.state import SECOND, evolved
from caliper_readtime._rules.wall import NO_WALL, beside
from tests.model.mutations import Mutation
from tests.model.world import EVENTS

READER = Reader("reader", "r@example.org")
ARTICLES = tuple(Article(name, "An article", f"https://example.org/{name}") for name in "ab")
POLICY = ReadTimePolicy(
    heartbeat_seconds=1,
    leeway_seconds=0.5,
    catch_up_seconds=2,
    lock_seconds=2,
    retry_backoff_seconds=1,
    max_retry_backoff_seconds=1,
    state_ttl_seconds=1000,
    reader_budget="enforce",
)
START = 1_000_000
WAITS = (1300, 4000)
#: How many steps a history has, and how many worlds such histories reach at least.
LENGTH, LEAST = 8, 100_000
LENGTH_DEEP, LEAST_DEEP = 10, 300_000
#: How often each of these may happen in one history.
FAULTS = {"loses": 1, "refuses": 1, "pauses": 2}


class Violation(Exception):
    """A promise is broken."""


class World(NamedTuple):
    """Both states and the record; what the endpoint was told; and the same before the last write.

    Attributes:
        now: the store's clock.
        states: of the two articles, or None.
        wall: the reader's record.
        sent: events that were emitted, with their milliseconds.
        before: states and record before the last write, for a store that loses it.
        used: how often what is bounded has happened.
        lost: the store has lost something, so that what it says need not add up.
    """

    now: int
    states: tuple
    wall: object
    sent: tuple = ()
    before: tuple = ()
    used: tuple = ()
    lost: bool = False


def key(world):
    """All that decides the future, and whether a promise was kept."""
    return (
        tuple(map(_of, world.states)),
        world.wall,
        world.now,
        world.sent,
        world.used,
        world.lost,
        world.before and (tuple(map(_of, world.before[0])), world.before[1]),
    )


def _of(state):
    if state is None:
        return None
    ledger = state.ledger
    return (
        state.meter[:5], ledger.pointer_ms, ledger.measured_ms, ledger.beside_ms, ledger.accepted_to_ms,
        ledger.claim and (ledger.claim.start_ms, ledger.claim.end_ms, ledger.claim.owner, ledger.claim.until_at_ms),
        tuple((one.start_ms, one.end_ms, one.retry_at_ms) for one in ledger.parked),
    )  # fmt: skip


def written(world, place, state, record=None):
    """The world after a write of one state and, in the same step, the record."""
    states = tuple(state if number == place else one for number, one in enumerate(world.states))
    record = world.wall if record is None else record
    if states == world.states and record == world.wall:
        return world
    return world._replace(states=states, wall=record, before=(world.states, world.wall))


def steps(world, numbers):
    """Yield the worlds that may come next, and what happened."""
    used = dict(world.used)
    for wait in WAITS:
        if used.get("pauses", 0) < FAULTS["pauses"] or wait == WAITS[0]:
            more = {**used, "pauses": used.get("pauses", 0) + (wait == WAITS[1])}
            yield f"{wait} ms pass", world._replace(now=world.now + wait, used=tuple(sorted(more.items())))
    for place, state in enumerate(world.states):
        # Each tab says that it was read all the time since the first page was opened.
        name = f"{next(numbers):032x}"
        total = world.now - START
        if total:
            signal = Signal(POLICY, name, total, READER, ARTICLES[place], name, "v", 0, START)
            new, _ = signal(state, world.now)
            if state is None:
                new = evolved(new, ledger=evolved(new.ledger, generation="g"))
            yield f"{place} says {total}", written(world, place, new)
        if state is None:
            continue
        yield from claims(world, place, state, used)
    if world.before and used.get("loses", 0) < FAULTS["loses"]:
        more = tuple(sorted({**used, "loses": 1}.items()))
        states, record = world.before
        yield (
            "the store loses its last write",
            world._replace(states=states, wall=record, before=(), used=more, lost=True),
        )


def claims(world, place, state, used):
    """Yield what becomes of one article's claim."""
    for owner in "xy":
        verb = AcquireClaim(owner, POLICY, EVENTS, Caller.EXPLICIT, 0.0)
        new, record, acquired = verb.with_wall(state, world.wall, world.now)
        after = written(world, place, evolved(new, ledger=evolved(new.ledger, history="")), record)
        yield f"{owner} asks for {place}", after
        # A driver delivers it a second time.
        if acquired.result is AcquireResult.CLAIMED:
            again, twice, _ = verb.with_wall(after.states[place], after.wall, world.now)
            if twice != after.wall or again.meter != after.states[place].meter:
                raise Violation("a replay measures again")
    held = state.ledger.claim
    if held is None or held.owner is None:
        if state.ledger.parked:
            yield f"{place} is unparked", written(world, place, Unpark()(state, world.now)[0])
        return
    sent = world._replace(sent=tuple(sorted({*world.sent, (place, held.start_ms, held.end_ms)})))
    commit = Commit(state.ledger.generation, held.event_id, held.start_ms, held.end_ms)
    new, _ = commit(state, world.now)
    yield f"{place} is sent", written(sent, place, plain(new))
    yield f"{place} is sent, unheard", sent
    release = Release(held.owner, held.event_id, POLICY, 0.0, "down")
    yield f"{place} fails", written(world, place, plain(release(state, world.now)[0]))
    if used.get("refuses", 0) < FAULTS["refuses"]:
        more = tuple(sorted({**used, "refuses": 1}.items()))
        park = Park(held.owner, held.event_id, POLICY, 0.0, 422, "bad")
        yield f"{place} is refused", written(world, place, plain(park(state, world.now)[0]))._replace(used=more)


def plain(state):
    """A state without what it remembers of its past, which would tell histories apart that have one future."""
    ledger = evolved(state.ledger, history="", account=claim.Ledger("g", 0, 0, state.ledger.context).account)
    return evolved(state, ledger=ledger)


def check(world):
    """U2 to U4 and U9."""
    if beside(world.wall.stretches):
        raise Violation("the record holds more than wall time")
    span = world.now - START + POLICY.leeway_ms
    # What the store has lost it cannot hold against another article (K6, U9).
    told = 0 if world.lost else sum(end - start for _, start, end in world.sent)
    there = [state for state in world.states if state is not None]
    claimed = sum(min(state.ledger.claimed_end_ms, state.ledger.measured_ms) for state in there)
    if max(told, claimed) > span:
        raise Violation(f"{told} sent and {claimed} claimed of {span}")
    for state in there:
        ledger, meter = state.ledger, state.meter
        if not ledger.beside_ms <= meter.clamped_ms:
            raise Violation("what was beside was not clamped")
        if not world.lost and not ledger.claimed_end_ms <= ledger.measured_ms < ledger.claimed_end_ms + SECOND:
            raise Violation("claimed and not measured, or measured and not claimed")
    kept = sum(one.ms for one in world.wall.stretches)
    measured = sum(state.ledger.measured_ms for state in there)
    if kept != measured:
        raise Violation(f"{measured} were measured, {kept} are kept")


def explore(length):
    """Every history of so many steps; of those with one future, one."""
    numbers = count(1)
    first = World(START, (None, None), NO_WALL)
    level, seen, taken = [first], {key(first)}, 0
    for _ in range(length):
        reached = []
        for world in level:
            for _, after in steps(world, numbers):
                taken += 1
                name = hash(key(after))
                if name not in seen:
                    seen.add(name)
                    check(after)
                    reached.append(after)
        level = reached
    return len(seen), taken


def test_no_history_of_two_articles_outruns_the_wall(request, record_property):
    """U2 to U4, U6, U9: whatever fails, is refused, lost, replayed or taken over, their sum stays within wall time."""
    deep = request.config.getoption("--deep")
    worlds, taken = explore(LENGTH_DEEP if deep else LENGTH)
    record_property("worlds", worlds)
    print(f"reader budget: {worlds:,} worlds, {taken:,} steps")
    assert worlds >= (LEAST_DEEP if deep else LEAST)


@pytest.mark.parametrize(
    "mutation",
    [
        Mutation("U3: what was measured is not measured again", AcquireClaim.with_wall,
                 "max(state.ledger.measured_ms, acquired.claim.start_ms)", "acquired.claim.start_ms", ""),
        Mutation("U3: a claim that is made again measures nothing", AcquireClaim.with_wall,
                 " or acquired.again or acquired.retry", "", ""),
        Mutation("U3: what was taken off is not measured", AcquireClaim.with_wall,
                 "measured_ms=new.meter.cumulative_ms", "measured_ms=state.meter.cumulative_ms", ""),
        Mutation("U4: what was read beside another article is taken off", claim._taken_off,
                 "meter.cumulative_ms - over", "meter.cumulative_ms", ""),
        Mutation("U4: and counted", claim._taken_off, "meter.clamped_ms + over", "meter.clamped_ms", ""),
        Mutation("U2: what does not fit is not kept", wall.claimed, "stretch.ms - over", "stretch.ms", ""),
        Mutation("U1: no window begins before the budget", wall.window,
                 "max(meter.since_at_ms - policy.catch_up_ms, first)", "(meter.since_at_ms - policy.catch_up_ms)", ""),
    ],
    ids=lambda mutation: mutation.rule,
)  # fmt: skip
def test_a_broken_reader_budget_is_noticed(mutation):
    """With any of these faults in the rule, some short history breaks a promise."""
    with mutation.applied(), pytest.raises(Violation):
        explore(LENGTH)
