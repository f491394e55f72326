"""Many readers at once: ``readers`` shows a line for each, ``export`` writes their time for a data frame."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime._cli.session import (
    OK,
    USAGE,
    CommandError,
    add_json,
    add_roster,
    count,
    known_states,
    roster,
    stored_states,
)
from caliper_readtime._inspection import began_at_ms
from caliper_readtime._records import STATE, STEPS, columns
from caliper_readtime._units import plural, to_datetime, to_epoch_ms, to_seconds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from caliper_readtime._cli.session import Add, Session
    from caliper_readtime._rules.state import ReadTimeState

# What others have said; a spreadsheet would take some of it for a formula.
_FREE: Final = ("title", "last_error", "detail")
_FORMULA: Final = ("=", "+", "-", "@", "\t")


def add(add_command: Add) -> None:
    """Add the commands."""
    showing = add_command("readers", "list readers with what is open of theirs, the longest waiting first", show)
    _add_chosen(showing)
    showing.add_argument("--limit", type=count, default=1000, metavar="N", help="show at most this many (1000)")
    add_json(showing)
    exporting = add_command("export", "write readers' time as records, without e-mail addresses", export)
    _add_chosen(exporting)
    exporting.add_argument(
        "--format",
        choices=("jsonl", "csv"),
        default="jsonl",
        metavar="jsonl|csv",
        help="JSON lines (the default), or CSV with a header",
    )
    exporting.add_argument(
        "--steps", action="store_true", help="a record for each step of a state's history, and not for each state"
    )


def _add_chosen(parser: argparse.ArgumentParser) -> None:
    add_roster(parser)
    parser.add_argument("--waiting", action="store_true", help="every reader of whom something is not reported yet")


def _chosen(arguments: argparse.Namespace, session: Session) -> Iterator[ReadTimeState]:
    """Return the states of the readers that were named, or those that wait of all.

    Raises:
        CommandError: nobody is named, or both, or nothing is stored of the only one.
    """
    readers = roster(arguments)
    if arguments.waiting == bool(readers):
        raise CommandError("name readers, or a file of them with --readers, or pass --waiting", USAGE)
    if arguments.waiting:
        return session.tracker.store.unreported(to_epoch_ms(session.tracker.now(), "now"))
    if len(readers) == 1:
        known_states(session, readers[0])
    return _named(readers, session)


def _named(readers: list[str], session: Session) -> Iterator[ReadTimeState]:
    unknown = 0
    for reader in readers:
        states, unread = stored_states(session, reader)
        if unread is not None:
            session.output.complain(unread)
        unknown += not states and unread is None
        yield from states
    if unknown:
        session.output.complain(f"nothing is stored of {unknown} of {plural(len(readers), 'reader')}")


@attrs.define
class _Open:
    """One reader's states, added up; times in milliseconds."""

    reader: str
    articles: int = 0
    read_ms: int = 0
    open_ms: int = 0
    in_flight: int = 0
    parked: int = 0
    since_ms: int | None = None
    heard_ms: int = 0

    def add(self, state: ReadTimeState) -> None:
        self.articles += 1
        self.read_ms += state.meter.cumulative_ms
        self.open_ms += state.unreported_ms
        self.in_flight += state.in_flight
        self.parked += len(state.ledger.parked)
        self.heard_ms = max(self.heard_ms, state.meter.last_sync_at_ms)
        if state.due is not None:
            began = began_at_ms(state)
            self.since_ms = began if self.since_ms is None else min(self.since_ms, began)

    def document(self) -> dict[str, Any]:
        since: datetime | None = None if self.since_ms is None else to_datetime(self.since_ms)
        return {
            "reader_sourced_id": self.reader,
            "articles": self.articles,
            "cumulative_read_time_seconds": to_seconds(self.read_ms),
            "unreported_seconds": to_seconds(self.open_ms),
            "in_flight": self.in_flight,
            "parked_events": self.parked,
            "waiting_since": since,
            "last_server_sync_at": to_datetime(self.heard_ms),
        }


def show(arguments: argparse.Namespace, session: Session) -> int:
    """List them."""
    found: dict[str, _Open] = {}
    for state in _chosen(arguments, session):
        found.setdefault(state.reader_sourced_id, _Open(state.reader_sourced_id)).add(state)
    # Who waits for nothing comes last.
    known = sorted(found.values(), key=lambda one: (one.since_ms is None, one.since_ms or 0, one.reader))
    documents = [one.document() for one in known[: arguments.limit]]
    more = f"and {plural(len(known) - arguments.limit, 'reader')} more: raise --limit"
    if arguments.json:
        session.output.json(documents)
        if len(known) > arguments.limit:
            session.output.complain(more)
    elif documents:
        head = ("reader", "articles", "open s", "in flight", "parked", "waiting since")
        names = ("reader_sourced_id", "articles", "unreported_seconds", "in_flight", "parked_events", "waiting_since")
        session.output.table(head, [tuple(document[name] for name in names) for document in documents])
        if len(known) > arguments.limit:
            session.output.line(more)
    elif arguments.waiting:
        session.output.line("nobody waits")
    return OK


def export(arguments: argparse.Namespace, session: Session) -> int:
    """Write them."""
    names = ["reader_sourced_id", "resource_id", *STEPS] if arguments.steps else [*columns(STATE), "parked_events"]
    as_csv, states = arguments.format == "csv", _chosen(arguments, session)
    if as_csv:
        session.output.raw(_csv(names))
    for state in states:
        for record in _records(state, steps=arguments.steps):
            if as_csv:
                session.output.raw(_csv(_harmless(name, record[name]) for name in names))
            else:
                session.output.json(record)
    return OK


def _records(state: ReadTimeState, *, steps: bool) -> list[dict[str, Any]]:
    if not steps:
        return state.to_records()
    whose = {"reader_sourced_id": state.reader_sourced_id, "resource_id": state.resource_id}
    return [{**whose, **step} for step in state.history.to_records()]


def _harmless(name: str, value: Any) -> Any:
    return f"'{value}" if name in _FREE and str(value).startswith(_FORMULA) else value


def _csv(row: Iterable[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(row)
    return text.getvalue()
