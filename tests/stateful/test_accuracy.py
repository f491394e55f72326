"""The accuracy simulation on small days: what it must show of this library, and that it can show faults at all."""

from __future__ import annotations

import re
from types import SimpleNamespace

import attrs
import pytest

from tests.backends import STORES
from tests.benchmarks import accuracy
from tests.benchmarks.accuracy_library import Deltas, Totals
from tests.benchmarks.accuracy_replaced import ReadModifyWrite, UnmountOnly
from tests.benchmarks.accuracy_score import bound, rates_table, score
from tests.benchmarks.accuracy_traces import SECOND, STEPS, Kind, Rates, Session, trace, union
from tests.benchmarks.accuracy_world import Endpoint, Sent

#: Seeds of days with this many sessions, small enough for every run of the suite.
SEEDS, SESSIONS = (1, 2, 3), 200
NO_FAULTS = Rates(**{**{field.name: 0 for field in attrs.fields(Rates)}, "second_tab": 0.2, "finishes": 0.6})


@pytest.fixture(scope="module", params=SEEDS)
def day(request):
    """A day with every fault at its stated rate."""
    return trace(request.param, SESSIONS)


def played(drawn, make_flow):
    """Play a day; return the flow, its score, and what the endpoint holds of each session, in milliseconds."""
    flow, world = accuracy.play(drawn, make_flow)
    held = [0] * len(drawn.sessions)
    for event in world.endpoint.events.values():
        held[event.session] += event.seconds * SECOND
    return flow, score("", drawn, world, flow), held


def counted(flow, number):
    """What the library accepted of a session, in milliseconds."""
    state = flow.state(number)
    return 0 if state is None else state.meter.cumulative_ms


