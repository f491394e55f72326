"""A stage for one scene: a host, browsers, and the true reading time to judge by."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import NamedTuple

from tests.browser.devtools import Chromium
from tests.browser.engines import ENGINES
from tests.browser.site import Site

TICK = 1.0  # the script looks at the clock once a second
#: What a scene's own measure may be off by, beside the time between reading and not reading: for as long as a page
#: takes to open, to come into view or to close, nobody can say from outside whether it is being read.
JITTER = 0.25
#: So late WebKit says at times that a frame is in sight, and the script asks once a tick.
_LATE = 2.0 + TICK
_SOON = 10.0  # a beacon takes milliseconds


class Figure(NamedTuple):
    """What a scene came to, in seconds."""

    scene: str
    true: float
    reported: float
    between: float


class Stage:
    """One scene's world; leaving it ends everything in it.

    Attributes:
        site: the host on its socket.
        true: seconds that the reader really read.
        figures: what was judged.
    """

    def __init__(self, name, host, home, where="plain"):
        self.name = name
        self._where = where
        self.site = Site(host)
        self.home = home
        self.true = 0.0
        self.figures = []
        self._read = []  # when, by the monotonic clock
        self._passed_by = []
        self._browsers = []
        self._open = ExitStack()
        self._open.callback(self.site.close)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._open.close()

    def browser(self):
        """Start a browser in which u1 is logged in; it finds what an earlier one of the scene left."""
        browser = Chromium(self.home / "profile")
        self._browsers.append(browser)
        self._open.callback(browser.end)
        browser.page(self.site("/login/u1")).close()
        browser.between.clear()
        return browser

    def engine(self):
        """Start a browser of the engine that the scene plays in, and log u1 in."""
        engine = ENGINES[self._where](self.home)
        self._browsers.append(engine)
        self._open.callback(engine.end)
        self.spare = engine.tab(self.site("/login/u1"))  # stays: a browser without windows ends
        engine.between.clear()
        return engine

    def article(self, slug="leaves", **options):
        """The address of an article, with options for its script."""
        query = "&".join(f"{name}={value}" for name, value in options.items())
        return self.site(f"/articles/{slug}" + (query and f"?{query}"))

    def read(self, seconds):
        """Real reading: time goes by, and counts."""
        self.read_until(lambda: time.sleep(seconds))

    def read_until(self, act):
        """Read for as long as something takes."""
        begun = time.monotonic()
        act()
        self._read.append((begun, time.monotonic()))
        self.true += self._read[-1][1] - begun

    def close(self, tab, last):
        """Close a page, wait for what it says last, and return how many seconds may have gone untold.

        A busy Firefox closes a page once in a while without its beacon. Then the next article brings what the last tick
        had stored; that Chromium's beacons arrive is shown in ``test_leaving.py``.
        """
        before = len(self.site.heard)
        tab.close()
        if self.site.hears(last, _SOON, since=before):
            return 0.0
        tab.engine.tab(self.article("volcanoes"), window=True)
        self.site.until_heard(lambda heard: last(heard) and heard.message.get("l"), since=before)
        return TICK

    def judge_frame(self, tab):
        """Judge by what a frame says as its tab goes elsewhere: one that closes may take its frames along unheard."""
        tab.follow("/plain")
        self.site.until_left()
        self.judge(less=_LATE + JITTER)

    def timed(self, act):
        """Do something, and return how long it took."""
        begun = time.monotonic()
        act()
        return time.monotonic() - begun

    def pass_by(self, seconds):
        """Time in which nobody reads."""
        begun = time.monotonic()
        time.sleep(seconds)
        self._passed_by.append((begun, time.monotonic()))

    def between(self):
        """Return the seconds of which nobody can say from outside whether they were read.

        They are those in which pages came and went, and those that a busy machine let go by before or after a read.
        """
        moves = [span for browser in self._browsers for span in browser.between]
        known = moves + self._read + self._passed_by
        gaps = 0.0
        for begun, ended in self._read:
            gaps += begun - max((end for _, end in known if end <= begun), default=begun)
            gaps += min((begin for begin, _ in known if begin >= ended), default=ended) - ended
        return sum(end - begin for begin, end in moves) + gaps

    def judge(self, *, less=JITTER, more=JITTER, true=None, virtual=False, reader="u1", slug="leaves"):
        """The host has accepted the true seconds, but for ``less`` and ``more``, and no page has complained.

        Both are widened by the time between reading and not reading, unless time is virtual and nothing takes any. On
        a machine so busy that this is long a scene proves little, and is right all the same.
        """
        complaints = [said for browser in self._browsers for said in browser.complaints()]
        assert complaints == []
        expected = self.true if true is None else true
        reported = self.site.seconds(reader, slug)
        between = 0.0 if virtual else self.between()
        self.figures.append(Figure(f"{self.name} {reader}/{slug}", expected, reported, between))
        said = f"read {expected:.3f} s and at most {between:.3f} s more or less, reported {reported:.3f} s"
        assert expected - less - between <= reported <= expected + more + between, said


def scene(play, hosts=None):
    """Make a test of a scene: a function that is given a stage. It plays on every host, or on those named."""

    def test(playing, host):
        playing(play, host)

    test.__doc__ = play.__doc__
    test.scene = play
    test.hosts = hosts
    return test


def scene_of_engines(play, hosts=tuple(ENGINES)):
    """Make a test of a scene that plays in Chromium, Firefox and WebKit."""
    return scene(play, hosts)


def scene_of_the_script(play):
    """Make a test of a scene that needs special pages, or is about the script alone."""
    return scene(play, hosts=("plain",))
