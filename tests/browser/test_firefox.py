"""The script in Firefox, which has other rules for beacons: a smoke test."""

from __future__ import annotations

import time

import pytest

from tests.browser import devtools
from tests.browser.conftest import need
from tests.browser.hosts import PlainHost
from tests.browser.stage import JITTER, Stage


@pytest.fixture
def firefox(tmp_path):
    """A headless Firefox, driven over WebDriver BiDi."""
    need(devtools.FIREFOX, "firefox-esr")
    command = [devtools.FIREFOX, "--headless", "--no-remote", "--profile", str(tmp_path), "--remote-debugging-port=0"]
    process = devtools.Process(command, "WebDriver BiDi listening on ")
    connection = devtools.Connection(f"{process.address}/session")
    connection.call("session.new", {"capabilities": {}})
    yield connection
    process.end()
    connection.close()


def test_read_and_close(firefox, tmp_path):
    """What was read until the tab closes arrives in Firefox too, in beats and a leave."""
    with Stage("firefox", PlainHost(), tmp_path) as stage:
        context = firefox.call("browsingContext.create", {"type": "tab"})["context"]
        login = {"context": context, "url": stage.site("/login/u1"), "wait": "complete"}
        firefox.call("browsingContext.navigate", login)
        address = {"context": context, "url": stage.article(heartbeat=2), "wait": "complete"}
        begun = time.monotonic()
        firefox.call("browsingContext.navigate", address)
        between = time.monotonic() - begun
        stage.read(3)
        begun = time.monotonic()
        firefox.call("browsingContext.close", {"context": context})
        stage.site.until_left()
        between += time.monotonic() - begun
        assert {heard.status for heard in stage.site.heard} == {204}
        assert len(stage.site.heard) >= 2
        stage.judge(more=JITTER + between)
