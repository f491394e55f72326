"""One small way to drive Chromium, Firefox (WebDriver BiDi) and WebKitGTK (WebDriver, under Xvfb)."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import mkdtemp
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from tests.browser.devtools import FIREFOX, WAIT_SECONDS, Chromium, Connection, Process, Refused, need, started

WEBKIT = shutil.which("WebKitWebDriver")
XVFB = shutil.which("Xvfb")
_LOOK_SECONDS = 0.02


def processes(pid, *names):
    """The ids of a process's descendants whose names begin so."""
    found, children = [], {}
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            said, _, rest = (entry / "stat").read_text().rpartition(")")
            children.setdefault(int(rest.split()[1]), []).append((int(entry.name), said.partition("(")[2]))
    waiting = [pid]
    while waiting:
        for child, said in children.get(waiting.pop(), ()):
            waiting.append(child)
            if said.startswith(names):
                found.append(child)
    return found


def kill(pids):
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Engine:
    """A browser in which pages are driven alike.

    Attributes:
        between: when, by the monotonic clock, pages were on their way to being read, or from it.
    """

    def __init__(self):
        self.between = []

    def complaints(self):
        """What pages threw, where the engine tells."""
        return []

    def moving(self, act):
        """Do something that begins or ends reading, and note when."""
        begun = time.monotonic()
        done = act()
        self.between.append((begun, time.monotonic()))
        return done


class Tab:
    """A page of an engine: what all of them are asked the same way."""

    def comes(self, condition, seconds):
        """Whether JavaScript's condition comes true within so long; from outside, for pages come and go."""
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            with suppress(Refused):  # of a page that is going
                if self.run(f"Boolean({condition})"):
                    return True
            time.sleep(_LOOK_SECONDS)
        return False

    def until(self, condition):
        """Wait until JavaScript's condition holds."""
        assert self.comes(condition, WAIT_SECONDS), f"{condition} never came true"

    def to(self, path, act):
        """Do something that leads to a path."""
        self.engine.moving(
            lambda: (act(), self.until(f"location.pathname == {path!r} && document.readyState != 'loading'"))
        )

    def follow(self, path):
        """Follow a link, as a click does."""
        link = f"Object.assign(document.createElement('a'), {{ href: {json.dumps(path)} }})"
        self.to(
            path,
            lambda: self.run(
                f"(() => {{ const a = {link}; document.body.append(a); setTimeout(() => a.click()); }})()"
            ),
        )

    def back(self, path):
        self.to(path, lambda: self.run("setTimeout(() => history.back()) && 0"))

    def forward(self, path):
        self.to(path, lambda: self.run("setTimeout(() => history.forward()) && 0"))

    def until_shown(self, shown):
        wanted = "visible" if shown else "hidden"
        self.engine.moving(lambda: self.until(f"document.visibilityState == '{wanted}'"))


class ChromiumEngine(Engine):
    """One headless Chromium with a profile of its own."""

    def __init__(self, home):
        super().__init__()
        self.browser = Chromium(Path(home, "profile"))
        self.complaints = self.browser.complaints

    def tab(self, url=None, *, window=False):
        tab = ChromiumTab(self, self.browser.page(window=window))
        if url is not None:
            tab.visit(url)
        return tab

    def end(self):
        self.browser.end()


class ChromiumTab(Tab):
    """One of its tabs."""

    def __init__(self, engine, page):
        self.engine, self.page, self.run = engine, page, page.run

    def visit(self, url):
        self.engine.moving(lambda: self.page.visit(url))

    def reload(self):
        self.engine.moving(lambda: self.page.moves(lambda: self.page.call("Page.reload")))

    def move(self, x, y):
        """Move the pointer."""
        self.engine.moving(lambda: self.page.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y))

    def hide(self):
        """Open another tab in front."""
        self.front = self.engine.tab()
        self.until_shown(False)

    def show(self):
        self.front.close()
        self.until_shown(True)

    def close(self):
        self.engine.moving(self.page.close)

    def kill(self):
        """Kill the processes of all pages."""
        self.engine.moving(lambda: self.engine.browser.signal(signal.SIGKILL))


