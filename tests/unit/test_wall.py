"""What one pair of eyes cannot have read: against a search through every plan, and on readers who are honest (B11)."""

from __future__ import annotations

from itertools import combinations_with_replacement, product

from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime import InMemoryStateStore, PageView, ReadTimePolicy, ReadTimeTracker
from caliper_readtime._rules.wall import Stretch, beside, stretches_of
from caliper_readtime.testing import ManualClock
from tests.scenes import ANNA, START, article
from tests.unit.builders import Life, ms

#: Every window in so many slots of wall time, with every amount that fits into it or not.
SLOTS = 4
WINDOWS = [
    Stretch(begins, ends, much)
    for begins, ends in product(range(SLOTS), range(SLOTS + 1))
    if begins < ends
    for much in (1, 2, 4)
]
POLICY = ReadTimePolicy()


def most(stretches):
    """The most that can be read one after the other, by assigning slots along augmenting paths."""
    units = [one for one in stretches for _ in range(one.ms)]
    taken = {}

    def place(unit, tried):
        for slot in range(units[unit].begins_ms, units[unit].ends_ms):
            if slot not in tried:
                tried.add(slot)
                if slot not in taken or place(taken[slot], tried):
                    taken[slot] = unit
                    return True
        return False

    return sum(place(unit, set()) for unit in range(len(units)))


def test_no_other_order_fits_more():
    """B11: for every choice of up to three windows the measure is exact: what is over is over in every plan."""
    tried = 0
    for number in (0, 1, 2, 3):
        for stretches in combinations_with_replacement(WINDOWS, number):
            assert beside(stretches) == sum(one.ms for one in stretches) - most(stretches), stretches
            tried += 1
    assert tried > 5000


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40)), max_size=12))
def test_the_measure_is_exact(drawn):
    """B11: the same for many windows of any length, whatever their order."""
    stretches = [Stretch(min(a, b), max(a, b), much) for a, b, much in drawn]
    assert beside(stretches) == beside(stretches[::-1]) == sum(one.ms for one in stretches) - most(stretches)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0.5, 90), st.booleans(), st.integers(0, 3), st.floats(0, 200)),
        min_size=1,
        max_size=30,
    )
)
def test_an_honest_reader_is_never_told_of(steps):
    """B11: whoever reads one article after the other, with reports and pauses in between, has read nothing beside."""
    lives = [Life() for _ in range(4)]
    now, opened, totals = lives[0].now, {}, dict.fromkeys(range(4), 0.0)
    for what, seconds, reports, _, pause in steps:
        life = lives[what]
        opened.setdefault(what, now)
        now += ms(seconds)
        totals[what] += seconds
        life.now = now
        life.view(totals[what], opened=opened[what])
        if reports and life.take().claim:
            life.commit(life.ledger.claim)
        now += ms(pause)
    found = [one for life in lives if life.state is not None for one in stretches_of(life.state, POLICY)]
    assert beside(found) == 0


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 90), st.integers(0, 2), st.booleans()), max_size=40))
def test_one_article_is_never_beside_itself(steps):
    """B11: however its tabs claim, clamp and report, one article's time fits into its own wall time."""
    life = Life()
    opened = life.now
    for wait, total, tab, reports in steps:
        life.wait(wait).view(total * 10, f"tab{tab}", opened=opened)
        if reports and life.take().claim:
            life.commit(life.ledger.claim)
    assert life.state is None or beside(stretches_of(life.state, POLICY)) == 0


def test_thirty_articles_side_by_side_are_told():
    """B11: two minutes, a heartbeat and the leeway cannot be an hour; of one article there is nothing to say."""
    clock = ManualClock(START)
    tracker = ReadTimeTracker(InMemoryStateStore(), clock=clock)
    articles = [article(f"a{number}") for number in range(30)]
    for _ in range(13):
        for what in articles:
            seconds = (clock() - START).total_seconds()
            tracker.observe(ANNA, what, PageView("v", seconds), opened_at=START)
        clock.advance(10)
    total = sum(state.cumulative_read_time_seconds for state in tracker.states("anna"))
    assert total == 30 * 120
    (line,) = (line for line in tracker.explain("anna", "a7").lines if "beside another article" in line)
    assert "on 30 articles, 3465 s were read beside another article" in line
    alone = ReadTimeTracker(InMemoryStateStore(), clock=clock)
    alone.observe(ANNA, articles[0], PageView("v", 120.0), opened_at=START)
    assert not any("beside" in line for line in alone.explain("anna", "a0").lines)
