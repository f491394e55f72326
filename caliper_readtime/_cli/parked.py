"""``parked``: the events that the endpoint refused: see them, send them again, hand them to somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from caliper_readtime._checks import without_emails
from caliper_readtime._cli.output import clean
from caliper_readtime._cli.session import FAILED, OK, USAGE, CommandError, add_json, count, unknown_article
from caliper_readtime._records import fields
from caliper_readtime._rules.identity import generated_id
from caliper_readtime._rules.state import SECOND
from caliper_readtime._units import plural, to_epoch_ms
from caliper_readtime.errors import EmitterUnavailable, EventRejected

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._rules.event import TimeSpentEvents
    from caliper_readtime._rules.state import Parked, ReadTimeState


def add(add_command: Add) -> None:
    """Add the commands."""
    listing = add_command("parked list", "list refused events", show)
    _add_limit(listing)
    add_json(listing)
    retrying = add_command("parked retry", "send refused events again, now", retry, sends=True)
    retrying.add_argument("reader", metavar="READER", nargs="?", help="whose")
    retrying.add_argument("article", metavar="ARTICLE", nargs="?", help="on which article")
    retrying.add_argument("--all", action="store_true", help="those of every reader")
    _add_limit(retrying)
    exporting = add_command("parked export", "write refused events as JSON lines", export)
    exporting.add_argument("--with-email", action="store_true", help="include the readers' e-mail addresses")
    _add_limit(exporting)


def _add_limit(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=count, default=1000, metavar="N", help="at most this many (1000)")


def show(arguments: argparse.Namespace, session: Session) -> int:
    """List them."""
    events = session.tracker.parked(limit=arguments.limit)
    if arguments.json:
        session.output.json(events.to_records())
    elif not events:
        session.output.line("no event is parked")
    else:
        names = ("reader_sourced_id", "resource_id", "seconds", "status", "parked_at", "reason", "event_id")
        rows = [tuple(fields(event, *names).values()) for event in events]
        session.output.table(("reader", "article", "seconds", "status", "since", "reason", "event"), rows)
    return OK


def retry(arguments: argparse.Namespace, session: Session) -> int:
    """Send them again; those that are refused again stay parked."""
    tracker, output = session.tracker, session.output
    named = arguments.reader is not None or arguments.article is not None
    if arguments.all == named or (named and arguments.article is None):
        raise CommandError("name READER and ARTICLE, or pass --all for those of every reader", USAGE)
    if arguments.all:
        found = tracker.parked(limit=arguments.limit)
        keys = dict.fromkeys((event.reader_sourced_id, event.resource_id) for event in found)
    else:
        keys = dict.fromkeys([_parked_key(arguments, session)])
    refused = 0
    for reader, article in keys:
        try:
            report = tracker.unpark(reader, article)
        except EventRejected as error:
            refused += 1
            output.line(f"{reader} {article}: refused again: {without_emails(str(error))}")
        except EmitterUnavailable as error:
            raise CommandError(
                f"{without_emails(str(error))}; nothing is lost, try again once the endpoint answers"
            ) from error
        else:
            output.line(f"{reader} {article}: {report.outcome}, {report.delta_seconds:g} s")
    if refused:
        verb = "was" if refused == 1 else "were"
        articles = f"{refused} of {plural(len(keys), 'article')}"
        output.complain(f"{articles} {verb} refused again: correct the reader or the article")
    elif not keys:
        output.line("no event is parked")
    return FAILED if refused else OK


def _parked_key(arguments: argparse.Namespace, session: Session) -> tuple[str, str]:
    state = session.tracker.state(arguments.reader, arguments.article)
    if state is None:
        known = tuple(one.resource_id for one in session.tracker.states(arguments.reader) if one.parked)
        raise unknown_article(arguments.reader, arguments.article, known)
    if not state.parked:
        raise CommandError(f"no event of reader {arguments.reader} on article {arguments.article} is parked")
    return state.key


def export(arguments: argparse.Namespace, session: Session) -> int:
    """Write them, each with the event as it was refused."""
    now = to_epoch_ms(session.tracker.now(), "now")
    written = 0
    for state in session.tracker.store.parked(arguments.limit):
        for public, parked in zip(state.parked_events(now), state.ledger.parked, strict=True):
            if written == arguments.limit:
                return OK
            (document,) = public.to_records()
            event = _event(session.tracker.events, state, parked)
            if event is not None and not arguments.with_email:
                del event["actor"]["email"]
            session.output.json({**document, "reason": clean(document["reason"]), "event": event})
            written += 1
    return OK


def _event(events: TimeSpentEvents | None, state: ReadTimeState, parked: Parked) -> dict[str, Any] | None:
    """Return the event that was refused; None where it cannot be built, which is then why it is parked."""
    if events is None:
        return None
    try:
        return events.event(
            parked.context.reader,
            parked.context.article,
            event_id=parked.event_id,
            generated_id=generated_id(state.ledger.generation, state.key, parked.start_ms, parked.end_ms),
            seconds=(parked.end_ms - parked.start_ms) // SECOND,
            started_at_ms=parked.began_at_ms,
            ended_at_ms=parked.ended_at_ms,
        )
    except Exception:  # noqa: BLE001 - whatever a builder raises, the others are to be exported
        return None
