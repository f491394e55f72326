"""Only time in which the page is seen counts, and only once."""

from __future__ import annotations

import signal
import time

from tests.browser.devtools import Page
from tests.browser.stage import JITTER, TICK, scene, scene_of_the_script

#: The script leaves a silent owner of the lease this long, and looks once a tick.
LEASE_SECONDS = 4


@scene
def test_another_tab(stage):
    """4: time in which another tab is in front does not count."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(2)
    other = browser.page(stage.site("/plain"))
    page.until_shown(False)
    stage.pass_by(3)
    other.close()
    page.until_shown(True)
    stage.read(2)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 3000)
    browser.quit()
    stage.judge()


@scene
def test_minimised(stage):
    """5: time in which the window is minimised does not count."""
    browser = stage.browser()
    page = browser.page(stage.article())
    window = browser.call("Browser.getWindowForTarget", targetId=page.target)["windowId"]
    stage.read(2)
    browser.call("Browser.setWindowBounds", windowId=window, bounds={"windowState": "minimized"})
    page.until_shown(False)
    stage.pass_by(3)
    browser.call("Browser.setWindowBounds", windowId=window, bounds={"windowState": "normal"})
    page.until_shown(True)
    stage.read(2)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 3000)
    browser.quit()
    stage.judge()


@scene
def test_back_from_the_cache(stage):
    """6: a page that comes back from the back/forward cache goes on as the same view, without the time away."""
    browser = stage.browser()
    page = browser.page(before="addEventListener('pageshow', (event) => { window.revived = event.persisted; })")
    page.visit(stage.article())
    stage.read(2)
    page.follow("/plain")
    stage.pass_by(2)
    # No load event comes with a page that was never unloaded, but a navigation that says so.
    page.run("setTimeout(() => history.back())")
    page.event("Page.frameNavigated", lambda params: params["type"] == "BackForwardCacheRestore")
    assert page.run("window.revived") is True
    stage.read(2)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 3000)
    browser.quit()
    assert len({heard.message["v"] for heard in stage.site.heard}) == 1
    stage.judge()


def two_windows(stage, left, right):
    """Two windows side by side: one is read, then the other, then the first again. Return the time of each."""
    browser = stage.browser()
    first = browser.page(stage.article(left), window=True)
    begun = time.monotonic()
    stage.pass_by(2)
    second = browser.page(stage.article(right), window=True)
    opened = time.monotonic()
    stage.pass_by(2)
    assert first.run("document.visibilityState") == "visible"
    # A movement of the pointer is enough: the window that the reader uses need not have the focus.
    first.between(lambda: first.call("Input.dispatchMouseEvent", type="mouseMoved", x=9, y=9))
    back = time.monotonic()
    stage.pass_by(2)
    assert second.run("document.visibilityState") == "visible"
    second.close()
    first.close()
    ended = time.monotonic()
    stage.site.until_heard(lambda heard: heard.message["t"] > 3500)
    browser.quit()
    return (opened - begun) + (ended - back), back - opened


@scene
def test_two_windows_on_one_article(stage):
    """11: two visible windows with the same article: the sum is wall time."""
    stage.judge(true=sum(two_windows(stage, "leaves", "leaves")))


@scene
def test_two_windows_on_two_articles(stage):
    """11: two visible windows with two articles: each has the time in which it was used last."""
    left, right = two_windows(stage, "leaves", "volcanoes")
    stage.judge(true=left)
    stage.judge(true=right, slug="volcanoes")


@scene
def test_close_of_the_window_that_counts(stage):
    """11: when the window that counts is closed, the other one goes on at once."""
    browser = stage.browser()
    first = browser.page(stage.article(), window=True)
    begun = time.monotonic()
    browser.page(stage.article(), window=True).close()
    stage.pass_by(3)
    first.close()
    ended = time.monotonic()
    stage.site.until_heard(lambda heard: heard.message["t"] > 2500)
    browser.quit()
    stage.judge(true=ended - begun)


@scene
def test_crash_of_the_window_that_counts(stage):
    """12: when the window that counts crashes, the other one steps in within 5 s."""
    browser = stage.browser()
    first = browser.page(stage.article(), window=True)
    begun = time.monotonic()
    second = browser.page(stage.article("volcanoes"), window=True)
    opened = time.monotonic()
    stage.pass_by(2)
    second.browser.connection.send("Page.crash", {}, second.session)
    second.event("Inspector.targetCrashed")
    crashed = time.monotonic()
    stage.pass_by(8)
    before = len(stage.site.heard)
    first.close()
    ended = time.monotonic()
    stage.site.until_left(since=before)
    browser.quit()
    stage.judge(true=(opened - begun) + (ended - crashed), less=LEASE_SECONDS + TICK + JITTER)
    stage.judge(true=crashed - opened, less=TICK + JITTER, slug="volcanoes")


@scene
def test_stopped_process(stage):
    """13: a process that stood still for 8 s, as in a suspended machine, adds at most a tick."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(2.5)
    browser.signal(signal.SIGSTOP)
    stage.pass_by(8)
    browser.signal(signal.SIGCONT)
    stage.read(2)
    page.close()
    stage.site.until_left()
    browser.quit()
    stage.judge(less=TICK + JITTER, more=TICK + JITTER)


