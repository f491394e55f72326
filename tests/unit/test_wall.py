"""What one pair of eyes cannot have read: against a search through every plan, and on readers who are honest."""

from __future__ import annotations

from itertools import combinations_with_replacement, permutations, product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime._rules import wall as module
from caliper_readtime._rules.wall import NO_WALL, Stretch, Wall, beside, claimed

#: Every window in so many slots of wall time, with every amount that fits into it or not.
SLOTS = 4
WINDOWS = [
    Stretch(begins, ends, much)
    for begins, ends in product(range(SLOTS), range(SLOTS + 1))
    if begins < ends
    for much in (1, 2, 4)
]
#: As short as records can be, so that small plans settle and close gaps.
SMALL = [(64, 16), (4, 2), (2, 1)]


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


def claiming(stretches, expires=0):
    """The record after claims in this order, and what each was over by."""
    wall, over = NO_WALL, []
    for stretch in stretches:
        wall, more = claimed(wall, stretch, expires)
        over.append(more)
    return wall, over


@pytest.fixture(params=SMALL, ids=str)
def bounds(request, monkeypatch):
    """Records of the usual size, and tiny ones."""
    stretches, settled = request.param
    monkeypatch.setattr(module, "MAX_STRETCHES", stretches)
    monkeypatch.setattr(module, "MAX_SETTLED", settled)
    return request.param


def test_no_other_order_fits_more():
    """U2: for every choice of up to three windows the measure is exact: what is over is over in every plan."""
    tried = 0
    for number in (0, 1, 2, 3):
        for stretches in combinations_with_replacement(WINDOWS, number):
            assert beside(stretches) == sum(one.ms for one in stretches) - most(stretches), stretches
            tried += 1
    assert tried > 5000


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 40)), max_size=12))
def test_the_measure_is_exact(drawn):
    """U2: the same for many windows of any length, whatever their order."""
    stretches = [Stretch(min(a, b), max(a, b), much) for a, b, much in drawn]
    assert beside(stretches) == beside(stretches[::-1]) == sum(one.ms for one in stretches) - most(stretches)


def test_claims_in_any_order_never_exceed_the_wall(bounds):
    """U2, U5, U9: for every order of up to three claims, all that was claimed fits into the wall time, tightly."""
    tried = 0
    for number in (1, 2, 3):
        for stretches in product(WINDOWS[:: 1 if number < 3 else 2], repeat=number):
            wall, over = claiming(stretches)
            kept = sum(one.ms for one in stretches) - sum(over)
            fits = most(stretches)
            assert kept <= fits
            if bounds == SMALL[0]:
                assert kept == fits
            assert kept <= sum(one.ms for one in wall.stretches) <= SLOTS
            assert beside(wall.stretches) == 0
            tried += 1
    assert tried > 3000


def plans():
    """Honest plans: who reads one article after the other, in whatever pieces, and claims in whatever order.

    Each slot of wall time goes to one of three articles or to none; an article's window may begin earlier and end
    later than its reading does.
    """
    for slots in product((None, 0, 1, 2), repeat=5):
        read = {what: [slot for slot, who in enumerate(slots) if who == what] for what in (0, 1, 2)}
        windows = [
            Stretch(max(0, min(at) - early), max(at) + 1 + late, len(at))
            for at in read.values()
            if at
            for early, late in [((slots.count(None) + len(at)) % 2, len(at) % 2)]
        ]
        yield from permutations(windows)


def test_no_honest_plan_loses_anything():
    """U2: in every plan of five slots and three articles, claimed in every order, nothing is beside; by count."""
    tried = sum(1 for plan in plans() if not any(claiming(plan)[1]) or pytest.fail(str(plan)))
    assert tried == 3514


def free_intervals(plan):
    """The rule that was not taken: each claim is paid from the earliest free slots of its window, for good."""
    taken, over = set(), 0
    for begins, ends, much in plan:
        free = [slot for slot in range(begins, ends) if slot not in taken][:much]
        taken.update(free)
        over += much - len(free)
    return over


