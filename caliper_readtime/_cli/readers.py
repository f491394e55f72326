"""``flush`` and ``forget``: report everything of one reader, or erase it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._cli.arguments import seconds
from caliper_readtime._cli.exits import FAILED, OK, USAGE, CommandError
from caliper_readtime._cli.session import add_json, add_reader, known_states
from caliper_readtime._units import plural
from caliper_readtime.errors import EmitError

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.session import Add, Session


def add(add_command: Add) -> None:
    """Add the commands."""
    flushing = add_command("flush", "report all of one reader's time now, as before banking", flush, sends=True)
    add_reader(flushing)
    flushing.add_argument("--article", action="append", metavar="ARTICLE", help="only this one; may be repeated")
    flushing.add_argument(
        "--wait", type=seconds, default=0.0, metavar="SECONDS", help="how long to wait for what others are sending"
    )
    flushing.add_argument("--confirm", action="store_true", help="ask the endpoint whether it holds what was sent")
    add_json(flushing)
    forgetting = add_command("forget", "erase all that is stored of one reader, unreported time too", forget)
    add_reader(forgetting)
    forgetting.add_argument("--yes", action="store_true", help="do not ask; required where nobody can answer")


def flush(arguments: argparse.Namespace, session: Session) -> int:
    """Flush; fails unless everything is settled and, where asked for, confirmed."""
    known_states(session, arguments.reader)
    report = session.tracker.flush_reader(
        arguments.reader, resource_ids=arguments.article, wait_seconds=arguments.wait, confirm=arguments.confirm
    )
    if arguments.json:
        articles = [
            {
                "resource_id": one.resource_id,
                "outcome": one.outcome,
                "delta_seconds": one.delta_seconds,
                "event_ids": one.event_ids,
                "retry_at": one.retry_at,
                "error": None if one.error is None else str(one.error),
            }
            for one in report.reports
        ]
        session.output.json(
            {
                "settled": report.settled,
                "confirmed": report.confirmed,
                "seconds_sent": report.seconds_sent,
                "reports": articles,
            }
        )
    else:
        rows = [(one.resource_id, one.outcome, one.delta_seconds, one.retry_at, one.error) for one in report.reports]
        if rows:
            session.output.table(("article", "outcome", "sent s", "retry at", "error"), rows)
        session.output.facts({"sent s": report.seconds_sent, "settled": report.settled, "confirmed": report.confirmed})
    try:
        report.raise_unless_settled()
    except EmitError as error:
        raise CommandError(str(error)) from error
    return OK


def forget(arguments: argparse.Namespace, session: Session) -> int:
    """Erase, once somebody has agreed."""
    tracker, output = session.tracker, session.output
    if not arguments.yes:
        if not output.answers:
            raise CommandError(
                "there is no terminal to ask on: pass --yes to erase what is stored of this reader", USAGE
            )
        states = tracker.states(arguments.reader)
        unreported = sum(state.unreported_seconds for state in states)
        if not output.asks(
            f"Erase {plural(len(states), 'state')} of reader {arguments.reader}, {unreported:g} s of them unreported?"
        ):
            raise CommandError("nothing was erased")
    erased = tracker.forget(arguments.reader)
    if not erased:
        output.complain(f"nothing was stored of reader {arguments.reader}")
        return FAILED
    output.line(f"erased {plural(erased, 'state')} of reader {arguments.reader}")
    return OK
