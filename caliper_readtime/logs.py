"""The package's logger, and the one way to write a line: fields both in the message and as ``extra``."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from caliper_readtime.errors import CorruptState

logger: Final = logging.getLogger("caliper_readtime")
logger.addHandler(logging.NullHandler())


def say(level: int, message: str, /, *, cause: BaseException | None = None, **fields: Any) -> None:
    """Log one line. Callers pass ids and numbers, never an e-mail address, a token or a body.

    Args:
        level: of the ``logging`` module.
        message: what happened.
        cause: an exception whose traceback helps.
        fields: name=value pairs for the reader and for machines.
    """
    if logger.isEnabledFor(level):
        pairs = "".join(f" {name}={value}" for name, value in fields.items())
        logger.log(level, "%s%s", message, pairs, extra=fields, exc_info=cause, stacklevel=2)


def say_unreadable(error: CorruptState, doing: str) -> None:
    """Tell the operator of a stored state that cannot be read and was left as it is, while the others go on."""
    say(
        logging.ERROR,
        f"{doing}: a stored state cannot be read, its time waits until somebody looks at it",
        reader_sourced_id=error.reader_sourced_id,
        resource_id=error.resource_id,
        error=str(error),
    )


def say_lost(reader_sourced_id: str, resource_id: str) -> None:
    """Tell the operator that a state with unreported time, which never expires, has gone from the store."""
    say(
        logging.ERROR,
        "a state with unreported time has vanished from the store: look for eviction (maxmemory-policy), a fail-over"
        " that lost writes, or a restore; what it held cannot be reported",
        reader_sourced_id=reader_sourced_id,
        resource_id=resource_id,
    )
