"""Readers' records of claimed time in the project's database: locked, read and written with the states."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from caliper_readtime.stores._walls import claimable, decided, dump_wall, load_wall, walled
from caliper_readtime.web.django.models import Wall as Row

if TYPE_CHECKING:
    from collections.abc import Iterable

    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime._rules.wall import Wall
    from caliper_readtime.protocols import Transition

R = TypeVar("R")


def found_wall(using: str, reader: str) -> Wall | None:
    """Return what is stored of a reader, expired or not.

    Raises:
        CorruptState: it cannot be read.
    """
    row = rows(using).filter(reader=reader).first()
    return None if row is None else load_wall(row.record, reader)


def rows(using: str) -> Any:
    """Return every record of a database."""
    return Row._default_manager.using(using)  # noqa: SLF001 - Django's own name


class Walls:
    """The records of one transaction: those of the readers whose time is claimed in it are locked until its end.

    Args:
        using: the alias of the database.
        changes: what is applied in the transaction. The states are locked already, in one order and before these.
    """

    def __init__(self, using: str, changes: Iterable[tuple[Key, Transition[Any]]]) -> None:
        readers = {key.reader_sourced_id for key, transition in changes if walled(transition)}
        self._rows = rows(using)
        locked = self._rows.select_for_update().order_by("reader").filter(reader__in=readers) if readers else ()
        self._found: dict[str, str] = {row.reader: row.record for row in locked}
        self._left: dict[str, Wall] = {}

    def applied(
        self, key: Key, transition: Transition[R], old: ReadTimeState | None, moment: int
    ) -> tuple[ReadTimeState | None, R]:
        """Return what a transition makes of a state, and its answer; what one leaves of a record the next one meets."""
        if not walled(transition):
            return transition(old, moment)
        reader = key.reader_sourced_id
        text, wall = self._found.get(reader), self._left.get(reader)
        if wall is None and text is not None:
            wall = claimable(lambda: load_wall(text, reader))
        new, result, left = decided(transition, old, wall, moment)
        if left is not None:
            self._left[reader] = left
        return new, result

    def write(self) -> None:
        """Write what has changed. Nobody else may have made a record that was not there to be locked."""
        fields = ["expires_at_ms", "record"]
        changed = [
            Row(reader=reader, expires_at_ms=wall.expires_at_ms, record=dump_wall(wall))
            for reader, wall in self._left.items()
        ]
        births = [row for row in changed if row.reader not in self._found]
        others = [row for row in changed if row.reader in self._found]
        if births:
            self._rows.bulk_create(births)
        if others:
            self._rows.bulk_create(others, update_conflicts=True, unique_fields=["reader"], update_fields=fields)
