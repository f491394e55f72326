"""PURE: what an HTTP answer means (chapter H of the protocol)."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime.errors import EmitError, EmitterUnavailable, EndpointRefused, EventRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    #: From HTTP status and body, as far as it was read, to whether the endpoint says that it holds the event.
    DuplicateAnswers: TypeAlias = Callable[[int, str], bool]

#: How much of an answer an error carries, in characters.
MAX_BODY_CHARACTERS: Final = 2000
#: The longest that an endpoint is left alone because it asked, in seconds: the policy's longest back-off by default.
MAX_RETRY_AFTER_SECONDS: Final = 3600.0

_TRY_AGAIN: Final = (408, 425, 429)
_NEVER: Final = (400, 413, 422)
_CONFLICT: Final = 409
_TOO_MANY_REQUESTS: Final = 429
_SERVICE_UNAVAILABLE: Final = 503
_UNAUTHORIZED: Final = 401
_ADVICE: Final = {
    401: "check the credentials",
    403: "these credentials may not send events there",
    404: "check the endpoint's path",
    405: "check the endpoint's path",
    407: "a proxy in between asks for credentials",
    415: "it does not take application/json, so it is hardly a Caliper endpoint",
}
# For a JSON object that is too long to be read to its end: "status" among the members before the first nested value.
_SAYS_ERROR: Final = re.compile(r'\s*\{[^{\[]*"status"\s*:\s*"error"')
_SECONDS: Final = re.compile(r"\d{1,12}", re.ASCII)


def is_conflict(status: int, _body: str) -> bool:
    """Return whether this is a 409, which says that an event is held, unless an operator knows better."""
    return status == _CONFLICT


class Verdict(StrEnum):
    """What an answer says about the events that were sent."""

    ACCEPTED = "accepted"
    CONFLICT = "conflict"  # at least one of them is held already
    REJECTED = "rejected"
    UNAUTHORIZED = "unauthorized"
    REFUSED = "refused"
    UNAVAILABLE = "unavailable"


@attrs.frozen
class EndpointResponse:
    """An HTTP answer.

    Attributes:
        status: HTTP status.
        body: the body as far as it was read, decompressed; it may quote an event, so it is not in the repr.
        retry_after_seconds: how long the endpoint asks to be left alone, where it does.
        duplicates: which answers mean that an event is held (H4).
    """

    status: int
    body: bytes = attrs.field(default=b"", repr=False)
    retry_after_seconds: float | None = None
    duplicates: DuplicateAnswers = attrs.field(default=is_conflict, repr=False)

    @classmethod
    def of(cls, response: Any, now: datetime, duplicates: DuplicateAnswers = is_conflict) -> EndpointResponse:
        """Return the answer that ``requests`` has received at ``now`` (its ``Response``)."""
        asked = retry_after(response.headers.get("Retry-After"), now)
        return cls(response.status_code, response.content, asked, duplicates)

    @property
    def verdict(self) -> Verdict:
        """What the answer says about the events that were sent."""
        fine = 200 <= self.status < 300  # noqa: PLR2004 - 2xx
        if fine and not self._says_error():
            return Verdict.ACCEPTED
        if self.duplicates(self.status, self._text):
            return Verdict.CONFLICT
        match self.status:
            case status if fine or status in _NEVER:
                return Verdict.REJECTED
            case status if status == _UNAUTHORIZED:
                return Verdict.UNAUTHORIZED
            case status if 300 <= status < 500 and status not in _TRY_AGAIN:  # noqa: PLR2004 - 3xx and 4xx
                return Verdict.REFUSED
        return Verdict.UNAVAILABLE

    @property
    def ambiguous(self) -> bool:
        """Whether an endpoint that is unavailable may have taken the events all the same (H8, H9)."""
        asked = self.retry_after_seconds is not None
        return not (self.status == _TOO_MANY_REQUESTS or (self.status == _SERVICE_UNAVAILABLE and asked))

    def error(self, where: str, event_ids: Sequence[str]) -> EmitError | None:
        """Return the error that the answer means; None where the events were accepted.

        A conflict counts as accepted: whoever sends several events together must look at the verdict first.

        Args:
            where: name of the endpoint.
            event_ids: the events that were sent.
        """
        match self.verdict:
            case Verdict.ACCEPTED | Verdict.CONFLICT:
                return None
            case Verdict.REJECTED:
                what = "this event" if len(event_ids) == 1 else f"these {len(event_ids)} events together"
                return EventRejected(
                    f"{where} answered {self.status} and will not accept {what} (its words are in .body)",
                    event_ids=event_ids,
                    status=self.status,
                    body=self._text[:MAX_BODY_CHARACTERS],
                )
            case Verdict.UNAUTHORIZED | Verdict.REFUSED:
                return self.refused(where, event_ids)
        return EmitterUnavailable(
            f"{where} answered {self.status}: try again later",
            event_ids=event_ids,
            status=self.status,
            retry_after_seconds=self.retry_after_seconds,
            ambiguous=self.ambiguous,
        )

    def refused(self, where: str, event_ids: Sequence[str]) -> EndpointRefused:
        """Return the error that blames the endpoint or the credentials."""
        if 300 <= self.status < 400:  # noqa: PLR2004 - 3xx
            advice = "redirects are never followed, set the endpoint to its final URL"
        else:
            advice = _ADVICE.get(self.status, "check the endpoint")
        return EndpointRefused(
            f"{where} answered {self.status}: {advice}", event_ids=event_ids, status=self.status, ambiguous=False
        )

    def holds(self, event_id: str) -> bool:
        """Return whether this answers a read-back by showing the event: ``{"event": {…}}`` with its id."""
        document = self._document()
        event = document.get("event") if isinstance(document, dict) else None
        # Anything else, such as a website's page for every path, proves nothing.
        return isinstance(event, dict) and event_id in (event.get("id"), event.get("externalId"))

    @property
    def _text(self) -> str:
        return self.body.decode(errors="replace")

    def _document(self) -> Any:
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            return None

    def _says_error(self) -> bool:
        document = self._document()
        if document is None:
            return _SAYS_ERROR.match(self._text) is not None
        return isinstance(document, dict) and document.get("status") == "error"


def retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for: whole seconds or an HTTP date.

    Args:
        header: the header's value.
        now: aware, for a date.

    Returns:
        0 to ``MAX_RETRY_AFTER_SECONDS``; None where there is no such header, or none that can be understood.
    """
    value = (header or "").strip()
    if _SECONDS.fullmatch(value):
        return min(float(value), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(value)
        seconds = (moment.replace(tzinfo=moment.tzinfo or UTC) - now).total_seconds()
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)
