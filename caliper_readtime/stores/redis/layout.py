"""PURE: what stands where in Redis: names of keys, and the fields of a state's hash."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote
from zlib import crc32

from caliper_readtime.errors import ConfigurationError, CorruptState
from caliper_readtime.state import Key, Meter, ReadTimeState
from caliper_readtime.stores.codec import (
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
    from collections.abc import Sequence

#: The fields that make a state, in the order in which scripts return them.
STATE_FIELDS: Final = (
    "nonce",
    "cumulativeReadTimeMs",
    "lastServerSyncMs",
    "carryMs",
    "sinceMs",
    "clampedMs",
    "positionMs",
    "views",
    "heartbeats",
    "ledger",
)
#: What the heartbeat script has to know of the ledger, which it does not read itself.
LEDGER_FIELDS: Final = (
    "schema",
    "claimedToMs",
    "canonicalDurationMs",
    "finalizedMs",
    "parkedEvents",
    "dueMs",
    "reader",
    "article",
)
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
        self.shards = range(shards)
        self.meta = f"{namespace}:meta"
        self.names = lru_cache(maxsize=4096)(self._names)

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
        return Names(f"{tag}:state:{member}", *self.index(shard), f"{tag}:reader:{reader}", member, resource)

    @staticmethod
    def key(member: str) -> Key:
        """Return the key that a member of an index set names."""
        reader, _, resource = member.partition(":")
        return Key(unquote(reader), unquote(resource))

    @staticmethod
    def resource_key(reader: str, resource: str) -> Key:
        """Return the key of one of a reader's resources, as it is written in the reader's set."""
        return Key(reader, unquote(resource))


def fields_of(state: ReadTimeState) -> list[Any]:
    """Return the fields of a state's hash and their values in turn, without the nonce."""
    meter, ledger = state.meter, state.ledger
    due = state.due
    fields: dict[str, Any] = {
        "cumulativeReadTimeMs": meter.cumulative_ms,
        "reportedReadTimeMs": state.reported_ms,  # for people with redis-cli
        "lastServerSyncMs": meter.last_sync_ms,
        "carryMs": meter.carry_ms,
        "sinceMs": meter.since_ms,
        "clampedMs": meter.clamped_ms,
        "positionMs": meter.position_ms,
        "views": dump_views(meter.views),
        "heartbeats": dump_heartbeats(meter.heartbeats),
        "schema": SCHEMA[0],
        "claimedToMs": ledger.claimed_to_ms,
        "canonicalDurationMs": ledger.duration_ms,
        "finalizedMs": ledger.finalized_ms,
        "parkedEvents": len(ledger.parked),
        "dueMs": None if due is None or due.soft else due.at_ms,
        "reader": fingerprint(ledger.context.reader),
        "article": fingerprint(ledger.context.article),
        "ledger": dump_ledger(ledger),
    }
    # A field that was written once must not stay behind: what is None is written, too.
    return [part for name, value in fields.items() for part in (name, "" if value is None else value)]


def state_of(key: Key, fields: Sequence[Any]) -> ReadTimeState | None:
    """Return the state whose ``STATE_FIELDS`` these are, or None where there is none.

    Raises:
        CorruptState: they hold something else.
    """
    if fields[0] is None:
        return None
    try:
        numbers: list[Any] = [*map(int, fields[1:6]), int(fields[6]) if fields[6] not in (b"", "") else None]
        views, heartbeats, ledger = (value if type(value) is str else value.decode() for value in fields[7:10])
        check_meter(numbers)
        cumulative, sync, carry, since, clamped, position = numbers
        meter = Meter(cumulative, sync, carry, since, clamped, position, load_views(views), load_heartbeats(heartbeats))
        return ReadTimeState(key[0], key[1], meter, load_ledger(ledger))
    except CorruptState as error:
        raise named(error, key) from None
    except (TypeError, ValueError, AttributeError):
        unreadable = CorruptState("a stored field is missing or of another kind")
    # The driver's text holds an address: that error is not chained.
    raise named(unreadable, key)
