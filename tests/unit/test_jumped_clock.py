"""D5: what a clock that jumped has left far ahead does not wait for it."""

from __future__ import annotations

import pytest

from caliper_readtime import ConfigurationError, EmitterUnavailable, EventRejected, ReadTimePolicy
from tests.scenes import ANNA, OWLS, Scene

MONTH = 30 * 86_400


def jumped(scene, action):
    """Do something while the clock is a month ahead."""
    scene.clock.advance(MONTH)
    action()
    scene.clock.advance(-MONTH)


def partial(scene, error):
    scene.emitter.fail(error)
    with pytest.raises(type(error)):
        scene.tracker.partial(ANNA, OWLS)


@pytest.mark.parametrize("error", [EmitterUnavailable("down"), EventRejected("no", status=422), SystemExit()])
@pytest.mark.parametrize("verb", ["sweep", "flush"])
def test_nothing_waits_for_the_clock_to_catch_up(scene: Scene, error, verb):
    """D5: a back-off, a retry time or a lease a month ahead is due at the next sweep: all 30 s arrive."""
    scene.read(seconds=30)
    jumped(scene, lambda: partial(scene, error))
    sent = (scene.tracker.sweep() if verb == "sweep" else scene.tracker.flush_reader(ANNA)).seconds_sent
    assert (sent, scene.state().unreported_seconds) == (30.0, 0.0)


def test_a_deferral_far_ahead_is_due(scene: Scene):
    """D5: so is a deferral."""
    scene.read(seconds=30)
    jumped(scene, lambda: scene.tracker.partial(ANNA, OWLS, defer=True))
    assert scene.tracker.sweep().seconds_sent == 30.0


def test_time_whose_last_sync_lies_far_ahead_is_swept(scene: Scene):
    """D5: time that was read by the wrong clock is reported all the same."""
    scene.read(seconds=30)
    jumped(scene, lambda: scene.tracker.accumulate(ANNA, OWLS, 20))
    scene.clock.advance(60)
    assert scene.tracker.sweep().seconds_sent == 50.0


@pytest.mark.parametrize("ahead", [1, 29])
def test_a_small_step_back_frees_no_lease(scene: Scene, ahead):
    """C1, D5: a lease that can be true stays one."""
    scene.read(seconds=30)
    scene.clock.advance(ahead)
    partial(scene, SystemExit())
    scene.clock.advance(-ahead)
    assert scene.tracker.partial(ANNA, OWLS).outcome == "in_flight"


@pytest.mark.parametrize(
    "more", [{"lock_seconds": 3601}, {"max_retry_backoff_seconds": 86_401}, {"retry_backoff_seconds": 90_000}]
)
def test_policies_are_held_to_the_longest_waits(more):
    """D5: no lease above an hour and no back-off above a day, or it would be taken for a jump."""
    with pytest.raises(ConfigurationError):
        ReadTimePolicy(**more)
