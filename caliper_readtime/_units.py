"""The border between public units (UTC datetimes, float seconds) and whole milliseconds; how both are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import ceil
from numbers import Real
from typing import Final

from caliper_readtime.errors import InvalidInput

#: Nobody reads one article for longer than this in one view; a larger number is a mistake in the host's code.
MAX_SECONDS = 10 * 365 * 86400.0

#: The first millisecond after the year 9999, where datetimes end.
LARGEST: Final = 253_402_300_800_000

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(seconds: float, field: str) -> int:
    """Return seconds as whole milliseconds, half to even.

    Raises:
        InvalidInput: not a real number, a bool, negative, not finite, or above ``MAX_SECONDS``.
    """
    # The plain types first: asking an abstract one costs a heartbeat more than the rest of this.
    if type(seconds) is not float and (isinstance(seconds, bool) or not isinstance(seconds, int | Real)):
        raise InvalidInput(field, f"must be a number of seconds, not {type(seconds).__name__}")
    if not 0 <= seconds <= MAX_SECONDS:  # NaN compares false
        raise InvalidInput(field, f"must be from 0 to {MAX_SECONDS:.0f} seconds")
    return round(float(seconds) * 1000)


def to_seconds(ms: int) -> float:
    """Return milliseconds as seconds."""
    return ms / 1000


def to_epoch_ms(moment: datetime, field: str) -> int:
    """Return an aware datetime as milliseconds since the epoch, rounded down.

    Raises:
        InvalidInput: not a datetime, or a naive one.
    """
    if not isinstance(moment, datetime):
        raise InvalidInput(field, f"must be a datetime, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise InvalidInput(field, "must be timezone-aware, for example datetime.now(UTC)")
    return (moment - _EPOCH) // _MILLISECOND


def to_datetime(ms: int) -> datetime:
    """Return milliseconds since the epoch as a UTC datetime."""
    return _EPOCH + timedelta(milliseconds=ms)


def to_clock_time(moment: datetime) -> str:
    """Return an aware datetime as people read it: UTC, whole seconds, ``YYYY-MM-DD HH:MM:SSZ``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(" ", timespec="seconds") + "Z"


def to_plain_seconds(ms: int) -> str:
    """Return milliseconds as seconds in as few digits as it takes, such as ``57.4``."""
    return f"{ms / 1000:.3f}".rstrip("0").rstrip(".")


def shown(seconds: float) -> str:
    """Return seconds as a sentence has them, such as ``57.4 s``."""
    return f"{to_plain_seconds(round(seconds * 1000))} s"


def to_caliper_time(ms: int) -> str:
    """Return milliseconds since the epoch in Caliper 1.2's only form, ``YYYY-MM-DDTHH:MM:SS.sssZ``."""
    minute, ms = divmod(ms, 60_000)
    return f"{_minute(minute)}{ms // 1000:02d}.{ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def _minute(number: int) -> str:
    return to_datetime(number * 60_000).isoformat()[:17]


def plural(number: int, noun: str) -> str:
    """Return a count with its noun, such as ``1 event`` or ``2 events``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


#: Reading up to this long pays nothing.
UNPAID_SECONDS: Final = 20.0


def minutes_rounded_up(seconds: float) -> int:
    """Return 0 minutes for up to 20 seconds, otherwise the minutes begun."""
    return 0 if seconds <= UNPAID_SECONDS else ceil(seconds / 60)
