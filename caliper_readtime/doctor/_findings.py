"""PURE: ``Finding``: what a check found, and what to do about it."""

from __future__ import annotations

from enum import StrEnum

import attrs


class Level(StrEnum):
    """How bad it is: fine, worth a look, or time can be lost or is not being reported."""

    OK = "ok"
    WARN = "warn"
    ERROR = "error"


@attrs.frozen
class Finding:
    """What one check found.

    Attributes:
        level: how bad it is.
        id: name of the check, the same in every release: ``redis.eviction``.
        text: what is the case.
        hint: what to do; empty where all is well.
    """

    level: Level
    id: str
    text: str
    hint: str = ""


def ok(name: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(Level.OK, name, text)


def warn(name: str, text: str, hint: str) -> Finding:
    """Return what is worth a look."""
    return Finding(Level.WARN, name, text, hint)


def error(name: str, text: str, hint: str) -> Finding:
    """Return what loses time, or keeps it from being reported."""
    return Finding(Level.ERROR, name, text, hint)
