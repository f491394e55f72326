"""Accuracy simulation: the day that every flow lives through, drawn from one seed; it knows nothing of the flows.

Times are whole milliseconds since the day began. The truth is what the reader read: one pair of eyes, so the union of
the reading of all tabs. What was told is the part of it that arrived: of each tab, its reading up to the sending of
the newest request of which a copy was taken, and of these the union.
"""

from __future__ import annotations

from enum import StrEnum
from math import log
from random import Random
from typing import NamedTuple

import attrs

SECOND = 1000
MINUTE = 60 * SECOND
DAY = 8 * 60 * MINUTE  # a school day, in which sessions begin
BEAT = 5 * SECOND  # of active time; the cadence of the replaced flow
#: What a worker passes through: the write of a signal, and the three steps of a report.
STEPS = tuple(f"{step} {side}" for step in ("store", "claim", "emit", "commit") for side in ("before", "after"))


def _rate(value, says):
    return attrs.field(default=value, metadata={"says": says})


@attrs.frozen
class Rates:
    """How often each fault happens. A share where the text begins with "of"; otherwise the number that it names."""

    second_tab: float = _rate(0.20, "of sessions: the article is open in two or three tabs")
    side_by_side: float = _rate(0.30, "of those: two tabs are visible at once, and both count")
    finishes: float = _rate(0.60, "of sessions: the reader marks the article as read, which finalizes")
    reads_on: float = _rate(0.15, "of those: they go on reading afterwards")
    tab_dies: float = _rate(0.06, "of tabs: killed, without a leave beacon")
    leave_lost: float = _rate(0.10, "of leave beacons: lost")
    beat_lost: float = _rate(0.02, "of all other requests: lost")
    offline: float = _rate(0.04, "of sessions: the device is offline once, and requests are lost")
    offline_seconds: float = _rate(600.0, "seconds: the longest time offline")
    stall: float = _rate(0.04, "of sessions: the network stalls once, then delivers a burst, shuffled")
    stall_seconds: float = _rate(240.0, "seconds: the longest stall")
    reordered: float = _rate(0.01, "of requests: delayed by up to 30 s, so that later ones overtake it")
    duplicated: float = _rate(0.01, "of requests: delivered twice, up to 20 s apart")
    concurrent: float = _rate(0.50, "of requests within 250 ms of another of the session: served while it is served")
    crash: float = _rate(0.003, "of requests, and of the steps of sweeps: the worker dies, at any step")
    refused: float = _rate(0.01, "of emissions: 5xx, after whatever retries an HTTP client makes")
    unanswered: float = _rate(0.01, "of emissions: accepted, then the answer is lost")
    outages: int = _rate(2, "a day: the endpoint is down for 10 to 30 minutes")
    store_restarts: int = _rate(4, "a day: the store is unreachable for 2 to 20 s")
    deployments: int = _rate(1, "a day: every worker is replaced")


class Kind(StrEnum):
    """What a request is for."""

    BEAT = "heartbeat"
    FINISH = "marked as read"
    HIDE = "leave, hidden"
    END = "leave, closed"


class Fate(StrEnum):
    """What becomes of an emission."""

    ACCEPTED = "accepted"
    REFUSED = "5xx"
    UNANSWERED = "accepted, no answer"


class Request(NamedTuple):
    """What one tab sends: its running total, and what is new in it, for flows that know only that."""

    session: int
    view: int
    number: int
    kind: Kind
    sent: int
    total: int
    since_beat: int  # new since the last heartbeat or finish
    since_any: int  # new since the last request of any kind


class Arrival:
    """One copy of a request reaching a worker, and what happens there."""

    __slots__ = ("at", "crash", "fate", "meanwhile", "meanwhile_at", "request")

    def __init__(self, at, request, crash, fate):
        self.at, self.request = at, request
        self.crash, self.fate = crash, fate
        self.meanwhile, self.meanwhile_at = None, ""  # the arrival that is served at which step of this one


