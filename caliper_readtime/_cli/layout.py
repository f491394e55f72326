"""PURE: how tables and sentences fit a terminal: no time, number or id is ever cut in two."""

from __future__ import annotations

import re
import textwrap
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

# An id of an event is as long as the former; in sentences even shorter words may be cut where there is no other way.
_LONGEST_ID: Final = 45
_LONGEST_WORD: Final = 20
_TIME: Final = re.compile(r"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\dZ)")
_TIED: Final = "\N{NO-BREAK SPACE}"


def tied(text: str) -> str:
    """Return a text whose times cannot be broken at their space."""
    return _TIME.sub(rf"\1{_TIED}\2", text)


def wrapped(text: str, width: int, indent: str = "", *, cut: bool = False) -> list[str]:
    """Return a text as lines of at most ``width`` characters, all but the first indented.

    Args:
        text: words with spaces between.
        width: where to end a line.
        indent: what all lines but the first begin with.
        cut: whether a longer word is cut, or left whole on a line of its own.
    """
    room = max(width, len(indent) + 1)
    lines = textwrap.wrap(tied(text), room, subsequent_indent=indent, break_on_hyphens=False, break_long_words=cut)
    # Whatever else was tied is text of somebody else's, and a space will do.
    return [line.replace(_TIED, " ") for line in lines] or [""]


def widths(cells: Sequence[Sequence[str]], rigid: Sequence[bool], room: int) -> list[int] | None:
    """Return how wide each column is to be; None where they do not fit side by side.

    Args:
        cells: every row, the one of the names first.
        rigid: of each column whether its cells must stand on one line.
        room: characters for all of them together.
    """
    columns = range(len(rigid))
    wanted = [max(len(row[place]) for row in cells) for place in columns]
    found = [wanted[place] if rigid[place] else _least([tied(row[place]) for row in cells]) for place in columns]
    left = room - sum(found)
    if left < 0:
        return None
    # Whoever needs least is served first.
    hungry = sorted((place for place in columns if wanted[place] > found[place]), key=lambda place: wanted[place])
    for number, place in enumerate(hungry):
        more = min(wanted[place] - found[place], left // (len(hungry) - number))
        found[place] += more
        left -= more
    return found


def _least(cells: Sequence[str]) -> int:
    longest = max(len(word) for cell in cells for word in cell.split(" "))
    return min(longest, _LONGEST_WORD if any(" " in cell for cell in cells[1:]) else _LONGEST_ID)
