"""Accuracy simulation: what a flow's day came to, against what was read; and the tables that say so."""

from __future__ import annotations

from collections import defaultdict

import attrs

from caliper_readtime.testing._minutes import minutes_rounded_up
from tests.benchmarks.accuracy_traces import SECOND, Rates, union


@attrs.frozen
class Score:
    """Sums over all sessions, in milliseconds unless the name says otherwise.

    reported = read + over, less never_told, dropped and carried.
    """

    flow: str
    sessions: int
    read: int
    never_told: int  # of what is missing, what no server could know
    dropped: int  # missing though it was told
    carried: int  # missing though told, but still in the state: below a second for each
    over: int  # beyond what was read
    reported: int  # each event id once
    delivered: int  # each delivery
    twice: int  # of reported: the same stretch of a state under two ids
    paid_nothing: int  # sessions
    too_little: int  # sessions, those paid nothing included
    too_much: int  # sessions
    unlike_told: int  # sessions paid otherwise than for the whole seconds that were told


def score(name, trace, world, flow):
    """Compare what arrived with what was read, session by session."""
    names = [field.name for field in attrs.fields(Score) if field.name not in ("flow", "sessions", "delivered")]
    sums = dict.fromkeys(names, 0)
    sent, spans = defaultdict(int), defaultdict(list)
    for event in world.endpoint.events.values():
        sent[event.session] += event.seconds
        spans[event.session, event.life].append((event.start, event.end))
    for some in spans.values():
        sums["twice"] += sum(end - start for start, end in some) - union(some)
    for number, session in enumerate(trace.sessions):
        reported = sent[number] * SECOND
        missing = max(0, session.truth - reported)
        never_told = min(missing, session.truth - session.told)
        carried = min(missing - never_told, flow.carried(number))
        sums["read"] += session.truth
        sums["never_told"] += never_told
        sums["carried"] += carried
        sums["dropped"] += missing - never_told - carried
        sums["over"] += max(0, reported - session.truth)
        sums["reported"] += reported
        due, paid = minutes_rounded_up(session.truth / SECOND), minutes_rounded_up(sent[number])
        sums["too_little"] += paid < due
        sums["too_much"] += paid > due
        sums["paid_nothing"] += paid == 0 < due
        sums["unlike_told"] += paid != minutes_rounded_up(session.told // SECOND)
    return Score(name, len(trace.sessions), delivered=world.endpoint.seconds * SECOND, **sums)


@attrs.frozen
class Bound:
    """How far the library over-reports sessions in which two tabs counted at once; and its documented bound, of all.

    Sums over those sessions in milliseconds, unless the name says otherwise.
    """

    flow: str
    sessions: int
    read: int
    claimed: int  # what the tabs said, together
    counted: int
    most_over: int  # of one session
    left: int  # least that any session of all was left below its bound; negative where one went beyond it


def bound(name, trace, flow):
    """Hold every session against the bound of docs/explanation/time.md, and sum up those with tabs that overlap."""
    sums = dict.fromkeys(("sessions", "read", "claimed", "counted", "most_over"), 0)
    left = []
    for number, session in enumerate(trace.sessions):
        state = flow.state(number)
        if state is None:
            continue
        counted = state.meter.cumulative_ms
        wall = state.meter.last_sync_at_ms - flow.births[number]
        left.append(wall + flow.policy.leeway_ms - counted)
        if session.overlaps:
            sums["sessions"] += 1
            sums["read"] += session.truth
            sums["claimed"] += sum(end - start for some in session.read for start, end in some)
            sums["counted"] += counted
            sums["most_over"] = max(sums["most_over"], counted - session.truth)
    return Bound(name, left=min(left), **sums)


def _row(*cells):
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _seconds(ms):
    return f"{ms / SECOND:,.0f}"


def _share(ms, whole):
    return f"{_seconds(ms)} ({100 * ms / whole:.2f} %)"


def scores_table(scores):
    """Return the table of what the flows came to, as Markdown."""
    heads = ("flow", "read", "reported", "every delivery", "never told", "lost though told", "carried")
    heads += ("over-reported", "sent twice", "paid too little (nothing)", "paid too much", "paid otherwise than told")
    lines = [_row(*heads), _row("---", *["---:"] * (len(heads) - 1))]
    lines += [
        _row(
            s.flow,
            _seconds(s.read),
            _seconds(s.reported),
            _seconds(s.delivered),
            *(_share(ms, s.read) for ms in (s.never_told, s.dropped, s.carried, s.over)),
            _seconds(s.twice),
            f"{s.too_little:,} ({s.paid_nothing:,})",
            f"{s.too_much:,}",
            f"{s.unlike_told:,}",
        )
        for s in scores
    ]
    return "\n".join(lines)


def bounds_table(bounds):
    """Return the table of sessions with overlapping tabs, as Markdown."""
    heads = ("flow", "sessions with overlapping tabs", "read", "the tabs claimed", "counted")
    heads += ("most over-counted in one", "closest to the bound, of all sessions")
    lines = [_row(*heads), _row("---", *["---:"] * (len(heads) - 1))]
    lines += [
        _row(
            b.flow,
            f"{b.sessions:,}",
            *map(_seconds, (b.read, b.claimed, b.counted, b.most_over)),
            f"{b.left / SECOND:.3f} s below",
        )
        for b in bounds
    ]
    return "\n".join(lines)


def rates_table(rates):
    """Return the table of the rates, as Markdown."""
    lines = [_row("rate", "", ""), _row("---", "---:", "---")]
    for field in attrs.fields(Rates):
        value, says = getattr(rates, field.name), field.metadata["says"]
        shown = f"{100 * value:g} %" if says.startswith("of ") else f"{value:g}"
        lines.append(_row(f"`{field.name}`", shown, says))
    return "\n".join(lines)
