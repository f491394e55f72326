"""``Output``: how commands speak: tables, lines, JSON, progress, and one line of complaint. Needs nothing installed."""

from __future__ import annotations

import json
import re
import sys
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, TextIO

import attrs

from caliper_readtime._units import to_caliper_time, to_clock_time, to_epoch_ms, to_plain_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    #: Takes how much is done, and how much there is, as far as it is known.
    Progress = Callable[[int, int], None]

# What an endpoint or a third party's emitter says must not drive the operator's terminal.
_CONTROL: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]+")


def clean(value: object) -> str:
    """Return a value as one line of text that a terminal only shows; a float counts as seconds."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return to_plain_seconds(round(value * 1000))
        case datetime():
            return to_clock_time(value)
    return _CONTROL.sub(" ", str(value))


def jsonable(value: Any) -> Any:
    """Return a value as JSON has it: times as ISO 8601, frozen values as objects."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime):
        return to_caliper_time(to_epoch_ms(value, "value"))
    if attrs.has(type(value)):
        return {field.name: jsonable(getattr(value, field.name)) for field in attrs.fields(type(value))}
    if isinstance(value, dict):
        return {name: jsonable(one) for name, one in value.items()}
    return [jsonable(one) for one in value] if isinstance(value, tuple | list) else value


@attrs.frozen
class Output:
    """Plain text.

    Attributes:
        out: what was asked for.
        err: complaints and progress.
    """

    out: TextIO
    err: TextIO

    @property
    def on_terminal(self) -> bool:
        """Whether somebody is looking."""
        return self.out.isatty()

    def line(self, text: str = "") -> None:
        """Write one line."""
        print(clean(text) if text else "", file=self.out, flush=True)

    def json(self, value: Any) -> None:
        """Write one line of JSON."""
        print(json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False), file=self.out, flush=True)

    def raw(self, text: str) -> None:
        """Write a finished document."""
        print(text, file=self.out, end="", flush=True)

    def complain(self, text: str) -> None:
        """Write the one line that says what went wrong."""
        print(f"caliper-readtime: {clean(text)}", file=self.err, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write rows under their columns' names."""
        cells = [list(columns), *([clean(cell) for cell in row] for row in rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(len(columns))]
        for row in cells:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), file=self.out)
        self.out.flush()

    def facts(self, pairs: Mapping[str, Any]) -> None:
        """Write names and values, one pair a line."""
        width = max(map(len, pairs), default=0)
        for name, value in pairs.items():
            self.line(f"{name.ljust(width)}  {clean(value)}")

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """Show how far it is, while somebody is looking."""
        shown = []

        def show(done: int, total: int) -> None:
            if self.on_terminal:
                shown.append(done)
                self.err.write(f"\r{what}: {done} of {max(done, total)}")
                self.err.flush()

        yield show
        if shown:
            self.err.write("\n")

    @property
    def answers(self) -> bool:
        """Whether somebody can be asked."""
        return self.on_terminal and sys.stdin is not None and sys.stdin.isatty()

    def asks(self, question: str) -> bool:
        """Return whether somebody answers yes."""
        self.err.write(f"{clean(question)} [y/N] ")
        self.err.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")