@attrs.frozen
class Session:
    """One reader on one article."""

    opened: tuple[int, ...]  # when the server rendered each view
    read: tuple[tuple[tuple[int, int], ...], ...]  # of each view, the intervals in which it was visible and read
    truth: int
    told: int
    overlaps: bool  # two tabs counted at once


@attrs.frozen
class Day:
    """When the surroundings fail."""

    outages: tuple[tuple[int, int], ...]
    restarts: tuple[tuple[int, int], ...]
    deployments: tuple[int, ...]


@attrs.frozen
class Trace:
    """All that happens, the same for every flow. ``arrivals``: in order; those served meanwhile hang on another."""

    seed: int
    rates: Rates
    day: Day
    sessions: tuple[Session, ...]
    arrivals: tuple[Arrival, ...]

    def every(self):
        """Yield every arrival, those served meanwhile included."""
        for arrival in self.arrivals:
            yield arrival
            if arrival.meanwhile is not None:
                yield arrival.meanwhile


def within(moment, windows):
    """Whether a moment lies in one of the windows."""
    return any(start <= moment < end for start, end in windows)


def union(intervals):
    """Return how long intervals are together, what overlaps counted once."""
    length = reached = 0
    for start, end in sorted(intervals):
        length += max(0, end - max(start, reached))
        reached = max(reached, end)
    return length


def draw_fate(random, rates):
    """Draw what becomes of an emission while the endpoint is up."""
    chance = random.random()
    if chance < rates.refused:
        return Fate.REFUSED
    return Fate.UNANSWERED if chance < rates.refused + rates.unanswered else Fate.ACCEPTED


def trace(seed, sessions, rates=None):
    """Draw a day with so many sessions."""
    rates = rates or Rates()
    random = Random(f"{seed} day")
    day = Day(
        _windows(random, rates.outages, 10 * MINUTE, 30 * MINUTE),
        _windows(random, rates.store_restarts, 2 * SECOND, 20 * SECOND),
        tuple(sorted(random.randrange(DAY) for _ in range(rates.deployments))),
    )
    drawn = [_session(Random(f"{seed} {number}"), number, rates, day) for number in range(sessions)]
    arrivals = [arrival for _, some in drawn for arrival in some]
    arrivals.sort(key=lambda arrival: (arrival.at, arrival.request.session))
    return Trace(seed, rates, day, tuple(session for session, _ in drawn), tuple(arrivals))


def _windows(random, count, shortest, longest):
    starts = [random.randrange(DAY) for _ in range(count)]
    return tuple((start, start + random.randint(shortest, longest)) for start in sorted(starts))


def _session(random, number, rates, day):
    stretches = _stretches(random, rates)
    tabs = sorted({tab for _, _, some in stretches for tab in some})
    read = tuple(tuple((start, end) for start, end, some in stretches if tab in some) for tab in tabs)
    finish = None
    if random.random() < rates.finishes:
        start, end, some = random.choice(stretches) if random.random() < rates.reads_on else stretches[-1]
        finish = (some[0], max(start, end - random.randint(30, 1500)))
    requests = []
    for tab in tabs:
        ends = random.random() >= rates.tab_dies
        done = finish[1] if finish and finish[0] == tab else None
        requests += _requests(number, tab, read[tab], done, ends=ends)
    requests.sort(key=lambda request: request.sent)
    arrivals = _arrivals(random, requests, (stretches[0][0], stretches[-1][1]), rates)
    session = Session(
        opened=tuple(some[0][0] - random.randint(200, 3000) for some in read),
        read=read,
        truth=sum(end - start for start, end, _ in stretches),
        told=_told(read, arrivals, day),
        overlaps=any(len(some) > 1 for _, _, some in stretches),
    )
    return session, _nested(random, arrivals, rates)


