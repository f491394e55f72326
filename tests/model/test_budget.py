"""The budget by itself: every short history of signals, openings and clock steps, through the real heartbeat rule."""

from __future__ import annotations

from itertools import count
from typing import NamedTuple

import pytest

from caliper_readtime import Article, Reader, ReadTimePolicy
from caliper_readtime._rules import Signal, heartbeat
from tests.model.mutations import Mutation

READER, ARTICLE = Reader("reader", "r@example.org"), Article("article", "An article", "https://example.org/article")
#: One tick is a millisecond, so that every number is small.
POLICY = ReadTimePolicy(heartbeat_seconds=0.002, leeway_seconds=0.001, catch_up_seconds=0.003, state_ttl_seconds=0.012)
START = 1000
#: What may happen before a signal: the clock moves by so many ticks; one of them is a step back.
WAITS = (0, 1, 2, 5, -2)
#: How long ago the signal's page was opened, in ticks; None for a delta. 12 is a whole life.
OPENED = (None, 0, 1, 3, 4, 6, 9, 11, 12, 20)
#: What it claims. A view is always a new one, so that any total may come, which is more than any client can do.
CLAIMS = (0, 1, 2, 4, 30)
#: How many signals a history has, and how many states such histories reach at least.
LENGTH, LEAST = 3, 30_000
LENGTH_DEEP, LEAST_DEEP = 5, 1_000_000


class Violation(Exception):
    """A history has been paid more than wall time allows."""


class Seen(NamedTuple):
    """What an exploration came to.

    Attributes:
        states: different states.
        steps: signals that were applied.
        closest: the least that was left below the bound with, and without, pages that widened it.
        widest: the most that pages have widened a budget by.
    """

    states: int
    steps: int
    closest: tuple[int, int]
    widest: int


class Probe(NamedTuple):
    """A state, and the earliest opening that any of its signals has named."""

    now: int
    state: object
    earliest: int


def key(probe):
    """All that decides the future of a history, and whether it kept the bound."""
    meter, ledger = probe.state.meter, probe.state.ledger
    return (
        probe.now - meter.last_sync_at_ms,
        probe.now - ledger.counts_from_at_ms,
        probe.now - ledger.first_sync_at_ms,
        probe.now - min(probe.earliest, ledger.counts_from_at_ms),
        meter.cumulative_ms,
        meter.budget_ms,
        ledger.widened_ms,
    )


def after(probe, wait, opened, claims, number):
    """One more signal; return the world that it leaves."""
    now = probe.now + wait
    view = None if opened is None else f"v{number}"
    opened_at = None if opened is None else now - opened
    name = f"{number:032x}"
    signal = Signal(POLICY, name, claims, READER, ARTICLE, name, view, 0, opened_at)
    state, _ = signal(probe.state, now)
    # A tuple of views would tell histories apart that have one future.
    state = heartbeat.evolved(state, meter=state.meter._replace(views=(), heartbeats=()))
    return Probe(now, state, min(probe.earliest, now if opened_at is None else opened_at))


def check(probe):
    """B7, B8; return what is left below the bound."""
    meter, ledger = probe.state.meter, probe.state.ledger
    spent = meter.cumulative_ms + meter.budget_ms
    granted = meter.last_sync_at_ms - ledger.counts_from_at_ms + POLICY.leeway_ms + ledger.widened_ms
    wall = meter.last_sync_at_ms - min(ledger.counts_from_at_ms, probe.earliest) + POLICY.leeway_ms
    if not 0 <= spent <= granted <= wall or not 0 <= ledger.widened_ms <= POLICY.catch_up_ms:
        raise Violation(f"{spent} of {granted}, {wall} by the wall, widened by {ledger.widened_ms}: {probe}")
    return wall - meter.cumulative_ms


def explore(length):
    """Every history of so many signals; of those with one future, one."""
    numbers = count(1)
    probes = {None: Probe(START, None, 2 * START)}
    seen, steps, widest = set(), 0, 0
    closest = [START, START]
    for _ in range(length):
        found = {}
        for probe in probes.values():
            for wait in WAITS:
                for opened in OPENED:
                    for claims in CLAIMS:
                        new = after(probe, wait, opened, claims, next(numbers))
                        steps += 1
                        name = key(new)
                        if name in seen:
                            continue
                        seen.add(name)
                        left = check(new)
                        widened = new.state.ledger.widened_ms
                        closest[not widened] = min(closest[not widened], left)
                        widest = max(widest, widened)
                        found[name] = new
        probes = found
    return Seen(len(seen), steps, tuple(closest), widest)


def test_no_history_of_signals_outruns_wall_time(request, record_property):
    """B7, B8: total + budget <= last sync - B0 + leeway + W, which wall time bounds; and the bound is reached."""
    deep = request.config.getoption("--deep")
    seen = explore(LENGTH_DEEP if deep else LENGTH)
    record_property("states", seen.states)
    print(f"budget: {seen.states:,} states, {seen.steps:,} signals")
    assert seen.closest == (0, 0), "a bound that nobody reaches proves less"
    assert seen.widest == POLICY.catch_up_ms
    assert seen.states >= (LEAST_DEEP if deep else LEAST)


@pytest.mark.parametrize(
    "mutation",
    [
        Mutation("B7: all pages share one widening", heartbeat.widening, " - ledger.widened_ms)", ")", ""),
        Mutation("B7: it is at most catch_up", heartbeat.widening, "min(policy.catch_up_ms, begins - opened_at_ms)",
                 "(begins - opened_at_ms)", ""),
        Mutation("B7: it is what the page is older by", heartbeat.widening, "begins - opened_at_ms)",
                 "begins - opened_at_ms + 1)", ""),
        Mutation("B7: what was widened is remembered", heartbeat.count, "ledger.widened_ms + wider", "wider", ""),
        Mutation("B5: the budget that is left has a limit", heartbeat.spend, "allowed - accepted", "allowed", ""),
        Mutation("B9: a step back is no time", heartbeat.count, "budget + elapsed if elapsed > 0 else budget",
                 "budget + abs(elapsed)", ""),
        Mutation("B7: the budget begins at the opening, not at the birth", heartbeat.birth,
                 "now - max(policy.heartbeat_ms, open_for)", "now", ""),
    ],
    ids=lambda mutation: mutation.rule,
)  # fmt: skip
def test_a_broken_budget_is_noticed(mutation):
    """With any of these faults in the rule, some short history is paid too much."""
    with mutation.applied(), pytest.raises(Violation):
        explore(3)
