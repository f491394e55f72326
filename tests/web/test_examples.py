"""The examples are complete, small and true: each is run as its reader would run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from contextlib import ExitStack, closing, contextmanager
from importlib import util
from unittest import mock

import pytest
import requests  # noqa: F401 - what an example's module loads first would be loaded a second time after it
from werkzeug.test import Client

from caliper_readtime import (
    App,
    HttpCaliperEmitter,
    InMemoryStateStore,
    JsonLinesEmitter,
    Reader,
    ReadTimeTracker,
    SqliteStateStore,
    StoreUnavailable,
    TimeSpentEvents,
)
from caliper_readtime.testing import CaliperEndpoint, FlakyEmitter, ManualClock
from tests.scenes import START, article, events
from tests.web.bridge import Bridge
from tests.web.sites import EXAMPLES, HOST, django_site
from tests.web.test_pages import attributes


@contextmanager
def load(path):
    """A module of an example, with its neighbours importable, as a script's are."""
    spec = util.spec_from_file_location(f"example_{path.parent.name}_{path.stem}", path)
    module = util.module_from_spec(spec)
    before = sys.path[:], set(sys.modules)
    sys.path.insert(0, str(path.parent))
    try:
        with mock.patch.dict(sys.modules, {spec.name: module}):
            spec.loader.exec_module(module)
            yield module
    finally:
        sys.path[:] = before[0]


def host_lines(folder):
    """How many lines of an example are there for reading time alone: they are marked."""
    texts = [path.read_text(encoding="utf-8") for path in folder.rglob("*") if path.suffix in (".py", ".html")]
    return sum(line.rstrip(" #}").endswith("# reading time") for text in texts for line in text.splitlines())


def fresh(emitter, clock):
    return ReadTimeTracker(InMemoryStateStore(), emitter, events(), clock=clock)


def play(client, counter, path):
    """Log in, open an article, read it for 30 s, log out, leave; return the page."""
    clock, emitter = ManualClock(START), FlakyEmitter()
    counter.tracker = fresh(emitter, clock)
    base = f"http://{HOST}"
    assert "data-ticket" not in client.get(path, base_url=base).text
    client.get("/login/u1", base_url=base)
    page = client.get(path, base_url=base)
    found = attributes(page.text)
    assert client.get(found["src"], base_url=base).status_code == 200
    client.get("/logout", base_url=base)
    client.get("/login/u2", base_url=base)
    for total in (10, 20, 30):
        clock.advance(10)
        said = {"s": 1, "k": found["data-ticket"], "v": "v", "t": total * 1000, "l": total == 30}
        answer = client.post(found["data-url"], data=json.dumps(said), content_type="text/plain", base_url=base)
        assert answer.status_code == 204
    assert counter.close(60)
    assert (emitter.seconds("u1", "nice_x1"), emitter.seconds("u2", "nice_x1")) == (30, 0)
    return page


def test_flask_example():
    """Its pages count, for the reader who opened them; it banks; it takes at most 4 lines of host code."""
    with load(EXAMPLES / "flask_app" / "app.py") as example:
        app = example.create_app({"CALIPER_READTIME_STORE_URL": "memory://"})
        client, counter = Client(app), app.extensions["caliper_readtime"]
        assert play(client, counter, "/articles/leaves").cache_control.private
        assert client.get("/articles/none").status_code == 404
        assert client.post("/bank", base_url=f"http://{HOST}").json == {"settled": True, "seconds_sent": 0}
    assert 0 < host_lines(EXAMPLES / "flask_app") <= 4


@pytest.mark.parametrize("path", ["/articles/leaves", "/jinja/leaves"])
def test_django_example(path):
    """Its pages count, for the reader who opened them; it takes at most 8 lines of host code."""
    with django_site(reader=None, settings={"READER": "news.students.find_reader"}) as site:
        assert play(site.client, site.counter, path).cache_control.private
        assert site.get("/articles/none").status_code == 404
    assert 0 < host_lines(EXAMPLES / "django_project") <= 8


