"""When an activity counts as read or watched (S12), and what is told of the pace (S16); over every store."""

from __future__ import annotations

import pytest

from caliper_readtime import Outcome, PageView, ReadTimePolicy
from caliper_readtime._inspection import status_of
from caliper_readtime._units import to_epoch_ms
from tests.scenes import ANNA, START, Scene, activity, article

PACED = ReadTimePolicy(completion_words_per_minute=480)
WORDY = article("owls", words=160)  # 20 s at that pace
VIDEO = activity("film", "video")


def at(scene, what, seconds, position=None, duration=None):
    """Honest time, and where the reader is after it; return what the heartbeat came to."""
    if scene.state(ANNA, what) is None:
        scene.tracker.accumulate(ANNA, what, 0)
    scene.clock.advance(seconds)
    where = {"position_seconds": position, "duration_seconds": duration}
    return scene.tracker.accumulate(ANNA, what, seconds, **where)


# Words


def test_words_and_pace_say_when_an_article_is_read(scene: Scene):
    """S12: without any duration or position, an article is read once its words have had their time."""
    scene.use(policy=PACED)
    assert at(scene, WORDY, 19.999).report is None
    counted = at(scene, WORDY, 0.001)
    assert (counted.report.outcome, scene.sent) == (Outcome.SENT, [20])
    assert counted.state.finalized_at == scene.clock()


@pytest.mark.parametrize("more", [{"policy": ReadTimePolicy()}, {"what": article("owls")}])
def test_without_words_or_pace_nothing_is_known(scene: Scene, more):
    """S12: words alone, or a pace alone, complete nothing."""
    scene.use(policy=more.get("policy", PACED))
    assert at(scene, more.get("what", WORDY), 3600).report is None


def test_a_jump_to_the_end_does_not_complete_an_article(scene: Scene):
    """S12: the end and the time are both needed; the jump is shown as what it is, and its seconds count."""
    scene.use(policy=PACED)
    jumped = at(scene, WORDY, 5, position=100, duration=100)
    assert (jumped.report, jumped.accepted_seconds, jumped.state.words_per_minute) == (None, 5.0, 1920.0)
    read = at(scene, WORDY, 15)
    assert (read.report.outcome, read.state.words_per_minute, scene.sent) == (Outcome.SENT, 480.0, [20])


def test_time_alone_does_not_complete_what_is_not_at_its_end(scene: Scene):
    """S12: where it is known how far the reader is, an open page is not a read one."""
    scene.use(policy=PACED)
    assert at(scene, WORDY, 60, position=94, duration=100).report is None
    assert at(scene, WORDY, 1, position=95).report.outcome is Outcome.SENT


def test_dwelling_is_the_hosts_own_word(scene: Scene):
    """S12: completion_dwell_seconds decides by itself, whatever the words."""
    scene.use(policy=ReadTimePolicy(completion_words_per_minute=480, completion_dwell_seconds=10))
    assert at(scene, WORDY, 10, position=1, duration=100).report.outcome is Outcome.SENT


def test_a_canonical_duration_works_as_it_did(scene: Scene):
    """S12: of an article without words position and duration decide, whatever the policy's pace."""
    scene.use(policy=PACED)
    assert at(scene, article("owls"), 1, position=95, duration=100).report.outcome is Outcome.SENT


def test_the_page_may_tell_the_words_later(scene: Scene):
    """S12, S15: it is the newest article whose words count."""
    scene.use(policy=PACED)
    assert at(scene, article("owls"), 60).report is None
    assert at(scene, WORDY, 0).report.outcome is Outcome.SENT


# Videos


def test_a_video_is_watched_at_its_end(scene: Scene):
    """S12: once the playhead is at its end and it has played that long."""
    assert at(scene, VIDEO, 94, position=94, duration=100).report is None
    assert at(scene, VIDEO, 1, position=95).report.outcome is Outcome.SENT


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_seeking_completes_no_video(scene: Scene, kind):
    """S12: the slider moved to the end; once it has played for as long as it takes at double speed, it counts."""
    what = activity("film", kind)
    assert at(scene, what, 5, position=100, duration=100).report is None
    assert at(scene, what, 42.499, position=100).report is None
    assert at(scene, what, 0.001, position=100).report.outcome is Outcome.SENT


