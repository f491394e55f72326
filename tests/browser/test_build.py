"""The shipped forms of the script are its source, small, and typed."""

from __future__ import annotations

import gzip
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.browser import build
from tests.browser.devtools import REQUIRED, need

MAX_GZIPPED = {build.MINIFIED: 2048, build.MINIFIED_MEDIA: 512}
OPTION = re.compile(r"(?:options|wanted)\.(\w+)")


def test_minified_is_small():
    """The script as shipped, however a server compresses, is at most 2 KB gzipped, and its part for media ½ KB."""
    sizes = {path: len(gzip.compress(path.read_bytes(), 6)) for path in MAX_GZIPPED}
    assert {path: size for path, size in sizes.items() if size > MAX_GZIPPED[path]} == {}


def test_module_is_the_source():
    """The module form is the source and its exports, no second script."""
    assert build.MODULE.read_text(encoding="utf-8") == build.module()


def test_minified_is_the_source():
    """The minified forms are what the pinned minifier makes of the sources today."""
    need(shutil.which("npm"), "npm")
    try:
        rebuilt = build.minified()
    except subprocess.CalledProcessError as error:
        log = pytest.fail if REQUIRED else pytest.skip
        log(f"the minifier could not be had, so that readtime.min.js is NOT compared: {error.stderr[-300:]}")
    assert [path.read_text(encoding="utf-8") for path in (build.MINIFIED, build.MINIFIED_MEDIA)] == rebuilt


def test_options_are_typed_and_documented():
    """Every option that the script reads is declared, and has its row in the documentation; no other has."""
    read = set(OPTION.findall(build.SOURCE.read_text(encoding="utf-8"))) | {"ticket"}
    declared = set(re.findall(r"^  (\w+)\??:", build.TYPES.read_text(encoding="utf-8"), re.MULTILINE))
    page = build.WEB.parents[1] / "docs" / "reference" / "script.md"
    documented = set(re.findall(r"^\| `data-(\w+)` \|", page.read_text(encoding="utf-8"), re.MULTILINE))
    assert read == declared == documented


def test_functions_are_typed():
    """What the module exports is declared, and nothing else."""
    exported = re.search(r"export const \{ (.+) \}", build.module())[1].split(", ")
    declared = re.findall(r"export function (\w+)", build.TYPES.read_text(encoding="utf-8"))
    assert sorted(exported) == sorted(declared)


def test_survived_is_shown():
    """What the page on browsers says is survived is shown by a scene, and each numbered scene stands in its row."""
    page = build.WEB.parents[1] / "docs" / "explanation" / "browser.md"
    rows = re.findall(r"^\| (\d+) \|.*\| (`test_.*) \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    named = {(number, name) for number, names in rows for name in re.findall(r"`(\w+)`", names)}
    there = {
        (number, name)
        for path in Path(__file__).parent.glob("test_*.py")
        for name, number in re.findall(
            r'^def (test_\w+)\(stage\):\n    """(\d+): ', path.read_text("utf-8"), re.MULTILINE
        )
    }
    assert len({number for number, _ in there}) == 18
    assert named == there
