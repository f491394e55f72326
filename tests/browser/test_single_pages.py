"""On pages that never reload, time goes to the article that is read, whoever swaps it."""

from __future__ import annotations

import json

from tests.browser.stage import JITTER, scene_of_the_script


class Walk:
    """A reader on a single page, who reads some seconds on each of its pages; judged by the page's own clock.

    Attributes:
        true: seconds of each article.
        between: seconds on the way to it, or from it.
    """

    def __init__(self, stage, kind, start="front"):
        self.stage = stage
        self.browser = stage.browser()
        self.page = self.browser.page(stage.site(f"/{kind}/{start}"))
        self.true = dict.fromkeys((start, "front", "leaves", "volcanoes"), 0.0)
        self.between = dict(self.true)
        self.here = start
        self.came = self.page.run("performance.now()")
        self.between[start] += self.came / 1000

    def go(self, act, slug):
        """Do something that shows another page, and wait until that is there."""
        self.page.run(f"{{ window.left = performance.now(); {act} }}")
        shown = f"document.querySelector('main')?.dataset.page == '{slug}'"
        self.page.until(f"{shown} && (window.came = performance.now())")
        left, came = self.page.run("[left, came]")
        self.true[self.here] += (left - self.came) / 1000
        for end in (self.here, slug):
            self.between[end] += (came - left) / 1000
        self.here, self.came = slug, came

    def click(self, slug):
        """Follow a link."""
        self.go(f"[...document.links].find((link) => link.pathname.endsWith('/{slug}')).click()", slug)

    def back(self, slug):
        self.go("history.back()", slug)

    def forward(self, slug):
        self.go("history.forward()", slug)

    def judge(self):
        """End the reading; each article has its seconds."""
        left = self.page.run("{ const left = performance.now(); readtime.stop(); left; }")
        self.true[self.here] += (left - self.came) / 1000
        self.page.close()
        self.browser.quit()
        for slug in ("leaves", "volcanoes"):
            off = JITTER + self.between[slug]
            self.stage.judge(true=self.true[slug], less=off, more=off, virtual=True, slug=slug)


def walked(stage, kind):
    """Two articles, the front page, and back and forward again, as a library's links lead."""
    walk = Walk(stage, kind)
    walk.click("leaves")
    stage.read(1.5)
    walk.click("volcanoes")
    stage.read(2)
    walk.click("front")
    stage.read(1.5)
    walk.back("volcanoes")
    stage.read(1.5)
    walk.back("leaves")
    stage.read(1)
    walk.forward("volcanoes")
    walk.forward("front")
    walk.judge()


@scene_of_the_script
def test_turbo(stage):
    """Under Turbo Drive each article has its own seconds, and the front page none; back and forward too."""
    walked(stage, "turbo")


@scene_of_the_script
def test_turbo_with_the_tag_in_the_head(stage):
    """The same where Turbo keeps every tag in the document's head."""
    walked(stage, "head")


def left_at_once(stage, leave):
    """An article whose tag stays in the head is left before it has been there for long."""
    walk = Walk(stage, "head")
    walk.click("leaves")
    stage.read(0.5)
    leave(walk)
    stage.read(3)
    walk.judge()


@scene_of_the_script
def test_gone_at_once(stage):
    """A page to which the reader goes on at once, by a link, is none of the article's."""

    def press(walk):
        walk.page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter")
        walk.click("front")

    left_at_once(stage, press)


@scene_of_the_script
def test_back_at_once(stage):
    """Nor is one to which they go back at once."""
    left_at_once(stage, lambda walk: walk.back("front"))


@scene_of_the_script
def test_htmx_2(stage):
    """The same with htmx 2 and hx-boost."""
    walked(stage, "htmx2")


@scene_of_the_script
def test_htmx_4(stage):
    """The same with htmx 4 and hx-boost."""
    walked(stage, "htmx4")


@scene_of_the_script
def test_preview(stage):
    """A preview that Turbo shows of an article while it loads counts nothing; the article does as it comes."""
    walk = Walk(stage, "turbo", "leaves")
    stage.read(1)
    walk.click("front")
    stage.site.host.late_seconds = 2
    preview = "document.documentElement.hasAttribute('data-turbo-preview')"
    walk.go("document.querySelector('[href$=leaves]').click()", "leaves")
    assert walk.page.run(preview)
    walk.page.until(f"!({preview}) && (window.came = performance.now())")
    walk.came = walk.page.run("came")
    stage.read(2)
    walk.judge()


