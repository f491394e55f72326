"""Writes the reference of the command line from its parser. ``python -m tests.command_page`` rewrites the page."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from caliper_readtime.__main__ import MORE
from caliper_readtime._cli.parser import own_parser

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "command-line.md"
_BLOCK = re.compile(r"(<!-- commands: [^>]*-->\n).*?(<!-- /commands -->)", re.DOTALL)


def _subparsers(parser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def commands(parser=None, name=""):
    """Every command and its parser; one that only holds others is left out."""
    parser = own_parser(settings=False, more=MORE) if parser is None else parser
    below = list(_subparsers(parser))
    if not below:
        yield name, parser
    for word, one in below:
        yield from commands(one, f"{name} {word}".strip())


def _row(action):
    shown = " or ".join(action.option_strings) or action.metavar
    if action.option_strings and action.nargs != 0:
        shown += f" {action.metavar}"
    optional = " (may be left out)" if action.nargs == "?" and not action.option_strings else ""
    return f"| `{shown.replace('|', chr(92) + '|')}` | {action.help}{optional} |"


def reference() -> str:
    """Return a section for each command."""
    parts = []
    for name, parser in commands():
        parts += [f"### {name}", "", parser.description, ""]
        rows = [_row(action) for action in parser._actions if not isinstance(action, argparse._HelpAction)]
        if rows:
            parts += ["| argument | what |", "|---|---|", *rows, ""]
    return "\n".join(["", *parts])


def written(page: str) -> str:
    """Return the page with the reference as it should be."""
    return _BLOCK.sub(lambda found: found[1] + reference() + found[2], page)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