def test_at_double_speed_half_the_time_is_all_there_is(scene: Scene):
    """S12: time is what passed in front of the screen: a hundred seconds at rate 2 are fifty, and the video is done."""
    assert at(scene, VIDEO, 40, position=80, duration=100).report is None
    assert at(scene, VIDEO, 10, position=100).report.outcome is Outcome.SENT
    assert scene.sent == [50]


def test_no_rate_beyond_the_policys_counts(scene: Scene):
    """S12: a host that takes no faster playback for watching says so."""
    scene.use(policy=ReadTimePolicy(completion_playback_rate=1))
    assert at(scene, VIDEO, 50, position=100, duration=100).report is None
    assert at(scene, VIDEO, 45, position=100).report.outcome is Outcome.SENT


def test_watching_again_counts(scene: Scene):
    """The time of a second viewing is time: a total is not cut at the video's duration."""
    at(scene, VIDEO, 100, position=100, duration=100)
    assert at(scene, VIDEO, 50, position=50).accepted_seconds == 50
    assert scene.tracker.finalize(ANNA, VIDEO).state.reported_read_time_seconds == 150


# What is told


def test_depth_and_pace(scene: Scene):
    """S16: how far, 0 to 1, and how fast what lies before was read; None where nobody can know."""
    state = at(scene, article("bees"), 30).state
    assert (state.depth, state.words_per_minute) == (None, None)
    assert at(scene, WORDY, 0).state.words_per_minute is None
    assert at(scene, WORDY, 30).state.words_per_minute == 320
    state = at(scene, WORDY, 0, position=50, duration=100).state
    assert (state.depth, state.words_per_minute) == (0.5, 160)
    assert at(scene, WORDY, 0, position=130).state.depth == 1.0


def lines(scene, what=WORDY):
    """What is explained of an article."""
    return str(scene.tracker.explain(ANNA, what))


def test_the_explanation_tells_the_pace(scene: Scene):
    """S16: in words, with the part of the article that it is about."""
    at(scene, WORDY, 30)
    assert "If all of its 160 words were read, that is 320 words a minute." in lines(scene)
    at(scene, WORDY, 0, position=50, duration=100)
    assert "If 50% of its 160 words were read, that is 160 words a minute." in lines(scene)
    assert "sooner" not in lines(scene)


def test_a_skimmed_article_is_flagged_and_paid(scene: Scene):
    """S16: a flag, never a refusal: every second counts, is reported and finalized as any other."""
    scene.use(policy=PACED)
    at(scene, WORDY, 5, position=100, duration=100)
    assert "That was done sooner than it takes, 20 s at least: skimmed" in lines(scene)
    assert "the article counts as read from 95 s on, and not before 20 s were spent on it." in lines(scene)
    assert scene.tracker.status().skimmed_states == 1
    assert scene.tracker.finalize(ANNA, WORDY).delta_seconds == 5.0
    at(scene, WORDY, 15)
    assert "sooner" not in lines(scene)
    assert scene.tracker.status().skimmed_states == 0


def test_what_a_host_finalizes_sooner_is_flagged_too(scene: Scene):
    """S16: where no depth is known, finalizing says that the reader was done."""
    scene.use(policy=PACED)
    at(scene, WORDY, 5)
    assert "sooner" not in lines(scene)
    scene.tracker.finalize(ANNA, WORDY)
    assert "sooner than it takes" in lines(scene)


def test_a_skipped_video_is_flagged(scene: Scene):
    """S16: of a video the least time is that of its duration at the fastest rate."""
    at(scene, VIDEO, 5, position=100, duration=100)
    assert "sooner than it takes, 47.5 s at least" in lines(scene, VIDEO)
    assert scene.tracker.status().skimmed_states == 1


def test_reports_carry_it(scene: Scene):
    """S16: who hears of reports reads the pace from their state."""
    at(scene, WORDY, 30)
    scene.tracker.partial(ANNA, WORDY)
    (report,) = scene.reports
    assert report.state.words_per_minute == 320


def test_pages_are_judged_like_heartbeats(scene: Scene):
    """S12: a page view's total completes by words as a delta does, its first signal included."""
    scene.use(policy=PACED)
    scene.clock.advance(20)
    counted = scene.tracker.observe(ANNA, WORDY, PageView("v", 20), opened_at=START)
    assert counted.report.outcome is Outcome.SENT


def test_an_empty_status_flags_nobody():
    """S16: nothing waits, nothing was skimmed."""
    assert status_of((), now=to_epoch_ms(START, "now"), last_sweep=None).skimmed_states == 0
