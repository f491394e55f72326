"""``Output``: how commands speak: tables, lines, JSON, progress, and one line of complaint. Needs nothing installed."""

from __future__ import annotations

import json
import re
import shutil
import sys
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from itertools import zip_longest
from typing import TYPE_CHECKING, Any, Final, TextIO

import attrs

from caliper_readtime._cli.layout import widths, wrapped
from caliper_readtime._units import to_caliper_time, to_clock_time, to_epoch_ms, to_plain_seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    #: Takes how much is done, and how much there is, as far as it is known.
    Progress = Callable[[int, int], None]
    #: Takes the columns' names, the rows, and what is to be said below them.
    Live = Callable[[Sequence[Any], Sequence[Sequence[Any]], Sequence[str]], None]

#: What our own program is called.
PROG: Final = "caliper-readtime"
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
        prog: what the program is called where it is mounted.
    """

    out: TextIO
    err: TextIO
    prog: str = PROG

    @property
    def on_terminal(self) -> bool:
        """Whether somebody is looking."""
        return self.out.isatty()

    @property
    def width(self) -> int:
        """How many characters the terminal has in a line."""
        return shutil.get_terminal_size().columns

    def line(self, text: str = "") -> None:
        """Write a text: one line, or where somebody is looking as many as it takes."""
        said = clean(text) if text else ""
        for part in wrapped(said, self.width, "  ") if self.on_terminal else (said,):
            print(part, file=self.out, flush=True)

    def json(self, value: Any) -> None:
        """Write one line of JSON."""
        print(json.dumps(jsonable(value), ensure_ascii=False, allow_nan=False), file=self.out, flush=True)

    def raw(self, text: str) -> None:
        """Write a finished document."""
        print(text, file=self.out, end="", flush=True)

    def complain(self, text: str) -> None:
        """Write the one line that says what went wrong."""
        print(f"{self.prog}: {clean(text)}", file=self.err, flush=True)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Write rows under their columns' names; where a terminal is too narrow, one below the other."""
        cells = [list(columns), *([clean(cell) for cell in row] for row in rows)]
        rigid = [all(not isinstance(row[place], str) for row in rows) for place in range(len(columns))]
        room = self.width - self.spent(len(columns)) if self.on_terminal else sys.maxsize
        found = widths(cells, rigid, room)
        if found is None:
            self._blocks(cells)
        else:
            self.grid(cells, rigid, found)

    def spent(self, columns: int) -> int:
        """Return how many characters of a line stand between its columns."""
        return 2 * (columns - 1)

    def grid(
        self,
        cells: Sequence[Sequence[str]],
        rigid: Sequence[bool],  # noqa: ARG002 - a finer table sets them to the right
        found: Sequence[int],
    ) -> None:
        """Write cells side by side.

        Args:
            cells: every row, the one of the names first.
            rigid: of each column whether it holds numbers, times or flags.
            found: each column's width.
        """
        for row in cells:
            parts = [
                wrapped(cell, width, cut=True) if len(cell) > width else [cell]
                for cell, width in zip(row, found, strict=True)
            ]
            for line in zip_longest(*parts, fillvalue=""):
                print("  ".join(map(str.ljust, line, found)).rstrip(), file=self.out)
        self.out.flush()

    def _blocks(self, cells: Sequence[Sequence[str]]) -> None:
        columns, *rows = cells
        for row in rows:
            self._pairs(zip(columns, row, strict=True))
            self.line()

    def facts(self, pairs: Mapping[str, Any]) -> None:
        """Write names and values, one pair a line."""
        self._pairs((name, clean(value)) for name, value in pairs.items())

    def _pairs(self, pairs: Iterable[tuple[str, str]]) -> None:
        known = list(pairs)
        width = max((len(name) for name, _ in known), default=0)
        for name, value in known:
            said = f"{name.ljust(width)}  {value}"
            # On a terminal a long value goes on below itself.
            for part in wrapped(said, self.width, " " * (width + 2)) if self._too_long(said) else (said.rstrip(),):
                print(part, file=self.out, flush=True)

    def _too_long(self, text: str) -> bool:
        return self.on_terminal and len(text) > self.width

    @contextmanager
    def live(self) -> Iterator[Live]:
        """Show one table after the other; where somebody is looking with rich installed, in one place."""

        def show(columns: Sequence[Any], rows: Sequence[Sequence[Any]], notes: Sequence[str]) -> None:
            self.table([clean(column) for column in columns], rows)
            for note in notes:
                self.line(note)
            self.line()

        yield show

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
