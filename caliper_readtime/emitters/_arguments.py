"""What emitters' constructors accept; anything else is a ``ConfigurationError`` at once."""

from __future__ import annotations

import os
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any

from caliper_readtime.errors import ConfigurationError


def seconds(value: object, name: str, *, zero: bool = False) -> float:
    """Return a finite number of seconds above 0, or from 0 where ``zero`` is set.

    Raises:
        ConfigurationError: it is anything else.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not isfinite(value)
        or value < 0
        or (value == 0 and not zero)
    ):
        raise ConfigurationError(f"{name}: must be a finite number of seconds, {'from' if zero else 'above'} 0")
    return float(value)


def timeouts(value: object) -> tuple[float, float]:
    """Return seconds to connect and seconds to read; one number stands for both.

    Raises:
        ConfigurationError: it is anything else.
    """
    both = value if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:  # noqa: PLR2004 - to connect, to read
        raise ConfigurationError("timeout: must be seconds, or (seconds to connect, seconds to read)")
    return seconds(both[0], "timeout"), seconds(both[1], "timeout")


def count(value: object, name: str) -> int:
    """Return a whole number, at least 1.

    Raises:
        ConfigurationError: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}: must be a whole number, at least 1")
    return value


def auth(value: Any) -> Any:
    """Return what requests can take as auth.

    Raises:
        ConfigurationError: it is anything else. The error does not quote it.
    """
    pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)  # noqa: PLR2004
    if value is None or pair or callable(value):
        return value
    raise ConfigurationError("auth: must be a requests AuthBase, (user, password) or None")


def verify(value: object) -> bool | str:
    """Return True, or the path of CA certificates that exist.

    Raises:
        ConfigurationError: it is anything else.
    """
    if value is True:
        return True
    # An empty path is the present directory to pathlib, and "no verification" to requests.
    if isinstance(value, str | os.PathLike) and os.fspath(value) and Path(value).exists():
        return os.fspath(value)
    raise ConfigurationError(
        "verify: must be True or the path of CA certificates; TLS verification cannot be switched off"
    )
