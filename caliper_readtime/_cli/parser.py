"""The parser: every command, on a parser of ours or of a host's."""

from __future__ import annotations

import argparse
import re
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from caliper_readtime._cli import audit, crowd, parked, readers, status, sweep
from caliper_readtime._cli.output import PROG
from caliper_readtime._cli.session import USAGE
from caliper_readtime._cli.settings import PREFIX, add_flags

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._cli.session import Action, Add, BareAction

COMMAND: Final = "COMMAND"


def add_commands(
    parser: argparse.ArgumentParser, *, settings: bool = False, more: Sequence[Callable[[Add], object]] = ()
) -> None:
    """Add every command to a parser, such as that of a Django management command.

    Args:
        parser: takes them; what it parses goes to ``run``.
        settings: add flags for the settings as well; a host that passes its own tracker needs none.
        more: each adds further commands.
    """
    tree = _Tree(parser, settings=settings)
    for module in (sweep, status, readers, crowd, parked, audit):
        module.add(tree.add)
    for add in more:
        add(tree.add)


def own_parser(
    *, settings: bool, more: Sequence[Callable[[Add], object]] = (), prog: str = PROG
) -> argparse.ArgumentParser:
    """Return the parser of ``caliper-readtime``, or of what a host calls it."""
    parser = _Parser(
        prog=prog,
        description="Reading time, reported exactly once.",
        epilog="exit codes: 0 done, 1 failed, 2 wrong usage, 3 something is not as it should be",
    )
    # The top module stands above this one, so it is looked up and not imported.
    version = sys.modules["caliper_readtime"].__version__
    parser.add_argument("--version", action="version", version=f"%(prog)s {version}")
    add_commands(parser, settings=settings, more=more)
    return parser


#: What a command that only holds others is for.
_GROUPS: Final = {"parked": "list events that the endpoint refused, send them again, or export them"}


class _Formatter(argparse.HelpFormatter):
    """Names the settings once, in their own list, and not in the usage too."""

    def add_usage(self, usage: str | None, actions: Any, groups: Any, prefix: str | None = None) -> None:
        few = [action for action in actions if not action.dest.startswith(PREFIX)]
        super().add_usage(usage, few, groups, prefix)


class ErrorFirst(argparse.ArgumentParser):
    """Says what is wrong before it says how it is done; quotes no URL, which may hold a password."""

    def error(self, message: str) -> NoReturn:
        problem = re.sub(r"\S+://\S*", "a URL (flags such as --store-url come after the command)", message)
        for action in self._actions:
            if action.metavar == COMMAND and action.choices and problem.endswith(f": {COMMAND}"):
                problem += f", one of {', '.join(action.choices)}"
        # Django's parsers tell by this whether somebody typed it; to code they raise.
        if not getattr(self, "called_from_command_line", True):
            super().error(problem)
        self.exit(USAGE, f"{self.prog}: {problem}\n{self.format_usage()}")


class _Parser(ErrorFirst):
    """Ours."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**{"formatter_class": _Formatter, **more})


class _Tree:
    """Commands by their names; ``parked list`` is a command of the command ``parked``."""

    def __init__(self, parser: argparse.ArgumentParser, *, settings: bool) -> None:
        self._settings = settings
        self._prog = parser.prog
        self._groups: dict[str, Any] = {"": _commands(parser)}

    def add(
        self, name: str, text: str, action: Action | BareAction, *, sends: bool = False, bare: bool = False
    ) -> argparse.ArgumentParser:
        """Add a command and return its parser.

        Args:
            name: one word, or a group and a word.
            text: what it does.
            action: runs it.
            sends: whether it needs an endpoint.
            bare: it needs no tracker, so it takes no settings as flags.
        """
        group, _, word = name.rpartition(" ")
        if group not in self._groups:
            self._groups[group] = _commands(self._groups[""].add_parser(group, help=_GROUPS[group]))
        parser: argparse.ArgumentParser = self._groups[group].add_parser(word, help=text, description=_sentence(text))
        parser.set_defaults(readtime_action=action, readtime_sends=sends, readtime_bare=bare, readtime_prog=self._prog)
        if self._settings and not bare:
            add_flags(parser)
        return parser


def _commands(parser: argparse.ArgumentParser) -> Any:
    kind = type(parser)
    if not issubclass(kind, ErrorFirst):
        kind = type(kind.__name__, (ErrorFirst, kind), {})
    return parser.add_subparsers(title="commands", metavar=COMMAND, required=True, parser_class=kind)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
