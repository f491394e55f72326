"""``DueIndex`` finds what a look at every entry would find, at a cost that does not grow with what is not due."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime._rules.ranges import LONGEST_WAIT_MS
from caliper_readtime._rules.state import Due, Key
from caliper_readtime.stores._due_index import DueIndex

KEYS = st.sampled_from([Key("reader", str(number)) for number in range(6)])
TIMES = st.integers(0, 40) | st.integers(LONGEST_WAIT_MS, LONGEST_WAIT_MS + 40)
DUES = st.none() | st.builds(Due, TIMES, st.booleans())


@given(
    st.lists(st.tuples(KEYS, DUES), max_size=60),
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 50), st.integers(0, 20)), min_size=1, max_size=4),
)
def test_it_finds_what_a_look_at_all_finds(changes, questions):
    """D5 included: the same times, oldest first, and of more than are asked for the oldest; asking changes nothing."""
    index, entries = DueIndex(), {}
    for key, due in changes:
        index.set(key, due)
        entries.pop(key, None)
        if due is not None:
            entries[key] = due
    assert set(index.entries) == set(entries)
    for limit, now, idle_ms in questions:
        found = index.come(limit, now, idle_ms)
        come = sorted(due.at_ms for due in entries.values() if due.come(now, idle_ms))
        assert [entries[key].at_ms for key in found] == come[:limit]
        assert len(set(found)) == len(found)


def test_a_question_looks_at_little(monkeypatch):
    """Neither what is not due, nor what is due and was not asked for, is looked at."""
    index = DueIndex()
    for number in range(20_000):
        index.set(Key("reader", str(number)), Due(number, soft=True))
    looks = []
    monkeypatch.setattr("caliper_readtime.stores._due_index.heappop", lambda heap: looks.append(1) or heap.pop(0))
    assert len(index.come(10, 15_000, 0)) == 10
    assert len(looks) == 10


def test_what_was_replaced_does_not_pile_up():
    """Entries that come and go without a sweep leave the heaps as small as the index."""
    index = DueIndex()
    for number in range(5000):
        index.set(Key("reader", "a"), Due(number, soft=False))
        index.set(Key("reader", "b"), None)
    assert sum(map(len, index._heaps)) < 100
