"""PURE: whether a store is in use for something else: what its users must share is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping


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