def test_django_example_by_its_own_settings(tmp_path):
    """``manage.py check`` has nothing to say, with the settings as they stand in the example."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / "django_project" / "manage.py", "check", "--fail-level", "WARNING"],
        cwd=EXAMPLES.parents[1],
        env={"PYTHONPATH": str(EXAMPLES.parents[1]), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "System check identified no issues (0 silenced).\n"), ran.stderr


# ASGI


def in_starlette(example, settings):
    """The example as it stands."""
    return example.create_app(settings)


def in_fastapi(example, settings):
    """The same lines in a FastAPI application."""
    from fastapi import FastAPI  # noqa: PLC0415

    api = FastAPI()
    for route in example.create_app(settings).routes[1:]:
        api.router.routes.append(route)
    example.init_app(api, reader=example.STUDENTS.get, settings=example.DEFAULTS | settings)
    return api


@pytest.mark.parametrize("make", [in_starlette, in_fastapi])
def test_asgi_example(make):
    """Its pages count, for the reader who opened them; it takes at most 4 lines of host code."""
    with load(EXAMPLES / "asgi_app" / "app.py") as example:
        app = make(example, {"STORE_URL": "memory://"})
        with closing(Bridge(app)) as bridge:
            page = play(Client(bridge), app.state.caliper_readtime, "/articles/leaves")
            assert page.cache_control.private
            assert Client(bridge).get("/articles/none").status_code == 404
    assert 0 < host_lines(EXAMPLES / "asgi_app") <= 4


# Migration

NAMES = ("old_flow", "app", "report")
READERS = {f"r{n}": Reader(f"r{n}", f"r{n}@example.org") for n in range(20)}
ARTICLES = {name: article(name) for name in ("owls", "bees")}
TIMES = TimeSpentEvents("https://news.example.org", App("News"), "https://roster.example.org")


class Move:
    """The migration example on a loopback endpoint, its old client, and the truth."""

    def __init__(self, example, old_flow, endpoint, folder):
        self.clock = ManualClock(START)
        self.endpoint = endpoint
        self.emitter = HttpCaliperEmitter(endpoint.url)
        self.emitter.bind_sensor(TIMES.sensor)
        self.logs = folder / "old.jsonl", folder / "shadow.jsonl"
        self.kept = JsonLinesEmitter(self.logs[0])
        self.written = JsonLinesEmitter(self.logs[1])
        self.cache = {}
        old = old_flow.OldFlow(self.cache, self.send, TIMES, self.clock)
        self.stores = [SqliteStateStore(folder / f"{name}.db") for name in ("new", "shadow")]
        new = ReadTimeTracker(self.stores[0], self.emitter, TIMES, clock=self.clock)
        shadow = ReadTimeTracker(self.stores[1], self.written, TIMES, clock=self.clock)
        self.migration = example.Migration(old, new, shadow)
        self.client = example.create_app(self.migration, READERS, ARTICLES).test_client()
        self.read = dict.fromkeys(READERS, 0.0)

    def send(self, sent):
        self.emitter.emit(sent)
        self.kept.emit(sent)

    def day(self, seconds=30.0, *, leaves=True):
        """Every reader reads owls in whole seconds, ten at a time, and leaves."""
        for _ in range(round(seconds / 10)):
            self.clock.advance(10)
            for name in READERS:
                said = {"ids": {"user": name, "article": "owls"}, "delta": 10.0}
                assert self.client.post("/api/reading", json=said).status_code == 204
                self.read[name] += 10
        for name in READERS if leaves else ():
            said = {"ids": {"user": name, "article": "owls"}}
            assert self.client.post("/api/reading/leave", json=said).status_code == 204

    def arrived(self):
        return {name: self.endpoint.seconds(TIMES.actor_id(name), TIMES.activity_id("owls")) for name in READERS}

    def close(self):
        for part in (self.emitter, self.kept, self.written, *self.stores):
            part.close()


@pytest.fixture
def move(tmp_path):
    """A migration at its beginning, and the example's modules."""
    folder = EXAMPLES / "migration"
    with ExitStack() as stack:
        endpoint = stack.enter_context(CaliperEndpoint())
        old_flow, example, report = (stack.enter_context(load(folder / f"{name}.py")) for name in NAMES)
        move = Move(example, old_flow, endpoint, tmp_path)
        stack.callback(move.close)
        yield move, example.Stage, report


def test_migration(move, capsys):
    """Old, shadow, canary, back, canary, all, drain: each second arrives once, and never from the shadow."""
    move, stage, report = move
    go = move.migration
    move.day()
    assert move.arrived() == move.read
    go.stage = stage.SHADOW
    move.day()
    assert move.arrived() == move.read
    report.main(*map(str, move.logs))
    rows = {row.reader: row for row in report.compare(*move.logs)}
    assert {row.shadow for row in rows.values()} == {30}
    assert {row.difference for row in rows.values()} == {-30}, "the shadow did not see the first day"
    assert re.search(r"^all +1200 +600$", capsys.readouterr().out, re.MULTILINE)
    go.stage, go.canary_percent = stage.CANARY, 50
    moved = {name for name, reader in READERS.items() if go.moved(reader)}
    assert 0 < len(moved) < len(READERS)
    move.day(leaves=False)
    before = move.arrived()
    go.stage = stage.OLD  # back, in the middle of a day: what the tracker holds is swept, what follows is old
    move.day()
    go.new.sweep(idle_seconds=0)
    assert move.arrived() == move.read
    assert before != move.read
    go.stage = stage.CANARY
    more = {name for name, reader in READERS.items() if go.moved(reader)}
    assert more == moved
    move.day(leaves=False)
    go.stage = stage.NEW  # in the middle of a day: what the old flow holds is drained
    move.day(leaves=False)
    assert go.drain([(reader, ARTICLES["owls"]) for reader in READERS.values()]) == 0
    assert move.cache == {}
    go.new.sweep(idle_seconds=0)
    assert move.arrived() == move.read
    assert move.endpoint.conflicts == ()
    assert all(go.new.flush_reader(reader).settled for reader in READERS)


def test_a_shadow_that_fails_costs_nothing(move, caplog):
    """The old flow counts and reports as ever."""

    class Down(InMemoryStateStore):
        def meta(self, expected):
            raise StoreUnavailable("down")

    move, stage, _ = move
    move.migration.stage = stage.SHADOW
    move.migration.shadow = ReadTimeTracker(Down(), move.written, TIMES, clock=move.clock)
    move.day()
    assert move.arrived() == move.read
    assert "the shadow failed" in caplog.text


def test_the_report_names_what_differs(move):
    """What the old flow loses and the shadow has stands first: two heartbeats at once, of which it kept one."""
    move, stage, report = move
    move.migration.stage = stage.SHADOW
    move.day(leaves=False)
    key = "article:state:r3:owls"
    before = move.cache[key]
    move.client.post("/api/reading", json={"ids": {"user": "r3", "article": "owls"}, "delta": 5.0})
    move.cache[key] = before  # the other heartbeat had read before this one wrote
    move.clock.advance(10)
    for name in READERS:
        move.client.post("/api/reading/leave", json={"ids": {"user": name, "article": "owls"}})
    first, *rest = report.compare(*move.logs)
    assert (first.reader, first.article, first.old, first.shadow, first.difference) == ("r3", "owls", 30, 35, 5)
    assert {row.difference for row in rest} == {0}