@pytest.mark.parametrize("make_flow", [Deltas, Totals])
def test_what_was_accepted_arrives_once_and_is_bounded(day, make_flow):
    """Deltas and totals: every whole second accepted arrives, none twice, none beyond the bound."""
    flow, result, held = played(day, make_flow)
    accepted = [counted(flow, number) for number in range(SESSIONS)]
    assert held == [ms // SECOND * SECOND for ms in accepted]
    assert result.twice == 0
    assert result.delivered > result.reported  # some answers were lost
    assert bound("", day, flow).left >= 0


def test_totals_lose_nothing_that_was_told(day):
    """Totals: whatever a server was told is accepted, and without overlapping tabs nothing else is."""
    flow, result, held = played(day, Totals)
    for number, session in enumerate(day.sessions):
        accepted = counted(flow, number)
        assert accepted >= session.told, number
        assert accepted == session.told or session.overlaps, number
        assert (held[number] == session.told // SECOND * SECOND) or session.overlaps, number
    assert result.dropped == 0
    assert 0 < result.carried < SECOND * SESSIONS
    assert result.never_told > 0


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["younger first", "older first"])
def test_an_earlier_view_that_is_heard_of_later_loses_nothing(order):
    """B7: the budget opens with the earliest page, whichever is heard first."""
    drawn = trace(accuracy.SEED, 1)
    sessions = (attrs.evolve(drawn.sessions[0], opened=(100 * SECOND, 0)),)
    flow = Totals(SimpleNamespace(
        at=lambda step: None, need_store=lambda: None, now=130 * SECOND, trace=SimpleNamespace(sessions=sessions)
    ))  # fmt: skip
    first = next(drawn.every()).request._replace(session=0, kind=Kind.BEAT)
    for view in order:
        flow.handle(first._replace(view=view, total=(20, 90)[view] * SECOND))
    assert counted(flow, 0) == 110 * SECOND


def test_the_store_makes_no_difference(tmp_path):
    """Totals on SQLite come to the very same score as in memory."""
    drawn = trace(1, 40)
    store = STORES["sqlite"](tmp_path)
    try:
        assert played(drawn, lambda world: Totals(world, store))[1:] == played(drawn, Totals)[1:]
    finally:
        store.close()


def test_the_same_seed_gives_the_same_tables():
    """Every figure is decided by the seed; another seed is another day."""
    first, again, other = (
        accuracy.tables(drawn, *accuracy.measure(drawn)) for drawn in (trace(seed, 60) for seed in (5, 5, 6))
    )
    assert first == again
    assert first["scores"] != other["scores"]


def test_every_fault_happens():
    """A day of the tested size meets every fault, or the tests above would prove nothing."""
    days = [trace(seed, SESSIONS) for seed in SEEDS]
    arrivals = [(number, arrival) for number, drawn in enumerate(days) for arrival in drawn.every()]
    assert {arrival.crash for _, arrival in arrivals} == {None, *STEPS}
    assert {arrival.meanwhile_at for _, arrival in arrivals} == {"", *STEPS}
    assert len({arrival.fate for _, arrival in arrivals}) == 3
    names = [(number, *arrival.request[:3]) for number, arrival in arrivals]
    assert len(set(names)) < len(names)  # duplicates
    assert any(session.overlaps for drawn in days for session in drawn.sessions)
    for drawn in days:
        _, world = accuracy.play(drawn, Totals)
        assert [what for what, times in world.seen.items() if not times] == []


def test_without_faults_every_flow_tells_nearly_the_truth():
    """Then only fractions of seconds are missing, in (b) also what its leave beacons do not carry."""
    drawn = trace(1, SESSIONS, NO_FAULTS)
    a, b, c, d = (played(drawn, make_flow)[1] for make_flow in accuracy.FLOWS.values())
    for result in (a, b, c, d):
        assert (result.over, result.twice, result.never_told) == (0, 0, 0)
        assert result.delivered == result.reported
    views = sum(len(session.read) for session in drawn.sessions)
    assert 0 < a.dropped < views * SECOND
    assert 0 < b.dropped < 0.06 * b.read
    assert (c.dropped, d.dropped, c.unlike_told, d.unlike_told) == (0, 0, 0, 0)
    assert 0 < c.carried == d.carried < SECOND * SESSIONS


#: What one fault alone, as strong as can be, leaves of the told seconds in (a), (b), (c) and (d): (least, most).
ALONE = {
    "refused": ({"refused": 1.0}, (0, 0), (0, 0), (0.98, 1), (0.98, 1)),
    "leave lost": ({"leave_lost": 1.0, "finishes": 0.0}, (0, 0), (0, 0), (0.98, 1), (0.98, 1)),
    "beat lost": ({"beat_lost": 1.0}, (0.98, 1), (0, 0), (0.01, 0.5), (0.98, 1)),
    "duplicated": ({"duplicated": 1.0}, (1.5, 2), (1.2, 1.5), (0.98, 1), (0.98, 1)),
    "crash": ({"crash": 1.0}, (0.2, 0.6), (0.4, 0.8), (0.6, 0.95), (0.98, 1)),
    "reordered": ({"reordered": 1.0}, (0.98, 1), (0.5, 0.95), (0.9, 1), (0.98, 1)),
    "deployments": ({"deployments": 1000}, (0.98, 1), (0.05, 0.5), (0.98, 1), (0.98, 1)),
}


@pytest.mark.parametrize(("rates", "shares"), [(rates, shares) for rates, *shares in ALONE.values()], ids=ALONE)
def test_what_one_fault_alone_does(rates, shares):
    """A fault does to the others what their descriptions say, and to totals nothing."""
    drawn = trace(4, 60, attrs.evolve(NO_FAULTS, **rates))
    told = sum(session.told for session in drawn.sessions)
    for (name, make_flow), (least, most) in zip(accuracy.FLOWS.items(), shares, strict=True):
        share = played(drawn, make_flow)[1].reported / told
        assert least <= share <= most, (name, share)


@pytest.mark.parametrize("make_flow", [UnmountOnly, ReadModifyWrite])
def test_the_replaced_flows_lose_and_repeat(day, make_flow):
    """With every fault at its rate, both lose much more than the network does, and send seconds twice."""
    _, result, _ = played(day, make_flow)
    assert result.dropped > 0.05 * result.read
    assert result.too_little > 0.1 * SESSIONS


def test_the_score_sees_what_is_wrong():
    """A score adds up, and tells lost, carried, doubled and never told time apart."""
    session = Session(opened=(0,), read=(((0, 90_500),),), truth=90_500, told=80_500, overlaps=False)
    drawn = SimpleNamespace(sessions=(session, session))
    endpoint = Endpoint()
    endpoint.accept("one", Sent(0, "life", 0, 60_000, 60))
    for _ in range(2):
        endpoint.accept("two", Sent(0, "life", 50_000, 70_000, 20))
    endpoint.accept("three", Sent(1, "life", 0, 121_000, 121))
    flow = SimpleNamespace(carried=lambda number: 400)
    result = score("x", drawn, SimpleNamespace(endpoint=endpoint), flow)
    assert (result.read, result.reported, result.delivered) == (181_000, 201_000, 221_000)
    assert (result.never_told, result.carried, result.dropped) == (10_000, 400, 100)
    assert (result.over, result.twice) == (30_500, 10_000)
    assert (result.too_little, result.paid_nothing, result.too_much, result.unlike_told) == (0, 0, 1, 1)
    missing = result.never_told + result.carried + result.dropped
    assert result.read - missing + result.over == result.reported


def test_overlapping_intervals_count_once():
    """The truth of several tabs is the union of their reading."""
    assert union([]) == 0
    assert union([(10, 20), (0, 5), (15, 30), (16, 18), (30, 31)]) == 26


def test_the_page_says_what_was_simulated(request):
    """The page carries the seed, the sessions and the rates that the code has, and figures that add up.

    With ``--deep`` the whole day is played, and every figure compared.
    """
    text = accuracy.PAGE.read_text(encoding="utf-8")
    written = {name: accuracy.part(name).search(text)[0].strip() for name in ("run", "scores", "bounds", "rates")}
    if request.config.getoption("deep"):
        drawn = trace(accuracy.SEED, accuracy.SESSIONS)
        assert written == accuracy.tables(drawn, *accuracy.measure(drawn))
    assert written["run"].startswith(f"Seed {accuracy.SEED}, {accuracy.SESSIONS:,} reading sessions, ")
    assert written["rates"] == rates_table(Rates())
    rows = {name: figures(written["scores"], name) for name in accuracy.FLOWS}
    for read, reported, every, never_told, dropped, carried, over, *_ in rows.values():
        assert abs(read - never_told - dropped - carried + over - reported) <= 3  # each is rounded
        assert every >= reported
    dropped, twice = rows["(d) this library, totals"][4], rows["(d) this library, totals"][7]
    assert (dropped < 1e-4 * rows["(d) this library, totals"][0], twice) == (True, 0)
    for name in list(accuracy.FLOWS)[2:]:
        assert figures(written["bounds"], name)


def figures(table, name):
    """Return a row's figures, without their shares."""
    row = next(line for line in table.splitlines() if line.startswith(f"| {name} |"))
    return [float(re.match(r"[\d,.]+", cell)[0].replace(",", "")) for cell in row.strip("| ").split(" | ")[1:]]


def test_the_same_scores_give_the_same_picture(tmp_path):
    """Drawing is deterministic, byte for byte."""
    pytest.importorskip("matplotlib")
    from tests.benchmarks.accuracy_plot import draw  # noqa: PLC0415

    scores, _ = accuracy.measure(trace(1, 20))
    pictures = [tmp_path / name for name in ("one.png", "two.png")]
    for picture in pictures:
        draw(scores, picture)
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert pictures[0].read_bytes().startswith(b"\x89PNG")
