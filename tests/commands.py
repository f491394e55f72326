"""What tests of the command line share: a run of it, in process, with streams that can play a terminal."""

from __future__ import annotations

import io
import json
import signal

import attrs

from caliper_readtime._cli import run
from caliper_readtime._cli.parser import own_parser


class Terminal(io.StringIO):
    """A stream behind which somebody sits."""

    def isatty(self):
        return True


@attrs.frozen
class Ran:
    """A command's end."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        """Its lines of JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def document(self):
        """Its only line of JSON."""
        (document,) = self.json
        return document


def command(*words, tracker=None, terminal=False):
    """Run a command line; with a host's tracker, or by the environment."""
    out, err = (Terminal(), Terminal()) if terminal else (io.StringIO(), io.StringIO())
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    code = run(own_parser(settings=tracker is None).parse_args(words), tracker, out=out, err=err)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    return Ran(code, out.getvalue(), err.getvalue())


def complained(ran, code=1):
    """The one line that it complained in: no traceback, nothing else."""
    assert ran.code == code, ran
    assert ran.err.startswith("caliper-readtime: ")
    assert ran.err.count("\n") == 1, ran.err
    assert "Traceback" not in ran.out + ran.err
    return ran.err.removeprefix("caliper-readtime: ").rstrip("\n")
