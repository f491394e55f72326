"""``audit`` and ``reconcile``: whether readers' seconds add up, and whether the endpoint holds what it has accepted."""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._accounts import SETTLE_SECONDS
from caliper_readtime._checks import without_emails
from caliper_readtime._cli.accounts import account
from caliper_readtime._cli.session import (
    FAILED,
    OK,
    UNHEALTHY,
    USAGE,
    CommandError,
    add_json,
    add_reader,
    add_roster,
    known_states,
    roster,
    seconds,
    stored_states,
)
from caliper_readtime._results import SUMS
from caliper_readtime._units import plural
from caliper_readtime.errors import EmitterUnavailable, EndpointRefused
from caliper_readtime.protocols import ListsEvents, reading_back

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._results import ArticleReconciliation, Reconciliation

_PARTS: Final = ("cumulative", "reported", "parked", "claimed", "rest")
_ADVICE: Final = {
    "missing": "send it again: reconcile --repair",
    "deleted": "it was there before: ask who deleted it",
    "doubled": "ask the endpoint's operator to delete the surplus, by these ids",
    "altered": "it holds other seconds than were sent: ask who changed it",
}


def add(add_command: Add) -> None:
    """Add the commands."""
    auditing = add_command("audit", "check that readers' seconds add up; exit 3 if not", audit, sends=True)
    add_roster(auditing)
    add_json(auditing)
    text = "compare what the endpoint holds of a reader with what it accepted; exit 3 if they differ"
    comparing = add_command("reconcile", text, reconcile, sends=True)
    add_reader(comparing)
    comparing.add_argument("--repair", action="store_true", help="send missing events again, same id, same bytes")
    comparing.add_argument(
        "--since", type=_moment, metavar="TIME", help="leave out what was read before, such as 2026-03-01T00:00Z"
    )
    comparing.add_argument(
        "--settle",
        type=seconds,
        default=SETTLE_SECONDS,
        metavar="SECONDS",
        help=f"how long the endpoint may take to show an event ({SETTLE_SECONDS:g})",
    )
    add_json(comparing)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time such as 2026-03-01T00:00Z") from None
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def reconcile(arguments: argparse.Namespace, session: Session) -> int:
    """Compare one reader's events, and send again what is missing where asked to."""
    _, unread = known_states(session, arguments.reader)
    found = session.tracker.reconcile(
        arguments.reader, since=arguments.since, repair=arguments.repair, settle_seconds=arguments.settle
    )
    problems = [*([] if unread is None else [unread]), *_differences(found)]
    if arguments.json:
        session.output.json({**_document(found), "problems": problems})
    else:
        rows = [
            (one.resource_id, one.reported_seconds, one.held_seconds, *(getattr(one, name) for name in SUMS))
            for one in found.articles
        ]
        session.output.table(("article", "reported s", "held s", *SUMS), rows)
        for one in found.articles:
            if one.untold_seconds:
                session.output.line(
                    f"{one.resource_id}: {one.untold_seconds:g} s were reported in events too old to tell apart"
                )
        for problem in problems:
            session.output.line(problem)
    return _ended(problems, f"reader {arguments.reader}", session)


def audit(arguments: argparse.Namespace, session: Session) -> int:
    """Check every article of some readers, by our own books and, where it can be asked, by the endpoint."""
    readers = roster(arguments)
    if not readers:
        raise CommandError("name readers, or a file of them with --readers", USAGE)
    emitter = session.tracker.emitter
    asks = reading_back(emitter) is not None and isinstance(emitter, ListsEvents)
    problems: list[str] = []
    unasked: list[str] = []
    rows = []
    with session.output.progress("readers") as bar:
        for number, reader in enumerate(readers):
            bar(number, len(readers))
            document, silent = _audited(session, reader, alone=len(readers) == 1, asks=asks)
            problems += document["problems"]
            unasked += [] if silent is None else [silent]
            if arguments.json:
                session.output.json(document)
            sums = [sum(getattr(one, name) for one in document["accounts"]) for name in _PARTS]
            sound = not document["problems"] if silent is None else None
            rows.append((reader, len(document["accounts"]), *sums, document["held"], sound))
        bar(len(readers), len(readers))
    if not arguments.json:
        columns = ("reader", "articles", "read s", "= reported", "+ parked", "+ claimed", "+ rest", "held s", "adds up")
        session.output.table(columns, rows)
        if not asks:
            session.output.line("the endpoint was not asked: set CALIPER_READTIME_READ_BACK where it shows its events")
        for problem in problems:
            session.output.line(problem)
    for complaint in unasked:
        session.output.complain(complaint)
    whose = plural(len(readers), "reader") if len(readers) > 1 else f"reader {readers[0]}"
    return _ended(problems, whose, session) or (FAILED if unasked else OK)


def _audited(session: Session, reader: str, *, alone: bool, asks: bool) -> tuple[dict[str, Any], str | None]:
    """Return what is known of a reader, and why the endpoint could not be asked, if so."""
    states, unread = (known_states if alone else stored_states)(session, reader)
    accounts = [account(state) for state in states]
    problems = [] if unread is None else [unread]
    problems += [f"{reader}, {one.resource_id}: {problem}" for one in accounts for problem in one.problems]
    found = silent = None
    try:
        found = session.tracker.reconcile(reader) if asks else None
    except EmitterUnavailable as error:
        # One list that cannot be read keeps nobody else from being audited; credentials are everybody's.
        if alone or isinstance(error, EndpointRefused):
            raise
        silent = f"{reader}: the endpoint could not be asked: {without_emails(str(error))}"
    problems += [] if found is None else [f"{reader}, {problem}" for problem in _differences(found)]
    held = None if found is None else float(sum(one.held_seconds for one in found.articles))
    document = {
        "reader": reader,
        "accounts": accounts,
        "held": held,
        "reconciliation": found,
        "problems": problems,
    }
    return document, silent


def _differences(found: Reconciliation) -> Iterator[str]:
    """Yield in words what is not as it should be, and what to do."""
    for one in found.articles:
        for name, advice in _ADVICE.items():
            events = getattr(one, name)
            left = [event for event in events.event_ids if name != "missing" or event not in one.repaired.event_ids]
            if left:
                events_left = f"{plural(len(left), 'event')} ({', '.join(left)})"
                yield f"{one.resource_id}: {name}, {events_left}: {_why(one, left) or advice}"


def _why(article: ArticleReconciliation, events: list[str]) -> str:
    return "; ".join(sorted({why for event, why in article.unrepaired if event in events}))


def _document(found: Reconciliation) -> dict[str, Any]:
    return {
        "reader_sourced_id": found.reader_sourced_id,
        "balanced": found.balanced,
        "articles": found.articles,
        "elsewhere": found.elsewhere,
        "unread": found.unread,
    }


def _ended(problems: list[str], whose: str, session: Session) -> int:
    if problems:
        verb = "does" if len(problems) == 1 else "do"
        session.output.complain(f"{plural(len(problems), 'thing')} about {whose} {verb} not add up: see the output")
    return UNHEALTHY if problems else OK
