"""Drives a real browser over its own remote protocol: DevTools for Chromium, WebDriver BiDi for Firefox."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import threading
import time
from concurrent.futures import Future
from contextlib import ExitStack, suppress

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

WAIT_SECONDS = 60.0  # only a hang ever waits so long
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FIREFOX = shutil.which("firefox-esr") or shutil.which("firefox")
REQUIRED = any(os.environ.get(name) for name in ("CI", "CALIPER_READTIME_REQUIRE_BROWSER"))
QUIET = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
]


def need(program, name):
    """Skip without this program, and say so; where browsers are required, fail."""
    if program is None:
        log = pytest.fail if REQUIRED else pytest.skip
        log(f"no {name} on this machine: the page's script is NOT tested with it (apt-get install {name})")


class Refused(Exception):
    """The browser answered a command with an error."""


class Connection:
    """Commands from any thread, each waiting for its answer; events are kept until somebody waits for them."""

    def __init__(self, url):
        self._open = ExitStack()
        self._socket = self._open.enter_context(connect(url, max_size=None, compression=None, ping_interval=None))
        self._lock = threading.Lock()
        self._number = 0
        self._answers = {}
        self._events = []
        self._news = threading.Condition()
        self._closed = False
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        with suppress(ConnectionClosed):
            for text in self._socket:
                message = json.loads(text)
                if message.get("id") in self._answers:
                    self._answers.pop(message["id"]).set_result(message)
                else:
                    with self._news:
                        self._events.append(message)
                        self._news.notify_all()
        with self._news:
            self._closed = True
            self._news.notify_all()
        for waiting in list(self._answers.values()):
            waiting.set_exception(Refused("the browser has gone"))

    def send(self, method, params, session=None):
        """Send a command, and return its answer as a future."""
        answer = Future()
        with self._lock:
            self._number += 1
            self._answers[self._number] = answer
            message = {"id": self._number, "method": method, "params": params}
            self._socket.send(json.dumps(message if session is None else {**message, "sessionId": session}))
        return answer

    def call(self, method, params, session=None):
        """Send a command, and return its result."""
        answer = self.send(method, params, session).result(WAIT_SECONDS)
        if "error" in answer:
            raise Refused(f"{method}: {answer['error']} {answer.get('message', '')}")
        return answer["result"]

    def event(self, method, session=None, wanted=lambda params: True):
        """Wait for an event, and return its parameters."""
        found = []

        def arrived():
            for message in self._events:
                right = message.get("method") == method and message.get("sessionId") == session
                if right and wanted(message["params"]):
                    self._events.remove(message)
                    found.append(message["params"])
                    return True
            return self._closed

        with self._news:
            if not self._news.wait_for(arrived, WAIT_SECONDS) or not found:
                raise Refused(f"{method} never came; seen: {sorted({m.get('method', '') for m in self._events})}")
        return found[0]

    def seen(self, method):
        """The parameters of all events of a kind that nobody waited for."""
        with self._news:
            return [message["params"] for message in self._events if message.get("method") == method]

    def drop(self, method, session):
        """Forget events of a kind that came so far."""
        with self._news:
            self._events = [m for m in self._events if (m.get("method"), m.get("sessionId")) != (method, session)]

    def close(self):
        self._open.close()
        self._reading.join(WAIT_SECONDS)


def started(command, **options):
    """Start a process, once more where the kernel would not take the command's address (EFAULT): nothing runs then.

    Seen once in some thousands of starts, where several threads started browsers at the same time.
    """
    try:
        return subprocess.Popen(command, **options)
    except OSError as error:
        if error.errno != errno.EFAULT:
            raise
        return subprocess.Popen(command, **options)


class Process:
    """A browser process with a profile of its own; it says on stderr where it listens."""

    def __init__(self, command, says):
        self._process = started(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        said = []
        for line in self._process.stderr:
            said.append(line)
            if says in line:
                self.address = line.partition(says)[2].strip()
                break
        else:
            raise AssertionError(f"{command[0]} did not start:\n{''.join(said)}")
        self._draining = threading.Thread(target=self._process.stderr.read, daemon=True)
        self._draining.start()

    @property
    def pid(self):
        return self._process.pid

    def wait(self):
        self._process.wait(WAIT_SECONDS)

    def end(self):
        """End it at once, wherever it is."""
        self._process.kill()
        self._process.wait(WAIT_SECONDS)
        self._draining.join(WAIT_SECONDS)
        self._process.stderr.close()


class Chromium:
    """One headless Chromium."""

    def __init__(self, profile):
        command = [CHROMIUM, *QUIET, f"--user-data-dir={profile}", "about:blank"]
        self.process = Process(command, "DevTools listening on ")
        self.connection = Connection(self.process.address)
        self._stopped = []
        self.between = []  # when, by the monotonic clock, pages were on their way to being read, or from it

    def call(self, method, **params):
        return self.connection.call(method, params)

    def tab(self, url, *, window=False):
        """Open a tab, or a window, that is not driven; return its target."""
        return self.call("Target.createTarget", url=url, newWindow=window)["targetId"]

    def page(self, url=None, *, before=None, window=False):
        """Open a tab, or a window, in front of the others; ``before`` runs before the page's own scripts."""
        page = Page(self, self.tab("about:blank", window=window))
        if before is not None:
            page.call("Page.addScriptToEvaluateOnNewDocument", source=before)
        if url is not None:
            page.visit(url)
        return page

    def renderers(self):
        """The process ids of all renderers."""
        processes = self.call("SystemInfo.getProcessInfo")["processInfo"]
        return [process["id"] for process in processes if process["type"] == "renderer"]

    def signal(self, number):
        """Send a signal to every renderer; until they are found, which may take its time, reading goes on."""
        begun = time.monotonic()
        pids = self._stopped or self.renderers()
        self._stopped = pids if number == signal.SIGSTOP else []
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        self.between.append((begun, time.monotonic()))
        # A new tab must not be given to a spare renderer of which the browser does not know yet that it is dead.
        while number == signal.SIGKILL and set(pids) & set(self.renderers()):
            assert time.monotonic() < begun + WAIT_SECONDS, "the browser takes killed renderers for living ones"

    def complaints(self):
        """What pages threw, and what their security policies refused."""
        thrown = [said["exceptionDetails"] for said in self.connection.seen("Runtime.exceptionThrown")]
        logged = [said["entry"] for said in self.connection.seen("Log.entryAdded")]
        return thrown + [entry for entry in logged if entry["source"] in ("security", "javascript", "deprecation")]

    def quit(self):
        """Close it as its user would."""
        begun = time.monotonic()
        with suppress(Refused, ConnectionClosed):
            self.call("Browser.close")
        self.process.wait()
        self.between.append((begun, time.monotonic()))

    def end(self):
        if self._stopped:
            self.signal(signal.SIGCONT)
        self.process.end()
        self.connection.close()


