"""The protocol's rules: each has one id, what cites an id cites one that exists, and a test shows every rule."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

from tests.model.mutations import MUTATIONS

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "reference" / "protocol.md"
RULES = re.findall(r"^\*\*([A-Z]\d+)\*\* \S", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
ID = re.compile(rf"\b[{''.join(sorted({rule[0] for rule in RULES}))}][1-9]\d?\b")
PACKAGE = sorted((ROOT / "caliper_readtime").rglob("*.py"))
SCRIPTS = sorted((ROOT / "caliper_readtime").rglob("*.lua"))
TESTS = sorted((ROOT / "tests").rglob("*.py"))


def remarks(path: Path) -> str:
    """Every comment and docstring of a module."""
    text = path.read_text(encoding="utf-8")
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, documented)]
    return "\n".join([*comments, *(ast.get_docstring(node, clean=False) or "" for node in nodes)])


def is_test(path: Path) -> bool:
    """Whether it shows rules: a suite's module, or one of the contracts that hosts subclass."""
    return path in TESTS or "def test_" in path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def said() -> dict[Path, str]:
    """What each file says beside its code: remarks, mutated rules, comments of Lua, pages."""
    texts = {path: remarks(path) for path in (*PACKAGE, *TESTS) if path != Path(__file__)}
    texts[ROOT / "tests" / "model" / "mutations.py"] += "\n".join(mutation.rule for mutation in MUTATIONS)
    texts |= {path: "\n".join(re.findall(r"--.*", path.read_text(encoding="utf-8"))) for path in SCRIPTS}
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md")]
    fenced = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
    return texts | {path: fenced.sub("", path.read_text(encoding="utf-8")) for path in pages if path != PAGE}


def test_ids_are_unique_and_in_order():
    """Every chapter counts from 1 on, and no id stands for two rules."""
    assert len(RULES) == len(set(RULES)) > 100
    for chapter in dict.fromkeys(rule[0] for rule in RULES):
        numbers = [int(rule[1:]) for rule in RULES if rule[0] == chapter]
        assert numbers == list(range(1, len(numbers) + 1)), chapter


def test_every_cited_id_exists(said):
    """Code, tests and pages cite only rules that there are, and so does the page itself."""
    said = said | {PAGE: PAGE.read_text(encoding="utf-8")}
    unknown = {str(path.relative_to(ROOT)): set(ID.findall(text)) - set(RULES) for path, text in said.items()}
    assert {path: ids for path, ids in unknown.items() if ids} == {}


def test_every_rule_is_shown_by_a_test(said):
    """Some test, or some mutation that the tests must notice, cites each rule."""
    cited = {rule for path, text in said.items() if path.suffix == ".py" and is_test(path) for rule in ID.findall(text)}
    assert set(RULES) - cited == set(), "shown by no test"


def test_every_mutation_names_its_rule():
    """What a mutant breaks is a rule of the protocol, named by its id."""
    assert [mutation.rule for mutation in MUTATIONS if not ID.match(mutation.rule)] == []


def test_remarks_cite_rules_and_no_other_paper(said):
    """Nobody is sent to a document that is not in the repository."""
    elsewhere = re.compile(r"PROTOCOL\b(?!_)|\bDESIGN\b|\bPROOF\b|\bSTYLE\b|\bWIRE\b|\bCHOICES\b|\((?:M|R)\)")
    found = {str(path.relative_to(ROOT)): elsewhere.findall(text) for path, text in said.items()}
    assert {path: words for path, words in found.items() if words} == {}
