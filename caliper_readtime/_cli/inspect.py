"""``inspect`` and ``explain``: what is stored of a reader, and why it came so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._cli.exits import FAILED, OK
from caliper_readtime._cli.session import add_json, add_reader, known_states, state_document, unknown_article

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._rules.state import ReadTimeState


def add(add_command: Add) -> None:
    """Add the commands."""
    inspecting = add_command("inspect", "show what is stored of a reader, or of one article alone", inspect)
    add_reader(inspecting)
    inspecting.add_argument("article", metavar="ARTICLE", nargs="?", help="the resource's sourcedId, or its full URL")
    add_json(inspecting)
    explaining = add_command("explain", "explain in plain sentences what became of a reader's time", explain)
    add_reader(explaining)
    explaining.add_argument("article", metavar="ARTICLE", help="the resource's sourcedId, or its full URL")


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
    document = state_document(state)
    parked, history = document.pop("parked"), document.pop("history")
    session.output.facts({name.replace("_", " "): value for name, value in document.items()})
    if parked:
        session.output.line()
        rows = [(one.event_id, one.seconds, one.parked_at, one.status, one.reason) for one in parked]
        session.output.table(("parked event", "seconds", "since", "status", "reason"), rows)
    if history:
        session.output.line()
        steps = [(entry.at, entry.kind, entry.seconds, entry.event_id, entry.detail) for entry in history]
        session.output.table(("at", "step", "seconds", "event", "detail"), steps)


def explain(arguments: argparse.Namespace, session: Session) -> int:
    """Explain one article's time."""
    explanation = session.tracker.explain(arguments.reader, arguments.article)
    if explanation.state is None:
        raise unknown_article(arguments.reader, arguments.article, explanation.known_articles)
    for line in explanation.lines:
        session.output.line(line)
    return OK
