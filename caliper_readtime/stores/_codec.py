"""How what a store keeps is written as text, and read back, compared or refused."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn

from caliper_readtime._model import Activity, Article
from caliper_readtime._rules.state import MOST_CLAMPED_MS, Context, Key, Ledger
from caliper_readtime._units import to_datetime, to_epoch_ms
from caliper_readtime.errors import ConfigurationError, CorruptState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caliper_readtime._model import Reader

K = TypeVar("K")
T = TypeVar("T")

#: Written into every ledger. A newer minor number adds fields to it, which are kept; a newer major one is refused. What
#: is added deeper an older version leaves out when it writes: since 1.2 that may be an activity's kind, attempt, words
#: and extensions, which the next signal tells again.
SCHEMA: Final = (1, 2)

# Ids hold no control characters, so neither can stand inside one. A script finds an id by what stands around it.
_LINE: Final = "\n"
_TAB: Final = "\t"
#: What a ledger's time to live is where its text says nothing; a part of the format, whatever a policy's default is.
USUAL_TTL_MS: Final = 30 * 86_400_000
#: Characters of a fingerprint.
FINGERPRINT: Final = 12
#: The first millisecond after the year 9999, where datetimes end.
LARGEST: Final = 253_402_300_800_000


def _integer(value: Any, _: Any) -> int:
    if type(value) is not int or not 0 <= value < LARGEST:
        raise ValueError("not a whole number in range")
    return value


def _seconds(value: Any, _: Any) -> float:
    if type(value) not in (int, float) or not 0 <= value < LARGEST:
        raise ValueError("not a number in range")
    return float(value)


def _exactly(kind: type) -> Any:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"not {kind.__name__}")
        return value

    return structure


def _once(structure: Any) -> Any:
    """Return a hook that reads equal values once, and checks them once."""
    found: dict[str, Any] = {}

    def structured(value: Any, kind: Any) -> Any:
        name = str(value)
        known = found.get(name)
        if known is None:
            known = structure(value, kind)
            _remember(found, name, known)
        return known

    return structured


def _converter() -> Converter:
    converter = Converter(omit_if_default=True, detailed_validation=False)
    converter.register_structure_hook(int, _integer)
    converter.register_structure_hook(float, _seconds)
    converter.register_structure_hook(str, _exactly(str))
    converter.register_structure_hook(bool, _exactly(bool))
    converter.register_structure_hook(datetime, lambda value, _: to_datetime(_integer(value, int)))
    converter.register_unstructure_hook(datetime, lambda value: to_epoch_ms(value, "at"))
    activity, article = (make_dict_structure_fn(kind, converter) for kind in (Activity, Article))
    converter.register_structure_hook_func(
        lambda kind: kind is Activity,
        lambda value, _: activity(value, Activity) if "kind" in value else article(value, Article),
    )
    # A ledger names the same context again and again, and a sweep meets the same articles.
    for known in (Activity, Context):
        converter.register_structure_hook(known, _once(converter.get_structure_hook(known)))
    return converter


_CONVERTER: Final = _converter()
_WRITER: Final = json.JSONEncoder(separators=(",", ":"))
_LEDGERS: Final[dict[tuple[Key | None, str], Ledger]] = {}
_VIEWS: Final[dict[str, tuple[tuple[str, int], ...]]] = {}
_MOST_TEXTS: Final = 1024
_NO_HEARTBEATS: Final = "0\n"
_KNOWN: Final = frozenset(attribute.name for attribute in attrs.fields(Ledger)) - {"unknown"}


def dump_ledger(ledger: Ledger, key: Key | None = None) -> str:
    """Return the ledger as JSON text.

    Args:
        ledger: what to write.
        key: the state's; what it says, and a usual time to live, is left out. ``load_ledger`` needs it again.
    """
    fields = _CONVERTER.unstructure(ledger)
    unknown = json.loads(fields.pop("unknown")) if "unknown" in fields else {}
    if key is not None:
        for part, name, known in _said(fields, key):
            if part.get(name) == known:
                del part[name]
    text = _WRITER.encode({"schema": SCHEMA, **fields, **unknown})
    _remember(_LEDGERS, (key, text), ledger)
    return text


def load_ledger(text: str, key: Key | None = None) -> Ledger:
    """Return the ledger that ``text`` holds.

    Args:
        text: JSON.
        key: the state's, where it was written with it.

    Raises:
        CorruptState: it is not a ledger, or one of an incompatible schema.
    """
    ledger = _LEDGERS.get((key, text))
    if ledger is None:
        ledger = _loaded(text, key)
        _remember(_LEDGERS, (key, text), ledger)
    return ledger


def _said(fields: Any, key: Key) -> tuple[tuple[Any, str, object], ...]:
    """Return what a ledger need not say once the state's key is known: where it would stand, its name and value."""
    context = fields["context"]
    reader, article = context["reader"], context["article"]
    return (
        (fields, "ttl_ms", USUAL_TTL_MS),
        (reader, "sourced_id", key.reader_sourced_id),
        (article, "resource_id", key.resource_id),
    )


def _remember(known: dict[K, T], text: K, value: T) -> None:
    # A heartbeat meets the same ledger again and again, and the page views that the one before it has written; a commit
    # meets the ledger that the claim has just written.
    if len(known) >= _MOST_TEXTS:
        known.clear()
    known[text] = value