class FirefoxEngine(Engine):
    """One headless Firefox with a profile of its own."""

    def __init__(self, home):
        super().__init__()
        need(FIREFOX, "firefox-esr")
        profile = Path(home, "firefox")
        profile.mkdir()
        command = [FIREFOX, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port=0"]
        self._open = ExitStack()
        self.process = Process(command, "WebDriver BiDi listening on ")
        self._open.callback(self.process.end)
        self.connection = Connection(f"{self.process.address}/session")
        self._open.callback(self.connection.close)
        self.connection.call("session.new", {"capabilities": {}})

    def tab(self, url=None, *, window=False):
        kind = "window" if window else "tab"
        tab = FirefoxTab(self, self.connection.call("browsingContext.create", {"type": kind})["context"])
        if url is not None:
            tab.visit(url)
        return tab

    def end(self):
        self._open.close()


class FirefoxTab(Tab):
    """One of its tabs."""

    def __init__(self, engine, context):
        self.engine, self.context = engine, context

    def call(self, method, **params):
        return self.engine.connection.call(method, {"context": self.context, **params})

    def run(self, expression):
        """Evaluate JavaScript, and return a plain value."""
        target = {"target": {"context": self.context}, "awaitPromise": True}
        answer = self.engine.connection.call(
            "script.evaluate", {"expression": f"JSON.stringify([{expression}])", **target}
        )
        if answer["type"] != "success":
            raise Refused(f"{expression}: {answer}")
        return json.loads(answer["result"]["value"])[0]

    def visit(self, url):
        self.engine.moving(lambda: self.call("browsingContext.navigate", url=url, wait="complete"))

    def reload(self):
        self.engine.moving(lambda: self.call("browsingContext.reload", wait="complete"))

    def move(self, x, y):
        """Move the pointer."""
        pointer = {"type": "pointer", "id": "mouse", "actions": [{"type": "pointerMove", "x": x, "y": y}]}
        self.engine.moving(lambda: self.call("input.performActions", actions=[pointer]))

    def hide(self):
        """Open another tab in front."""
        self.front = self.engine.tab()
        self.until_shown(False)

    def show(self):
        self.front.close()
        self.until_shown(True)

    def close(self):
        self.engine.moving(lambda: self.call("browsingContext.close"))

    def kill(self):
        """Kill the processes of all pages."""
        self.engine.moving(lambda: kill(processes(self.engine.process.pid, "Isolated Web", "Web Content")))


class WebKitEngine(Engine):
    """One MiniBrowser of WebKitGTK on a screen of its own; its pages share a profile that goes with it."""

    def __init__(self, home):
        super().__init__()
        need(WEBKIT, "webkit2gtk-driver")
        need(XVFB, "xvfb")
        self._home = mkdtemp(prefix="readtime-webkit-")
        self._screen = started(
            [XVFB, "-displayfd", "1", "-screen", "0", "1280x900x24", "-nolisten", "tcp"],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        display = f":{self._screen.stdout.readline().strip()}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        quiet = {"WEBKIT_DISABLE_DMABUF_RENDERER": "1", "LIBGL_ALWAYS_SOFTWARE": "1", "NO_AT_BRIDGE": "1"}
        own = {"DISPLAY": display, "GDK_BACKEND": "x11", "GSETTINGS_BACKEND": "memory", "HOME": self._home}
        self._driver = started(
            [WEBKIT, f"--port={port}"],
            env={**os.environ, **quiet, **own, "XDG_RUNTIME_DIR": self._home},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self.pid = self._driver.pid
        self._base = f"http://127.0.0.1:{port}"
        ends = time.monotonic() + WAIT_SECONDS
        while True:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            assert time.monotonic() < ends, "WebKitWebDriver does not listen"
            time.sleep(_LOOK_SECONDS)
        browser = next(iter(sorted(Path("/usr/lib").glob("*/webkit2gtk-4.*/MiniBrowser"))))
        options = {"webkitgtk:browserOptions": {"binary": str(browser), "args": ["--automation"]}}
        opened = self.ask("POST", "/session", {"capabilities": {"alwaysMatch": options}})
        self._base += f"/session/{opened['sessionId']}"

    def ask(self, method, path, body=None):
        data = json.dumps(body or {}).encode() if method == "POST" else None
        request = Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)  # noqa: S310
        try:
            with urlopen(request, timeout=WAIT_SECONDS) as answer:  # noqa: S310 - its own driver
                return json.load(answer)["value"]
        except HTTPError as error:
            raise Refused(error.read().decode()[:500]) from None

    def tab(self, url=None, *, window=False):
        self.ask("POST", "/window", {"handle": self.ask("GET", "/window/handles")[0]})  # the one before may be gone
        # Always a window: what MiniBrowser opens as a tab stays behind the one in front.
        tab = WebKitTab(self, self.ask("POST", "/window/new", {"type": "window"})["handle"])
        if url is not None:
            tab.visit(url)
        return tab

    def end(self):
        kill([*processes(self.pid, ""), self.pid])
        self._driver.wait(WAIT_SECONDS)
        self._screen.kill()
        self._screen.wait(WAIT_SECONDS)
        self._screen.stdout.close()
        shutil.rmtree(self._home, ignore_errors=True)


class WebKitTab(Tab):
    """One of its windows."""

    def __init__(self, engine, handle):
        self.engine, self.handle = engine, handle

    def ask(self, method, path, body=None):
        self.engine.ask("POST", "/window", {"handle": self.handle})
        return self.engine.ask(method, path, body)

    def run(self, expression):
        """Evaluate JavaScript, and return a plain value."""
        return self.ask("POST", "/execute/sync", {"script": f"return {expression}", "args": []})

    def visit(self, url):
        self.engine.moving(lambda: self.ask("POST", "/url", {"url": url}))

    def reload(self):
        self.engine.moving(lambda: self.ask("POST", "/refresh"))

    def move(self, x, y):
        """Move the pointer."""
        steps = [{"type": "pointerMove", "duration": 0, "x": x, "y": y}]
        pointer = {"type": "pointer", "id": "mouse", "actions": steps}
        self.engine.moving(lambda: self.ask("POST", "/actions", {"actions": [pointer]}))

    def hide(self):
        """Minimise the window."""
        self.engine.moving(lambda: self.ask("POST", "/window/minimize"))
        self.until_shown(False)

    def show(self):
        self.engine.moving(lambda: self.ask("POST", "/window/maximize"))
        self.until_shown(True)

    def close(self):
        self.engine.moving(lambda: self.ask("DELETE", "/window"))


ENGINES = {"plain": ChromiumEngine, "firefox": FirefoxEngine, "webkit": WebKitEngine}
