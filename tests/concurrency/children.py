"""Child processes of a test: they talk in lines, are waited for with a bound, and never outlive the test."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.scenes import WAIT_SECONDS

ROOT = Path(__file__).parents[2]


class Child:
    """A process that plays one of the roles in a module of ``tests.concurrency``."""

    def __init__(self, role, roles="roles", **more):
        self.process = subprocess.Popen(
            [sys.executable, "-m", f"tests.concurrency.{roles}", role, json.dumps(more, default=str)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        self._lines = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self):
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def line(self):
        """The next line that it says; None once it says no more."""
        return self._lines.get(timeout=WAIT_SECONDS)

    def expect(self, wanted):
        """Wait until it says this, and nothing else before."""
        said = self.line()
        assert said == wanted, said

    def log(self, line="go"):
        """Say a line to it."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def send(self, number):
        """Send it a signal."""
        self.process.send_signal(number)

    def kill(self):
        """End it at once, wherever it is."""
        self.process.kill()
        self.process.wait(WAIT_SECONDS)

    def result(self):
        """Let it finish, and return what it says last, parsed."""
        self.process.stdin.close()
        said = self.line()
        assert self.process.wait(WAIT_SECONDS) == 0
        return json.loads(said)

    def end(self):
        """Make sure that it has gone, and everything with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait(WAIT_SECONDS)
        self._reading.join(WAIT_SECONDS)
        self.process.stdin.close()
        self.process.stdout.close()


@contextmanager
def child(role, **more):
    """A child that is gone afterwards."""
    one = Child(role, **more)
    try:
        yield one
    finally:
        one.end()


@contextmanager
def children(number, role, **more):
    """So many children of one role; each knows its ``number``."""
    with ExitStack() as stack:
        yield [stack.enter_context(child(role, number=place, **more)) for place in range(number)]
