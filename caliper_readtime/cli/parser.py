"""The parser: every command, on a parser of ours or of a host's."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from caliper_readtime import __version__
from caliper_readtime.cli import audit, checkup, health, looking, parked, readers, sweep
from caliper_readtime.cli.settings import add_flags

if TYPE_CHECKING:
    from caliper_readtime.cli.session import Action


def add_commands(parser: argparse.ArgumentParser, *, settings: bool = False) -> None:
    """Add every command to a parser, such as that of a Django management command.

    Args:
        parser: takes them; what it parses goes to ``run``.
        settings: add flags for the settings as well; a host that passes its own tracker needs none.
    """
    tree = _Tree(parser, settings=settings)
    for module in (sweep, health, looking, parked, readers, audit, checkup):
        module.add(tree.add)
    demo = tree.add("demo", "play one reader's story against a loopback Caliper endpoint", None, settings=False)
    demo.add_argument(
        "--store",
        default="sqlite",
        metavar="memory|sqlite|redis|URL",
        help='where states live: "memory", "sqlite" (a temporary file, the default), "redis" (a server of its own), or'
        " a URL such as redis://host:6379/0",
    )


def own_parser(*, settings: bool) -> argparse.ArgumentParser:
    """Return the parser of ``caliper-readtime``."""
    parser = argparse.ArgumentParser(
        prog="caliper-readtime",
        description="Reading time, reported exactly once.",
        epilog="exit codes: 0 done, 1 failed, 2 wrong usage, 3 looked and found something wrong",
    )
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    add_commands(parser, settings=settings)
    return parser


class _Tree:
    """Commands by their names; ``parked list`` is a command of the command ``parked``."""

    def __init__(self, parser: argparse.ArgumentParser, *, settings: bool) -> None:
        self._settings = settings
        self._groups: dict[str, Any] = {"": _commands(parser)}

    def add(
        self, name: str, text: str, action: Action | None, *, sends: bool = False, settings: bool = True
    ) -> argparse.ArgumentParser:
        """Add a command and return its parser.

        Args:
            name: one word, or a group and a word.
            text: what it does.
            action: runs it; None for the demo.
            sends: whether it needs an endpoint.
            settings: whether it takes the settings as flags.
        """
        group, _, word = name.rpartition(" ")
        if group not in self._groups:
            self._groups[group] = _commands(self._groups[""].add_parser(group, help=f"{group} events: see its --help"))
        parser: argparse.ArgumentParser = self._groups[group].add_parser(word, help=text, description=_sentence(text))
        parser.set_defaults(readtime_action=action, readtime_sends=sends)
        if settings and self._settings:
            add_flags(parser)
        return parser


def _commands(parser: argparse.ArgumentParser) -> Any:
    return parser.add_subparsers(title="commands", required=True)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
