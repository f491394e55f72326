"""The deadline that a call and everything it does in its thread share."""

import math
import threading

import pytest

from caliper_readtime.emitters._circuit import cut, left, within


def test_without_a_deadline_time_outs_stay_as_they_are():
    """Nobody has set one: everything is left, and nothing is cut."""
    assert left() == math.inf
    assert cut(5.0) == 5.0
    assert cut(None) is None


def test_time_outs_are_cut_to_what_is_left():
    """H15: time-outs are cut to what is left of the deadline; no time-out becomes one."""
    assert 0 < within(1.0, cut, 5.0) <= 1.0
    assert 0 < within(1.0, cut, None) <= 1.0
    assert within(1.0, cut, 0.001) == 0.001
    assert left() == math.inf


def test_an_inner_deadline_cannot_lengthen_the_outer_one():
    """A token fetch has its own time-out, and the emitter's deadline."""
    assert within(1.0, within, 60.0, left) <= 1.0
    assert within(60.0, within, 1.0, left) <= 1.0


def test_nothing_left_is_a_time_out():
    """Once it is over, nothing new begins."""
    with pytest.raises(TimeoutError):
        within(0.0, cut, 5.0)


def test_a_deadline_belongs_to_its_thread():
    """Other threads have their own."""
    seen = []

    def elsewhere():
        thread = threading.Thread(target=lambda: seen.append(left()))
        thread.start()
        thread.join(5)

    within(1.0, elsewhere)
    assert seen == [math.inf]
