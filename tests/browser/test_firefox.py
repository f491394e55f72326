"""The script in Firefox, which has other rules for beacons: a smoke test."""

from __future__ import annotations

from tests.browser.stage import JITTER, scene_of_the_script


@scene_of_the_script
def test_firefox(stage):
    """What was read until the tab closes arrives in Firefox too, in beats and a leave."""
    firefox = stage.firefox()
    context = firefox.call("browsingContext.create", {"type": "tab"})["context"]

    def visit(url):
        firefox.call("browsingContext.navigate", {"context": context, "url": url, "wait": "complete"})

    visit(stage.site("/login/u1"))
    opening = stage.timed(lambda: visit(stage.article(heartbeat=2)))
    stage.read_until(lambda: stage.site.until_heard(lambda heard: not heard.message.get("l"), "a beat"))
    stage.read(1)
    closing = stage.timed(
        lambda: (firefox.call("browsingContext.close", {"context": context}), stage.site.until_left())
    )
    assert {heard.status for heard in stage.site.heard} == {204}
    assert len(stage.site.heard) >= 2
    stage.judge(more=JITTER + opening + closing)
