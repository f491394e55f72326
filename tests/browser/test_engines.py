"""What a reader does with a plain page, in each engine: the right seconds arrive."""

from __future__ import annotations

import time
from urllib.parse import quote

from tests.browser.site import LOSE_SIGNAL
from tests.browser.stage import JITTER, TICK, scene_of_engines


def finish(stage, tab, *, view=None, less=JITTER, **allowed):
    """Close the page, wait for what it (of several, this view) says last, and judge."""
    untold = stage.close(tab, lambda heard: heard.status == 204 and view in (None, heard.message["v"]))
    stage.judge(less=less + untold, **allowed)


@scene_of_engines
def test_engine_close(stage):
    """A reader reads, beats arrive, and they close the page."""
    tab = stage.engine().tab(stage.article(heartbeat=2))
    stage.read_until(lambda: stage.site.until_heard(lambda heard: heard.status == 204, "a beat"))
    stage.read(1.5)
    finish(stage, tab)


@scene_of_engines
def test_engine_link(stage):
    """They follow a link."""
    tab = stage.engine().tab(stage.article())
    stage.read(3)
    tab.follow("/plain")
    stage.site.until_left()
    stage.judge()


@scene_of_engines
def test_engine_reload(stage):
    """They reload the page."""
    tab = stage.engine().tab(stage.article())
    stage.read(2)
    tab.reload()
    stage.read(2)
    finish(stage, tab)
    assert len({heard.message["v"] for heard in stage.site.heard}) == 2


@scene_of_engines
def test_engine_back(stage):
    """They go on, back, and on again."""
    tab = stage.engine().tab(stage.article())
    stage.read(2)
    tab.follow("/plain")
    stage.pass_by(1.5)
    tab.back("/articles/leaves")
    stage.read(2)
    before = len(stage.site.heard)
    tab.forward("/plain")
    stage.site.until_left(since=before)
    stage.judge()


@scene_of_engines
def test_engine_hidden(stage):
    """They hide the page for a while."""
    tab = stage.engine().tab(stage.article())
    stage.read(2)
    tab.hide()
    stage.pass_by(2)
    tab.show()
    stage.read(2)
    finish(stage, tab)


@scene_of_engines
def test_engine_two_windows(stage):
    """They read one article in two windows in turn, moving the pointer: wall time counts, and no more."""
    engine = stage.engine()
    first = engine.tab(stage.article(), window=True)
    begun = time.monotonic()
    stage.pass_by(1.5)
    second = engine.tab(stage.article(), window=True)
    stage.pass_by(1.5)
    first.move(9, 9)
    stage.pass_by(1.5)
    wall = time.monotonic() - begun
    second.close()
    # The other window's last word may come late: that of the one that spoke first is wanted.
    finish(stage, first, view=stage.site.heard[0].message["v"], true=wall)
    assert len({heard.message["v"] for heard in stage.site.heard}) == 2


def test_engine_killed(stage):
    """The page's process is killed; the next article brings what was read.

    Not in WebKit: its driver ends the session with the page, and its profile with the session.
    """
    engine = stage.engine()
    tab = engine.tab(stage.article())
    stage.read(4)
    tab.kill()
    engine.tab(stage.article("volcanoes"), window=True)
    stage.site.until_left()
    stage.judge(less=TICK + JITTER)


test_engine_killed = scene_of_engines(test_engine_killed, hosts=("plain", "firefox"))


@scene_of_engines
def test_engine_outage(stage):
    """The network is away as they close the page; the next article brings what was read."""
    engine = stage.engine()
    tab = engine.tab(stage.article())
    stage.site.fault = LOSE_SIGNAL
    stage.read(3)
    untold = stage.close(tab, lambda heard: heard.status == 0)
    stage.site.fault = None
    view = stage.site.heard[0].message["v"]
    engine.tab(stage.article("volcanoes"))
    stage.site.until_heard(lambda heard: heard.status == 204 and heard.message["v"] == view)
    stage.judge(less=untold + JITTER)


@scene_of_engines
def test_engine_without_beacon(stage):
    """Beacons are blocked."""
    tab = stage.engine().tab(stage.article())
    tab.run("Object.defineProperty(navigator, 'sendBeacon', { value: () => false }) && 0")
    stage.read(3)
    finish(stage, tab)


@scene_of_engines
def test_engine_frame(stage):
    """The article is in the frame of another site's page, where storage is another or none.

    A frame counts from when the engine says that it is in sight, which WebKit says up to two seconds late.
    """
    frame = f'<iframe src="{stage.site("/articles/leaves?as=u1")}" style="width: 600px; height: 400px"></iframe>'
    outer = stage.site(f"/frames?{quote(frame)}").replace("127.0.0.1", "localhost")
    tab = stage.engine().tab(outer)
    stage.read(5)
    stage.judge_frame(tab)


def walked(stage, kind):
    """They go from article to article on a page that never reloads."""
    tab = stage.engine().tab(stage.site(f"/{kind}/leaves"))
    click = "(() => setTimeout(() => [...document.links].find((link) => link.pathname.endsWith('{0}')).click()))()"

    def go(slug, act):
        act()
        tab.until(f"document.querySelector('main')?.dataset.page == '{slug}'")

    def link(slug):
        tab.engine.moving(lambda: go(slug, lambda: tab.run(click.format(slug) + " && 0")))

    stage.read(2)
    link("front")
    stage.pass_by(1.5)
    tab.engine.moving(lambda: go("leaves", lambda: tab.run("setTimeout(() => history.back()) && 0")))
    stage.read(2)
    before = len(stage.site.heard)
    link("volcanoes")
    stage.site.until_left(since=before)
    stage.pass_by(1)
    tab.close()
    stage.judge()


@scene_of_engines
def test_engine_turbo(stage):
    """They go by links of Turbo Drive, and back."""
    walked(stage, "turbo")


@scene_of_engines
def test_engine_htmx_2(stage):
    """They go by links of htmx 2, and back."""
    walked(stage, "htmx2")


@scene_of_engines
def test_engine_htmx_4(stage):
    """They go by links of htmx 4, and back."""
    walked(stage, "htmx4")
