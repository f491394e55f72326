"""What a filter, a portal or a login page answers in place of the endpoint is an outage, and nothing more."""

from __future__ import annotations

from tests.browser.stage import scene_of_the_script

PAGE = "<!doctype html><title>Blocked by your school</title>"
ANSWERS = [
    *((f"{status} Filtered", PAGE) for status in (401, 403, 404, 413, 451)),
    *((f"{status} Filtered", PAGE) for status in (200, 202, 203, 206)),
    ("403 Forbidden", '{"error": "blocked"}'),
    ("200 OK", '{"k": "theirs"}'),
    ("200 OK", "null"),
    ("302 Found", "", ("Location", "/elsewhere")),
]


@scene_of_the_script
def test_answers_of_others(stage):
    """No answer but the endpoint's own ends a view or acknowledges a total; when the way is free, all of it arrives."""
    browser = stage.browser()
    page = browser.page(stage.article(heartbeat=60))
    stage.read(1)
    for number, answer in enumerate(ANSWERS):
        stage.site.fault = answer
        page.run("dispatchEvent(new Event('online'))")
        stage.true += stage.timed(lambda told=number: stage.site.until(lambda: len(stage.site.heard) > told, "a beat"))
        stage.read(0.3)
    assert {heard.message["b"] for heard in stage.site.heard} == {0}
    assert "/elsewhere" not in [path for path, _ in stage.site.asked]
    stage.site.fault = None
    page.close()
    stage.site.until_left()
    browser.quit()
    stage.judge()


@scene_of_the_script
def test_left_behind_a_filter(stage):
    """What was read behind a filter until the tab closed arrives with the next article, once the filter lets it."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.site.fault = ("403 Forbidden", PAGE)
    stage.read(3)
    page.close()
    stage.site.until_heard(lambda heard: heard.status == 403)
    page = browser.page(stage.article("volcanoes"))  # still filtered
    stage.site.until_heard(lambda heard: heard.status == 403, since=1)
    stage.site.fault = None
    page.visit(stage.article("volcanoes"))
    view = stage.site.heard[0].message["v"]
    stage.site.until_heard(lambda heard: heard.message["v"] == view and heard.status == 204)
    stage.judge()
