"""``Gradebook``: a small strict OneRoster results service on loopback, whose PUTs can be lost, refused or held back."""

from __future__ import annotations

import json
import re
import threading
from collections import deque
from urllib.parse import unquote

from caliper_readtime.testing._loopback import LoopbackServer
from caliper_readtime.testing.behaviours import Answer, Drop
from tests.scenes import WAIT_SECONDS

PATH = re.compile(r"/ims/oneroster/gradebook/v1p2/results/([^/?]+)")
STATUSES = {"exempt", "fully graded", "not submitted", "partially graded", "submitted"}
MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
LOSE_ANSWER, UNAVAILABLE = "lose the answer", "unavailable"


class Held:
    """A PUT that has arrived and is not applied until ``go`` is set."""

    def __init__(self):
        self.arrived, self.go = threading.Event(), threading.Event()


class Gradebook:
    """A context manager.

    Attributes:
        results: what is held, by sourced id.
        puts: every PUT that was applied: sourced id and time spent, in order.
        problems: what was wrong with requests.
        faults: what befalls each of the next PUTs: LOSE_ANSWER, UNAVAILABLE or a ``Held``; None for nothing.
    """

    def __init__(self):
        self.results, self.puts, self.problems, self.faults = {}, [], [], deque()
        self._lock = threading.Lock()

    def __enter__(self):
        self._server = LoopbackServer(0, self._respond)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    def __exit__(self, *_):
        self._server.stop()

    def times(self):
        """Every time spent that was written, in order."""
        return [seconds for _, seconds in self.puts]

    def time(self):
        """The time spent of the only result."""
        (result,) = self.results.values()
        return time_spent(result)

    def _respond(self, method, target, _headers, body):
        found = PATH.fullmatch(target)
        if found is None or method not in ("GET", "PUT"):
            self.problems.append(f"{method} {target}")
            return Answer(405)
        sourced_id = unquote(found[1])
        if method == "GET":
            with self._lock:
                held = self.results.get(sourced_id)
            return Answer(404) if held is None else Answer.json(200, {"result": held})
        return self._put(sourced_id, json.loads(body()))

    def _put(self, sourced_id, document):
        with self._lock:
            fault = self.faults.popleft() if self.faults else None
        wrong = problems(sourced_id, document)
        if wrong:
            self.problems += wrong
            return Answer.json(422, {"problems": wrong})
        if fault is UNAVAILABLE:
            return Answer(503)
        if isinstance(fault, Held):
            fault.arrived.set()
            assert fault.go.wait(WAIT_SECONDS)
        with self._lock:
            self.results[sourced_id] = document["result"]
            self.puts.append((sourced_id, time_spent(document["result"])))
        return Drop() if fault is LOSE_ANSWER else Answer.json(201, document)


def time_spent(result):
    """The seconds that the calculator reads: whole ones, or its schema passes the result over."""
    seconds = result["metadata"]["nice_timeSpent"]
    assert type(seconds) is int
    return seconds


def problems(sourced_id, document):
    """What a strict service would refuse in this PUT."""
    result = document.get("result", {})
    score, line_item, student = result.get("score"), result.get("lineItem"), result.get("student")
    wrong = [
        ("one result and nothing else", set(document) == {"result"}),
        ("the id of the path", result.get("sourcedId") == sourced_id),
        ("a known status", result.get("status") in {"active", "tobedeleted"}),
        ("a known scoreStatus", result.get("scoreStatus") in STATUSES),
        ("a moment", MOMENT.fullmatch(result.get("scoreDate", "")) is not None),
        ("a number", isinstance(score, int | float) and not isinstance(score, bool)),
        ("references by id alone", all(part and set(part) == {"sourcedId"} for part in (line_item, student))),
    ]
    return [name for name, fine in wrong if not fine]
