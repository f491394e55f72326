"""Benchmark: a batch of 100 events against one POST each, to a loopback endpoint; and a whole sweep of due states.

The server runs in a process of its own, pinned to the same core.
Run: ``python -m tests.benchmarks.delivery``
"""

from __future__ import annotations

import json
import multiprocessing
import statistics
import sys
import time
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import requests

from caliper_readtime import Article, HttpCaliperEmitter, InMemoryStateStore, Reader, ReadTimeTracker, TimeSpentEvents
from caliper_readtime._rules.event import envelope
from caliper_readtime.testing import ManualClock
from tests.benchmarks.harness import pin

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

EVENTS = TimeSpentEvents("https://app.example.org", "App", "https://oneroster.example.org")


class _Accept(BaseHTTPRequestHandler):
    """Reads, parses and accepts: the least that an endpoint can do."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


def _serve(answer: Connection) -> None:
    """Accept everything, at a port that the answer tells."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Accept)
    answer.send(server.server_port)
    server.serve_forever()


@contextmanager
def serving():
    """An endpoint in a process of its own; yields its URL."""
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=_serve, args=(theirs,), daemon=True)
    server.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}/caliper/event"
    finally:
        server.terminate()
        server.join()


def events_of(count: int) -> list[dict[str, object]]:
    """Return so many finished events."""
    article = Article("nice_x1", "How leaves eat light", "https://app.example.org/leaves")
    return [
        EVENTS.event(
            Reader(f"u{n}", "s@example.org"),
            article,
            event_id=f"urn:uuid:00000000-0000-4000-8000-{n:012d}",
            generated_id=f"urn:uuid:00000000-0000-4000-9000-{n:012d}",
            seconds=42,
            started_at_ms=1_700_000_000_000,
            ended_at_ms=1_700_000_060_000,
        )
        for n in range(count)
    ]


def _timed(subject) -> float:
    start = time.perf_counter()
    subject()
    return time.perf_counter() - start


def batches(url: str, rounds: int, count: int) -> None:
    """One event each (by the emitter, and by bare requests) against batches of 100."""
    emitter, session, events = HttpCaliperEmitter(url), requests.Session(), events_of(count)
    session.trust_env = False

    def singly() -> None:
        for event in events:
            emitter.emit([event])

    def bare() -> None:
        for event in events:
            session.post(url, json=envelope(EVENTS.sensor, [event], sent_ms=0), timeout=5)

    def batched() -> None:
        for start in range(0, count, 100):
            emitter.emit(events[start : start + 100])

    taken = {subject.__name__: [] for subject in (singly, bare, batched)}
    for _ in range(rounds):
        for subject in (singly, bare, batched):
            taken[subject.__name__].append(_timed(subject))
    one, plain, many = (statistics.median(values) for values in taken.values())
    print(f"{count} events: emitter one each {one * 1e3:.1f} ms, bare requests {plain * 1e3:.1f} ms,")
    print(f"  batches of 100 {many * 1e3:.1f} ms: {one / many:.1f} and {plain / many:.1f} times faster (target 20)")
    session.close()
    emitter.close()


def sweeps(url: str, rounds: int, count: int) -> None:
    """A whole sweep (claim, send, commit) against one partial for each state."""
    swept, alone = [], []
    for _ in range(rounds):
        for taken, by_sweep in ((swept, True), (alone, False)):
            clock, emitter = ManualClock(), HttpCaliperEmitter(url)
            tracker = ReadTimeTracker(InMemoryStateStore(), emitter, EVENTS, clock=clock)
            article = Article("nice_x1", "How leaves eat light", "https://app.example.org/leaves")
            for n in range(count):
                tracker.accumulate(Reader(f"u{n}", "s@example.org"), article, 10.0)
            clock.advance(timedelta(minutes=5).total_seconds())
            if by_sweep:
                taken.append(_timed(lambda tracker=tracker: tracker.sweep(limit=count)))
            else:
                taken.append(
                    _timed(lambda tracker=tracker: [tracker.partial(f"u{n}", "nice_x1") for n in range(count)])
                )
            emitter.close()
    one, many = statistics.median(alone), statistics.median(swept)
    print(
        f"{count} states: partial each {one * 1e3:.1f} ms, one sweep {many * 1e3:.1f} ms: {one / many:.1f} times faster"
    )


def main(rounds: int = 7, count: int = 1000) -> None:
    """Measure and print."""
    pin()
    with serving() as url:
        batches(url, rounds, count)
        sweeps(url, rounds, count)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
