"""PURE: what stands where in Redis: names of keys, and the fields of a state's hash."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

from caliper_readtime._rules.heartbeat import made
from caliper_readtime._rules.state import Key, Ledger, Meter, ReadTimeState
from caliper_readtime.errors import ConfigurationError, CorruptState
from caliper_readtime.stores._codec import (
    SCHEMA,
    check_meter,
    fingerprint,
    is_total,
    named,
)
from caliper_readtime.stores._ledger_text import dump_ledger, load_ledger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._rules import Signal
    from caliper_readtime._rules.state import Due

# A steady heartbeat reads and writes these as one text: each field more costs it a tenth of its time, and memory.
_METER_PATTERN: Final = re.compile(
    r"(\d{1,19}) (\d{1,19}) (\d{1,19}) (\d{1,19}) (\d{1,19}) (\d{0,19}) (\d{1,2}) ([0-9a-fA-F]{16})(?: .*)?", re.ASCII
)
#: Hex digits of a meter's nonce.
NONCE: Final = 16
_MAX_NAMESPACE: Final = 64
#: More shards than a cluster has nodes cost a sweep a look into each.
MAX_SHARDS: Final = 1024
# All but what separates (":"), tags ("{"), escapes ("%"), or is a pattern for redis-cli.
_SAFE: Final = "@/+=,;~!$&'()"


class Names(NamedTuple):
    """The names of everything that belongs to one key; all lie in one slot."""

    state: str
    due: str
    idle: str
    parked: str
    reader: str
    wall: str
    member: str
    resource: str
    beat: tuple[str, str, str, str]  # what the heartbeat script touches


class Layout:
    """Names keys below a namespace. A reader's keys share a shard, and a shard's keys share a cluster slot.

    Raises:
        ConfigurationError: the namespace or the number of shards is not usable.
    """

    def __init__(self, namespace: str, shards: int) -> None:
        usable = isinstance(namespace, str) and namespace.isprintable() and 0 < len(namespace) <= _MAX_NAMESPACE
        if not usable or set(namespace) & set("{}% "):
            raise ConfigurationError(
                f"namespace: must be 1 to {_MAX_NAMESPACE} printable characters without spaces, braces and %"
            )
        if isinstance(shards, bool) or not isinstance(shards, int) or not 0 < shards <= MAX_SHARDS:
            raise ConfigurationError(f"shards: must be a whole number from 1 to {MAX_SHARDS}")
        self.namespace = namespace
        self.shards: range = range(shards)
        self.meta: str = f"{namespace}:meta"
        self.names: Callable[[Key], Names] = lru_cache(maxsize=4096)(self._names)

    def shard(self, reader: str) -> int:
        """Return the shard of a reader."""
        return crc32(reader.encode()) % len(self.shards)

    def index(self, shard: int) -> tuple[str, str, str]:
        """Return the keys of a shard's due, idle and parked sets."""
        tag = f"{self.namespace}:{{{shard}}}"
        return f"{tag}:due", f"{tag}:idle", f"{tag}:parked"

    def _names(self, key: Key) -> Names:
        shard = self.shard(key.reader_sourced_id)
        tag = f"{self.namespace}:{{{shard}}}"
        reader, resource = quote(key.reader_sourced_id, _SAFE), quote(key.resource_id, _SAFE)
        member = f"{reader}:{resource}"
        state, (due, idle, parked), index = f"{tag}:state:{member}", self.index(shard), f"{tag}:reader:{reader}"
        beat = state, due, idle, index
        return Names(state, due, idle, parked, index, f"{tag}:wall:{reader}", member, resource, beat)

    @staticmethod
    def key(member: str) -> Key:
        """Return the key that a member of an index set names."""
        reader, _, resource = member.partition(":")
        return Key(unquote(reader), unquote(resource))

    @staticmethod
    def resource_key(reader: str, resource: str) -> Key:
        """Return the key of one of a reader's resources, as it is written in the reader's set."""
        return Key(reader, unquote(resource))


def reader_keys(names: Names, *states: str) -> tuple[str, ...]:
    """Return the keys of a script that goes through these states of a reader: the index keys come first."""
    return names.reader, names.due, names.idle, names.parked, *states


def meter_text(state: ReadTimeState, due: Due | None, expires: int | None, nonce: str) -> str:
    """Return a meter as text, behind its numbers what the heartbeat script has to know of the ledger.

    Args:
        state: whose meter.
        due: the state's.
        expires: the state's.
        nonce: hex digits of this write alone. Heartbeats leave it, so the same nonce means the same ledger, and the
            same text that nobody has written since.
    """
    cumulative, sync, budget, since, clamped, place, views, heartbeats = state.meter
    position = "" if place is None else place
    first = f"{cumulative} {sync} {budget} {since} {clamped} {position} {len(heartbeats)} {nonce}"
    return "\n".join(
        [first + _steady(state.ledger, due, expires), *[f"{view}\t{total}" for view, total in views], *heartbeats, ""]
    )


def _steady(ledger: Ledger, due: Due | None, expires: int | None) -> str:
    """Return what a steady heartbeat has to respect; nothing where there can be none."""
    if ledger.parked:  # new time may become due before what is parked
        return ""
    context = ledger.context
    hard = "" if due is None or due.soft else due.at_ms
    finalized = "" if ledger.finalized_at_ms is None else ledger.finalized_at_ms
    counts_from = "" if ledger.counts_from_at_ms is None else ledger.counts_from_at_ms
    words = "" if context.article.words is None else context.article.words
    return (
        f" {SCHEMA[0]} {ledger.claimed_end_ms} {hard} {fingerprint(context.article)} {fingerprint(context.reader)}"
        f" {ledger.duration_ms or ''} {finalized} {counts_from} {ledger.widened_ms}"
        f" {'' if expires is None else expires} {words}"
    )


