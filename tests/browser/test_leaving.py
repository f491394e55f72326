"""However a reader leaves a page, its reading time arrives."""

from __future__ import annotations

import signal

from tests.browser.stage import JITTER, TICK, scene, scene_of_the_script

#: Browsers that cannot promise a request for later: most, at this time.
NO_FETCH_LATER = "delete window.fetchLater"


@scene
def test_close_the_tab(stage):
    """1: what was read until the tab closes arrives as it closes."""
    browser = stage.browser()
    page = browser.page(stage.article(heartbeat=60))
    stage.read(4)
    page.close()
    stage.site.until_left()
    browser.quit()
    assert len(stage.site.heard) == 1
    stage.judge()


@scene
def test_follow_a_link(stage):
    """2: what was read until a link is followed arrives as the page goes away."""
    browser = stage.browser()
    page = browser.page(stage.article(heartbeat=60))
    stage.read(4)
    page.follow("/plain")
    stage.site.until_left()
    browser.quit()
    assert len(stage.site.heard) == 1
    stage.judge()


def reloaded(stage, **how):
    browser = stage.browser()
    page = browser.page(stage.article(), **how)
    stage.read(3)
    page.moves(lambda: page.call("Page.reload"))
    stage.read(3)
    before = len(stage.site.heard)
    page.close()
    stage.site.until_left(since=before)
    browser.quit()
    assert len({heard.message["v"] for heard in stage.site.heard}) == 2
    stage.judge()


@scene
def test_reload(stage):
    """3: a reloaded page is a new view, and both count."""
    reloaded(stage)


@scene_of_the_script
def test_reload_where_random_numbers_come_again(stage):
    """So it is where a quiz has seeded Math.random, and each load draws the same numbers."""
    reloaded(stage, before="Math.random = () => 0.5;")


@scene
def test_crash(stage):
    """7: a crashed page's time arrives by itself where the browser has fetchLater."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(3.5)
    page.crash()
    stage.site.until_left()
    browser.quit()
    stage.judge(less=TICK + JITTER)


@scene
def test_crash_without_fetch_later(stage):
    """7: without fetchLater a crashed page's time arrives with the next article."""
    browser = stage.browser()
    page = browser.page(stage.article(), before=NO_FETCH_LATER)
    stage.read(3.5)
    page.crash()
    assert stage.site.heard == []
    browser.page(stage.article("volcanoes"), before=NO_FETCH_LATER)
    stage.site.until_left()
    stage.judge(less=TICK + JITTER)


@scene
def test_kill_the_renderer(stage):
    """8: nothing but the last tick is lost when the page's process is killed."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(3.5)
    browser.signal(signal.SIGKILL)
    page.event("Inspector.targetCrashed")
    stage.site.until_left()
    browser.quit()
    stage.judge(less=TICK + JITTER)


@scene
def test_kill_the_renderer_without_fetch_later(stage):
    """8: nor without fetchLater, as soon as there is a next article."""
    browser = stage.browser()
    page = browser.page(stage.article(), before=NO_FETCH_LATER)
    stage.read(3.5)
    browser.signal(signal.SIGKILL)
    page.event("Inspector.targetCrashed")
    assert stage.site.heard == []
    browser.page(stage.article("volcanoes"), before=NO_FETCH_LATER)
    stage.site.until_left()
    stage.judge(less=TICK + JITTER)


@scene
def test_close_the_browser(stage):
    """16: closing the whole browser loses nothing, at the latest when it is opened again."""
    browser = stage.browser()
    browser.page(stage.article())
    stage.read(4)
    browser.quit()
    again = stage.browser()
    again.page(stage.article("volcanoes"))
    stage.site.until_left()
    stage.judge(less=TICK + JITTER)


@scene
def test_kill_the_browser(stage):
    """16: killing the whole browser loses at most what its storage had not written for 5 s."""
    browser = stage.browser()
    browser.page(stage.article())
    stage.read(9)
    browser.end()
    again = stage.browser()
    again.page(stage.article("volcanoes"))
    stage.site.until_left()
    stage.judge(less=5 + TICK)


@scene
def test_log_out(stage):
    """18: a logout link is a link: the seconds go to who read them, and the next reader's are their own."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(3)
    page.follow("/logout")
    stage.site.until_left()
    page.follow("/login/u2")
    page.visit(stage.article())
    shown = stage.true
    stage.read(2)
    before = len(stage.site.heard)
    page.follow("/plain")
    stage.site.until_left(since=before)
    browser.quit()
    stage.judge(true=shown)
    stage.judge(true=stage.true - shown, reader="u2")
