"""How a state stands in the table: rows of the ORM, and the two statements of a steady heartbeat."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, Final, TypeVar

from caliper_readtime._logs import log_unreadable
from caliper_readtime._rules.state import Key, Meter, ReadTimeState
from caliper_readtime.errors import CorruptState
from caliper_readtime.stores._codec import (
    check_meter,
    dump_heartbeats,
    dump_ledger,
    dump_views,
    load_heartbeats,
    load_ledger,
    load_views,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from caliper_readtime.protocols import Transition
    from caliper_readtime.web.django._database import Database
    from caliper_readtime.web.django.models import State

R = TypeVar("R")

_NUMBERS: Final = ("cumulative_ms", "last_sync_at_ms", "budget_ms", "since_at_ms", "clamped_ms", "position_ms")
_METER: Final = (*_NUMBERS, "views", "heartbeats")
_WRITTEN: Final = ("nonce", *_METER, "ledger", "due_at_ms", "soft", "expires_at_ms", "parked")
_COLUMNS: Final = ("key", "reader", "resource", *_WRITTEN)
_TYPES: Final = {"soft": "boolean"} | dict.fromkeys(
    ("key", "reader", "resource", "views", "heartbeats", "ledger"), "text"
)
_TYPED: Final = ", ".join(f"{name} {_TYPES.get(name, 'bigint')}" for name in _COLUMNS)
#: What a state is made of, besides its key.
STATE: Final = (*_METER, "ledger")
# SQLite takes no more than 32,766 values in one statement.
_MOST_ROWS: Final = 1000


def name_of(key: Key) -> str:
    """Return the primary key of a state's row."""
    return "\n".join(key)


def nonce() -> int:
    """Return what no earlier write of any row has had; a counter would begin again after a deletion."""
    return secrets.randbits(63)


def row_of(key: Key, state: ReadTimeState) -> tuple[Any, ...]:
    """Return the row of a state, to be written."""
    due = state.due
    return (
        name_of(key),
        *key,
        nonce(),
        *_meter(state),
        dump_ledger(state.ledger),
        None if due is None else due.at_ms,
        due is not None and due.soft,
        state.expires_at_ms,
        len(state.ledger.parked),
    )


def write(database: Database, rows: Sequence[tuple[Any, ...]], *, births: bool) -> None:
    """Write rows in as few statements as possible, inside the caller's transaction. The ORM takes twice as long.

    Args:
        database: where.
        rows: by ``row_of``.
        births: nobody else may have made one of them; otherwise the caller has locked each.
    """
    one = f"({', '.join(['%s'] * len(_COLUMNS))})"
    columns = ", ".join(_COLUMNS)
    changed = ", ".join(f"{name} = excluded.{name}" for name in _WRITTEN)
    conflict = "" if births else f"ON CONFLICT (key) DO UPDATE SET {changed}"
    with database.connection.cursor() as cursor:
        for start in range(0, len(rows), _MOST_ROWS):
            page = rows[start : start + _MOST_ROWS]
            if database.clock is not None:
                # PostgreSQL, whose driver looks for the place of each value: all of them are one.
                source = f"SELECT {columns} FROM json_to_recordset(%s) AS given({_TYPED})"  # noqa: S608 - constants
                values = [json.dumps([dict(zip(_COLUMNS, row, strict=True)) for row in page], ensure_ascii=False)]
            else:
                source = f"VALUES {', '.join([one] * len(page))}"
                values = [value for row in page for value in row]
            cursor.execute(f"INSERT INTO {database.states} ({columns}) {source} {conflict}", values)


def state_of(row: State) -> ReadTimeState:
    """Return the state that a row holds.

    Raises:
        CorruptState: it holds something else.
    """
    return state_from(Key(row.reader, row.resource), [getattr(row, name) for name in STATE])


def readable(rows: Iterable[State], doing: str) -> Iterator[ReadTimeState]:
    """Yield the states of rows; one that cannot be read is logged and left out."""
    for row in rows:
        try:
            yield state_of(row)
        except CorruptState as error:
            log_unreadable(error, doing)


def beat(
    database: Database, key: Key, transition: Transition[R], now: int | None
) -> tuple[R, ReadTimeState | None] | None:
    """Apply a transition that changes no more than the meter of a state which is due; None for any other.

    By two statements instead of a transaction of five: read, and write if nobody has written meanwhile. It moves no
    index, and on PostgreSQL does not wait for the disk unless it is part of the host's transaction.
    """
    columns = ", ".join((*_METER, "ledger", "due_at_ms", "nonce"))
    with database.cursor() as cursor:
        clock = "" if database.clock is None or now is not None else f", {database.clock}"
        cursor.execute(f"SELECT {columns}{clock} FROM {database.states} WHERE key = %s", [name_of(key)])  # noqa: S608
        row: Any = cursor.fetchone()
        # What has a due entry holds unreported time, so it neither expires nor gets a date to.
        if row is None or row[9] is None:
            return None
        old = state_from(key, row[:9])
        moment = now if now is not None else row[11] if clock else database.now()
        new, result = transition(old, moment)
        if new is old:
            return result, new
        if new is None or new.ledger is not old.ledger:
            return None
        assignments = ", ".join(f"{name} = %s" for name in ("nonce", *_METER))
        cursor.execute(
            f"UPDATE {database.states} SET {assignments} WHERE key = %s AND nonce = %s {database.lazily()}",  # noqa: S608
            [nonce(), *_meter(new), name_of(key), row[10]],
        )
        return (result, new) if cursor.rowcount == 1 else None


def _meter(state: ReadTimeState) -> tuple[Any, ...]:
    meter = state.meter
    return (*meter[:6], dump_views(meter.views), dump_heartbeats(meter.heartbeats))


def state_from(key: Key, row: Sequence[Any]) -> ReadTimeState:
    """Return the state of these columns (``STATE``).

    Raises:
        CorruptState: they hold something else.
    """
    try:
        check_meter(row)
        meter = Meter(row[0], row[1], row[2], row[3], row[4], row[5], load_views(row[6]), load_heartbeats(row[7]))
        return ReadTimeState(key[0], key[1], meter, load_ledger(row[8]))
    except CorruptState as error:
        raise named(error, key) from None