def _stretches(random, rates):
    """Return when a reader reads without a pause, and in which tabs: most of the time in one, the one just used."""
    tabs = random.choice((2, 2, 3)) if random.random() < rates.second_tab else 1
    beside = tabs > 1 and random.random() < rates.side_by_side
    left = int(min(1800.0, max(3.0, random.lognormvariate(log(150), 1.0))) * SECOND)
    count = tabs + min(6, int(random.expovariate(0.8)))
    weights = [random.uniform(0.2, 1.0) for _ in range(count)]
    moment = random.randrange(DAY)
    stretches = []
    for place, weight in enumerate(weights):
        # Every tab is opened in its turn; then the reader goes back and forth.
        tab = place if place < tabs else random.randrange(tabs)
        end = moment + max(1, int(left * weight / sum(weights)))
        known = [other for other in range(min(place + 1, tabs)) if other != tab]
        both = beside and known and random.random() < 0.7
        stretches.append((moment, end, (tab, random.choice(known)) if both else (tab,)))
        # To another tab or back from it in a moment, or away from the screen.
        short = tabs > 1 and random.random() < 0.6
        moment = end + int(
            random.uniform(300, 2000) if short else min(1200.0, random.lognormvariate(3.7, 1.0)) * SECOND
        )
    return stretches


def _requests(session, view, intervals, done, *, ends):
    """Return what a tab sends: a heartbeat for each 5 s read, the finish, and a leave beacon at each end."""
    requests = []
    total = at_beat = at_any = 0

    def send(kind, moment):
        nonlocal at_beat, at_any
        requests.append(Request(session, view, len(requests), kind, moment, total, total - at_beat, total - at_any))
        at_any = total
        if kind in (Kind.BEAT, Kind.FINISH):
            at_beat = total

    for start, end in intervals:
        moment = start
        while True:
            beat = moment + BEAT - (total - at_any)
            finishes = done is not None and moment <= done < min(beat, end)
            until = done if finishes else min(beat, end)
            total, moment = total + until - moment, until
            if finishes:
                send(Kind.FINISH, moment)
                done = None
            elif moment == end:
                break
            else:
                send(Kind.BEAT, moment)
        last = (start, end) == intervals[-1]
        if ends or not last:
            send(Kind.END if last else Kind.HIDE, end)
    return requests


def _arrivals(random, requests, around, rates):
    offline = _window_in(random, around, rates.offline, rates.offline_seconds)
    stall = _window_in(random, around, rates.stall, rates.stall_seconds)
    arrivals = []
    for request in requests:
        leaves = request.kind in (Kind.HIDE, Kind.END)
        lost = random.random() < (rates.leave_lost if leaves else rates.beat_lost)
        if lost or within(request.sent, offline):
            continue
        at = request.sent + 20 + int(random.expovariate(1 / 80))
        if within(request.sent, stall):
            at = stall[0][1] + random.randint(20, 400)
        if random.random() < rates.reordered:
            at += random.randint(1000, 30_000)
        copies = [at]
        if random.random() < rates.duplicated:
            copies.append(at + random.randint(5, 20_000))
        for copy in copies:
            crash = random.choice(STEPS) if random.random() < rates.crash else None
            arrivals.append(Arrival(copy, request, crash, draw_fate(random, rates)))
    return sorted(arrivals, key=lambda arrival: arrival.at)


def _window_in(random, around, rate, longest):
    if random.random() >= rate:
        return ()
    start = random.randint(*around)
    return ((start, start + int(random.uniform(5, longest) * SECOND)),)


def _told(read, arrivals, day):
    """What was told; a copy that met a dead store, or a worker that died before its write, was not taken."""
    heard = {}
    for arrival in arrivals:
        if arrival.crash != "store before" and not within(arrival.at, day.restarts):
            view = arrival.request.view
            heard[view] = max(heard.get(view, 0), arrival.request.sent)
    return union(
        (start, min(end, heard[view])) for view, some in enumerate(read) if view in heard for start, end in some
        if start < heard[view]
    )  # fmt: skip


def _nested(random, arrivals, rates):
    """Hang some arrivals on the one before them, to be served in the middle of it."""
    left = []
    for arrival in arrivals:
        before = left[-1] if left else None
        near = before is not None and before.meanwhile is None and arrival.at - before.at <= 250
        if near and random.random() < rates.concurrent:
            before.meanwhile, before.meanwhile_at = arrival, random.choice(STEPS)
        else:
            left.append(arrival)
    return left
