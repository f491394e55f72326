"""PURE: answers as flat records, a row of a data frame or of a CSV file each; several of them as a table."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import attrs

from caliper_readtime import _notebook
from caliper_readtime._checks import without_emails
from caliper_readtime._units import to_caliper_time, to_epoch_ms

if TYPE_CHECKING:
    from collections.abc import Iterable


#: What a state's record has.
STATE: Final = (
    "reader_sourced_id",
    "resource_id",
    "ledger.context.article.title",
    "ledger.context.article.kind",
    "ledger.context.article.attempt",
    "phase",
    "cumulative_read_time_seconds",
    "reported_read_time_seconds",
    "unreported_seconds",
    "clamped_seconds",
    "beside_seconds",
    "canonical_duration_seconds",
    "position_seconds",
    "depth",
    "words_per_minute",
    "first_server_sync_at",
    "last_server_sync_at",
    "finalized_at",
    "in_flight",
    "due_at",
    "attempts",
    "last_error",
)
#: What a table of one reader's states shows.
LISTED: Final = (
    "resource_id",
    "ledger.context.article.title",
    "phase",
    "cumulative_read_time_seconds",
    "reported_read_time_seconds",
    "unreported_seconds",
    "last_server_sync_at",
    "due_at",
    "finalized_at",
)
#: What a table of one state's refused events shows, and one of its steps.
PARKED: Final = ("event_id", "seconds", "parked_at", "status", "reason", "claimable")
STEPS: Final = ("at", "kind", "event_id", "seconds", "detail")


class _HasRecords(Protocol):
    def to_records(self) -> list[dict[str, Any]]: ...


T = TypeVar("T", bound=_HasRecords)


def record(value: Any, *names: str) -> dict[str, Any]:
    """Return these attributes (dotted paths are followed), or all fields, as one flat record without e-mail addresses.

    Seconds stay numbers, times become ISO 8601 in UTC, several ids one text with spaces between.
    """
    names = names or tuple(field.name for field in attrs.fields(type(value)))
    return dict(zip(columns(names), (_plain(attrgetter(name)(value), name) for name in names), strict=True))


def fields(value: Any, *names: str) -> dict[str, Any]:
    """Return these attributes by their names in a record, as it has them, but for times, which stay times."""
    found = ((name, attrgetter(name)(value)) for name in names)
    return {
        column: one if isinstance(one, datetime) else _plain(one, name)
        for column, (name, one) in zip(columns(names), found, strict=True)
    }


def columns(names: Iterable[str]) -> list[str]:
    """Return what these attributes are called in a record."""
    return [name.rpartition(".")[2] for name in names]


def _plain(value: Any, name: str) -> Any:
    match value:
        case Enum():
            return value.value
        case datetime():
            return to_caliper_time(to_epoch_ms(value, name))
        case BaseException():
            return f"{type(value).__name__}: {without_emails(str(value))}"
        case tuple():
            return " ".join(value)
        case str() if name in _notebook.SAID:
            return without_emails(value)
    return value


class Rows(tuple[T, ...]):  # noqa: SLOT001 - a tuple subclass has no room for filled slots
    """Several answers: a tuple that draws itself as a table in a notebook.

    Args:
        values: the answers.
        caption: what they are.
        shown: the attributes that the table shows.
    """

    caption: str
    shown: tuple[str, ...]

    def __new__(cls, values: Iterable[T], caption: str = "", shown: tuple[str, ...] = ()) -> Rows[T]:
        """Make the tuple."""
        rows = super().__new__(cls, values)
        rows.caption, rows.shown = caption, shown
        return rows

    def to_records(self) -> list[dict[str, Any]]:
        """Return a flat record for each: seconds as numbers, times as ISO 8601 in UTC; for ``pandas.DataFrame``."""
        return [row for value in self for row in value.to_records()]

    def _repr_html_(self) -> str:
        if self:
            return _notebook.listing(self.caption, self, *self.shown)
        return _notebook.lines(self.caption, ["none"])
