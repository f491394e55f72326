"""The scenarios: each bounds a part of what can happen, and together they take every edge of the state machine."""

from __future__ import annotations

import attrs

from tests.model.world import Budget, Item, Scenario

VIEWS = (Item("a", 1700), Item("a", 4100), Item("b", 2500), Item(None, 1300))
_POLICY = Scenario("", (), Budget()).policy

SCENARIOS = (
    # Who sends, who crashes, who comes back: two workers and a sweeper over one range after the other.
    Scenario(
        "hand-over",
        VIEWS[:2],
        Budget(signals=2, ticks=1, faults=1, crashes=1),
        ticks=(6000,),
        late=True,
    ),
    # Ranges that are split, and a clock that steps back.
    Scenario(
        "splitting",
        VIEWS[1:2],
        Budget(signals=1, ticks=1, backs=1, faults=1, crashes=1),
        programs=("finalize",),
        max_event_ms=2000,
    ),
    # Events that are refused, parked, corrected, unparked and refused again, with room for one.
    Scenario(
        "parking",
        VIEWS[1:2],
        Budget(signals=1, ticks=1, rejects=2, corrections=1, unparks=1),
        ticks=(6000, 86_400_000),
        programs=("partial",),
        sweeps=False,
        max_event_ms=2000,
        max_parked=1,
    ),
    # Later time behind parked events, which nobody may wait for.
    Scenario(
        "later time",
        VIEWS[:2],
        Budget(signals=2, ticks=1, rejects=1),
        ticks=(6000, 86_400_000),
        programs=("partial",),
        max_event_ms=2000,
        max_parked=2,
    ),
    # An old owner still runs while its event is taken over, parked, and its context changes.
    Scenario(
        "slow owner",
        VIEWS[:1],
        Budget(signals=1, ticks=1, faults=1, rejects=2, corrections=1),
        ticks=(6000, 86_400_000),
        programs=("partial",),
    ),
    # The same with later time behind it.
    Scenario(
        "slow owner, split",
        VIEWS[1:2],
        Budget(signals=1, ticks=1, rejects=1),
        programs=("finalize",),
        max_event_ms=2000,
    ),
    # Two addresses that a host uses in turn, and an endpoint that refuses both.
    Scenario(
        "two addresses",
        VIEWS[:1],
        Budget(signals=1, rejects=3, corrections=2),
        programs=("partial",),
        sweeps=False,
    ),
    # An event that is never delivered, and newer time behind it.
    Scenario(
        "making way",
        VIEWS[:2],
        Budget(signals=2, ticks=1, faults=4, corrections=1),
        ticks=(6000,),
        programs=("partial",),
        sweeps=False,
    ),
    # An address with which no event can be built.
    Scenario(
        "unbuildable",
        VIEWS[:2],
        Budget(signals=1, ticks=1, corrections=2),
        ticks=(6000, 86_400_000),
        programs=("finalize",),
        emails=3,
        max_event_ms=2000,
        max_parked=1,
    ),
    # An endpoint that refuses everything, and a sweeper that comes again and again.
    Scenario(
        "refusals",
        VIEWS[1:2],
        Budget(signals=1, ticks=4, rejects=4),
        ticks=(16_000, 86_400_000),
        programs=(),
        max_event_ms=2000,
        max_parked=1,
    ),
    # The parked list fills up behind a sweeper's back.
    Scenario(
        "full list",
        VIEWS[1:2],
        Budget(signals=1, ticks=1, rejects=2),
        ticks=(16_000,),
        programs=("partial",),
        max_event_ms=2000,
        max_parked=1,
    ),
    # Heartbeats that complete the article, with back-offs and parked events in their way.
    Scenario(
        "completion",
        VIEWS[:2],
        Budget(signals=2, ticks=1, faults=1, rejects=1),
        policy=attrs.evolve(_POLICY, completion_dwell_seconds=3),
        programs=(),
    ),
    Scenario(
        "completion beside a report",
        VIEWS[:2],
        Budget(signals=2, ticks=1, faults=1),
        policy=attrs.evolve(_POLICY, completion_dwell_seconds=3),
        programs=("partial",),
    ),
    # Nothing is sent by a host: deferred, completed and swept; a partial waits for three seconds.
    Scenario(
        "deferral",
        VIEWS[:2],
        Budget(signals=2, ticks=1, faults=1, defers=1),
        policy=attrs.evolve(_POLICY, completion_dwell_seconds=4),
        programs=("partial",),
        minimum_ms=3000,
        sends=False,
    ),
    # Forgotten, expired and born again, with old owners at work.
    Scenario(
        "rebirth",
        tuple(item._replace(opened_at_ms=0) for item in VIEWS[:2]),
        Budget(signals=2, rejects=1, defers=1, unparks=1, ends=1),
        programs=("finalize",),
    ),
    # Signals alone: late, doubled, clamped, with a clock that steps back.
    Scenario(
        "signals",
        VIEWS,
        Budget(signals=6, ticks=4, backs=1),
        programs=(),
        sweeps=False,
    ),
    # A state that remembers two views, and a client that says what it knows.
    Scenario(
        "eviction",
        (Item("a", 1700), Item("b", 1500), Item("c", 1500), Item("a", 4100, 1700, after=0)),
        Budget(signals=4, ticks=2),
        programs=(),
        orderly=True,
        max_views=2,
    ),
    # A driver repeats a write whose answer was lost.
    Scenario(
        "replays",
        VIEWS[:2],
        Budget(signals=1, ticks=1, faults=1, rejects=1, replays=2),
        sweeps=False,
    ),
    # The store loses its last writes. Seconds may then be lost or doubled, as documented; nothing worse may happen.
    Scenario(
        "fail-over",
        VIEWS[:3],
        Budget(signals=2, rejects=1, failovers=1),
        programs=("partial",),
        max_event_ms=2000,
    ),
)


def deeper(scenario: Scenario) -> Scenario:
    """Return the scenario with one more of everything that it allows."""
    return scenario._replace(budget=Budget(*(count + (count > 0) for count in scenario.budget)))
