"""``main`` and ``run``: run a command, and turn whatever goes wrong into one line and an exit code."""

from __future__ import annotations

import logging
import os
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, TextIO

from caliper_readtime._checks import without_emails
from caliper_readtime._cli.output import PROG, Output
from caliper_readtime._cli.parser import own_parser
from caliper_readtime._cli.session import FAILED, OK, USAGE, CommandError, Session
from caliper_readtime._cli.settings import tracker_of
from caliper_readtime._logs import log
from caliper_readtime.errors import EmitError, InvalidInput, ReadTimeError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from caliper_readtime._cli.session import Add
    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.doctor import Finding


def main(
    argv: Sequence[str] | None = None,
    tracker: ReadTimeTracker | None = None,
    *,
    more: Sequence[Callable[[Add], object]] = (),
    checks: Sequence[Callable[[], Finding]] = (),
    prog: str = PROG,
) -> int:
    """Run a command line.

    Args:
        argv: its words; None for those of this process.
        tracker: a host's own, which is its owner's to close; None for one by flags and environment.
        more: each adds further commands.
        checks: a host's own, which doctor makes as well.
        prog: what the program is called, in usage and complaints.

    Returns:
        0 done, 1 failed, 2 wrong usage, 3 something is not as it should be.

    Raises:
        SystemExit: argparse has shown help, or what is wrong with the usage (2).
    """
    arguments = own_parser(settings=tracker is None, more=more, prog=prog).parse_args(argv)
    return run(arguments, tracker, checks=checks)


def run(
    arguments: argparse.Namespace,
    tracker: ReadTimeTracker | None = None,
    *,
    out: TextIO | None = None,
    err: TextIO | None = None,
    checks: Sequence[Callable[[], Finding]] = (),
) -> int:
    """Run what a parser with our commands has parsed.

    Args:
        arguments: what it has parsed.
        tracker: a host's own, which is its owner's to close; None for one by flags and environment.
        out: takes what was asked for; standard output by default.
        err: takes complaints and progress; standard error by default.
        checks: a host's own, which doctor makes as well.

    Returns:
        0 done, 1 failed, 2 wrong usage, 3 something is not as it should be.
    """
    streams = _patient(sys.stdout) if out is None else out, _patient(sys.stderr) if err is None else err
    output = choose(*streams, arguments.readtime_prog)
    try:
        return _run(arguments, tracker, output, checks)
    except CommandError as problem:
        output.complain(str(problem))
        return problem.code
    except InvalidInput as error:
        output.complain(str(error))
        return USAGE
    except ReadTimeError as error:
        # An emitter of somebody else's may quote an address; in a store's words an id may look like one.
        output.complain(without_emails(str(error)) if isinstance(error, EmitError) else str(error))
        return FAILED
    except BrokenPipeError:  # whoever read has had enough, as head has
        _silence(output.out)
        return OK
    except KeyboardInterrupt:
        output.complain("interrupted")
        return FAILED


def _run(
    arguments: argparse.Namespace,
    tracker: ReadTimeTracker | None,
    output: Output,
    checks: Sequence[Callable[[], Finding]],
) -> int:
    code: int
    if arguments.readtime_bare:
        code = arguments.readtime_action(arguments, output)
        return code
    with ExitStack() as closing:
        if tracker is None:
            tracker = closing.enter_context(tracker_of(arguments, sends=arguments.readtime_sends))
        code = arguments.readtime_action(arguments, Session(tracker, output, checks))
        return code


def choose(out: TextIO, err: TextIO, prog: str = PROG) -> Output:
    """Return how to speak on these two streams, under that name; rich comes with the ``cli`` extra."""
    if out.isatty():
        try:
            from caliper_readtime._cli.rich_output import FancyOutput  # noqa: PLC0415 - rich is an extra
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "rich":
                raise
        else:
            return FancyOutput(out, err, prog)
    return Output(out, err, prog)


def _patient(stream: TextIO) -> TextIO:
    """Let a stream show, in another way, what its encoding cannot: an id must never be a traceback."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    return stream


def _silence(stream: TextIO) -> None:
    """Keep the interpreter from complaining, at its end, of a pipe that nobody reads."""
    try:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
    except (OSError, ValueError):
        log(logging.DEBUG, "the output's pipe is closed")
