"""``doctor``: what may cost time on this installation, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._cli.exits import OK, UNHEALTHY
from caliper_readtime._cli.session import add_json
from caliper_readtime.doctor import Level, examine

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.session import Add, Session


def add(add_command: Add) -> None:
    """Add the command."""
    parser = add_command("doctor", "check store, clock, endpoint and sweeper; exit 3 on an error", run, sends=True)
    parser.add_argument("--strict", action="store_true", help="exit 3 on a warning as well")
    add_json(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Show every finding."""
    findings = (*examine(session.tracker), *(check() for check in session.checks))
    if arguments.json:
        session.output.json(findings)
    else:
        rows = [(found.level, found.id, found.text, found.hint or None) for found in findings]
        session.output.table(("level", "check", "what is the case", "what to do"), rows)
    bad = (Level.ERROR, Level.WARN) if arguments.strict else (Level.ERROR,)
    return UNHEALTHY if any(found.level in bad for found in findings) else OK
