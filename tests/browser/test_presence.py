"""Who is there: what people do wakes, and what pages do by themselves does not."""

from __future__ import annotations

from tests.browser.stage import scene_of_the_script
from tests.browser.test_counting import EXACTLY, read_virtually

CAROUSEL = "setInterval(() => scrollTo(0, scrollY ? 0 : 500), {pause});"
FIELD = "document.body.prepend(Object.assign(document.createElement('textarea'), {{ id: 'field' }}));"
PLAYER = "document.body.append(document.createElement('video'));"


def opened(stage, **options):
    """A browser and an article whose time is virtual."""
    browser = stage.browser()
    page = browser.page(stage.site("/plain"))
    page.call("Emulation.setVirtualTimePolicy", policy="pause")
    page.call("Page.navigate", url=stage.article(**options))
    read_virtually(stage, page, 1, step=1)
    return browser, page


def ended(stage, browser, page, true):
    before = len(stage.site.heard)
    page.close()
    browser.quit()
    assert len(stage.site.heard) >= before
    stage.judge(true=true, **EXACTLY)


@scene_of_the_script
def test_carousel(stage):
    """A page that scrolls by itself does not keep an absent reader counted."""
    browser, page = opened(stage, idle=120)
    page.run(CAROUSEL.format(pause=5000))
    read_virtually(stage, page, 600)
    ended(stage, browser, page, 120)


@scene_of_the_script
def test_carousel_takes_no_lease(stage):
    """Nor does it take the count from the window that is read."""
    browser = stage.browser()
    carousel = browser.page(stage.article("volcanoes"), window=True)
    carousel.run(CAROUSEL.format(pause=100))
    page = browser.page(stage.article(), window=True)
    stage.read(4)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 3000)
    browser.quit()
    stage.judge()


@scene_of_the_script
def test_signs_of_the_reader(stage):
    """A wheel, a finger, a key, text that is spoken or composed, a selection, focus and a turned screen all wake."""
    browser, page = opened(stage, idle=120)
    size = {"width": 800, "height": 500, "deviceScaleFactor": 1, "mobile": False}
    page.run(FIELD.format())
    page.call("Emulation.setTouchEmulationEnabled", enabled=True)
    finger = [{"x": 29, "y": 300}]
    signs = [
        lambda: page.call("Input.dispatchMouseEvent", type="mouseWheel", x=9, y=300, deltaX=0, deltaY=40),
        lambda: page.call("Input.dispatchMouseEvent", type="mouseMoved", x=19, y=300),
        lambda: page.call("Input.dispatchTouchEvent", type="touchStart", touchPoints=finger),
        lambda: page.call("Input.dispatchKeyEvent", type="keyDown", key="ArrowDown"),
        lambda: page.run("document.querySelector('#field').focus()"),
        lambda: page.call("Input.insertText", text="spoken"),
        lambda: page.run("getSelection().selectAllChildren(document.querySelector('article'))"),
        lambda: page.call("Emulation.setDeviceMetricsOverride", **size),
    ]
    for sign in signs:
        read_virtually(stage, page, 200)
        sign()
    read_virtually(stage, page, 200)
    ended(stage, browser, page, 120 * (1 + len(signs)))


@scene_of_the_script
def test_playing_video(stage):
    """A video that plays is presence where its host says so."""
    browser, page = opened(stage, idle=120)
    page.run(
        PLAYER + "document.querySelector('video').addEventListener('timeupdate', () => readtime.touch());"
        "setInterval(() => document.querySelector('video').dispatchEvent(new Event('timeupdate')), 250)"
    )
    read_virtually(stage, page, 600)
    ended(stage, browser, page, 601)
