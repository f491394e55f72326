"""How what a store keeps is written as text, and read back, compared or refused."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

import attrs
from cattrs import Converter
from cattrs.gen import make_dict_structure_fn

from caliper_readtime._model import Activity, Article
from caliper_readtime._rules.state import MOST_CLAMPED_MS, Key, Ledger
from caliper_readtime._units import to_datetime, to_epoch_ms
from caliper_readtime.errors import ConfigurationError, CorruptState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caliper_readtime._model import Reader

#: Written into every ledger. A newer minor number adds fields to it, which are kept; a newer major one is refused. What
#: is added deeper an older version leaves out when it writes: since 1.2 that may be an activity's kind, attempt, words
#: and extensions, which the next signal tells again.
SCHEMA: Final = (1, 2)

# Ids hold no control characters, so neither can stand inside one. A script finds an id by what stands around it.
_LINE: Final = "\n"
_TAB: Final = "\t"
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
    return converter


_CONVERTER: Final = _converter()
_LEDGERS: Final[dict[str, Ledger]] = {}
_MOST_LEDGERS: Final = 1024
_KNOWN: Final = frozenset(attribute.name for attribute in attrs.fields(Ledger)) - {"unknown"}


def dump_ledger(ledger: Ledger) -> str:
    """Return the ledger as JSON text."""
    fields = _CONVERTER.unstructure(ledger)
    unknown = json.loads(fields.pop("unknown", "{}"))
    text = json.dumps({"schema": SCHEMA, **fields, **unknown}, separators=(",", ":"))
    _known(text, ledger)
    return text


def load_ledger(text: str) -> Ledger:
    """Return the ledger that ``text`` holds.

    Raises:
        CorruptState: it is not a ledger, or one of an incompatible schema.
    """
    ledger = _LEDGERS.get(text)
    if ledger is None:
        ledger = _loaded(text)
        _known(text, ledger)
    return ledger


def _known(text: str, ledger: Ledger) -> None:
    # A heartbeat meets the same ledger again and again, and a commit the one that the claim has just written.
    if len(_LEDGERS) >= _MOST_LEDGERS:
        _LEDGERS.clear()
    _LEDGERS[text] = ledger


def _loaded(text: str) -> Ledger:
    try:
        return _structured(json.loads(text))
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
    if min(numbers[:5]) < 0 or max(numbers[:4]) >= LARGEST or numbers[4] > MOST_CLAMPED_MS:
        raise CorruptState("the stored meter is out of range")
    if position is not None and not 0 <= position < LARGEST:
        raise CorruptState("the stored position is out of range")


def dump_views(views: tuple[tuple[str, int], ...]) -> str:
    """Return page views as text: for each a line break, its id, a tab and its total."""
    return "".join([f"\n{view}\t{total}" for view, total in views])


def load_views(text: str) -> tuple[tuple[str, int], ...]:
    """Return the page views that ``text`` holds.

    Raises:
        CorruptState: it holds something else.
    """
    if not text:
        return ()
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
    return _LINE.join([str(len(heartbeats)), *heartbeats, ""])


def load_heartbeats(text: str) -> tuple[str, ...]:
    """Return the heartbeat ids that ``text`` holds.

    Raises:
        CorruptState: it holds something else.
    """
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
