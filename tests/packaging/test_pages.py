"""The pages that are written by hand say what the code does: logs, defaults, wire format, Redis layout, examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import attrs
import fakeredis
import pytest

from caliper_readtime import (
    Article,
    EventRejected,
    PageView,
    Reader,
    ReadTimePolicy,
    ReadTimeTracker,
    RedisStateStore,
)
from caliper_readtime.testing import FlakyEmitter, ManualClock
from tests import log_lines
from tests.scenes import events

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
READER = Reader("u1", "s@example.org")


def text(page):
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def rows(page):
    """The tables of a page, as lists of cells."""
    return [re.split(r"(?<!\\) \| ", line[2:-2]) for line in text(page).splitlines() if line.startswith("| ")]


def test_every_log_line_is_listed():
    """The page of logs lists exactly the lines that the package can log, with their levels."""
    listed = [(level, line[1:-1]) for level, line, *_ in rows("reference/logs") if level in log_lines.LEVELS]
    assert len(listed) == len(set(listed)) > 25
    assert set(listed) == log_lines.log_lines()


def test_nothing_names_a_page_by_a_path():
    """No message, docstring or script leads to a file that is in the checkout and not in the wheel."""
    package = [path for path in (ROOT / "caliper_readtime").rglob("*") if path.suffix in (".py", ".js", ".mjs", ".lua")]
    assert len(package) > 100
    assert [
        path.name for path in package if re.search(r"\bdocs/|README|\w\.md\b", path.read_text(encoding="utf-8"))
    ] == []


def test_every_default_has_a_reason():
    """The page of defaults has a row for each field of the policy, in its order, with its value and a reason."""
    fields = [field for field in attrs.fields(ReadTimePolicy) if field.init]
    table = rows("explanation/defaults")[1 : 1 + len(fields)]
    assert [name.strip("`") for name, *_ in table] == [field.name for field in fields]
    for field, (_, default, reason) in zip(fields, table, strict=True):
        value = "none" if field.default is None else str(field.default)
        assert default.strip("`") in (value, value.removesuffix(".0")), field.name
        assert len(reason) > 30


def test_the_wire_format_is_what_is_sent():
    """The envelope that the page shows is what its snippet builds, in that order, and each listed field is in it."""
    page = text("reference/wire-format")
    names = {}
    exec(re.search(r"```python\n(.*?)```", page, re.DOTALL)[1], names)  # noqa: S102 - our own page
    shown = re.search(r"```json\n(.*?)```", page, re.DOTALL)[1]
    assert shown == json.dumps(names["envelope"], indent=2) + "\n"
    fields = [name for cell, *_ in rows("reference/wire-format") for name in re.findall(r"`([a-z][\w.\[\]]+)`", cell)]
    assert len(fields) > 12
    assert [name for name in fields if f'"{name.rpartition(".")[2]}":' not in shown] == []


def test_the_redis_layout_is_what_is_stored():
    """Every key and every field that there is after reading, a report and a refusal is listed, with its type."""
    client, clock, emitter = fakeredis.FakeRedis(decode_responses=True), ManualClock(), FlakyEmitter()
    tracker = ReadTimeTracker(RedisStateStore(client), emitter, events(), clock=clock)
    for number, fault in enumerate((None, EventRejected("no", status=422), None)):
        article = Article(f"nice:{number}", "Leaves", "https://app.example.org/leaves")
        tracker.observe(READER, article, PageView("v", 10.0))
        if fault is not None:
            emitter.fail(fault)
            with pytest.raises(EventRejected):
                tracker.finalize(READER, article)
    tracker.sweep(idle_seconds=0, limit=1)
    shard = re.search(r"\{(\d+)\}", next(client.scan_iter("*:state:*")))[1]
    holes = {"<ns>": "readtime", "<shard>": shard, "<reader>": "u1", "<resource>": r"nice%3A\d"}
    listed = {}
    for cell, kind, *_ in rows("reference/redis-layout"):
        if kind in ("hash", "zset", "set"):
            pattern = re.escape(cell.strip("`"))
            for hole, value in holes.items():
                pattern = pattern.replace(re.escape(hole), value)
            listed[pattern] = kind
    seen = {}
    for key in client.scan_iter():
        (pattern,) = (pattern for pattern in listed if re.fullmatch(pattern, key))
        seen[pattern] = client.type(key)
    assert seen == listed
    fields = {cell.strip("`") for cell, *more in rows("reference/redis-layout") if len(more) == 1} - {"field"}
    assert {field for key in client.scan_iter("*:state:*") for field in client.hkeys(key)} == fields
    meter = client.hget(next(client.scan_iter("*:state:*")), "meter")
    page = (DOCS / "reference" / "redis-layout.md").read_text(encoding="utf-8")
    described = re.findall(r"`(\w+)`", page[page.index("They stand in this order") : page.index("Then comes a line")])
    assert len(described) == len(meter.partition("\n")[0].split(" "))


@pytest.mark.parametrize("example", ["django_project"])
def test_examples_pass_their_own_tests(example):
    """The tests that an example ships pass as its reader would run them."""
    folder = DOCS / "examples" / example
    ran = subprocess.run(
        # Neither this project's settings nor its plugins: the reader has none of them.
        [sys.executable, "-m", "pytest", "-q", "-c", os.devnull, "--rootdir", folder, "-p", "no:cacheprovider", folder],
        cwd=folder,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert re.search(r"\d+ passed", ran.stdout)
