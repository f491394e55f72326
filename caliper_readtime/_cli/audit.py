"""``audit``: whether a reader's seconds add up, article by article, and whether the endpoint shows what was sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caliper_readtime._cli.accounts import account, missing
from caliper_readtime._cli.exits import OK, UNHEALTHY
from caliper_readtime._cli.output import clean
from caliper_readtime._cli.session import add_json, add_reader, known_states
from caliper_readtime.protocols import reading_back

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.accounts import Account
    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._tracker import ReadTimeTracker

# An emitter answers within a few seconds with what it has found until then, so it is asked for few at a time.
_AT_A_TIME: Final = 20


def add(add_command: Add) -> None:
    """Add the command."""
    parser = add_command("audit", "check that a reader's seconds add up; exit 3 if not", run, sends=True)
    add_reader(parser)
    add_json(parser)


def run(arguments: argparse.Namespace, session: Session) -> int:
    """Audit every article of a reader."""
    tracker, output = session.tracker, session.output
    states, unread = known_states(session, arguments.reader)
    accounts = [account(state) for state in states]
    held = _held(tracker, accounts)
    lost = [] if held is None else missing(accounts, held, tracker.now())
    sent = sum(len(one.sent) for one in accounts)
    problems = [] if unread is None else [unread]
    problems += [f"{one.resource_id}: {problem}" for one in accounts for problem in one.problems]
    problems += [
        f"{article}: the endpoint does not show {entry.event_id}, {entry.seconds:g} s, sent {clean(entry.at)}"
        for article, entry in lost
    ]
    if arguments.json:
        output.json(
            {"accounts": accounts, "sent": sent, "shown": None if held is None else len(held), "problems": problems}
        )
    else:
        rows = [
            (one.resource_id, one.cumulative, one.reported, one.parked, one.claimed, one.rest, not one.problems)
            for one in accounts
        ]
        output.table(("article", "read s", "= reported", "+ parked", "+ claimed", "+ rest", "adds up"), rows)
        if held is None:
            output.line("the endpoint was not asked: set CALIPER_READTIME_READ_BACK where it shows events by their ids")
        else:
            output.line(f"the endpoint shows {len(held)} of the {sent} events that history remembers as sent")
        for problem in problems:
            output.line(problem)
    if problems:
        output.complain(f"{len(problems)} things about reader {arguments.reader} do not add up: see the output")
    return UNHEALTHY if problems else OK


def _held(tracker: ReadTimeTracker, accounts: list[Account]) -> frozenset[str] | None:
    """Return those of the sent events that the endpoint shows; None where it cannot be asked."""
    emitter = reading_back(tracker.emitter)
    if emitter is None:
        return None
    ids = [entry.event_id for one in accounts for entry in one.sent if entry.event_id is not None]
    found: frozenset[str] = frozenset()
    for start in range(0, len(ids), _AT_A_TIME):
        found |= frozenset(emitter.held(ids[start : start + _AT_A_TIME]))
    return found
