"""What browsers' privacy lists block in general matches no name or default path of ours."""

from __future__ import annotations

import re
from inspect import signature

import pytest

from caliper_readtime.web import script
from caliper_readtime.web.flask import init_app

#: Rules of EasyPrivacy's general list that stand nearest to what we do, as facts, and a path that each blocks.
RULES = {
    "/readcounter.aspx?": "/readcounter.aspx?id=1",
    "/readtracker-": "/readtracker-1.js",
    "/readReceipt/notify/?img=": "/readReceipt/notify/?img=1",
    "/track/read/*": "/track/read/leaves",
    "/topic_page_timer?": "/topic_page_timer?t=9",
    "/timeslog.": "/timeslog.js",
    "/analytics/timeme.": "/analytics/timeme.js",
    "/article/count?": "/article/count?id=1",
    "/article-tracking.js": "/article-tracking.js",
    "/api/ping?": "/api/ping?t=9",
    "/api/pageactivity": "/api/pageactivity",
    "/activity.gif?": "/activity.gif?t=9",
    "/beacon.js": "/static/beacon.js",
    "/beacon/event/*": "/beacon/event/read",
    "/pageview?event": "/pageview?event=read",
    "/scroll-tracking.": "/scroll-tracking.js",
    "/tracker.min.js": "/tracker.min.js",
    "/visit/record?": "/visit/record?t=9",
    "/stats/event.js?": "/stats/event.js?v=1",
    "/rtd.js": "/rtd.js",
    "/sensor.modern.ncl.": "/sensor.modern.ncl.js",
    "/script/track?url=": "/script/track?url=/",
    ".js?referrer=": "/any.js?referrer=/",
    "-scroll-tracker.js": "/a-scroll-tracker.js",
    "/analytics/ping^": "/analytics/ping?t=9",
}
PREFIX = signature(init_app).parameters["url_prefix"].default
OURS = [
    f"{PREFIX}/{name}{query}" for name in (*script.FILES, *script.FILES.values()) for query in ("", "?v=0f1e2d3c4b5a")
]
OURS += [f"{PREFIX}/signals", f"{PREFIX}/health"]


def blocks(rule, path):
    """Whether a rule matches a path: ``*`` is anything, ``^`` a separator or the end; case does not matter."""
    wild = {"*": ".*", "^": r"(?:[^\w.%-]|$)"}
    return re.search("".join(wild.get(mark, re.escape(mark)) for mark in rule), path, re.IGNORECASE) is not None


@pytest.mark.parametrize(("rule", "theirs"), RULES.items())
def test_no_rule_matches(rule, theirs):
    """A rule blocks what it is meant for, and none of our files and paths."""
    assert blocks(rule, theirs)
    assert [path for path in OURS if blocks(rule, path)] == []
