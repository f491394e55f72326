"""A learning platform's frame beside the site's own window: storage is partitioned, so each counts for itself.

What settles it is the server's clock: an article has a budget of wall time, and so may a reader (``reader_budget``).
"""

from __future__ import annotations

from caliper_readtime import InMemoryStateStore, ReadTimePolicy, ReadTimeTracker
from caliper_readtime.testing import RecordingEmitter
from tests.browser.stage import JITTER, Figure, scene_of_the_script
from tests.browser.test_frames import frame, outer
from tests.scenes import events

SECONDS = 5
#: What a life may have beyond wall time is made small, or it would hide what these short scenes are about.
EXACT = {"heartbeat_seconds": 1.0, "leeway_seconds": 0}


def side_by_side(stage, other, **policy):
    """Leaves in a platform's frame and another article, or the same, in a window of its own, at the same time."""
    host = stage.site.host
    policy = ReadTimePolicy(**EXACT, **policy)
    host.tracker = ReadTimeTracker(InMemoryStateStore(), RecordingEmitter(), events(), policy=policy, clock=host.clock)
    browser = stage.browser()
    platform = browser.page(outer(stage, frame("leaves"), site="localhost"), window=True)
    own = []
    stage.read_until(lambda: own.append(browser.page(stage.article(other, heartbeat=1), window=True)))
    stage.read(SECONDS)
    platform.close()
    own[0].close()
    stage.site.until(lambda: len({h.message["v"] for h in stage.site.heard if h.message.get("l")}) == 2, "both leaves")
    browser.quit()
    views = {heard.message["v"]: heard.message["t"] for heard in stage.site.heard if heard.message.get("l")}
    assert min(views.values()) > (SECONDS - JITTER) * 1000  # neither knows of the other
    host.tracker.flush_reader("u1")


@scene_of_the_script
def test_platform_beside_window_on_one_article(stage):
    """Two views of one article share one budget: they have wall time, and a heartbeat's worth at most."""
    side_by_side(stage, "leaves")
    stage.judge(more=JITTER + EXACT["heartbeat_seconds"])


@scene_of_the_script
def test_platform_beside_window_on_two_articles(stage):
    """Two articles have a budget each: both are counted, and how much of it was read beside the other is known."""
    side_by_side(stage, "volcanoes")
    stage.judge()
    stage.judge(true=SECONDS, slug="volcanoes")


@scene_of_the_script
def test_platform_beside_window_enforced(stage):
    """With reader_budget="enforce" two articles have wall time between them, and a heartbeat's worth at most."""
    side_by_side(stage, "volcanoes", reader_budget="enforce")
    both = sum(stage.site.seconds("u1", slug) for slug in ("leaves", "volcanoes"))
    between = stage.between()
    stage.figures.append(Figure(f"{stage.name} u1/both", stage.true, both, between))
    assert stage.true - JITTER - between <= both <= stage.true + JITTER + between + EXACT["heartbeat_seconds"]