def _loaded(text: str, key: Key | None) -> Ledger:
    try:
        fields = json.loads(text)
        if key is not None:
            for part, name, known in _said(fields, key):
                part.setdefault(name, known)
        return _structured(fields)
    except CorruptState:
        raise
    except Exception as error:  # noqa: BLE001 - whatever is wrong with stored text, the state is left as it is
        kind = type(error).__name__
    # The text holds an address, and so may that error's: only its kind is told, and it is not chained.
    raise CorruptState(f"the stored ledger cannot be read ({kind})")


def _structured(fields: Any) -> Ledger:
    _compatible(*fields.pop("schema"))
    unknown = {name: fields.pop(name) for name in tuple(fields) if name not in _KNOWN}
    if unknown:
        fields["unknown"] = json.dumps(unknown, separators=(",", ":"))
    if any(not isinstance(fields.get(name, []), list) for name in ("history", "parked")):
        raise TypeError("not a list")
    account = fields.get("account", {})
    if not isinstance(account, dict) or not isinstance(account.get("contexts", []), list):
        raise TypeError("not an account")
    ledger = _CONVERTER.structure(fields, Ledger)
    # An event that cannot be sent would fail every envelope that it is put in.
    if ledger.claim is not None and json.loads(ledger.claim.event)["id"] != ledger.claim.event_id:
        raise ValueError("the claim holds another event")
    return ledger


def _compatible(major: object, minor: object) -> None:
    if type(major) is not int or type(minor) is not int:
        raise TypeError("not a schema")
    if major != SCHEMA[0]:
        raise CorruptState(f"it has schema {major}.{minor}, this version reads {SCHEMA[0]}.x: run a newer version")


def check_meter(numbers: Sequence[Any]) -> None:
    """Make sure that a meter's first six numbers are as large as they can be; their types are checked elsewhere.

    Raises:
        CorruptState: one of them is not.
    """
    position = numbers[5]
    good = (
        0 <= numbers[0] < LARGEST
        and 0 <= numbers[1] < LARGEST
        and 0 <= numbers[2] < LARGEST
        and 0 <= numbers[3] < LARGEST
        and 0 <= numbers[4] <= MOST_CLAMPED_MS
    )
    if not good:
        raise CorruptState("the stored meter is out of range")
    if position is not None and not 0 <= position < LARGEST:
        raise CorruptState("the stored position is out of range")


def dump_views(views: tuple[tuple[str, int], ...]) -> str:
    """Return page views as text: for each a line break, its id, a tab and its total."""
    text = "".join([f"\n{view}\t{total}" for view, total in views])
    _remember(_VIEWS, text, views)
    return text


def load_views(text: str) -> tuple[tuple[str, int], ...]:
    """Return the page views that ``text`` holds.

    Raises:
        CorruptState: it holds something else.
    """
    if not text:
        return ()
    known = _VIEWS.get(text)
    if known is not None:
        return known
    before, *lines = text.split(_LINE)
    views: list[tuple[str, int]] = []
    good = not before
    try:
        for line in lines:  # most states have one: map and zip would take three times as long to get going
            view, _, total = line.partition(_TAB)
            good = good and total.isdecimal()
            views.append((view, int(total)))
    except ValueError:
        good = False
    if not good:
        raise CorruptState("the stored page views cannot be read")
    return tuple(views)


def dump_heartbeats(heartbeats: tuple[str, ...]) -> str:
    """Return heartbeat ids as text: how many there are, and the ids, each with a line break behind it."""
    if not heartbeats:
        return _NO_HEARTBEATS
    return _LINE.join([str(len(heartbeats)), *heartbeats, ""])


def load_heartbeats(text: str) -> tuple[str, ...]:
    """Return the heartbeat ids that ``text`` holds.

    Raises:
        CorruptState: it holds something else.
    """
    if text == _NO_HEARTBEATS:
        return ()
    count, *heartbeats = text.split(_LINE)
    if count != str(len(heartbeats) - 1) or heartbeats.pop():
        raise CorruptState("the stored heartbeats cannot be read")
    return tuple(heartbeats)


@lru_cache(maxsize=1024)
def fingerprint(value: Reader | Activity) -> str:
    """Return a short digest of a reader or article: equal values, and only those, have equal ones."""
    text = json.dumps(_CONVERTER.unstructure(value), sort_keys=True)
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=FINGERPRINT * 3 // 4).digest()).decode()


def named(error: CorruptState, key: Key) -> CorruptState:
    """Return the error with the reader and article that it is about, for whoever must look at the state."""
    return CorruptState(
        f"{error}; reader {key.reader_sourced_id}, article {key.resource_id}; it was left as it is",
        **key._asdict(),
    )


def compare_meta(recorded: Mapping[str, str], expected: Mapping[str, str]) -> dict[str, str]:
    """Return all that is known of a store, unless it is used for something else.

    Raises:
        ConfigurationError: a recorded fact differs from an expected one.
    """
    for name, value in expected.items():
        if recorded.get(name, value) != value:
            raise ConfigurationError(
                f"this store is in use with {name}={recorded[name]!r}, but this process is configured with {value!r}: "
                "use another store or namespace, or correct the setting"
            )
    return {**recorded, **expected}
