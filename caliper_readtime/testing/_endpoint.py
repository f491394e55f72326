"""``CaliperEndpoint``: a strict Caliper endpoint on a real loopback socket, for tests and the demo."""

from __future__ import annotations

import json
import time
from collections import deque
from http import HTTPStatus
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import parse_qs, unquote

from caliper_readtime.testing import _service
from caliper_readtime.testing._loopback import Delayed, Hinted, LoopbackServer, Reply, Trickled
from caliper_readtime.testing._strict_schema import CALIPER_VERSION, envelope_problems, published_problems
from caliper_readtime.testing.behaviours import (
    AcceptThen,
    Answer,
    Behaviour,
    Conflict,
    Drop,
    EarlyHints,
    EmptyBody,
    Hang,
    Limit,
    Reject,
    Reply202JobId,
    StatusBody,
    Success,
    Trickle,
)
from caliper_readtime.testing.records import Duplicates, Headers, Records, Request

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

__all__ = [
    "AcceptThen",
    "Answer",
    "Behaviour",
    "CaliperEndpoint",
    "Conflict",
    "Drop",
    "EarlyHints",
    "EmptyBody",
    "Hang",
    "Limit",
    "Reject",
    "Reply202JobId",
    "Request",
    "StatusBody",
    "Success",
    "Trickle",
]

_DIRECTORY: Final = "/caliper"
_EVENT: Final = f"{_DIRECTORY}/event"
_VALIDATE: Final = f"{_EVENT}/validate"
_EVENTS: Final = f"{_DIRECTORY}/events"
_JOB: Final = ("/jobs/", "/status")
_STATUS_BODY: Final = StatusBody()


def _error(status: int, message: str, errors: Any = None) -> Answer:
    return Answer.json(status, {"status": "error", "message": message, "errors": errors})


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return document


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


