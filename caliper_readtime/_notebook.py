"""PURE: small HTML tables for notebooks: everything is escaped, nothing runs, and colours are the page's own."""

from __future__ import annotations

from datetime import datetime
from html import escape
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from caliper_readtime._checks import without_emails
from caliper_readtime._units import to_clock_time, to_plain_seconds

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

#: Rows that one table shows; of the others it says how many there are.
MAX_ROWS: Final = 50
#: What emitters of others and endpoints have said, which may quote an address.
SAID: Final = frozenset({"detail", "last_error", "reason"})
_LEFT: Final = 'style="text-align: left"'


def fields(caption: str, value: object, *names: str) -> str:
    """Return a table of these attributes (dotted paths are followed), one in each row."""
    rows = (f"<tr><th {_LEFT}>{_label(name)}</th>{_cell(value, name)}</tr>" for name in names)
    return _table(caption, rows)


def listing(caption: str, values: Sequence[object], *names: str) -> str:
    """Return a table of these attributes, one value in each row; an empty text where there are none."""
    if not values:
        return ""
    head = "".join(f"<th {_LEFT}>{_label(name)}</th>" for name in names)
    rows = ["".join(_cell(value, name) for name in names) for value in values[:MAX_ROWS]]
    if len(values) > MAX_ROWS:
        rows.append(f'<td colspan="{len(names)}">and {len(values) - MAX_ROWS} more</td>')
    return _table(caption, (f"<tr>{row}</tr>" for row in (head, *rows)))


def lines(caption: str, texts: Iterable[str]) -> str:
    """Return a table with a line of text in each row."""
    return _table(caption, (f"<tr><td {_LEFT}>{escape(text)}</td></tr>" for text in texts))


def _table(caption: str, rows: Iterable[str]) -> str:
    return f"<table><caption>{escape(caption)}</caption><tbody>{''.join(rows)}</tbody></table>"


def _label(name: str) -> str:
    return escape(name.rpartition(".")[2].replace("_", " "))


def _cell(value: object, name: str) -> str:
    found = attrgetter(name)(value)
    shown = _shown(without_emails(found) if name in SAID and isinstance(found, str) else found)
    return f"<td {_LEFT}>{shown}</td>"


def _shown(value: object) -> str:
    if value is None or value == ():
        return "-"
    if isinstance(value, tuple):
        return "<br>".join(map(_shown, value))
    return escape(_words(value))


def _words(value: object) -> str:
    match value:
        case bool():
            return "yes" if value else "no"
        case datetime():
            return to_clock_time(value)
        case float():
            return to_plain_seconds(round(value * 1000))
        case BaseException():
            return f"{type(value).__name__}: {without_emails(str(value))}"
        case _:
            return str(value)
