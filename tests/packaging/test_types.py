"""The files that type checkers read in a host's stead (``tests/typing``) leave out nothing that is public."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path

import pytest

import caliper_readtime
from caliper_readtime import cli, doctor, testing
from caliper_readtime._operations import Operations
from caliper_readtime.web import django
from caliper_readtime.web.page_counter import PageCounter
from caliper_readtime.web.signals import PageSignal
from caliper_readtime.web.tickets import Tickets

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "reference" / "api"
LISTED = re.compile(r"^\.\. auto(?:class|function|data):: (caliper_readtime\.[\w.]+)", re.MULTILINE)


def used():
    """Every name and attribute that the files use; an import alone is no use."""
    nodes = [
        node for path in (ROOT / "tests" / "typing").glob("*.py") for node in ast.walk(ast.parse(path.read_text()))
    ]
    return (
        {node.id for node in nodes if isinstance(node, ast.Name)}
        | {node.attr for node in nodes if isinstance(node, ast.Attribute)}
        | {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    )


@pytest.mark.parametrize("module", [caliper_readtime, testing, cli, doctor, django], ids=lambda module: module.__name__)
def test_every_public_name_is_used(module):
    """Whatever a package offers in ``__all__`` stands in a file that mypy and pyright check."""
    assert sorted(set(module.__all__) - used()) == []


def test_every_name_of_the_reference_is_used():
    """So does whatever has an entry of its own in the reference of the API."""
    listed = {name for page in API.glob("*.md") for name in LISTED.findall(page.read_text(encoding="utf-8"))}
    assert len(listed) > 70
    assert sorted(name for name in listed if name.rpartition(".")[2] not in used()) == []


def verbs():
    """The public classes' own methods and properties; a contract's checks are pytest's to call."""
    kinds = [getattr(module, name) for module in (caliper_readtime, testing) for name in module.__all__]
    kinds += [Operations, PageCounter, Tickets, PageSignal]
    pages = "".join(page.read_text(encoding="utf-8") for page in API.glob("*.md"))
    internal = {name for names in re.findall(r":exclude-members: (.+)", pages) for name in names.split(", ")}
    return {
        f"{kind.__name__}.{name}"
        for kind in kinds
        if inspect.isclass(kind) and not kind.__name__.endswith("Contract")
        for name, member in vars(kind).items()
        if not name.startswith("_") and name not in internal
        if inspect.isfunction(member) or isinstance(member, property | classmethod)
    }


def test_every_verb_is_called():
    """Every public method and property of a public class is used."""
    there = verbs()
    assert {"ReadTimeTracker.flush_reader", "RedisStateStore.from_url", "PageCounter.receive"} <= there
    names = used()
    assert sorted(verb for verb in there if verb.partition(".")[2] not in names) == []
