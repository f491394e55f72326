"""In a frame, an article counts while it can be seen there."""

from __future__ import annotations

from urllib.parse import quote

from caliper_readtime.web.refusals import Refusal
from tests.browser.stage import JITTER, scene_of_engines, scene_of_the_script

FRAMES = ("shown", "none", "folded", "below")


def frame(slug, style=""):
    style = f"width: 300px; height: 300px; {style}"
    return f'<iframe id="{slug}" src="//HOST/articles/{slug}?as=u1" style="{style}"></iframe>'


def outer(stage, html, *, site="localhost"):
    """The address of another site's page (localhost is another one than 127.0.0.1), or of the same, with frames."""
    there = stage.site("").removeprefix("http://")
    return stage.site(f"/frames?{quote(html.replace('HOST', there))}").replace("127.0.0.1", site)


def both_left(stage, page):
    """Go elsewhere, and wait for the last words of two frames."""
    page.visit(stage.site("/plain"))  # a tab that closes may take its frames along before they can speak
    said = lambda: {heard.message["v"] for heard in stage.site.heard if heard.message["t"] > 1500}  # noqa: E731
    stage.site.until(lambda: len(said()) == 2, "both")


def frames_out_of_sight(stage, site):
    """Four frames: one is shown, and then hidden; one is shown later; two never."""
    browser = stage.browser()
    stage.site.host.resources |= {slug: slug for slug in FRAMES}
    html = (
        frame("shown")
        + frame("none", "display: none")
        + f"<details>{frame('folded')}</details>"
        + frame("below", "position: absolute; top: 5000px")
    )
    url = outer(stage, html, site=site)
    page = browser.page()
    opening = stage.timed(lambda: page.visit(url))
    stage.read(2)
    page.tell("document.querySelector('#shown').style.display = 'none'")
    stage.pass_by(1.5)
    page.tell("scrollTo(0, 5000)")
    stage.read(2)
    both_left(stage, page)
    browser.quit()
    for slug, true in zip(FRAMES, (2, 0, 0, 2), strict=True):
        stage.judge(true=true, slug=slug, more=JITTER + (opening if slug == "shown" else 0))


@scene_of_the_script
def test_frames_out_of_sight(stage):
    """An article in a frame that is hidden, folded or far below does not count; it does when it is seen."""
    frames_out_of_sight(stage, "127.0.0.1")


@scene_of_the_script
def test_frames_of_another_site(stage):
    """The same in the frames of another site's page, as in a learning platform."""
    frames_out_of_sight(stage, "localhost")


@scene_of_the_script
def test_two_frames(stage):
    """Of two article frames side by side the one touched last counts, and no more than wall time in all."""
    browser = stage.browser()
    page = browser.page(outer(stage, frame("leaves") + frame("volcanoes"), site="127.0.0.1"))
    move = {"type": "mouseMoved", "y": 100}
    page.between(lambda: page.call("Input.dispatchMouseEvent", x=100, **move))
    stage.read(2)
    page.between(lambda: page.call("Input.dispatchMouseEvent", x=450, **move))
    stage.read(2)
    both_left(stage, page)
    browser.quit()
    stage.judge(true=2)
    stage.judge(true=2, slug="volcanoes")


@scene_of_the_script
def test_article_of_a_frame(stage):
    """With a selector it is the article that has to be seen, and a document as high as its frame may be scrolled."""
    browser = stage.browser()
    html = '<iframe src="//HOST/articles/leaves?as=u1&article=article" style="width: 400px; height: 400px"></iframe>'
    page = browser.page(outer(stage, html, site="127.0.0.1"))
    stage.read(2)
    document = "frames[0].document"
    page.tell(
        f"{document}.body.insertAdjacentHTML('beforeend', '<p style=\"height: 3000px\">');frames[0].scrollTo(0, 1e6)"
    )
    stage.pass_by(2)
    page.close()
    stage.site.until_left()
    browser.quit()
    stage.judge()


@scene_of_the_script
def test_frame_as_high_as_its_window(stage):
    """A frame whose document says "height: 100%" goes on counting when it is scrolled."""
    browser = stage.browser()
    page = browser.page(outer(stage, frame("leaves"), site="127.0.0.1"))
    page.tell("frames[0].document.documentElement.style.height = '100%'; frames[0].scrollTo(0, 1000)")
    stage.read(3)
    page.close()
    stage.site.until_left()
    browser.quit()
    stage.judge()


@scene_of_engines
def test_frame_without_height(stage):
    """A frame whose document has no height, because its body is positioned, counts, wherever it is scrolled to."""
    tab = stage.engine().tab(outer(stage, frame("leaves", "height: 3000px; display: none"), site="127.0.0.1"))
    positioned = "{ position: absolute; inset: 0; overflow: auto }"
    tab.run(f"frames[0].document.body.insertAdjacentHTML('beforeend', '<style>body {positioned}</style>')")
    tab.run("document.querySelector('#leaves').style.display = 'block'")
    assert tab.run("frames[0].document.documentElement.offsetHeight") == 0
    tab.run("scrollTo(0, 1000)")
    stage.read(5)
    stage.judge_frame(tab)


def sandboxed(stage):
    """Open an article in a frame with ``sandbox="allow-scripts"``; the page around it hears the frame's console."""
    html = frame("leaves").replace("as=u1", "as=u1&heartbeat=1").replace("<iframe", '<iframe sandbox="allow-scripts"')
    hear = "<script>window.told = []; addEventListener('message', (said) => told.push(said.data));</script>"
    return stage.engine().tab(outer(stage, hear + html, site="127.0.0.1"))


@scene_of_engines
def test_sandboxed_frame(stage):
    """A sandboxed frame has no origin: its signals are refused, and its console says once why, and what to do."""
    stage.site.host.count()
    tab = sandboxed(stage)
    stage.site.until(lambda: len(stage.site.heard) > 1, "a second try")
    tab.until("told.length")
    assert {heard.status for heard in stage.site.heard} == {403}
    told = tab.run("told")
    tab.close()
    assert told == [["readtime:", "foreign_origin", Refusal.FOREIGN_ORIGIN.advice]]
    stage.judge(true=0)


@scene_of_engines
def test_sandboxed_frame_that_is_trusted(stage):
    """With TRUST_NULL_ORIGIN tickets alone decide: a sandboxed frame counts, and its script hears the answers."""
    stage.site.host.count(trust_null_origin=True)
    tab = sandboxed(stage)
    stage.read(5)
    stage.judge_frame(tab)
