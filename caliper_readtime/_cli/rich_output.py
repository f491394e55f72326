"""``FancyOutput``: tables and a progress bar by rich, which the ``cli`` extra installs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from caliper_readtime._cli.layout import wrapped
from caliper_readtime._cli.output import Output, clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from caliper_readtime._cli import output

_STYLES = {"ok": "green", "warn": "yellow", "error": "bold red"}


class FancyOutput(Output):
    """For people."""

    def spent(self, columns: int) -> int:
        """Return how many characters of a line stand between and around its columns."""
        return 3 * columns + 1

    def grid(self, cells: Sequence[Sequence[str]], rigid: Sequence[bool], found: Sequence[int]) -> None:
        """Draw a table; what is not a number, time or flag may go on below."""
        self._console(self.out).print(_drawn(cells, rigid, found))

    def _console(self, stream: TextIO) -> Console:
        return Console(file=stream, width=self.width)

    @contextmanager
    def live(self) -> Iterator[output.Live]:
        """Show one table in the place of the other."""
        with Live(console=self._console(self.out), auto_refresh=False) as place:

            def show(columns: Sequence[Any], rows: Sequence[Sequence[Any]], notes: Sequence[str]) -> None:
                cells = [[clean(cell) for cell in row] for row in (columns, *rows)]
                natural = [max(map(len, column)) for column in zip(*cells, strict=True)]
                table = _drawn(cells, [False, True, True], natural)
                said = (Text(clean(note), style=_STYLES["error"]) for note in notes)
                place.update(Group(table, *said), refresh=True)

            yield show

    @contextmanager
    def progress(self, what: str) -> Iterator[output.Progress]:
        """Show a bar."""
        parts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*parts, console=self._console(self.err), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=max(done, total))


def _drawn(cells: Sequence[Sequence[str]], rigid: Sequence[bool], found: Sequence[int]) -> Table:
    table = Table(header_style="bold")
    for column, right, width in zip(cells[0], rigid, found, strict=True):
        table.add_column(Text(column), width=width, justify="right" if right else "left")
    for row in cells[1:]:
        # As Text, because ids and reasons may hold what rich would take for markup.
        lines = ("\n".join(wrapped(text, width, cut=True)) for text, width in zip(row, found, strict=True))
        table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in lines))
    return table
