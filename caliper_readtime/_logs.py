"""The package's logger, and the one way to write a line: fields both in the message and as ``extra``."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._policy import ReaderBudget
from caliper_readtime._units import to_seconds
from caliper_readtime.errors import StoreUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules import Counted, Signal
    from caliper_readtime._rules.state import Key, ReadTimeState
    from caliper_readtime.errors import CorruptState, MissingField

logger: Final = logging.getLogger("caliper_readtime")
logger.addHandler(logging.NullHandler())


def log(level: int, message: str, /, *, cause: BaseException | None = None, **fields: Any) -> None:
    """Log one line. Callers pass ids and numbers, never an e-mail address, a token or a body.

    Args:
        level: of the ``logging`` module.
        message: what happened.
        cause: an exception whose traceback helps.
        fields: name=value pairs for the reader and for machines.
    """
    if logger.isEnabledFor(level):
        fields = {
            name: _visible(str(value)) if isinstance(value, str | Exception) else value
            for name, value in fields.items()
        }
        pairs = "".join(f" {name}={value}" for name, value in fields.items())
        logger.log(level, "%s%s", message, pairs, extra=fields, exc_info=cause, stacklevel=2)


def _visible(text: str) -> str:
    """Return text in which nothing breaks the line, reorders it or is not seen: what could is escaped."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def log_unreadable(error: CorruptState, doing: str) -> None:
    """Tell the operator of a stored state that cannot be read and was left as it is, while the others go on."""
    log(
        logging.ERROR,
        f"{doing}: a stored state cannot be read, its time waits until somebody looks at it",
        reader_sourced_id=error.reader_sourced_id,
        resource_id=error.resource_id,
        error=str(error),
    )


def log_wall(key: Key) -> None:
    """U10: tell the operator that a reader's record of claimed time could not be read, and is begun anew."""
    log(
        logging.ERROR,
        "claim: the stored record of what the reader has claimed on all articles could not be read, and a new one was"
        " begun: what was claimed before may count beside other articles; look for what writes to this store, or for"
        " workers of a newer release",
        **key._asdict(),
    )


def log_beside(key: Key, ms: int, policy: ReadTimePolicy) -> None:
    """Tell of time that was read beside another article: of a clamp each time, of what is only measured at debug."""
    if policy.reader_budget is ReaderBudget.ENFORCE:
        log(logging.WARNING, "claim: clamped, read beside another article", **key._asdict(), clamped=to_seconds(ms))
    else:
        log(logging.DEBUG, "claim: read beside another article", **key._asdict(), beside=to_seconds(ms))


def log_lost(reader_sourced_id: str, resource_id: str) -> None:
    """Tell the operator that a state with unreported time, which never expires, has gone from the store."""
    log(
        logging.ERROR,
        "a state with unreported time has vanished from the store: look for eviction (maxmemory-policy), a fail-over"
        " that lost writes, or a restore; what it held cannot be reported",
        reader_sourced_id=reader_sourced_id,
        resource_id=resource_id,
    )


def log_outlived(key: Key, signal: Signal, state: ReadTimeState) -> None:
    """Tell the operator, once for each state, that a page has outlived the state that its time was acknowledged by."""
    if state.ledger.generation == signal.generation:
        log(
            logging.WARNING,
            "a page's acknowledged time meets no state: the store has lost it, or it was forgotten; look for an"
            " eviction, a fail-over that lost writes, a flush or a restore; what the page's own total proves is counted"
            " again",
            **key._asdict(),
            acknowledged=to_seconds(signal.acknowledged_ms),
            accepted=state.cumulative_read_time_seconds,
        )


def log_missing(error: MissingField, key: Key) -> None:
    """Tell the operator that no event could ever be built of what was passed, so that it was not counted."""
    log(
        logging.ERROR,
        "article accumulate: not counted, since nothing is stored yet and only an id was passed: pass a Reader and an"
        " Article once",
        **key._asdict(),
        missing=error.field,
    )


class StoreAway:
    """Tells the operator that a verb could not reach the store: one line for each verb, and again after a minute."""

    def __init__(self) -> None:
        self._logged_at: dict[str, float] = {}

    @contextmanager
    def with_context(self, verb: str, **whose: Any) -> Iterator[None]:
        """Watch over what a verb does; what it raises is raised."""
        try:
            yield
        except StoreUnavailable as error:
            self.failed(verb, error, **whose)
            raise

    def failed(self, verb: str, error: StoreUnavailable, **whose: Any) -> None:
        """Log the line, unless it has just been."""
        now = time.monotonic()
        if now - self._logged_at.get(verb, float("-inf")) >= _LOG_AGAIN_SECONDS:
            self._logged_at[verb] = now
            then = "what was accepted is kept, and is reported once the store is back"
            log(logging.ERROR, f"{verb}: failed, the store is away", **whose, error=str(error), then=then)


_LOG_AGAIN_SECONDS: Final = 60.0
#: Clamped time of one state from which its clamping is worth a warning: beyond a busy page with a few tabs.
CLAMP_WARNING_MS: Final = 300_000


def log_counted(key: Key, signal: Signal, counted: Counted, state: ReadTimeState) -> None:
    """Log what came of a signal; ``state`` is what it left."""
    whose = key._asdict()
    if counted.clamped_ms:
        crossed = state.meter.clamped_ms - counted.clamped_ms < CLAMP_WARNING_MS <= state.meter.clamped_ms
        # G3: debug each; one warning per state when its clamped time passes a threshold.
        for level in (logging.DEBUG, logging.WARNING) if crossed else (logging.DEBUG,):
            log(
                level,
                "article accumulate: clamp",
                **whose,
                claimed=to_seconds(counted.accepted_ms + counted.clamped_ms),
                allowed=to_seconds(counted.accepted_ms),
                elapsed=to_seconds(state.meter.last_sync_at_ms - state.ledger.first_sync_at_ms),
                clamped=to_seconds(counted.clamped_ms),
                clamped_in_all=state.clamped_seconds,
            )
    if counted.other_duration:
        log(
            logging.WARNING,
            "article accumulate: another duration, the first one stays",
            **whose,
            duration=to_seconds(signal.duration_ms or 0),
            canonical=state.canonical_duration_seconds,
        )
    if counted.other_kind and signal.article is not None:
        log(
            logging.WARNING,
            "article accumulate: one resource id names two kinds of activity, which share their time and budget",
            **whose,
            kind=signal.article.kind,
        )
    log(
        logging.DEBUG,
        "article accumulate: delta",
        **whose,
        delta=to_seconds(counted.accepted_ms),
        duplicate=counted.duplicate,
    )
