"""Every error that the package raises.

::

    ReadTimeError
    ├── InvalidInput (also a ValueError)     a value that was passed in is wrong
    │   └── MissingField                     a value that is needed was not given, and none is stored
    ├── ConfigurationError                   the parts do not fit together, or a setting is wrong
    ├── StoreError
    │   ├── StoreUnavailable                 the store did not answer, or could not make the write durable
    │   ├── ContentionError                  too many writers at once; nothing was written
    │   └── CorruptState                     a stored state cannot be read; it was left as it is
    └── EmitError
        ├── EmitterUnavailable               not delivered now: try again later
        │   └── EndpointRefused              the endpoint or the credentials are wrong, not the event
        └── EventRejected                    this event will never be accepted as it is

Emitters of third parties raise the ``EmitError`` family; drivers' own exceptions are chained as ``__cause__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "ConfigurationError",
    "ContentionError",
    "CorruptState",
    "EmitError",
    "EmitterUnavailable",
    "EndpointRefused",
    "EventRejected",
    "InvalidInput",
    "MissingField",
    "ReadTimeError",
    "StoreError",
    "StoreUnavailable",
]


class ReadTimeError(Exception):
    """Root of everything that the package raises on purpose."""


class InvalidInput(ReadTimeError, ValueError):
    """A value is not acceptable. Nothing was stored and nothing was sent.

    Attributes:
        field: name of the argument or attribute that is wrong.
    """

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(field, problem)
        self.field = field
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.field}: {self.problem}"


class MissingField(InvalidInput):
    """A value is needed, was not given, and the store holds none."""


class ConfigurationError(ReadTimeError):
    """The parts do not fit together, or a setting is missing or wrong."""


class StoreError(ReadTimeError):
    """The store could not do what was asked.

    Attributes:
        reader_sourced_id: the reader whose state was asked for, if it is known.
        resource_id: the article whose state was asked for, if it is known.
    """

    def __init__(self, message: str, *, reader_sourced_id: str | None = None, resource_id: str | None = None) -> None:
        super().__init__(message)
        self.reader_sourced_id = reader_sourced_id
        self.resource_id = resource_id


class StoreUnavailable(StoreError):
    """The store did not answer in time or could not make the write durable; the outcome may be unknown. Retry."""


class ContentionError(StoreError):
    """Too many writers at once: the bounded retries ran out and nothing was written. Retry."""


class CorruptState(StoreError):
    """A stored state cannot be understood. It was left exactly as it is."""


class EmitError(ReadTimeError):
    """An event was not delivered.

    Attributes:
        event_ids: ids of the events concerned.
        status: HTTP status of the answer, where there was one.
    """

    # Here too, for the errors of somebody's own emitter: a class derived from these may not call their ``__init__``.
    event_ids: tuple[str, ...] = ()
    status: int | None = None

    def __init__(self, message: str, *, event_ids: Iterable[str] = (), status: int | None = None) -> None:
        super().__init__(message)
        self.event_ids = tuple(event_ids)
        self.status = status


class EmitterUnavailable(EmitError):
    """Nothing was delivered, or nobody knows. The same events can be sent again later.

    Attributes:
        retry_after_seconds: how long the endpoint asked to be left alone, where it did.
        ambiguous: the events may have arrived all the same (H9). False only where they certainly did not.
        tried: something was sent, or was about to be. False where no attempt was made, as by an open circuit breaker:
            then no attempt is counted (L6), and the events are due again after ``retry_after_seconds``.
    """

    retry_after_seconds: float | None = None
    ambiguous: bool = True
    tried: bool = True

    def __init__(
        self,
        message: str,
        *,
        event_ids: Iterable[str] = (),
        status: int | None = None,
        retry_after_seconds: float | None = None,
        ambiguous: bool = True,
        tried: bool = True,
    ) -> None:
        super().__init__(message, event_ids=event_ids, status=status)
        self.retry_after_seconds = retry_after_seconds
        self.ambiguous = ambiguous
        self.tried = tried


class EndpointRefused(EmitterUnavailable):
    """The endpoint or the credentials are wrong (401 after renewal, 403, 404, 405, 407, 415, 3xx), not the event."""

    ambiguous = False

    def __init__(
        self,
        message: str,
        *,
        event_ids: Iterable[str] = (),
        status: int | None = None,
        retry_after_seconds: float | None = None,
        ambiguous: bool = False,
        tried: bool = True,
    ) -> None:
        super().__init__(
            message,
            event_ids=event_ids,
            status=status,
            retry_after_seconds=retry_after_seconds,
            ambiguous=ambiguous,
            tried=tried,
        )


class EventRejected(EmitError):
    """The endpoint will never accept this event as it is (400, 413, 422).

    Attributes:
        body: the endpoint's answer, shortened; it may quote the event, so it is never logged.
    """

    body: str | None = None

    def __init__(
        self,
        message: str,
        *,
        event_ids: Iterable[str] = (),
        status: int | None = None,
        body: str | None = None,
    ) -> None:
        super().__init__(message, event_ids=event_ids, status=status)
        self.body = body
