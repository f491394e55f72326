"""Types of arguments that argparse checks."""

from __future__ import annotations

import argparse

from caliper_readtime import _checks
from caliper_readtime._units import to_ms
from caliper_readtime.errors import InvalidInput


def seconds(text: str) -> float:
    """Return a number of seconds, from 0."""
    try:
        value = float(text)
        to_ms(value, "seconds")
    except (ValueError, InvalidInput):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more") from None
    return value


def positive_seconds(text: str) -> float:
    """Return a number of seconds, from 0.001."""
    value = seconds(text)
    if to_ms(value, "seconds") == 0:
        raise argparse.ArgumentTypeError("must be at least 0.001 seconds")
    return value


def whole(text: str) -> int:
    """Return a whole number, from 0."""
    if not (text.isascii() and text.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number, 0 or more")
    return int(text)


def count(text: str) -> int:
    """Return a whole number, from 1, that a store can take."""
    try:
        return _checks.count(whole(text), "count")
    except InvalidInput as error:
        raise argparse.ArgumentTypeError(error.problem) from None
