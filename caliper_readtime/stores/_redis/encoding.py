"""PURE: what stands where in Redis: names of keys, and the fields of a state's hash."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

from caliper_readtime._rules.state import Key, Meter, ReadTimeState
from caliper_readtime.errors import ConfigurationError, CorruptState
from caliper_readtime.stores._codec import (
    SCHEMA,
    check_meter,
    dump_heartbeats,
    dump_ledger,
    dump_views,
    fingerprint,
    load_heartbeats,
    load_ledger,
    load_views,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules import Signal

# A steady heartbeat reads and writes these as one text: a field for each number cost Redis twice the time.
_METER: Final = "cumulative={} lastSync={} budget={} since={} clamped={} position={} nonce={}"
_METER_PATTERN: Final = re.compile(
    r"cumulative=(\d{1,19}) lastSync=(\d{1,19}) budget=(\d{1,19}) since=(\d{1,19}) clamped=(\d{1,19})"
    r" position=(\d{0,19}) nonce=[0-9a-fA-F]+",
    re.ASCII,
)
# What the heartbeat script has to know of the ledger, which it does not read itself.
_STEADY: Final = (
    "schema={} reader={} article={} claimedTo={} due={} duration={} finalized={} countsFrom={} widened={}{}"
)
# What it seldom has to know of a policy: each argument more costs every heartbeat.
_SELDOM: Final = "leeway={} pace={} ratio={!r} dwell={}"
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
        of_reader = f"{tag}:reader:{reader}", f"{tag}:wall:{reader}"
        return Names(f"{tag}:state:{member}", *self.index(shard), *of_reader, member, resource)

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


def meter_text(meter: Meter, nonce: str) -> str:
    """Return a meter's numbers as text, with a nonce of this write alone: while it is there, no later one was made."""
    return _METER.format(*meter[:5], "" if meter.position_ms is None else meter.position_ms, nonce)


def other_fields(state: ReadTimeState) -> tuple[str, ...]:
    """Return the other fields of a state's hash and their values in turn."""
    return (
        "views",
        dump_views(state.meter.views),
        "heartbeats",
        dump_heartbeats(state.meter.heartbeats),
        "ledger",
        dump_ledger(state.ledger),
        "steady",
        _steady(state),
    )


def _steady(state: ReadTimeState) -> str:
    """Return what a steady heartbeat has to respect; nothing where there can be none."""
    ledger, due = state.ledger, state.due
    if ledger.parked:  # new time may become due before what is parked
        return ""
    return _STEADY.format(
        SCHEMA[0],
        fingerprint(ledger.context.reader),
        fingerprint(ledger.context.article),
        ledger.claimed_end_ms,
        "" if due is None or due.soft else due.at_ms,
        ledger.duration_ms or "",
        "" if ledger.finalized_at_ms is None else ledger.finalized_at_ms,
        "" if ledger.counts_from_at_ms is None else ledger.counts_from_at_ms,
        ledger.widened_ms,
        "" if ledger.context.article.words is None else f" words={ledger.context.article.words}",
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
        meter_text(new.meter, nonce),
        int(old is None),
        names.member,
        names.resource,
        "" if due is None or due.soft else due.at_ms,
        "" if due is None or not due.soft else due.at_ms,
        int(old is not None and new.ledger is old.ledger),
        int(bool(new.ledger.parked)),
        "" if expires is None else expires,
        moment,
        *other_fields(new),
    ]


def beat_args(names: Names, signal: Signal, now: int | None) -> tuple[Any, ...]:
    """Return the arguments of the heartbeat script."""
    view = signal.view_id
    return (
        "" if now is None else now,
        names.member,
        signal.nonce[16:],
        signal.heartbeat_id if view is None else view,
        signal.offered_ms,
        signal.acknowledged_ms if view is not None else "" if signal.drawn else "-",
        "" if signal.opened_at_ms is None else signal.opened_at_ms,
        "" if signal.position_ms is None else signal.position_ms,
        1 if signal.duration_ms else 0,
        "" if signal.reader is None else fingerprint(signal.reader),
        "" if signal.article is None else fingerprint(signal.article),
        names.resource,
        *_limits(signal.policy),
    )


@lru_cache(maxsize=64)
def _limits(policy: ReadTimePolicy) -> tuple[Any, ...]:
    """Return what the heartbeat script has to know of a policy."""
    return (
        policy.catch_up_ms,
        "" if policy.max_delta_ms is None else policy.max_delta_ms,
        _SELDOM.format(
            policy.leeway_ms,
            "" if policy.completion_words_per_minute is None else policy.completion_words_per_minute,
            policy.completion_ratio,
            "" if policy.completion_dwell_ms is None else policy.completion_dwell_ms,
        ),
    )


def claims(new: ReadTimeState, old: ReadTimeState | None) -> bool:
    """Return whether somebody is about to send what this write claims."""
    claim = new.ledger.claim
    return claim is not None and claim.owner is not None and (old is None or old.ledger.claim != claim)


def beaten(key: Key, answer: Sequence[Any]) -> ReadTimeState:
    """Return the state that the heartbeat script has left.

    Args:
        key: the state's.
        answer: ledger, views, heartbeats, and the meter's numbers.

    Raises:
        CorruptState: the ledger or a list cannot be read.
    """
    ledger, views, heartbeats, *numbers = answer
    try:
        return _state(key, numbers, views, heartbeats, ledger)
    except CorruptState as error:
        raise named(error, key) from None


def state_of(key: Key, fields: Sequence[Any]) -> ReadTimeState | None:
    """Return the state that a hash holds, or None where there is none.

    Args:
        key: the state's.
        fields: meter, views, heartbeats and ledger.

    Raises:
        CorruptState: they hold something else.
    """
    if fields[0] is None and fields[3] is None:
        return None
    if None in fields:
        raise named(CorruptState("a stored field is missing"), key)
    try:
        return _state(key, _numbers(text_of(fields[0])), *fields[1:])
    except CorruptState as error:
        raise named(error, key) from None


def _numbers(meter: str) -> list[Any]:
    found = _METER_PATTERN.fullmatch(meter)
    if found is None:
        raise CorruptState("the stored meter cannot be read")
    *counts, position = found.groups()
    numbers = list(map(int, counts))
    check_meter([*numbers, int(position) if position else None])
    return [*numbers, position]


def _state(key: Key, numbers: Sequence[Any], views: Any, heartbeats: Any, ledger: Any) -> ReadTimeState:
    cumulative, sync, budget, since, clamped, position = numbers
    meter = Meter(
        cumulative,
        sync,
        budget,
        since,
        clamped,
        int(position) if position else None,  # as text: an empty one is none
        load_views(text_of(views)),
        load_heartbeats(text_of(heartbeats)),
    )
    return ReadTimeState(key[0], key[1], meter, load_ledger(text_of(ledger)))


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
