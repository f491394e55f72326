"""Failing fast: when calls are let through, and how the window grows."""

from contextlib import suppress

import pytest

from caliper_readtime.emitters._circuit import FAIL_FAST_SECONDS, MAX_FAIL_FAST_SECONDS, CircuitBreaker
from caliper_readtime.errors import EmitterUnavailable, EndpointRefused, EventRejected


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def gate(clock):
    return CircuitBreaker("example.org/x", clock)


def call(gate, error=None):
    """One call that ends with that error; returns whether it was let through."""
    try:
        with gate.passage(["a"]):
            if error is not None:
                raise error
    except EmitterUnavailable as raised:
        return raised is error
    except (EventRejected, KeyboardInterrupt):
        pass
    return True


def windows(gate, clock, times):
    """The lengths of consecutive windows."""
    for _ in range(times):
        assert call(gate, EmitterUnavailable("down"))
        with pytest.raises(EmitterUnavailable) as caught:
            gate.check(["a"])
        yield caught.value.retry_after_seconds
        clock.now += caught.value.retry_after_seconds


def test_the_window_doubles_up_to_its_maximum(gate, clock):
    """H11: 0.5 s after the first exhausted call, doubling up to 30 s; the error says what is left of it."""
    assert list(windows(gate, clock, 40))[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert (FAIL_FAST_SECONDS, MAX_FAIL_FAST_SECONDS) == (0.5, 30.0)


def test_a_success_resets(gate, clock):
    """After a success the next failure opens the shortest window again."""
    list(windows(gate, clock, 5))
    assert call(gate)
    assert list(windows(gate, clock, 1)) == [0.5]


@pytest.mark.parametrize("error", [EndpointRefused("no", status=403), EventRejected("no", status=400)])
def test_any_answer_resets(gate, clock, error):
    """An endpoint that refuses is there: nobody has to be kept from asking it."""
    list(windows(gate, clock, 3))
    assert call(gate, error)
    assert call(gate)


def test_an_event_that_was_never_sent_says_nothing(gate, clock):
    """An error without a status is no answer: the outage goes on."""
    list(windows(gate, clock, 3))
    assert call(gate, EventRejected("not JSON"))
    assert list(windows(gate, clock, 1)) == [4]


def test_one_probe_at_a_time(gate, clock):
    """H11: once the window is over exactly one caller probes, and the others fail fast while it runs."""
    list(windows(gate, clock, 1))
    with gate.passage(["a"]):
        with pytest.raises(EmitterUnavailable) as caught, gate.passage(["b"]):
            pass
        assert (caught.value.event_ids, caught.value.retry_after_seconds) == (("b",), 0.0)
        assert "example.org/x" in str(caught.value)
    assert call(gate)


def test_calls_under_way_together_count_once(gate):
    """Eight workers that meet the same outage open one short window."""
    with suppress(EmitterUnavailable), gate.passage(["a"]):
        call(gate, EmitterUnavailable("down"))
        raise EmitterUnavailable("down, too")
    with pytest.raises(EmitterUnavailable) as caught:
        gate.check(["a"])
    assert caught.value.retry_after_seconds == 0.5


def test_an_interrupted_probe_leaves_the_probe_to_the_next(gate, clock):
    """A BaseException says nothing about the endpoint."""
    list(windows(gate, clock, 1))
    assert call(gate, KeyboardInterrupt())
    assert call(gate)
