"""PURE: what seconds of reading pay, where the host has no rule of its own."""

from __future__ import annotations

from math import ceil
from typing import Final

#: Reading up to this long pays nothing.
UNPAID_SECONDS: Final = 20.0


def minutes_rounded_up(seconds: float) -> int:
    """Return 0 minutes for up to 20 seconds, otherwise the minutes begun."""
    return 0 if seconds <= UNPAID_SECONDS else ceil(seconds / 60)
