"""What one reader has: ``inspect`` and ``explain`` show it, ``flush`` reports it, ``forget`` erases it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from caliper_readtime._checks import without_emails
from caliper_readtime._cli.session import (
    FAILED,
    OK,
    USAGE,
    CommandError,
    add_json,
    add_reader,
    known_states,
    seconds,
    state_document,
    unknown_article,
)
from caliper_readtime._records import STATE, fields
from caliper_readtime._units import plural
from caliper_readtime.errors import CorruptState

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime.errors import EmitError


def _add_looks(add_command: Add) -> None:
    inspecting = add_command("inspect", "show what is stored of a reader, or of one article alone", inspect)
    add_reader(inspecting)
    inspecting.add_argument("article", metavar="ARTICLE", nargs="?", help="the resource's sourcedId, or its full URL")
    add_json(inspecting)
    explaining = add_command("explain", "explain in plain sentences what became of a reader's time", explain)
    add_reader(explaining)
    explaining.add_argument("article", metavar="ARTICLE", help="the resource's sourcedId, or its full URL")
    add_json(explaining)


def inspect(arguments: argparse.Namespace, session: Session) -> int:
    """Show one state, or all of a reader."""
    output = session.output
    if arguments.article is not None:
        state = session.tracker.state(arguments.reader, arguments.article)
        if state is None:
            known = tuple(one.resource_id for one in session.tracker.states(arguments.reader))
            raise unknown_article(arguments.reader, arguments.article, known)
        if arguments.json:
            output.json(state_document(state))
        else:
            _show(state, session)
        return OK
    states, unread = known_states(session, arguments.reader)
    if unread is not None:
        output.complain(unread)
    code = OK if unread is None else FAILED
    if arguments.json:
        output.json([state_document(state) for state in states])
        return code
    rows = [
        (
            state.resource_id,
            state.cumulative_read_time_seconds,
            state.reported_read_time_seconds,
            state.unreported_seconds,
            state.phase,
            state.last_server_sync_at,
            state.due_at,
            state.finalized_at,
        )
        for state in states
    ]
    output.table(("article", "read s", "reported s", "open s", "phase", "last heard", "due", "finalized"), rows)
    return code


def _show(state: ReadTimeState, session: Session) -> None:
    session.output.facts({name.replace("_", " "): value for name, value in fields(state, *STATE).items()})
    if state.parked:
        session.output.line()
        names = ("event_id", "seconds", "parked_at", "status", "reason")
        rows = [tuple(fields(one, *names).values()) for one in state.parked]
        session.output.table(("parked event", "seconds", "since", "status", "reason"), rows)
    if state.history:
        session.output.line()
        names = ("at", "kind", "seconds", "event_id", "detail")
        steps = [tuple(fields(entry, *names).values()) for entry in state.history]
        session.output.table(("at", "step", "seconds", "event", "detail"), steps)


def explain(arguments: argparse.Namespace, session: Session) -> int:
    """Explain one article's time."""
    explanation = session.tracker.explain(arguments.reader, arguments.article)
    if explanation.state is None:
        raise unknown_article(arguments.reader, arguments.article, explanation.known_articles)
    if arguments.json:
        state, lines, known = explanation.state, explanation.lines, explanation.known_articles
        session.output.json({"lines": lines, "state": state_document(state), "known_articles": known})
        return OK
    for line in explanation.lines:
        session.output.line(line)
    return OK


def add(add_command: Add) -> None:
    """Add the commands."""
    _add_looks(add_command)
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
    states, _ = known_states(session, arguments.reader)
    for article in arguments.article or ():
        with suppress(CorruptState):  # it is told of with what becomes of the others
            if session.tracker.state(arguments.reader, article) is None:
                raise unknown_article(arguments.reader, article, tuple(state.resource_id for state in states))
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
                "error": _said(one.error),
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
        rows = [
            (one.resource_id, one.outcome, one.delta_seconds, one.retry_at, _said(one.error)) for one in report.reports
        ]
        if rows:
            session.output.table(("article", "outcome", "sent s", "retry at", "error"), rows)
        session.output.facts({"sent s": report.seconds_sent, "settled": report.settled, "confirmed": report.confirmed})
    report.raise_unless_settled()
    return OK


def _said(error: EmitError | None) -> str | None:
    return None if error is None else without_emails(str(error))


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
            f"Erase {plural(len(states), 'state')} of reader {arguments.reader}, {unreported:g} s unreported?"
        ):
            raise CommandError("nothing was erased")
    erased = tracker.forget(arguments.reader)
    if not erased:
        output.complain(f"nothing was stored of reader {arguments.reader}")
        return FAILED
    output.line(f"erased {plural(erased, 'state')} of reader {arguments.reader}")
    return OK
