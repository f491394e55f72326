"""Benchmark: what an endpoint that hangs does to heartbeats and to an unrelated page, and how soon a leave arrives.

Two workers that take one request at a time, as gunicorn's, forked from one Flask application, over Redis.
Run: ``python -m tests.benchmarks.outage``, or with the seconds of each run.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from flask import Flask

from caliper_readtime import Article, HttpCaliperEmitter, Reader, ReadTimePolicy, ReadTimeTracker, _building
from caliper_readtime.testing._redis_server import RedisServer
from caliper_readtime.web import flask as flask_adapter
from caliper_readtime.web.tickets import application_of
from tests.benchmarks.delivery import EVENTS
from tests.web.sites import SECRETS

READERS = {f"r{n}": Reader(f"r{n}", f"r{n}@example.org") for n in range(2000)}
ARTICLE = Article("nice_x1", "How leaves eat light", "https://news.example.org/articles/leaves")
# Everything that is claimed is accepted: each leave has ten new seconds to report.
POLICY = ReadTimePolicy(leeway_seconds=1e8, catch_up_seconds=1e8)
WORKERS, CLIENTS, THINK_SECONDS, PATIENCE_SECONDS = 2, 8, 0.03, 60.0


class Endpoint(ThreadingHTTPServer):
    """Accepts, and notes when whose event came; or hangs."""

    daemon_threads = True

    def __init__(self, *, hangs: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hangs = hangs
        self.over = threading.Event()
        self.arrived: dict[str, float] = {}


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.server.hangs:
            self.server.over.wait(PATIENCE_SECONDS)
            return
        now = time.monotonic()
        for event in said["data"]:
            self.server.arrived.setdefault(event["actor"]["id"].rpartition("/")[2], now)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_):
        """Say nothing."""


class Worker(WSGIServer):
    """Serves a socket that it shares with others, one request at a time."""

    def __init__(self, listening: socket.socket, application) -> None:
        super().__init__(listening.getsockname(), _Quiet, bind_and_activate=False)
        self.socket.close()
        self.socket = listening
        self.server_name, self.server_port = listening.getsockname()
        self.setup_environ()
        self.set_app(application)


@contextmanager
def site(leave: str, store_url: str, endpoint: str, namespace: str):
    """Two workers; yields their port and what issues tickets."""
    app = Flask("benchmark")
    app.config.update(SECRET_KEY=SECRETS[0], CALIPER_READTIME_LEAVE=leave)
    app.add_url_rule("/page", "page", lambda: "a page that touches neither store nor endpoint")
    emitter = HttpCaliperEmitter(endpoint)
    tracker = ReadTimeTracker(_building.store(store_url, namespace=namespace), emitter, EVENTS, POLICY)
    counter = flask_adapter.init_app(app, tracker=tracker, reader=READERS.get)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        workers = []
        for _ in range(WORKERS):
            child = os.fork()
            if not child:
                signal.signal(signal.SIGTERM, signal.SIG_DFL)
                Worker(listening, app.wsgi_app).serve_forever()
            workers.append(child)
        try:
            yield listening.getsockname()[1], counter
        finally:
            for child in workers:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)


def client(port: int, tickets: dict[str, str], mine: list[str], until: float, took, left) -> None:
    """Open pages, read them and leave them, with a pause between requests."""
    totals: dict[str, int] = defaultdict(int)
    for turn in count():
        reader = mine[turn % len(mine)]
        for kind in ("heartbeat", "page", "heartbeat", "leave"):
            if time.monotonic() > until:
                return
            totals[reader] += 10_000
            said = {"s": 1, "k": tickets[reader], "v": "view", "t": totals[reader], "b": 0}
            body = None if kind == "page" else json.dumps(said | ({"l": True} if kind == "leave" else {}))
            connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE_SECONDS)
            start = time.monotonic()
            path = "/page" if kind == "page" else "/readtime/signals"
            connection.request("GET" if kind == "page" else "POST", path, body, {"Content-Type": "text/plain"})
            status = connection.getresponse().status
            took[kind].append(time.monotonic() - start)
            connection.close()
            assert status in (200, 204), status
            if kind == "leave":
                left.setdefault(reader, start)
            time.sleep(THINK_SECONDS)


def run(leave: str, *, hangs: bool, store_url: str, namespace: str, seconds: float):
    """One run; returns what each kind of request took, and what each leave took to arrive."""
    endpoint = Endpoint(hangs=hangs)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    took, left = defaultdict(list), {}
    with site(leave, store_url, f"http://127.0.0.1:{endpoint.server_port}/caliper", namespace) as (port, counter):
        application, now = application_of(EVENTS), counter.tracker.now()
        tickets = {name: counter.tickets.issue(name, ARTICLE, now, application=application) for name in READERS}
        names, until = list(READERS), time.monotonic() + seconds
        clients = [
            threading.Thread(target=client, args=(port, tickets, names[n::CLIENTS], until, took, left))
            for n in range(CLIENTS)
        ]
        for one in clients:
            one.start()
        for one in clients:
            one.join()
        until = time.monotonic() + 5
        while not hangs and len(endpoint.arrived) < len(left) and time.monotonic() < until:
            time.sleep(0.05)
    endpoint.over.set()
    endpoint.shutdown()
    endpoint.server_close()
    arrival = [endpoint.arrived[reader] - start for reader, start in left.items() if reader in endpoint.arrived]
    return took, arrival, len(left)


def centile(values: list[float], part: float) -> float:
    """Return the value below which this part of all lies."""
    return sorted(values)[min(len(values) - 1, int(len(values) * part))]


def main(seconds: float = 10.0, rounds: float = 5, leaves: str = "background send") -> None:
    """Measure and print. Runs with and without an outage alternate, or the machine's other work would decide."""
    print("| `LEAVE` | endpoint | requests | heartbeat p50 / p99 | other page p50 / p99 | leave p50 / p99 | arrival |")
    print("|---|---|---|---|---|---|---|")
    with RedisServer() as server:
        for leave in leaves.split():
            taken: dict[bool, dict[str, list[float]]] = {False: defaultdict(list), True: defaultdict(list)}
            for turn in range(round(rounds)):
                for hangs, kinds in taken.items():
                    name = f"{leave}-{hangs}-{turn}"
                    took, arrival, _ = run(leave, hangs=hangs, store_url=server.url, namespace=name, seconds=seconds)
                    for kind, values in {**took, "arrival": arrival}.items():
                        kinds[kind] += values
            for hangs, kinds in taken.items():
                print(row(leave, kinds, hangs=hangs), flush=True)


def row(leave: str, kinds: dict[str, list[float]], *, hangs: bool) -> str:
    """Return a table's row."""
    arrival = kinds.pop("arrival")
    cells = [
        f"{statistics.median(kinds[kind]) * 1000:.1f} / {centile(kinds[kind], 0.99) * 1000:.0f} ms"
        for kind in ("heartbeat", "page", "leave")
    ]
    came = f"{statistics.median(arrival):.2f} / {max(arrival):.2f} s" if arrival else ""
    state = "hangs" if hangs else "well"
    return f"| `{leave}` | {state} | {sum(map(len, kinds.values()))} | {' | '.join(cells)} | {came} |"


if __name__ == "__main__":
    main(*[float(word) if word[0].isdigit() else word for word in sys.argv[1:]])