def test_free_intervals_would_rob_honest_readers():
    """U2: why windows are kept: a claim that takes the earliest free time for good takes a later claim's only time."""
    robbed = sum(1 for plan in plans() if free_intervals(plan))
    assert not any(free_intervals(sorted(plan, key=lambda one: one.ends_ms)) for plan in plans())
    assert robbed == 834
    # A was opened first and left after a second, B was read, then A to its end; A is claimed first.
    assert free_intervals([Stretch(0, 100, 51), Stretch(1, 50, 49)]) == 49
    assert claiming([Stretch(0, 100, 51), Stretch(1, 50, 49)])[1] == [0, 0]


TIMELINE = st.lists(st.tuples(st.integers(0, 7), st.integers(1, 60), st.integers(0, 90)), min_size=1, max_size=120)


@given(TIMELINE, st.integers(0, 300), st.integers(0, 40))
def test_honest_claims_in_the_order_of_their_ends_lose_nothing(steps, slack, late):
    """U2, U5: however long the life, whoever is claimed not much later than others loses nothing by what is settled."""
    now, windows = 0, []
    for _, seconds, pause in steps:
        windows.append(Stretch(max(0, now - slack), now + seconds, seconds))
        now += seconds + pause
    # Out of order, but by less than half a record.
    late = min(late, module.MAX_STRETCHES // 2 - 1)
    order = sorted(range(len(windows)), key=lambda place: place + (late if place % 3 == 0 else 0))
    wall, over = claiming([windows[place] for place in order])
    assert sum(over) == 0
    assert len(wall.stretches) <= module.MAX_STRETCHES


@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 80), st.integers(1, 60)), max_size=60),
    st.sampled_from(SMALL),
)
def test_whatever_is_claimed_fits_into_the_wall(drawn, bounds):
    """U5, U9: settling and closing gaps never let more through than there is wall time, and never unsettle a record."""
    before = module.MAX_STRETCHES, module.MAX_SETTLED
    module.MAX_STRETCHES, module.MAX_SETTLED = bounds
    try:
        wall, over = claiming([Stretch(begins, begins + length, much) for begins, length, much in drawn])
    finally:
        module.MAX_STRETCHES, module.MAX_SETTLED = before
    kept = sum(much for *_, much in drawn) - sum(over)
    covered = {slot for begins, length, _ in drawn for slot in range(begins, begins + length)}
    assert kept <= most([Stretch(begins, begins + length, much) for begins, length, much in drawn]) <= len(covered)
    assert kept <= sum(one.ms for one in wall.stretches)
    assert beside(wall.stretches) == 0
    assert len(wall.stretches) <= max(bounds[0], bounds[0] // 2 + 1 + bounds[1])


def test_a_late_claim_loses_no_more_than_what_was_settled():
    """U5: a claim that comes after 32 later ones may find its time taken; one that ends later never does."""
    later = [Stretch(0, 100 + place, 1) for place in range(module.MAX_STRETCHES + 1)]
    wall, _ = claiming(later)
    assert claimed(wall, Stretch(0, 40, 20), 0)[1] == 12  # the 32 that are settled took slots 0 to 31
    assert claimed(wall, Stretch(0, 300, 200), 0)[1] == 0


def test_gaps_that_nothing_open_reaches_into_are_closed_smallest_first():
    """U5: of more than 16 settled intervals the smallest gaps go, and with them the time that was free in them."""
    lives = [Stretch(1000 * place + place, 1000 * place + 500, 500 - place) for place in range(65)]
    wall, over = claiming(lives)
    assert not any(over)
    settled = [one for one in wall.stretches if one.ms == one.ends_ms - one.begins_ms and one.ends_ms < 32_000]
    assert len(settled) == module.MAX_SETTLED
    assert claimed(wall, Stretch(600, 700, 50), 0)[1] == 50
    assert claimed(wall, Stretch(30_600, 30_700, 50), 0)[1] == 0


def test_a_record_is_kept_as_long_as_its_last_claim_says():
    """U7: its end only ever moves on, also where nothing of a claim fits."""
    wall, _ = claimed(NO_WALL, Stretch(0, 10, 10), 500)
    assert claimed(wall, Stretch(0, 10, 10), 400) == (wall, 10)
    assert claimed(wall, Stretch(0, 10, 10), 600) == (Wall(wall.stretches, 600), 10)
    assert (wall.expired(499), wall.expired(500)) == (False, True)
