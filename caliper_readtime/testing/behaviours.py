"""How a ``CaliperEndpoint`` may behave towards one POST: values to hand to its ``misbehave``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from uuid import uuid4

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "AcceptThen",
    "Answer",
    "Behaviour",
    "Conflict",
    "Drop",
    "EarlyHints",
    "EmptyBody",
    "Hang",
    "Limit",
    "Reject",
    "Reply202JobId",
    "StatusBody",
    "Success",
    "Trickle",
]

LONGEST_HANG_SECONDS: Final = 600.0


def _encoded(body: bytes | str) -> bytes:
    return body.encode() if isinstance(body, str) else body


def _pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    return tuple(headers.items() if isinstance(headers, Mapping) else headers)


@attrs.frozen
class Answer:
    """Read the request, record no event, and answer this, whatever was sent.

    Attributes:
        status: HTTP status.
        body: bytes or text.
        headers: mapping or pairs, such as ``{"Retry-After": "2"}`` or ``{"Location": "…"}``. A ``Content-Length``
            given here replaces the true one; ``Connection: close`` ends the connection after the answer.
    """

    status: int
    body: bytes = attrs.field(default=b"", converter=_encoded)
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_pairs)

    @classmethod
    def json(cls, status: int, document: Any) -> Answer:
        """Return an answer with a JSON body and its content type."""
        return cls(status, json.dumps(document), {"Content-Type": "application/json"})


@attrs.frozen
class StatusBody:
    """Accept, and answer 200 ``{"status":"success",…}``, as Timeback documents it."""

    def answer(self) -> Answer:
        """Return the answer to send."""
        return Answer.json(200, {"status": "success", "message": "", "errors": None})


@attrs.frozen
class Reply202JobId:
    """Accept, and answer 202 ``{"jobId":"…"}``, a new id each time."""

    def answer(self) -> Answer:
        """Return the answer to send."""
        return Answer.json(202, {"jobId": str(uuid4())})


@attrs.frozen
class EmptyBody:
    """Accept, and answer 200 without a body, as Caliper 1.2 recommends."""

    def answer(self) -> Answer:
        """Return the answer to send."""
        return Answer(200)


@attrs.frozen
class Drop:
    """Reset the connection (TCP RST) instead of answering.

    Attributes:
        after: ``"headers"``: the body is not read; ``"body"``: it is read, no event is accepted; ``"accept"``: the
            events are accepted, and the sender never hears of it.
    """

    after: Literal["headers", "body", "accept"] = attrs.field(
        default="body", validator=attrs.validators.in_(("headers", "body", "accept"))
    )


@attrs.frozen
class AcceptThen:
    """Accept the events of a good envelope, then answer something else or reset the connection.

    Attributes:
        reply: what the sender gets to see; any ``Drop`` is one after acceptance.
        seconds: how long after acceptance it gets to see it, at most 600; the endpoint's ``close`` ends the wait.
    """

    reply: Answer | Drop = attrs.field(validator=attrs.validators.instance_of((Answer, Drop)))
    seconds: float = attrs.field(
        default=0.0, validator=[attrs.validators.ge(0), attrs.validators.le(LONGEST_HANG_SECONDS)]
    )


@attrs.frozen
class Hang:
    """Read the request, then say nothing; reset the connection in the end.

    Attributes:
        seconds: how long to say nothing, at most 600; the endpoint's ``close`` ends it at once.
        accept: whether the events are accepted before.
    """

    seconds: float = attrs.field(
        default=60.0, validator=[attrs.validators.gt(0), attrs.validators.le(LONGEST_HANG_SECONDS)]
    )
    accept: bool = False


@attrs.frozen
class Trickle:
    """Send the usual reply one byte at a time.

    Attributes:
        interval_seconds: pause before each byte.
        accept: whether the events are accepted; otherwise the reply is the one for success, and is not true.
    """

    interval_seconds: float = attrs.field(validator=attrs.validators.ge(0))
    accept: bool = True


@attrs.frozen
class Reject:
    """Answer with an error, accepting nothing, if any event of the envelope matches; otherwise accept all.

    Attributes:
        matches: called with each event; tells whether it is one that this endpoint does not accept.
        status: HTTP status of the error: 422 names an event that will never be accepted, 403, 404 or 500 name none.
    """

    matches: Callable[[Mapping[str, Any]], bool]
    status: int = 422


@attrs.frozen
class Limit:
    """Answer with an error, accepting nothing, if the envelope holds too many events; otherwise accept all.

    Attributes:
        events: the most that it takes at once.
        status: HTTP status of the error, such as a gateway's 504.
    """

    events: int
    status: int = 504


@attrs.frozen
class EarlyHints:
    """Accept, and send informational answers before the usual one, as proxies may.

    Attributes:
        times: how many.
        status: from 100 to 199; 103 is Early Hints.
    """

    times: int = attrs.field(default=1, validator=attrs.validators.ge(1))
    status: int = attrs.field(default=103, validator=[attrs.validators.ge(100), attrs.validators.le(199)])


@attrs.frozen
class Conflict:
    """Answer 409, accepting nothing, if any event id of the envelope is already held; otherwise accept all."""


Success: TypeAlias = StatusBody | Reply202JobId | EmptyBody
Behaviour: TypeAlias = Answer | AcceptThen | Drop | Hang | Trickle | Reject | Limit | EarlyHints | Conflict | Success
