"""``Session``: what a command works with; exit codes, arguments and answers that several commands share."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime import _checks
from caliper_readtime._rules.identity import reduced
from caliper_readtime._units import to_epoch_ms, to_ms
from caliper_readtime.errors import InvalidInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._cli.output import Output
    from caliper_readtime._rules.state import ReadTimeState
    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.doctor import Finding

    #: Runs a command: (arguments, session) to exit code.
    Action = Callable[[argparse.Namespace, "Session"], int]
    #: Runs a command that needs no tracker.
    BareAction = Callable[[argparse.Namespace, Output], int]
    #: Adds a command of this name and help to the parser; returns its parser.
    Add = Callable[..., argparse.ArgumentParser]


@attrs.frozen
class Session:
    """What a command works with.

    Attributes:
        tracker: what it asks.
        output: how it speaks.
        checks: a host's own, which doctor makes as well.
    """

    tracker: ReadTimeTracker
    output: Output
    checks: Sequence[Callable[[], Finding]] = ()


def add_reader(parser: argparse.ArgumentParser) -> None:
    """Add the argument that names a reader."""
    parser.add_argument("reader", metavar="READER", help="the reader's OneRoster sourcedId, or its full URL")


def add_roster(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that name many readers."""
    parser.add_argument(
        "readers", metavar="READER", nargs="*", help="the reader's OneRoster sourcedId, or its full URL"
    )
    parser.add_argument("--readers", dest="file", metavar="FILE", help="more readers, one a line; - for standard input")


def roster(arguments: argparse.Namespace) -> list[str]:
    """Return the readers that a command line and its file name, each once.

    Raises:
        CommandError: the file cannot be read.
    """
    file, text = arguments.file, ""
    if file is not None:
        try:
            text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
            text = text.removeprefix("\N{BYTE ORDER MARK}")  # as spreadsheets write it
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(f"--readers: {file} cannot be read ({type(error).__name__})", USAGE) from error
    listed = (line.strip() for line in text.splitlines())
    return [*dict.fromkeys((*arguments.readers, *(line for line in listed if line)))]


def add_json(parser: argparse._ActionsContainer) -> None:
    """Add the flag for machines."""
    parser.add_argument("--json", action="store_true", help="answer in JSON, for other programs")


def known_states(session: Session, reader: str) -> tuple[tuple[ReadTimeState, ...], str | None]:
    """Return a reader's states, and what is to be said of those that cannot be read.

    Raises:
        CommandError: there are none that can be.
    """
    states, unreadable = stored_states(session, reader)
    if not states:
        nothing = f"nothing is stored of reader {reader}: check that this is the OneRoster sourcedId"
        raise CommandError(unreadable or f"{nothing}, and the right store")
    return states, unreadable


def stored_states(session: Session, reader: str) -> tuple[tuple[ReadTimeState, ...], str | None]:
    """Return the same of somebody who may have read nothing, as a roster names them."""
    tracker = session.tracker
    states = tracker.states(reader)
    plain = reduced(reader, "reader", None if tracker.events is None else tracker.events.oneroster_url)
    keys = tracker.store.keys(plain, to_epoch_ms(tracker.now(), "now"))
    unread = sorted({key.resource_id for key in keys} - {state.resource_id for state in states})
    if not unread:
        return states, None
    named = ", ".join(unread)
    return states, f"stored states of reader {reader} cannot be read: {named}; were they written by a newer release?"


def unknown_article(reader: str, article: str, known: tuple[str, ...]) -> CommandError:
    """Return the problem of an article that this reader has not read."""
    listed = (
        f"known: {', '.join(known)}" if known else "this reader has no article: check that these are the OneRoster ids"
    )
    return CommandError(f"nothing is stored of reader {reader} on article {article}; {listed}")


def state_document(state: ReadTimeState) -> dict[str, Any]:
    """Return a state's record, and those of its parked events and its history; no e-mail address is in them."""
    (document,) = state.to_records()
    return {**document, "parked": state.parked.to_records(), "history": state.history.to_records()}


def seconds(text: str) -> float:
    """Return a number of seconds, from 0."""
    try:
        value = float(text)
        to_ms(value, "seconds")
    except (ValueError, InvalidInput):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more") from None
    return value


def positive_seconds(text: str) -> float:
    """Return a number of seconds, from 0.001."""
    value = seconds(text)
    if to_ms(value, "seconds") == 0:
        raise argparse.ArgumentTypeError("must be at least 0.001 seconds")
    return value


def whole(text: str) -> int:
    """Return a whole number, from 0."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def count(text: str) -> int:
    """Return a whole number, from 1, that a store can take."""
    try:
        return _checks.count(whole(text), "count")
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.problem) from None


#: What was asked has been done.
OK: Final = 0
#: It could not be done, or not wholly: store, endpoint, configuration, an unknown reader.
FAILED: Final = 1
#: The command line itself is wrong; argparse uses the same number.
USAGE: Final = 2
#: It was looked at, and something is not as it should be: a threshold, a finding, an account.
UNHEALTHY: Final = 3


class CommandError(Exception):
    """Ends a command with one line on standard error that says what to do.

    Attributes:
        code: the exit code.
    """

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code
