"""``Trouble``: what is wrong with a sweeper's rounds, logged when it begins, while it lasts and when it is over."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING, Final

from caliper_readtime.errors import ConfigurationError, EmitError, ReadTimeError, StoreError
from caliper_readtime.logs import say

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime.results import SweepReport

#: An unchanged trouble is logged again after this many seconds.
REMIND_SECONDS: Final = 600.0
_ENDPOINT: Final = {
    "unavailable": "the endpoint does not answer",
    "refused": "the endpoint refuses us: correct its URL, the credentials or the data",
}


class Trouble:
    """Logs trouble when it changes, now and then while it lasts, and when it is over.

    Attributes:
        failures: rounds in a row that went wrong.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._trouble: str | None = None
        self._since = 0.0
        self._said_at = 0.0
        self.failures: int = 0

    def note(self, outcome: SweepReport | Exception, wait: float) -> None:
        """Take note of a round; ``wait`` is how long until the next."""
        now, trouble = self._monotonic(), trouble_of(outcome)
        if trouble is None:
            # A round with nothing to send, because what failed waits for its back-off, knows nothing of the endpoint.
            heard = not isinstance(outcome, Exception) and outcome.events_sent + outcome.parked > 0
            if self._trouble is not None and (heard or self._trouble not in _ENDPOINT.values()):
                say(
                    logging.WARNING, "sweeper: works again", before=self._trouble, began=f"{now - self._since:.0f}s ago"
                )
                self._trouble = None
            self.failures = 0
            return
        self.failures += 1
        if self._trouble is None:
            self._since = now
        if trouble != self._trouble or now - self._said_at >= REMIND_SECONDS:
            self._trouble, self._said_at = trouble, now
            say(
                logging.ERROR,
                f"sweeper: {trouble}",
                detail=_detail(outcome),
                lasts=f"{now - self._since:.0f}s",
                next_in=f"{wait:.0f}s",
                then="nothing is lost, it goes on by itself",
            )


def trouble_of(outcome: SweepReport | Exception) -> str | None:
    """Return what is wrong, in words that stay the same while it stays the same; None where all is well."""
    match outcome:
        case StoreError():
            return "the store cannot be used"
        case ConfigurationError():
            return "the configuration is wrong"
        case EmitError():
            return _ENDPOINT["unavailable"]
        case Exception():
            return "a round failed"
    return _ENDPOINT.get(outcome.stopped_by)


def _detail(outcome: SweepReport | Exception) -> str:
    if not isinstance(outcome, Exception):
        return first_error(outcome) or outcome.stopped_by
    if isinstance(outcome, ReadTimeError):
        return str(outcome)
    # What somebody else's exception says may hold an address; where it came from does not.
    place = traceback.extract_tb(outcome.__traceback__)[-1:]
    return " ".join([type(outcome).__name__, *(f"at {frame.filename}:{frame.lineno}" for frame in place)])


def first_error(report: SweepReport) -> str | None:
    """Return what the first event that was not delivered ran into."""
    return next((str(one.error) for one in report.reports if one.error is not None), None)