@scene
def test_prerendered(stage):
    """14: a page that is prerendered unseen counts from when it is shown."""
    browser = stage.browser()
    browser.call("Target.setDiscoverTargets", discover=True)
    browser.tab(stage.site("/prerender/leaves"))  # a driven page would not be activated from its prerendering
    asked = lambda: ("/articles/leaves", "prefetch;prerender") in stage.site.asked  # noqa: E731
    stage.site.until(asked, "the prerendering")
    shown = browser.connection.event(
        "Target.targetInfoChanged",
        wanted=lambda said: "/articles/" in said["targetInfo"]["url"] and "subtype" not in said["targetInfo"],
    )
    stage.read(3)
    page = Page(browser, shown["targetInfo"]["targetId"])
    assert page.run("performance.getEntriesByType('navigation')[0].activationStart") > 1000
    page.close()
    stage.site.until_left()
    browser.quit()
    stage.judge()


@scene
def test_frozen(stage):
    """15: time in which the page is frozen in the background does not count."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(2)
    other = browser.page(stage.site("/plain"))
    page.until_shown(False)
    page.call("Page.setWebLifecycleState", state="frozen")
    stage.pass_by(3)
    page.call("Page.setWebLifecycleState", state="active")
    other.close()
    page.until_shown(True)
    stage.read(2)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 3000)
    browser.quit()
    stage.judge()


#: Where time is virtual, nothing is late: what is left is the time from the navigation to the script's start.
EXACTLY = {"less": 0.1, "more": 0.1, "virtual": True}


def read_virtually(stage, page, seconds, *, step=10):
    """Let virtual time pass in the page, with the host's clock moved along."""
    for _ in range(round(seconds / step)):
        stage.site.host.clock.ahead_seconds += step
        page.call("Emulation.setVirtualTimePolicy", policy="pauseIfNetworkFetchesPending", budget=step * 1000)
        page.event("Emulation.virtualTimeBudgetExpired")


@scene
def test_long_read(stage):
    """17: half an hour of reading is half an hour, in a signal every ten seconds or so."""
    browser = stage.browser()
    page = browser.page(stage.site("/plain"))
    page.call("Emulation.setVirtualTimePolicy", policy="pause")
    page.call("Page.navigate", url=stage.article())
    read_virtually(stage, page, 1800)
    page.close()
    stage.site.until_left()
    browser.quit()
    stage.judge(true=1800, **EXACTLY)
    assert 160 <= len(stage.site.heard) <= 182


@scene_of_the_script
def test_nothing_is_touched(stage):
    """Five minutes on a visible page without key, pointer or scroll count in full; with a limit, up to the limit."""
    for options, true in (({}, 300), ({"idle": 120}, 300 + 120)):
        browser = stage.browser()
        page = browser.page(stage.site("/plain"))
        page.call("Emulation.setVirtualTimePolicy", policy="pause")
        page.call("Page.navigate", url=stage.article(**options))
        read_virtually(stage, page, 300)
        page.close()
        stage.site.until_left()
        browser.quit()
        stage.judge(true=true, **EXACTLY)


@scene_of_the_script
def test_absent_reader(stage):
    """17: with a limit for idleness, reading pauses that long after the last sign of the reader, and goes on."""
    browser = stage.browser()
    page = browser.page(stage.site("/plain"))
    page.call("Emulation.setVirtualTimePolicy", policy="pause")
    page.call("Page.navigate", url=stage.article(idle=120))
    read_virtually(stage, page, 100)
    read_virtually(stage, page, 0.5, step=0.5)
    page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown")
    read_virtually(stage, page, 600)
    stage.site.until_left()
    page.run("dispatchEvent(new Event('focus'))")
    read_virtually(stage, page, 30)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 250000)
    browser.quit()
    stage.judge(true=100.5 + 120 + 30, **EXACTLY)