def swap(slug, *, then="", path=None):
    """JavaScript that shows another page, with whatever the server sends for it, and then changes the path."""
    push = f"history.pushState(null, '', '/bare/{path or slug}');"
    return (
        f"fetch('/fragments/{slug}').then((answer) => answer.text()).then((html) => {{"
        f" const main = document.querySelector('main'); main.innerHTML = html; main.dataset.page = '{slug}';"
        f" {push} {then} }})"
    )


@scene_of_the_script
def test_bare_push_state(stage):
    """A path that changes ends the view though its tag stays; on the way back it begins again."""
    walk = Walk(stage, "bare", "leaves")
    stage.read(2)
    leaves = "document.querySelector('main').dataset.page = 'front'; history.pushState(null, '', '/bare/front')"
    walk.go(leaves, "front")
    stage.read(2)
    walk.go(
        "addEventListener('popstate', () => { document.querySelector('main').dataset.page = 'leaves'; });"
        "history.back()",
        "leaves",
    )
    stage.read(1.5)
    walk.judge()


@scene_of_the_script
def test_swapped_fragment(stage):
    """A fragment that brings its own tag begins its own view, and ends the one whose tag it replaces."""
    walk = Walk(stage, "bare")
    walk.go(swap("leaves", path="front"), "leaves")
    stage.read(2)
    walk.go(swap("volcanoes", path="front"), "volcanoes")
    stage.read(3)
    walk.judge()


@scene_of_the_script
def test_tag_is_made_anew(stage):
    """A tag that a framework takes away and puts back, at once or later, is the same article's."""
    walk = Walk(stage, "bare", "leaves")
    stage.read(2)
    anew = (
        "const tag = document.querySelector('script[data-ticket]'), copy = tag.cloneNode();"
        "tag.remove(); {0} document.body.append(copy);"
    )
    walk.page.run(f"{{ {anew.format('')} }}")
    stage.read(2)
    walk.page.run(f"(async () => {{ {anew.format('await new Promise(requestAnimationFrame);')} }})()")
    stage.read(2)
    walk.judge()


@scene_of_the_script
def test_path_changes_after_the_article(stage):
    """A path that changes a little after the article has come is the article's."""
    walk = Walk(stage, "bare")
    walk.go(swap("leaves", path="front"), "leaves")
    stage.read(0.5)
    walk.page.run("history.pushState(null, '', '/bare/leaves')")
    stage.read(2)
    walk.judge()


def swapped(stage, stop):
    """Swap articles under a host that says stop() after the swap, or never."""
    walk = Walk(stage, "bare")
    walk.go(swap("leaves"), "leaves")
    stage.read(2)
    walk.go(swap("volcanoes", then=f"requestAnimationFrame(() => {{ {stop} }})"), "volcanoes")
    stage.read(2)
    walk.go(swap("front", then=stop), "front")
    stage.read(1)
    walk.judge()


@scene_of_the_script
def test_stop_after_the_swap(stage):
    """A stop() that comes after the swap is for the article before, and does not end the next one."""
    swapped(stage, "readtime.stop();")


@scene_of_the_script
def test_no_stop(stage):
    """A host that never says stop() gets the same seconds."""
    swapped(stage, "")


@scene_of_the_script
def test_host_starts_and_stops(stage):
    """A host that starts views itself, before the path changes or after, has each on its own article."""
    walk = Walk(stage, "bare")
    tickets = {slug: stage.site.host.ticket("u1", slug) for slug in ("leaves", "volcanoes")}
    start = {slug: f"readtime.start({json.dumps({'url': '/signals', 'ticket': tickets[slug]})});" for slug in tickets}
    show = "document.querySelector('main').dataset.page = '{0}';"
    push = "history.pushState(null, '', '/bare/{0}');"
    walk.go(start["leaves"] + show.format("leaves") + push.format("leaves"), "leaves")
    stage.read(2)
    # The view has ended by itself when its host, late, says stop() for it.
    walk.go(push.format("volcanoes") + show.format("volcanoes") + start["volcanoes"] + "readtime.stop();", "volcanoes")
    stage.read(2)
    walk.go("readtime.stop();" + push.format("front") + show.format("front"), "front")
    stage.read(1)
    walk.judge()