class CaliperEndpoint:
    """A loopback Caliper endpoint that records what it accepts, and misbehaves when told to.

    It serves from construction until ``close`` and is a context manager. ``start`` after ``close`` serves again on the
    same port with the same records, so that an outage can be played. Safe for threads.

    It refuses whatever the wire format does not allow: 401 (body ``jwt expired``) without the token, 415 for anything
    but ``application/json``, 422 for another ``dataVersion``, 400 for any other problem. ``POST url`` accepts,
    ``POST url/validate`` only checks, ``GET url`` tells the supported versions. Beside it, as the real service has it,
    ``GET events/<id>`` and ``GET events?actorId=&actorEmail=&sensor=&startDate=&endDate=&limit=&offset=`` read stored
    events back, each with an integer ``id`` and its own as ``externalId``; ``GET /jobs/<id>/status`` tells of a job.

    Args:
        token: if given, every request needs ``Authorization: Bearer <token>``. The attribute may be set later.
        reads: whether stored events can be read back; otherwise reading always answers 404.
        success: how acceptance is answered: ``StatusBody()``, ``Reply202JobId()`` or ``EmptyBody()``.
        activity_ids: ``"uri"``, or ``"plain"`` for hosts whose activity ids are plain.
        strict: judge every envelope by the strict table of our own events; False takes what the published schema
            takes, other kinds of events and times of any precision included.
        duplicates: what becomes of an event whose id is stored already: ``"keep"`` stores it again, because nothing
            published promises more; ``"dedupe"`` accepts it and stores nothing; ``"refuse"`` answers 400.
        ingestion_lag_seconds: how long after acceptance a stored event shows in reads.
        monotonic: the clock that the lag is measured by.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        reads: bool = True,
        success: Success = _STATUS_BODY,
        activity_ids: str = "uri",
        strict: bool = True,
        duplicates: Duplicates = "keep",
        ingestion_lag_seconds: float = 0.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.token = token
        self._strict = strict
        self._duplicates: Duplicates = duplicates
        self._lag = ingestion_lag_seconds
        self._monotonic = monotonic
        self._jobs: dict[str, tuple[_service.Stored, ...]] = {}
        self._reads = reads
        self._success = success
        self._activity_ids = activity_ids
        self._records = Records()
        self._lock = Lock()
        self._queue: deque[Behaviour] = deque()
        self._always: Behaviour | None = None
        self._reading: Answer | Drop | Hang | None = None
        self._held = False
        self._port = 0
        self._server: LoopbackServer | None = None
        self.start()

    def start(self) -> Self:
        """Serve, if ``close`` has ended that: on the same port, with the same records."""
        if self._server is None:
            self._server = LoopbackServer(self._port, self._respond)
            self._port = self._server.server_port
        return self

    def close(self) -> None:
        """Stop serving: ends hanging replies and open connections, and leaves no thread. The records stay."""
        server, self._server = self._server, None
        if server is not None:
            server.stop()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def url(self) -> str:
        """The full URL to which envelopes are POSTed."""
        return f"http://127.0.0.1:{self._port}{_EVENT}"

    @property
    def requests(self) -> tuple[Request, ...]:
        """Every request, in order of arrival, whatever became of it."""
        return self._records.requests()

    @property
    def events(self) -> tuple[dict[str, Any], ...]:
        """The distinct accepted events, in order of first acceptance."""
        return self._records.events()

    @property
    def deliveries(self) -> tuple[dict[str, Any], ...]:
        """Every event that is stored, repeats included: what a calculator that knows no ids adds up."""
        return tuple(dict(row.event) for row in self._records.rows())

    @property
    def duplicates(self) -> tuple[str, ...]:
        """The event ids that were accepted more than once."""
        return self._records.repeated(differing=False)

    @property
    def conflicts(self) -> tuple[str, ...]:
        """The event ids that came again with different content."""
        return self._records.repeated(differing=True)

    def seconds(self, actor_id: str | None = None, activity_id: str | None = None) -> float:
        """Return the active seconds of the distinct accepted events.

        Args:
            actor_id: only those of this ``actor.id``.
            activity_id: only those of this ``object.activity.id``.
        """
        return self._records.seconds(actor_id, activity_id)

    def misbehave(self, *behaviours: Behaviour) -> None:
        """Queue behaviours for the next POSTs, one each; the endpoint behaves well again afterwards."""
        with self._lock:
            self._queue.extend(behaviours)

    def misbehave_always(self, behaviour: Behaviour | None) -> None:
        """Behave so towards every POST for which nothing is queued, until told otherwise; None behaves well."""
        with self._lock:
            self._always = behaviour

    def misbehave_reads(self, behaviour: Answer | Drop | Hang | None) -> None:
        """Behave so towards every GET, until told otherwise; None behaves well."""
        self._reading = behaviour

    def hold_reads(self, hold: bool) -> None:  # noqa: FBT001 - the verb says what the flag means
        """Play the lag of ingestion: while held, no accepted event can be read back."""
        self._held = hold

    def reset(self) -> None:
        """Forget all records and behaviours; go on serving."""
        with self._lock:
            self._queue.clear()
            self._always = None
        self._reading = None
        self._held = False
        self._jobs.clear()
        self._records.clear()

    def _respond(self, method: str, target: str, headers: Headers, read: Callable[[], bytes]) -> Reply:
        serial = self._records.arrived(Request(method, target, headers))
        behaviour = self._behaviour(method)
        if behaviour == Drop(after="headers"):
            return Drop(after="headers")
        body = read()
        self._records.amend(serial, body=body)
        path, _, query = target.partition("?")
        reply: Reply
        if method == "POST" and path in (_EVENT, _VALIDATE):
            document, problems = self._parse(body)
            self._records.amend(serial, problems=problems)
            reply = self._post(behaviour, headers, document, problems, keep=path == _EVENT)
        elif isinstance(behaviour, Answer | Drop | Hang):
            reply = behaviour
        else:
            reply = self._unauthorized(headers) or (
                self._get(path, query) if method == "GET" else _error(404, "not found")
            )
        answer = reply.answer if isinstance(reply, Trickled | Hinted) else reply
        answer = answer.reply if isinstance(answer, Delayed) else answer
        # Before the reply is sent, so that whoever has it finds the status recorded.
        self._records.amend(serial, status=answer.status if isinstance(answer, Answer) else None)
        return reply

    def _behaviour(self, method: str) -> Behaviour | None:
        if method != "POST":
            return self._reading
        with self._lock:
            return self._queue.popleft() if self._queue else self._always

    def _parse(self, body: bytes) -> tuple[Any, tuple[str, ...]]:
        try:
            document = json.loads(body.decode(), object_pairs_hook=_unique, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            return None, ("$: is not JSON",)
        judge = envelope_problems if self._strict else published_problems
        return document, judge(document, activity_ids=self._activity_ids)

    def _post(
        self,
        behaviour: Behaviour | None,
        headers: Headers,
        document: Any,
        problems: tuple[str, ...],
        *,
        keep: bool,
    ) -> Reply:
        refusal = self._regardless(behaviour) or self._refusal(headers, document, problems)
        if refusal is not None:
            return refusal
        stored = self._judgement(behaviour, document, keep=keep)
        return stored if isinstance(stored, Answer) else self._accepted(behaviour, stored)

    def _regardless(self, behaviour: Behaviour | None) -> Reply | None:
        """Return the reply of a behaviour that does not look at what was sent."""
        match behaviour:
            case Answer() | Drop(after="body") | Hang(accept=False):
                return behaviour
            case Trickle(interval, accept=False):
                return Trickled(self._success.answer(), interval)
        return None

    def _accepted(self, behaviour: Behaviour | None, stored: tuple[_service.Stored, ...]) -> Reply:
        """Return the reply to a sender whose events were accepted."""
        match behaviour:
            case AcceptThen(reply, seconds):
                return Delayed(reply, seconds) if seconds else reply
            case Drop() | Hang():
                return behaviour
            case Trickle(interval):
                return Trickled(self._success.answer(), interval)
        answer = (behaviour if isinstance(behaviour, Success) else self._success).answer()
        if answer.status == HTTPStatus.ACCEPTED:
            self._jobs[json.loads(answer.body)["jobId"]] = stored
        return Hinted(answer, behaviour.status, behaviour.times) if isinstance(behaviour, EarlyHints) else answer

    def _refusal(self, headers: Headers, document: Any, problems: tuple[str, ...]) -> Answer | None:
        """Return how a request that breaks the rules is answered."""
        unauthorized = self._unauthorized(headers)
        if unauthorized is not None:
            return unauthorized
        if headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            return _error(415, "the content type must be application/json")
        version = document.get("dataVersion") if isinstance(document, dict) else None
        if isinstance(version, str) and version != CALIPER_VERSION:
            return _error(422, "unsupported dataVersion")
        return _error(400, "malformed envelope", problems) if problems else None

    def _judgement(
        self, behaviour: Behaviour | None, envelope: dict[str, Any], *, keep: bool
    ) -> Answer | tuple[_service.Stored, ...]:
        """Store the events of a good envelope, or return why not."""
        events = envelope["data"]
        if isinstance(behaviour, Reject) and any(behaviour.matches(event) for event in events):
            return _error(behaviour.status, "an event was rejected")
        if isinstance(behaviour, Limit) and len(events) > behaviour.events:
            return _error(behaviour.status, "too many events")
        if not keep:
            return ()
        conflict = isinstance(behaviour, Conflict)
        stored = self._records.accept(
            events,
            envelope,
            duplicates="refuse" if conflict else self._duplicates,
            visible_at=self._monotonic() + self._lag,
        )
        if stored is None:
            return _error(409 if conflict else 400, "an event with this id already exists")
        return stored

    def _unauthorized(self, headers: Headers) -> Answer | None:
        if self.token is None or headers.get("Authorization") == f"Bearer {self.token}":
            return None
        return Answer(401, "jwt expired", {"WWW-Authenticate": "Bearer"})

    def _get(self, path: str, query: str) -> Answer:
        if path == _EVENT:
            return Answer.json(200, {"caliperSupportedVersions": [CALIPER_VERSION]})
        if path.startswith(_JOB[0]) and path.endswith(_JOB[1]):
            name = unquote(path.removeprefix(_JOB[0]).removesuffix(_JOB[1]))
            stored = self._jobs.get(name)
            return _error(404, "not found") if stored is None else Answer.json(200, _service.job(name, stored))
        now = self._monotonic()
        rows = [] if self._held else [row for row in self._records.rows() if row.visible_at <= now]
        if path == _EVENTS and self._reads:
            try:
                query_values = {name: values[-1] for name, values in parse_qs(query).items()}
                return Answer.json(200, _service.page(rows, query_values))
            except _service.BadQueryError as error:
                return _error(400, str(error))
        if path.startswith(f"{_EVENTS}/") and self._reads:
            wanted = unquote(path.removeprefix(f"{_EVENTS}/"))
            for row in rows:
                if row.event["id"] == wanted:
                    return Answer.json(200, {"event": row.document()})
        return _error(404, "not found")
