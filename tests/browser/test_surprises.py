"""What pages do to their tag, their address and their clock while they are read."""

from __future__ import annotations

import time

from tests.browser.stage import TICK, scene_of_the_script
from tests.browser.test_single_pages import Walk

TAG = "document.querySelector('script[data-ticket]')"
#: None of it ends a view, begins one or stops the count.
HARMLESS = {
    "the tag is moved": f"document.head.append({TAG})",
    "and back": f"document.body.prepend({TAG})",
    "another query": "history.pushState(null, '', '?page=2')",
    "a route in the fragment": "location.hash = '#/chapters/2'",
    "back from there": "history.back()",
    "the address is written anew": "history.replaceState(null, '', location.href)",
    "a dialog": "document.body.appendChild(document.createElement('dialog')).showModal()",
    "and closed": "document.querySelector('dialog').close()",
    "full of nothing": "document.title = ''; document.body.append('text')",
    "the clock is put forward": "{ const now = Date.now; Date.now = () => now() + 36e5; }",
    "and far back": "{ const now = Date.now; Date.now = () => now() - 72e5; }",
}


@scene_of_the_script
def test_harmless(stage):
    """A tag that moves, another query or fragment, a dialog, a print, a clock that jumps: the view goes on."""
    browser = stage.browser()
    page = browser.page(stage.article())
    for act in HARMLESS.values():
        stage.read_until(lambda act=act: (page.run(f"{{ {act} }}"), time.sleep(0.6)))
    stage.read_until(lambda: page.call("Page.printToPDF"))
    stage.read(1)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 6000)
    browser.quit()
    assert len({heard.message["v"] for heard in stage.site.heard}) == 1
    stage.judge()


def changed(stage, act, slug):
    """A reader on leaves; then the page does something to its tag, and shows an article."""
    walk = Walk(stage, "bare", "leaves")
    stage.read(2)
    ticket = stage.site.host.ticket("u1", slug)
    walk.go(f"{act.format(ticket=ticket)}; document.querySelector('main').dataset.page = '{slug}';", slug)
    walk.between = {slug: between + TICK for slug, between in walk.between.items()}  # it is noticed at the next tick
    stage.read(3)
    walk.judge()


@scene_of_the_script
def test_ticket_changes_in_place(stage):
    """A framework that gives the same tag another ticket has begun the next article."""
    changed(stage, TAG + ".dataset.ticket = '{ticket}'", "volcanoes")


@scene_of_the_script
def test_morph(stage):
    """A page that Turbo refreshes by morphing goes on counting, under the ticket that the refresh has brought."""
    walk = Walk(stage, "turbo", "leaves")
    stage.read(2)
    before = walk.page.run(TAG + ".dataset.ticket")
    walk.page.run(
        "document.head.insertAdjacentHTML('beforeend', '<meta name=\"turbo-refresh-method\" content=\"morph\">');"
        "window.old = document.querySelector('main'); Turbo.visit(location.href, { action: 'replace' });"
    )
    walk.page.until(f"{TAG}?.dataset.ticket != '{before}'")
    stage.read(3)
    walk.between["leaves"] += TICK
    walk.judge()
    assert {heard.message["k"] for heard in stage.site.heard} > {before}


@scene_of_the_script
def test_two_tags(stage):
    """Of two articles' tags on one page the last one counts; a host that shows several starts views itself."""
    browser = stage.browser()
    page = browser.page(stage.article())
    page.tell(
        f"{{ const tag = {TAG}.cloneNode(); tag.dataset.ticket = '{stage.site.host.ticket('u1', 'volcanoes')}';"
        " document.body.append(tag); }"
    )
    stage.read(2)
    page.close()
    stage.site.until_heard(lambda heard: heard.message["t"] > 1500)
    browser.quit()
    stage.judge(true=0)
    stage.judge(true=2, slug="volcanoes")
