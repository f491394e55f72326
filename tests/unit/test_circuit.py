"""The circuit breaker: when calls are let through, how long it stays open, and what opens it."""

from contextlib import suppress

import pytest

from caliper_readtime.emitters._circuit import (
    FAIL_FAST_SECONDS,
    MAX_FAIL_FAST_SECONDS,
    MAX_QUICK_FAILURES,
    QUICK_SECONDS,
    CircuitBreaker,
)
from caliper_readtime.emitters._responses import MAX_RETRY_AFTER_SECONDS
from caliper_readtime.errors import EmitterUnavailable, EndpointRefused, EventRejected

DOWN = EmitterUnavailable("nobody listens", ambiguous=False)


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return CircuitBreaker("example.org/x", clock)


def call(breaker, error=None):
    """One call that ends with that error; returns whether it was let through."""
    try:
        with breaker.passage(["a"]):
            if error is not None:
                raise error
    except EmitterUnavailable as raised:
        return raised is error
    except (EventRejected, KeyboardInterrupt):
        pass
    return True


def windows(breaker, clock, times):
    """The lengths of consecutive windows."""
    for _ in range(times):
        assert call(breaker, DOWN)
        with pytest.raises(EmitterUnavailable) as caught:
            breaker.check(["a"])
        yield caught.value.retry_after_seconds
        clock.now += caught.value.retry_after_seconds


def test_the_window_doubles_up_to_its_maximum(breaker, clock):
    """H11: 0.5 s after the first exhausted call, doubling up to 30 s; the error says what is left of it."""
    assert list(windows(breaker, clock, 40))[:8] == [0.5, 1, 2, 4, 8, 16, 30, 30]
    assert (FAIL_FAST_SECONDS, MAX_FAIL_FAST_SECONDS) == (0.5, 30.0)


def test_a_success_resets(breaker, clock):
    """After a success the next failure opens the shortest window again."""
    list(windows(breaker, clock, 5))
    assert call(breaker)
    assert list(windows(breaker, clock, 1)) == [0.5]


@pytest.mark.parametrize("error", [EndpointRefused("no", status=403), EventRejected("no", status=400)])
def test_any_answer_resets(breaker, clock, error):
    """An endpoint that refuses is there: nobody has to be kept from asking it."""
    list(windows(breaker, clock, 3))
    assert call(breaker, error)
    assert call(breaker)


def test_an_event_that_was_never_sent_says_nothing(breaker, clock):
    """An error without a status is no answer: the outage goes on."""
    list(windows(breaker, clock, 3))
    assert call(breaker, EventRejected("not JSON"))
    assert list(windows(breaker, clock, 1)) == [4]


def test_one_probe_at_a_time(breaker, clock):
    """H11: once the window is over exactly one caller probes, and the others fail fast while it runs."""
    list(windows(breaker, clock, 1))
    with breaker.passage(["a"]):
        with pytest.raises(EmitterUnavailable) as caught, breaker.passage(["b"]):
            pass
        assert (caught.value.event_ids, caught.value.retry_after_seconds) == (("b",), 0.0)
        assert "example.org/x" in str(caught.value)
    assert call(breaker)


def test_calls_under_way_together_count_once(breaker):
    """Eight workers that meet the same outage open one short window."""
    with suppress(EmitterUnavailable), breaker.passage(["a"]):
        call(breaker, DOWN)
        raise EmitterUnavailable("down, too", ambiguous=False)
    with pytest.raises(EmitterUnavailable) as caught:
        breaker.check(["a"])
    assert caught.value.retry_after_seconds == 0.5


def test_an_interrupted_probe_leaves_the_probe_to_the_next(breaker, clock):
    """A BaseException says nothing about the endpoint."""
    list(windows(breaker, clock, 1))
    assert call(breaker, KeyboardInterrupt())
    assert call(breaker)


def rest(breaker):
    """Seconds for which calls still fail fast; 0 where they go through."""
    try:
        breaker.check(["a"])
    except EmitterUnavailable as error:
        assert (error.tried, error.ambiguous) == (False, False)
        return error.retry_after_seconds
    return 0


def test_a_pause_lasts_as_long_as_was_asked(breaker, clock):
    """H10: Retry-After keeps it open; neither a shorter wish nor a success of a call under way ends that."""
    with breaker.passage(["a"]):
        breaker.pause(300.0)
        breaker.pause(5.0)
    assert rest(breaker) == 300
    clock.now += 299
    assert rest(breaker) == 1
    clock.now += 1
    assert call(breaker)


def test_a_pause_has_a_bound(breaker):
    """H10: a mistake in a header must not stop reports for years."""
    breaker.pause(1e9)
    assert rest(breaker) == MAX_RETRY_AFTER_SECONDS == 3600


def test_after_a_failed_pause_one_call_at_a_time_tries(breaker, clock):
    """H11: a call that was told to wait counts as failed, so that its end is probed and not rushed."""
    assert call(breaker, EmitterUnavailable("busy", status=429, retry_after_seconds=60.0, ambiguous=False))
    breaker.pause(60.0)
    assert rest(breaker) == 60
    clock.now += 60
    with breaker.passage(["a"]):
        assert not call(breaker)
    assert call(breaker)


@pytest.mark.parametrize("status", [500, None])
def test_quick_failures_are_an_outage_only_after_many(breaker, status):
    """H11: a quick 5xx or a reset may be about one event; ten in a row are about the endpoint."""
    oops = EmitterUnavailable("oops", status=status)
    for _ in range(2):
        for _ in range(MAX_QUICK_FAILURES - 1):
            assert call(breaker, oops)
        assert call(breaker)
    for _ in range(MAX_QUICK_FAILURES):
        assert call(breaker, oops)
    assert rest(breaker) == FAIL_FAST_SECONDS


@pytest.mark.parametrize("status", [504, None])
def test_a_slow_failure_opens_at_once(breaker, clock, status):
    """H11: a read time-out, or a 504 that took its time, has cost a worker that time."""
    with suppress(EmitterUnavailable), breaker.passage(["a"]):
        clock.now += QUICK_SECONDS
        raise EmitterUnavailable("time-out", status=status)
    assert rest(breaker) == FAIL_FAST_SECONDS


def test_a_probe_that_is_answered_with_5xx_has_failed(breaker, clock):
    """H11: during an outage a quick 503 of a balancer renews the window."""
    assert list(windows(breaker, clock, 1)) == [0.5]
    assert call(breaker, EmitterUnavailable("nobody home", status=503))
    assert rest(breaker) == 1


def test_nothing_is_kept_back_for_longer_than_half_a_minute_unasked(breaker, clock):
    """H11: whatever the outage's length, the endpoint is tried within 30 s of its end."""
    assert max(windows(breaker, clock, 200)) == MAX_FAIL_FAST_SECONDS == 30
