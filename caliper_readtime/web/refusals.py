"""Why a signal is not taken: the closed list of reasons, and their count."""

from __future__ import annotations

import logging
from enum import StrEnum
from threading import Lock
from typing import TYPE_CHECKING, Final

from caliper_readtime._logs import log
from caliper_readtime.errors import ReadTimeError

if TYPE_CHECKING:
    from collections.abc import Callable


class Refusal(StrEnum):
    """Every reason. Of what is final the script drops its record; of the rest it keeps it and comes back."""

    FOREIGN_ORIGIN = "foreign_origin"
    CONTENT_TYPE = "content_type"
    EMPTY = "empty"
    UNREADABLE = "unreadable"
    TOO_LARGE = "too_large"
    NOT_JSON = "not_json"
    UNKNOWN_VERSION = "unknown_version"
    MALFORMED = "malformed"
    TICKET_FORGED = "ticket_forged"
    TICKET_EXPIRED = "ticket_expired"
    TICKET_FOREIGN = "ticket_foreign"
    UNKNOWN_READER = "unknown_reader"
    STORE_UNAVAILABLE = "store_unavailable"
    HOST_FAILED = "host_failed"
    BEFORE_VIEW = "before_view"

    @property
    def status(self) -> int:
        """The HTTP status that says so; of BEFORE_VIEW whoever turned the signal away has said what they liked."""
        return _ABOUT[self][0]

    @property
    def advice(self) -> str:
        """What to do, for whoever looks at the page's console."""
        return _ABOUT[self][1]

    @property
    def final(self) -> bool:
        """Whether the same signal will never be taken; an origin's will, once the host trusts it."""
        return self.status < 500 and self is not Refusal.FOREIGN_ORIGIN  # noqa: PLR2004 - what the server is to blame for


_FOREIGN: Final = (
    "name this page's origin in TRUSTED_ORIGINS; a sandboxed frame, whose origin is null, needs allow-same-origin, or "
    "the setting TRUST_NULL_ORIGIN"
)
_CHANGED: Final = "something between the page and the host has changed the signal: let it through as it is"
_RELOAD: Final = "reload the page"
_KEPT: Final = "the page keeps the time and comes back"
_ABOUT: Final = {
    Refusal.FOREIGN_ORIGIN: (403, _FOREIGN),
    Refusal.CONTENT_TYPE: (400, _CHANGED),
    Refusal.EMPTY: (400, _CHANGED),
    Refusal.UNREADABLE: (503, f"let the server hand on bodies that come in chunks; {_KEPT}"),
    Refusal.TOO_LARGE: (413, _CHANGED),
    Refusal.NOT_JSON: (400, _CHANGED),
    Refusal.UNKNOWN_VERSION: (400, "update the servers before the script"),
    Refusal.MALFORMED: (400, _CHANGED),
    Refusal.TICKET_FORGED: (403, f"keep the secret that signed the ticket in SECRETS, and {_RELOAD}"),
    Refusal.TICKET_EXPIRED: (403, _RELOAD),
    Refusal.TICKET_FOREIGN: (403, f"send signals to the application and in the session that the page is of; {_RELOAD}"),
    Refusal.UNKNOWN_READER: (403, "see to it that the setting READER knows the page's reader"),
    Refusal.STORE_UNAVAILABLE: (503, _KEPT),
    Refusal.HOST_FAILED: (503, f"look at the host's log; {_KEPT}"),
    Refusal.BEFORE_VIEW: (403, "look at what stands before the view: it needs no CSRF token and no login"),
}


class Refused(ReadTimeError):
    """A signal is not taken. Nothing was counted.

    Attributes:
        reason: why.
        detail: more for the log, without anything that the signal said.
    """

    def __init__(self, reason: Refusal, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


class Refusals:
    """Counts refusals. A flood of them writes few log lines: a reason's first, its tenth, its hundredth and so on.

    Args:
        hook: called with each ``Refusal``, for metrics; whatever it raises is logged and goes no further.
    """

    def __init__(self, hook: Callable[[Refusal], object] | None = None) -> None:
        self._hook = hook
        self._lock = Lock()
        self._counts = dict.fromkeys(Refusal, 0)

    def counts(self) -> dict[Refusal, int]:
        """Return how often each reason occurred in this process."""
        with self._lock:
            return dict(self._counts)

    def count(self, refused: Refused) -> None:
        """Count one, and tell the log and the hook."""
        with self._lock:
            self._counts[refused.reason] += 1
            count = self._counts[refused.reason]
        if str(count).rstrip("0") == "1":
            reason, detail = refused.reason.value, refused.detail or "-"
            log(logging.WARNING, "signals refused", reason=reason, count=count, detail=detail)
        if self._hook is not None:
            try:
                self._hook(refused.reason)
            except Exception as error:  # noqa: BLE001 - a host's metrics must not cost a reader's time
                log(logging.ERROR, "on_refusal failed", reason=refused.reason.value, cause=error)
