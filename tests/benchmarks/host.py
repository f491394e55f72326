"""Benchmark: how many heartbeats a gunicorn host sustains, against the same host whose view does one bare ``INCRBY``.

Run with gunicorn installed: ``python -m tests.benchmarks.host``, or with the seconds of each run and how many rounds.
"""

from __future__ import annotations

import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from itertools import count

from flask import Flask, request
from redis import Redis

from caliper_readtime import Article, Reader, ReadTimePolicy, ReadTimeTracker, RedisStateStore
from caliper_readtime.testing._redis_server import RedisServer
from caliper_readtime.web import flask as flask_adapter
from caliper_readtime.web.tickets import application_of
from tests.benchmarks.delivery import EVENTS
from tests.benchmarks.web import message
from tests.web.sites import SECRETS

CLIENTS, WORKERS, THREADS = 8, 2, 4
URL = "BENCHMARK_REDIS_URL"
ARTICLE = Article("nice_x1", "How leaves eat light", "https://news.example.org/articles/leaves")
READERS = {f"r{n}": Reader(f"r{n}", f"r{n}@example.org") for n in range(CLIENTS)}
# Every total is accepted, as one is that comes in its time.
POLICY = ReadTimePolicy(leeway_seconds=1e8, catch_up_seconds=1e8)
KINDS = {"one INCRBY": "/incrby", "a heartbeat": "/readtime/signals"}


def tracker_on(url: str) -> ReadTimeTracker:
    """A tracker that sends nothing."""
    return ReadTimeTracker(RedisStateStore.from_url(url), events=EVENTS, policy=POLICY)


def make_app() -> Flask:
    """What gunicorn's workers serve."""
    app, url = Flask("benchmark"), os.environ[URL]
    app.config["SECRET_KEY"] = SECRETS[0]
    client = Redis.from_url(url)

    @app.post("/incrby")
    def incrby() -> tuple[str, int]:
        request.get_data()
        client.incrby("counter", 1)
        return "", 204

    flask_adapter.init_app(app, tracker=tracker_on(url), reader=READERS.get)
    return app


@contextmanager
def gunicorn(url: str):
    """A host; yields its port."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    words = ["--bind", f"127.0.0.1:{port}", "--workers", WORKERS, "--threads", THREADS, "--log-level", "warning"]
    command = [sys.executable, "-m", "gunicorn", *map(str, words), "tests.benchmarks.host:make_app()"]
    with subprocess.Popen(command, env={**os.environ, URL: url}) as process:
        try:
            while process.poll() is None:
                try:
                    socket.create_connection(("127.0.0.1", port), 1).close()
                except OSError:
                    time.sleep(0.05)
                    continue
                break
            yield port
        finally:
            process.terminate()


def client(connection: socket.socket, path: str, body, until: float, answers: list[int]) -> None:
    """Post one request after the other on one connection."""
    answered = 0
    while time.monotonic() < until:
        said = body()
        head = f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: {len(said)}\r\n\r\n"
        connection.sendall(head.encode() + said)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(4096)
        assert answer.startswith(b"HTTP/1.1 204"), answer
        answered += 1
    answers.append(answered)


def rate(connections: list[socket.socket], path: str, bodies: list, seconds: float) -> float:
    """Return how many requests a second were answered."""
    answers: list[int] = []
    start = time.monotonic()
    clients = [
        threading.Thread(target=client, args=(connection, path, body, start + seconds, answers))
        for connection, body in zip(connections, bodies, strict=True)
    ]
    for one in clients:
        one.start()
    for one in clients:
        one.join()
    if len(answers) < len(bodies):
        raise SystemExit("a client has failed")
    return sum(answers) / (time.monotonic() - start)


def main(seconds: float = 3.0, rounds: float = 9) -> None:
    """Measure and print. The two alternate, or the machine's other work would decide."""
    with RedisServer() as server, gunicorn(server.url) as port:
        tracker = tracker_on(server.url)
        tickets = flask_adapter.init_app(_signing(), tracker=tracker, reader=READERS.get).tickets
        issued = [tickets.issue(name, ARTICLE, tracker.now(), application=application_of(EVENTS)) for name in READERS]
        bodies = [message(ticket, count(1)) for ticket in issued]
        rates: dict[str, list[float]] = {kind: [] for kind in KINDS}
        # The first round does not count: workers may be loading still.
        for _ in range(round(rounds) + 1):
            with ExitStack() as stack:
                # The same for both kinds, or it would matter which worker has accepted how many of them.
                made = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in bodies]
                for kind, path in KINDS.items():
                    rates[kind].append(rate(made, path, bodies, seconds))
    floor, ours = (found[1:] for found in rates.values())
    print(f"gunicorn, {WORKERS} workers of {THREADS} threads, {CLIENTS} clients; requests a second, medians")
    for kind, found in zip(rates, (floor, ours), strict=True):
        print(f"  {kind:<14} {statistics.median(found):8.0f}")
    ratios = sorted(mine / theirs for mine, theirs in zip(ours, floor, strict=True))
    print(f"  ratio          {statistics.median(ratios):8.2f}   ({ratios[0]:.2f} to {ratios[-1]:.2f}; target 0.95)")


def _signing() -> Flask:
    app = Flask("signing")
    app.config["SECRET_KEY"] = SECRETS[0]
    return app


if __name__ == "__main__":
    main(*map(float, sys.argv[1:]))
