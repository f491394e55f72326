"""The settings of pages: those of the one table that a tracker has no use for."""

from __future__ import annotations

from enum import StrEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any

import attrs

from caliper_readtime import _checks
from caliper_readtime._settings import PREFIX
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.web.tickets import GRACE_SECONDS, TICKET_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from caliper_readtime._model import Reader


class Leave(StrEnum):
    """What happens to the unreported time of a page that is left."""

    BACKGROUND = "background"
    SEND = "send"
    DEFER = "defer"


def _seconds(value: Any) -> Any:
    # From the environment numbers come as text.
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


def _many(value: Any) -> Any:
    return tuple(value.split()) if isinstance(value, str) else tuple(value)


def _reader(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    module, _, name = value.rpartition(".")
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigurationError(f"{PREFIX}READER: {value!r} cannot be imported: {error}") from error


def _leave(value: Any) -> Any:
    return _checks.member(Leave, value)


@attrs.frozen
class WebSettings:
    """How pages are counted.

    Attributes:
        secrets: sign tickets, newest first; empty for the framework's own.
        reader: returns the ``Reader`` of a sourced id, or None; a function, or its dotted path.
        leave: what is unreported when a page is left is sent in the ``background``, by a thread of the worker;
            ``send`` lets the request wait for the endpoint, ``defer`` leaves it to the sweeper.
        ticket_seconds: how long a page's ticket is good for.
        ticket_grace_seconds: for how long after that a late replay is taken.
        trusted_origins: other origins whose pages may send signals.
    """

    secrets: tuple[str, ...] = attrs.field(default=(), converter=_many, repr=False)
    reader: Callable[[str], Reader | None] | None = attrs.field(default=None, converter=_reader)
    leave: Leave = attrs.field(default=Leave.BACKGROUND, converter=_leave)
    ticket_seconds: float = attrs.field(default=TICKET_SECONDS, converter=_seconds)
    ticket_grace_seconds: float = attrs.field(default=GRACE_SECONDS, converter=_seconds)
    trusted_origins: tuple[str, ...] = attrs.field(default=(), converter=_many)

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> WebSettings:
        """Return those of a table by lower-case names (``config.named``).

        Raises:
            ConfigurationError: a value is wrong.
        """
        names = (attribute.name for attribute in attrs.fields(cls))
        return cls(**{name: settings[name] for name in names if settings.get(name) is not None})

    def __attrs_post_init__(self) -> None:
        if self.leave is None:
            raise ConfigurationError(f"{PREFIX}LEAVE must be one of: {', '.join(Leave)}")
        if self.reader is not None and not callable(self.reader):
            raise ConfigurationError(f"{PREFIX}READER must be a function, or its dotted path")
