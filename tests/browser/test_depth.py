"""How far a reader is: what of the article was on screen, once it has settled, and not what was jumped over."""

from __future__ import annotations

from tests.browser.stage import scene_of_the_script

#: Looks at an article of the same height before its depth counts, and one more to tell it.
SETTLED_SECONDS = 4.5


def seen(stage):
    """The part of the article that the last signal says was on screen."""
    return stage.site.heard[-1].message["p"]


def completed(stage):
    return any(heard.message.get("c") for heard in stage.site.heard)


@scene_of_the_script
def test_depth(stage):
    """Scrolling as far as it takes completes the article, at the next tick, and is told until it is acknowledged."""
    page = stage.browser().page(stage.article(depth=0.9, article="article", heartbeat=60))
    stage.site.fault = ("503 Service Unavailable", "")
    page.run("setInterval(() => scrollBy(0, 200), 400)")
    stage.site.until_heard(lambda heard: heard.message.get("c") and heard.status == 503)
    assert stage.site.heard[0].message["t"] > 4000  # nothing was told before
    stage.site.fault = None
    page.run("setInterval(() => dispatchEvent(new Event('online')), 500)")
    stage.site.until_heard(lambda heard: heard.message.get("c") and heard.status == 204)
    assert seen(stage) > 0.9
    stage.read(1)
    page.follow("/plain")
    stage.site.until_left()
    told = [heard.message.get("c") for heard in stage.site.heard]
    assert told[0] is True
    assert told[-1] is False


@scene_of_the_script
def test_jump_to_the_end(stage):
    """Who jumps to the end of an article has not passed what lies between."""
    page = stage.browser().page(stage.article(depth=0.9, article="article"))
    stage.read(1)
    page.run("scrollTo(0, 1e6)")
    stage.read(SETTLED_SECONDS)
    page.close()
    stage.site.until_left()
    assert not completed(stage)
    assert 0.2 < seen(stage) < 0.6
    stage.judge()


@scene_of_the_script
def test_article_that_comes_late(stage):
    """A page that is short while something turns is not read to its end."""
    page = stage.browser().page(stage.article(depth=0.9, article="article"))
    page.run("document.querySelector('article').style.height = '100px'")
    stage.read(1.5)
    page.run("document.querySelector('article').style.height = '3000px'")
    stage.read(SETTLED_SECONDS)
    page.close()
    stage.site.until_left()
    assert not completed(stage)
    assert 0.1 < seen(stage) < 0.4
    stage.judge()


@scene_of_the_script
def test_short_article(stage):
    """An article that fits on the screen is seen to its end, after a few seconds."""
    page = stage.browser().page(stage.article(depth=0.9, article="article", heartbeat=60))
    page.run("document.querySelector('article').style.height = '100px'")
    stage.site.until_heard(lambda heard: heard.message.get("c"), "a completion")
    assert stage.site.heard[0].message["t"] >= 3000
    assert seen(stage) == 1
    page.close()


def seen_to_its_end(stage, style, **options):
    """Open an article that fits on the screen."""
    page = stage.browser().page(stage.article(depth=0.9, heartbeat=60, **options))
    page.run(f"document.querySelector('article').style.cssText = '{style}'")
    stage.site.until_heard(lambda heard: heard.message.get("c"), "a completion")
    assert seen(stage) == 1
    page.close()


@scene_of_the_script
def test_short_document(stage):
    """So is a document that is shorter than its window, without a selector."""
    seen_to_its_end(stage, "height: 100px")


@scene_of_the_script
def test_scaled_article(stage):
    """And an article that is scaled down."""
    seen_to_its_end(stage, "height: 600px; transform: scale(.5); transform-origin: top", article="article")


@scene_of_the_script
def test_swapped_before_stop(stage):
    """A view whose article is swapped for a short page before its host says stop() is not at its end."""
    page = stage.browser().page(stage.article(depth=0.9, article="article"))
    stage.read(SETTLED_SECONDS)
    page.tell("document.querySelector('article').outerHTML = '<p>Short.'; readtime.stop()")
    stage.site.until_left()
    stage.pass_by(1)
    page.close()
    assert not completed(stage)
    stage.judge()
