"""A network or a server that fails costs no reading time."""

from __future__ import annotations

import json

from tests.browser.site import LOSE_REPLY, LOSE_SIGNAL
from tests.browser.stage import scene, scene_of_the_script
from tests.browser.test_leaving import NO_FETCH_LATER

SERVER_DOWN = ("503 Service Unavailable", "")
NO_STORAGE = "Object.defineProperty(window, 'localStorage', { get() { throw new Error(); } })"


def network(page, *, offline):
    page.call("Network.enable")
    conditions = {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.call("Network.emulateNetworkConditions", **conditions)


@scene
def test_offline_then_closed(stage):
    """9: what was read before the tab closed without a network arrives with the next article."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.site.fault = LOSE_SIGNAL
    stage.read(3)
    page.close()
    stage.site.until_heard(lambda heard: heard.status == 0)
    assert stage.site.seconds("u1", "leaves") == 0
    stage.site.fault = None
    browser.page(stage.article("volcanoes"))
    stage.site.until_left()
    stage.judge()


@scene
def test_offline_then_online(stage):
    """9: what was read offline arrives as the browser is online again; no beat is due for a minute."""
    browser = stage.browser()
    page = browser.page(stage.article(heartbeat=60))
    network(page, offline=True)
    stage.read(4)
    assert stage.site.heard == []
    arrives = lambda: stage.site.until_heard(lambda heard: heard.status == 204)  # noqa: E731
    page.between(lambda: (network(page, offline=False), arrives()))
    assert len(stage.site.heard) == 1
    stage.judge()


@scene_of_the_script
def test_online_after_the_view(stage):
    """A view that ended offline is told once, by its record, as the browser is online again."""
    stage.site.host.count()
    browser = stage.browser()
    page = browser.page(stage.article())
    network(page, offline=True)
    stage.read(2)
    page.tell("readtime.stop()")
    page.run(
        """{
        window.posted = [];
        const real = fetch;
        window.fetch = (url, how) => posted.push(how.body) && real(url, how);
        }"""
    )
    network(page, offline=False)
    stage.site.until_left()
    assert [json.loads(body) for body in page.run("posted")] == [stage.site.heard[0].message]
    assert page.run("window.told") is None
    stage.judge()


@scene
def test_server_down(stage):
    """10: signals refused with 503 are told again, and the beats go on."""
    browser = stage.browser()
    page = browser.page(stage.article(heartbeat=2))
    stage.site.fault = SERVER_DOWN
    stage.read_until(lambda: stage.site.until_heard(lambda heard: heard.status == 503))
    stage.site.fault = None
    stage.read_until(lambda: stage.site.until_heard(lambda heard: heard.status == 204))
    first, second = stage.site.heard[:2]
    assert [first.status, second.status] == [503, 204]
    assert second.message["t"] - first.message["t"] >= 4000  # it waits twice as long
    page.close()
    stage.site.until_left()
    browser.quit()
    stage.judge()


@scene
def test_lost_replies(stage):
    """10: a signal whose reply is lost is told again, and counts once."""
    browser = stage.browser()
    page = browser.page(stage.article(heartbeat=2))
    stage.site.fault = LOSE_REPLY
    stage.read_until(lambda: stage.site.until_heard(lambda heard: heard.status == 0))
    stage.site.fault = None
    stage.read(5)
    page.close()
    stage.site.until_left()
    browser.quit()
    assert {heard.status for heard in stage.site.heard} == {0, 204}
    stage.judge()


@scene
def test_beacon_refused(stage):
    """10: a beacon hides its answer, so a leave that the server refused arrives with the next article."""
    browser = stage.browser()
    page = browser.page(stage.article())
    stage.read(3)
    stage.site.fault = SERVER_DOWN
    page.close()
    stage.site.until_heard(lambda heard: heard.status == 503)
    assert stage.site.seconds("u1", "leaves") == 0
    stage.site.fault = None
    browser.page(stage.article("volcanoes"))
    stage.site.until_left()
    stage.judge()


#: Fills what a browser grants all beacons of a page, 64 KiB, with a request that is not answered.
FILL = 'void fetch("/held", { method: "POST", keepalive: true, body: "x".repeat(65500) })'


@scene_of_the_script
def test_beacons_full(stage):
    """Where other beacons of the page have taken all there is, fetchLater brings the leave, or else the next page."""
    browser = stage.browser()
    page = browser.page(stage.article())
    with stage.site.holding():
        page.run(FILL)
        stage.read(3)
        assert page.run("navigator.sendBeacon('/held', 'x'.repeat(2000))") is False
        page.close()
        arrived = stage.timed(stage.site.until_left)
    assert arrived < 6
    browser.quit()
    stage.judge()


@scene_of_the_script
def test_beacons_full_as_a_view_ends(stage):
    """Where beacons have no room as a view of a page without storage ends, fetchLater brings it as the page closes."""
    browser = stage.browser()
    page = browser.page(stage.article(), before=NO_STORAGE)
    with stage.site.holding():
        page.run(FILL)
        stage.read(3)
        page.tell("readtime.stop()")
        page.close()
        stage.site.until_left()
    browser.quit()
    stage.judge()


@scene_of_the_script
def test_beacons_full_without_fetch_later(stage):
    """Without fetchLater nothing arrives as the page closes; the next article brings all of it."""
    browser = stage.browser()
    page = browser.page(stage.article(), before=NO_FETCH_LATER)
    with stage.site.holding():
        page.run(FILL)
        stage.read(3)
        page.close()
        stage.pass_by(1)
        assert stage.site.heard == []
        browser.page(stage.article("volcanoes"), before=NO_FETCH_LATER)
        stage.site.until_left()
    browser.quit()
    stage.judge()