class Page:
    """One tab."""

    def __init__(self, browser, target):
        self.browser = browser
        self.target = target
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        return self.browser.connection.call(method, params, self.session)

    def event(self, method, wanted=lambda params: True):
        return self.browser.connection.event(method, self.session, wanted)

    def run(self, expression):
        """Evaluate JavaScript, wait for its promise, and return the value."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise Refused(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def between(self, act):
        """Do something that begins or ends reading, and count the time that it takes."""
        begun = time.monotonic()
        done = act()
        self.browser.between.append((begun, time.monotonic()))
        return done

    def tell(self, expression):
        """Evaluate JavaScript that begins or ends reading."""
        return self.between(lambda: self.run(expression))

    def moves(self, act):
        """Do something that leads to another document, and wait until that is there."""
        self.browser.connection.drop("Page.loadEventFired", self.session)
        self.between(lambda: (act(), self.event("Page.loadEventFired")))

    def visit(self, url):
        """Open a document from one that nobody reads; by its own clock, when could it be read at the earliest?"""
        self.browser.connection.drop("Page.loadEventFired", self.session)
        self.call("Page.navigate", url=url)
        self.event("Page.loadEventFired")
        asked = time.monotonic()
        age = self.run("performance.now() - performance.getEntriesByType('navigation')[0].responseStart") / 1000
        self.browser.between.append((asked - age, time.monotonic()))

    def follow(self, path):
        """Follow a link, as a click does."""
        link = f"Object.assign(document.createElement('a'), {{ href: {json.dumps(path)} }})"
        self.moves(lambda: self.run(f"{{ const link = {link}; document.body.append(link); link.click(); }}"))

    def until(self, condition, event=None):
        """Wait until a condition holds, looked at whenever the document hears an event, or at every frame."""
        again = f"addEventListener({json.dumps(event)}, look, true); look()" if event else "look()"
        otherwise = "" if event else " || requestAnimationFrame(look)"
        done = "(done(), true)"
        self.run(f"new Promise((done) => {{ const look = () => (({condition}) && {done}){otherwise}; {again}; }})")

    def until_shown(self, shown):
        wanted = "visible" if shown else "hidden"
        self.between(lambda: self.until(f"document.visibilityState == '{wanted}'", "visibilitychange"))

    def crash(self):
        """Let the page crash, and wait until it has."""
        crashing = lambda: self.browser.connection.send("Page.crash", {}, self.session)  # noqa: E731
        self.between(lambda: (crashing(), self.event("Inspector.targetCrashed")))

    def close(self):
        """Close the tab, and wait until it has gone."""
        mine = lambda said: said["sessionId"] == self.session  # noqa: E731
        closing = ("Target.detachedFromTarget", None, mine)
        self.between(
            lambda: (
                self.browser.call("Target.closeTarget", targetId=self.target),
                self.browser.connection.event(*closing),
            )
        )
