"""Records that earlier pages left: each is sent by itself, and the hopeless are given up."""

from __future__ import annotations

import json
import time

from tests.browser.stage import scene, scene_of_the_script
from tests.browser.test_outages import SERVER_DOWN

DAY = 86400


def record(stage, slug, seconds, *, url="/signals", opened=None, reader="u1"):
    """What an earlier page has left, as the script writes it."""
    host = stage.site.host
    told = {"s": 1, "k": host.ticket(reader, slug), "v": f"{slug}-{reader}", "t": seconds * 1000, "b": 0, "l": True}
    opened = host.clock().timestamp() if opened is None else opened
    return json.dumps([url, json.dumps(told), str(opened)])


def leaving(records):
    """JavaScript that leaves records behind, before the page's own scripts run; once."""
    return f"if (!localStorage.left) Object.assign(localStorage, {{ left: 1, ...{json.dumps(records)} }});"


def left(page, names):
    """JavaScript's word for which of these records are left."""
    return page.run(f"{json.dumps(names)}.filter((name) => name in localStorage)")


@scene
def test_records_are_cleared(stage):
    """What the next article has delivered is forgotten, and so is what is no record at all."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.site.fault = SERVER_DOWN
    stage.read(2)
    page.close()
    stage.site.until_heard(lambda heard: heard.status == 503)
    stage.site.fault = None
    dead = f"readtime:{stage.site.heard[0].message['v']}"
    broken = {"readtime:broken": "{", "readtime:0": '{"not": "a record"}', "readtime:1": "1"}
    page = browser.page(before=leaving({**broken, "theirs": "{"}))
    page.visit(stage.article("volcanoes"))
    page.until(f"!{json.dumps([dead, *broken])}.some((key) => key in localStorage)")
    assert page.run("localStorage.theirs") == "{"
    stage.judge()


@scene_of_the_script
def test_dead_records(stage):
    """Records whose address answers no more hold up no other; they go when they are a week older than the page."""
    browser = stage.browser()
    now = time.time()
    records = {f"readtime:dead{n}": record(stage, "gone", 9, url="/gone", opened=now - n) for n in range(9)}
    records |= {"readtime:failing": record(stage, "leaves", 9, reader="nobody", opened=now)}
    records |= {"readtime:old": record(stage, "gone", 9, url="/gone", opened=now - 8 * DAY)}
    records |= {"readtime:good": record(stage, "leaves", 5, opened=now - 6 * DAY)}
    stage.site.host.failing = "nobody"
    page = browser.page(before=leaving(records))
    page.visit(stage.article("volcanoes"))
    stage.site.until_heard(lambda heard: heard.status == 204)
    page.visit(stage.site("/plain"))
    assert left(page, list(records)) == [name for name in records if name not in ("readtime:old", "readtime:good")]
    assert not [heard for heard in stage.site.heard if heard.message["v"] == "gone-u1" and heard.status == 204]
    stage.judge(true=5, less=0, more=0)


@scene_of_the_script
def test_many_records(stage):
    """Of very many records the newest fifty are kept."""
    browser = stage.browser()
    now = time.time()
    records = {f"readtime:{n}": record(stage, "gone", 9, url="/gone", opened=now - n) for n in range(60)}
    page = browser.page(before=leaving(records))
    page.visit(stage.article("volcanoes"))
    page.until("Object.keys(localStorage).filter((key) => key.match(/^readtime:\\d+$/)).length <= 50")
    assert left(page, list(records)) == list(records)[:50]


@scene_of_the_script
def test_clock_of_the_device(stage):
    """A device whose clock was a month behind while its reader was offline has all of it counted."""
    browser = stage.browser()
    month = "const now = Date.now; Date.now = () => now() - 30 * 86400000;"
    page = browser.page(stage.article(), before=month)
    stage.site.fault = ("502 Bad Gateway", "")
    stage.read(3)
    page.close()
    stage.site.until_heard(lambda heard: heard.status == 502)
    stage.site.fault = None
    browser.page(stage.article("volcanoes"))
    stage.site.until_left()
    stage.judge()