def write_args(
    names: Names, new: ReadTimeState, old: ReadTimeState | None, meter: Any, moment: int, nonce: str
) -> list[Any]:
    """Return the arguments of the script that writes a state.

    Args:
        names: of the state's keys.
        new: what to write.
        old: what it replaces.
        meter: as it was read; None where there was none.
        moment: the time that decides, milliseconds since the epoch.
        nonce: hex digits drawn for this write.
    """
    due = new.due
    expires = new.expires_at_ms
    return [
        "" if meter is None else meter,
        meter_text(new, due, expires, nonce),
        int(old is None),
        names.member,
        names.resource,
        "" if due is None or due.soft else due.at_ms,
        "" if due is None or not due.soft else due.at_ms,
        int(old is not None and new.ledger is old.ledger),
        1 if new.ledger.parked else 0 if old is None or old.ledger.parked else "",
        "" if expires is None else expires,
        moment,
        "ledger",
        dump_ledger(new.ledger, new.key),
    ]


def beat_args(names: Names, signal: Signal, known: str, now: int | None) -> tuple[Any, ...]:
    """Return the arguments of the heartbeat script.

    Args:
        names: of the state's keys.
        signal: what it is to apply.
        known: nonce of the ledger that the caller has; "" for none.
        now: the time that decides; None for the server's clock.
    """
    _, _, offered, reader, article, heartbeat, view, acknowledged, opened, position, duration, _ = signal
    first = (names.member, names.resource, heartbeat if view is None else view, offered, known)
    if view is None and reader is None and article is None and position is None and not duration and now is None:
        return first if signal.drawn else (*first, "-")
    seldom = [
        acknowledged if view is not None else "" if signal.drawn else "-",
        "" if article is None else fingerprint(article),
        "" if opened is None else opened,
        "" if position is None else position,
        1 if duration else "",
        "" if reader is None else fingerprint(reader),
        "" if now is None else now,
    ]
    while seldom[-1] == "":
        seldom.pop()
    return (*first, *seldom)


def state_of(key: Key, fields: Sequence[Any]) -> ReadTimeState | None:
    """Return the state that a hash holds, or None where there is none.

    Args:
        key: the state's.
        fields: meter and ledger.

    Raises:
        CorruptState: they hold something else.
    """
    meter, ledger = fields
    if meter is None and ledger is None:
        return None
    if meter is None or ledger is None:
        raise named(CorruptState("a stored field is missing"), key)
    try:
        return ReadTimeState(key[0], key[1], meter_of(text_of(meter))[0], load_ledger(text_of(ledger), key))
    except CorruptState as error:
        raise named(error, key) from None


def beaten(key: Key, meter: Any, ledger: Any) -> tuple[ReadTimeState, str]:
    """Return the state that the heartbeat script has left, and the nonce of its ledger.

    Args:
        key: the state's.
        meter: as text.
        ledger: as text, or the ledger itself.

    Raises:
        CorruptState: one of them cannot be read.
    """
    try:
        text = text_of(meter)
        first, *lines = text.split("\n")
        # The script has looked at the numbers, but not at the lists.
        cumulative, sync, budget, since, clamped, position, ids, rest = first.split(" ", 7)
        views, heartbeats = _lists(text, lines, int(ids))
        known = ledger if type(ledger) is Ledger else load_ledger(text_of(ledger), key)
    except CorruptState as error:
        raise named(error, key) from None
    numbers = int(cumulative), int(sync), int(budget), int(since), int(clamped), int(position) if position else None
    state = ReadTimeState(key[0], key[1], made(Meter, (*numbers, views, heartbeats)), known)
    return state, rest[:NONCE]


def meter_of(text: str) -> tuple[Meter, str]:
    """Return the meter that ``meter_text`` has written, and its nonce.

    Raises:
        CorruptState: it is something else.
    """
    first, *lines = text.split("\n")
    found = _METER_PATTERN.fullmatch(first)
    if found is None:
        raise CorruptState("the stored meter cannot be read")
    cumulative, sync, budget, since, clamped, position, ids, nonce = found.groups()
    lists = _lists(text, lines, int(ids))
    place = int(position) if position else None
    meter = Meter(int(cumulative), int(sync), int(budget), int(since), int(clamped), place, *lists)
    check_meter(meter)
    return meter, nonce


def _lists(text: str, lines: list[str], ids: int) -> tuple[tuple[tuple[str, int], ...], tuple[str, ...]]:
    """Return the page views and the heartbeat ids of a meter's text, whose lines these are but for the first."""
    views = len(lines) - 1 - ids
    if views != text.count("\t") or lines.pop():
        raise CorruptState("the stored lists of a meter cannot be read")
    if not views:
        return (), tuple(lines)
    return tuple(map(_view, lines[:views])), tuple(lines[views:])


def _view(line: str) -> tuple[str, int]:
    view, tab, total = line.partition("\t")
    if not tab or not is_total(total):
        raise CorruptState("the stored page views cannot be read")
    return view, int(total)


def text_of(value: Any) -> str:
    """Return what a client has answered as text, whether it decodes by itself or not.

    Raises:
        CorruptState: it is not UTF-8.
    """
    if type(value) is str:
        return value
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError:
        pass
    # The decoder's error holds what it was to decode, which may be an address.
    raise CorruptState("a stored text is not UTF-8")
