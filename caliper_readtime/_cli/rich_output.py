"""``FancyOutput``: tables and a progress bar by rich, which the ``cli`` extra installs."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from caliper_readtime._cli.output import Output, clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from caliper_readtime._cli import output

_STYLES = {"ok": "green", "warn": "yellow", "error": "bold red"}


class FancyOutput(Output):
    """For people."""

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """Draw a table as wide as the terminal; long cells are folded, never cut off."""
        table = Table(header_style="bold")
        for column in columns:
            table.add_column(Text(column), overflow="fold")
        for row in rows:
            # As Text, because ids and reasons may hold what rich would take for markup.
            texts = (clean(cell) for cell in row)
            table.add_row(*(Text(text, style=_STYLES.get(text, "")) for text in texts))
        Console(file=self.out).print(table)

    @contextmanager
    def progress(self, what: str) -> Iterator[output.Progress]:
        """Show a bar."""
        parts = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        with Progress(*parts, console=Console(file=self.err), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=max(done, total))
