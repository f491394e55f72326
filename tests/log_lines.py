"""Finds every line that the package can log, in its source."""

from __future__ import annotations

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "caliper_readtime"
LEVELS = {"debug", "info", "warning", "error"}


def log_lines() -> set[tuple[str, str]]:
    """Every level and message; where a message is filled in stands an ellipsis."""
    found = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(attr="log")):
                    pass  # how ``log`` itself writes
                # ``log`` itself, and helpers that pass on to it what they are given.
                case ast.Call(args=[level, (ast.Constant(value=str()) | ast.JoinedStr()) as message, *_]):
                    found |= {(name, _text(message)) for name in _levels(level, tree)}
                case ast.Call(
                    func=ast.Attribute(
                        value=logger, attr=("debug" | "info" | "warning" | "error" | "exception") as name
                    ),
                    args=[ast.Constant(value=str(message)), *_],
                ) if "logger" in ast.unparse(logger).lower():
                    found.add((name, message))
    return found


def _levels(level, tree):
    if isinstance(level, ast.Name):  # of a loop over levels
        loops = (node.iter for node in ast.walk(tree) if isinstance(node, ast.For) and _same(node.target, level))
        return {name for loop in loops for name in _levels(loop, tree)}
    return {
        node.attr.lower()
        for node in ast.walk(level)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "logging"
    }


def _same(one, other):
    return isinstance(one, ast.Name) and one.id == other.id


def _text(node):
    if isinstance(node, ast.Constant):
        return node.value
    return "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
