"""How what a store keeps is written as text, and read back, compared or refused."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from functools import lru_cache
from hashlib import blake2b
from json.encoder import encode_basestring_ascii as quoted
from typing import TYPE_CHECKING, Any, Final

from cattrs import Converter
from cattrs.gen import make_dict_structure_fn

from caliper_readtime._model import Activity, Article, Reader
from caliper_readtime._rules.state import MOST_CLAMPED_MS
from caliper_readtime._units import LARGEST as LARGEST  # noqa: PLC0414
from caliper_readtime.errors import ConfigurationError, CorruptState
from caliper_readtime.stores._recent import Recent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from caliper_readtime._rules.state import Key

#: Written into every ledger. A newer minor number adds fields to it, which are kept; a newer major one is refused. What
#: is added deeper an older version leaves out when it writes.
SCHEMA: Final = (2, 0)

# Ids hold no control characters, so neither can stand inside one. A script finds an id by what stands around it.
_LINE: Final = "\n"
_TAB: Final = "\t"
_DIGITS: Final = 19
#: Characters of a fingerprint.
FINGERPRINT: Final = 12


def _count(value: Any, _: Any) -> int:
    if type(value) is not int:
        raise TypeError("not a whole number")
    return value


def _exactly(kind: type) -> Any:
    def structure(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"not {kind.__name__}")
        return value

    return structure


def _once(structure: Any) -> Any:
    """Return a hook that reads equal values once, and checks them once."""
    found: Recent[str, Any] = Recent()

    def structured(value: Any, kind: Any) -> Any:
        name = str(value)
        known = found.get(name)
        if known is None:
            known = structure(value, kind)
            found.keep(name, known)
        return known

    return structured


def _converter() -> Converter:
    converter = Converter(omit_if_default=True, detailed_validation=False)
    converter.register_structure_hook(int, _count)
    converter.register_structure_hook(str, _exactly(str))
    activity, article = (make_dict_structure_fn(kind, converter) for kind in (Activity, Article))
    # A sweep meets the same articles again and again.
    converter.register_structure_hook(
        Activity, _once(lambda value, _: activity(value, Activity) if "kind" in value else article(value, Article))
    )
    return converter


#: Of readers and activities.
CONVERTER: Final = _converter()
_VIEWS: Final[Recent[str, tuple[tuple[str, int], ...]]] = Recent()
_NO_HEARTBEATS: Final = "0\n"


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
    _VIEWS.keep(text, views)
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
            good = good and is_total(total)
            views.append((view, int(total)))
    except ValueError:
        good = False
    if not good:
        raise CorruptState("the stored page views cannot be read")
    return tuple(views)


def is_total(text: str) -> bool:
    """Return whether a text is a page view's total: digits, no more of them than a database's integers have."""
    return text.isdecimal() and text.isascii() and len(text) <= _DIGITS


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
    if type(value) is Reader:  # a sweep meets each but once
        text = f'{{"email": {quoted(value.email)}, "sourced_id": {quoted(value.sourced_id)}}}'
    else:
        text = json.dumps(CONVERTER.unstructure(value), sort_keys=True)
    return urlsafe_b64encode(blake2b(text.encode(), digest_size=FINGERPRINT * 3 // 4).digest()).decode()


def named(error: CorruptState, key: Key) -> CorruptState:
    """Return the error with the reader and article that it is about, for whoever must look at the state."""
    return CorruptState(
        f"{error}; reader {key.reader_sourced_id}, article {key.resource_id}; it was left as it is",
        **key._asdict(),
    )


def load_time(text: Any) -> int | None:
    """Return a recorded time, milliseconds since the epoch; None where it is none, as if nothing were recorded."""
    try:
        at_ms = int(text)
    except (ValueError, TypeError):
        return None
    return at_ms if 0 <= at_ms < LARGEST else None


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
