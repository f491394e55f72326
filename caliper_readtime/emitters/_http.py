"""``HttpCaliperEmitter``: POSTs Caliper envelopes to an endpoint."""

from __future__ import annotations

import os
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import attrs

from caliper_readtime._rules.event import envelope
from caliper_readtime._rules.event_text import EventTexts, takes_texts
from caliper_readtime.emitters import _address
from caliper_readtime.emitters._address import Address, Network
from caliper_readtime.emitters._circuit import CircuitBreaker, within
from caliper_readtime.emitters._payload import Hidden, Request, ids_of, to_json
from caliper_readtime.emitters._responses import Verdict, is_conflict
from caliper_readtime.errors import ConfigurationError, EmitterUnavailable, EventRejected

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from caliper_readtime.emitters._exchange import Exchange
    from caliper_readtime.emitters._responses import EndpointResponse
    from caliper_readtime.emitters._transport import Sessions

#: Most events in one envelope.
MAX_BATCH: Final = 100
#: Longest duration of one ``emit``, unless told otherwise, in seconds.
DEADLINE_SECONDS: Final = 20.0
#: Longest time to connect, unless told otherwise, in seconds. Short, since a connection that fails is tried again
#: within the deadline; an answer may take all that is left of it, since giving up leaves a copy behind (H9).
CONNECT_SECONDS: Final = 5.0
#: Longest time to read events back, in seconds: a claim's lease must still be long enough to send in.
READ_BACK_SECONDS: Final = 5.0

_HTTP_NOT_FOUND: Final = 404
_OK: Final = range(200, 300)


class HttpCaliperEmitter:
    """An ``Emitter`` that wraps events in a Caliper 1.2 envelope and POSTs it.

    Thread-safe, and may be built before a fork. ``emit`` returns or raises within ``deadline_seconds``, whatever the
    server does; only a slow name resolution, which belongs to the operating system, and an ``auth`` of your own that
    waits longer can make it late. Within one ``emit`` only what certainly did not arrive is sent again: a connection
    that could not be made, 429, and 503 with Retry-After. Everything else raises ``EmitterUnavailable`` at once, with
    ``ambiguous`` set.

    After a call that got no answer, calls fail fast for half a second, doubling up to 30 s, and then one call at a time
    tries whether the endpoint is back. Where the endpoint asks for a pause (Retry-After), they fail fast for that time,
    up to an hour. Such an error has ``tried`` False, and ``retry_after_seconds`` is the time left.

    Args:
        endpoint: full URL that envelopes are POSTed to.
        auth: what ``requests`` takes: an ``AuthBase``, such as ``ClientCredentials``, or ``(user, password)``. One that
            has a ``renew()`` method is told once when the endpoint answers 401, and the request is repeated.
        timeout: seconds to connect and to wait for each part of an answer, or one number for each. None: 5 s to
            connect, and as long for the answer as the deadline allows.
        attempts: how often a request is sent at most.
        deadline_seconds: longest duration of one ``emit``; must be shorter than the policy's ``lock_seconds``.
        duplicate_answers: called with HTTP status and text of an answer that is no success; tells whether it means
            that the endpoint holds the event already. None: 409 does.
        read_back: whether the tracker shall ask for an event that may have arrived before it sends it again.
        sensor: IRI of the sensor. A tracker passes its own. Where there is none, the first event's ``object.app.id``
            is taken, or else the origin of its ``object.id``.
        proxies: URL of a proxy, or a mapping of schemes to URLs as ``requests`` takes it.
        ca_bundle: path of CA certificates, where the usual ones do not do. TLS verification cannot be switched off.
        trust_env: whether ``HTTPS_PROXY``, ``NO_PROXY``, ``REQUESTS_CA_BUNDLE`` and their like in the environment
            count.

    Attributes:
        deadline_seconds: as given.
        max_batch: most events in one call.
        read_back: as given.

    Raises:
        ConfigurationError: an argument is not acceptable.
    """

    max_batch: int = MAX_BATCH

    def __init__(
        self,
        endpoint: str,
        *,
        auth: Any = None,
        timeout: float | tuple[float, float] | None = None,
        attempts: int = 4,
        deadline_seconds: float = DEADLINE_SECONDS,
        read_back: bool = False,
        sensor: str | None = None,
        duplicate_answers: Callable[[int, str], bool] | None = None,
        proxies: str | Mapping[str, str] | None = None,
        ca_bundle: str | os.PathLike[str] | None = None,
        trust_env: bool = False,
    ) -> None:
        self._address = Address.checked(endpoint, "endpoint")
        self._attempts = _address.count(attempts, "attempts")
        self.deadline_seconds: float = _address.seconds(deadline_seconds, "deadline_seconds")
        if not isinstance(read_back, bool):
            raise ConfigurationError("read_back: must be True or False")
        self.read_back = read_back
        if duplicate_answers is not None and not callable(duplicate_answers):
            raise ConfigurationError("duplicate_answers: must be a function of status and text, or None")
        self._network = Network.checked(proxies, ca_bundle, trust_env)
        self._sensor: str | None = None
        if sensor is not None:
            self.bind_sensor(sensor)
        self._processes: dict[int, _Process] = {}
        # Here and not above: requests and tenacity are loaded by whoever builds an emitter, and by nobody else.
        from caliper_readtime.emitters._exchange import Exchange  # noqa: PLC0415

        self._exchange = partial(
            Exchange,
            where=self._address.where,
            auth=_address.auth(auth),
            timeout=_address.timeouts(timeout, (CONNECT_SECONDS, self.deadline_seconds)),
            duplicates=duplicate_answers or is_conflict,
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address.where!r})"

    def bind_sensor(self, sensor: str, /) -> None:
        """Take the sensor that envelopes name.

        Raises:
            ConfigurationError: another one was taken before, or this is not text.
        """
        if not isinstance(sensor, str) or not sensor.strip():
            raise ConfigurationError("sensor: must be an IRI, such as the application's URL")
        if self._sensor not in (None, sensor):
            raise ConfigurationError(
                f"this emitter already sends for the sensor {self._sensor}, not for {sensor}: use one for each"
            )
        self._sensor = sensor

    @takes_texts
    def emit(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Deliver all of these events, or raise. An empty sequence does nothing.

        Raises:
            EmitterUnavailable: not delivered, or unknown; ``event_ids`` are the events of which that is true.
            EndpointRefused: the endpoint or the credentials are wrong.
            EventRejected: at least one of ``event_ids`` will never be accepted; none of ``events`` counts as accepted.
        """
        # Rebound, because error trackers show every frame's arguments.
        hidden, events = Hidden(events), ()
        if hidden.value:
            within(self.deadline_seconds, self._deliver, hidden)

    def _deliver(self, events: Hidden[Sequence[Mapping[str, Any]]]) -> None:
        with self._here().breaker.passage(ids_of(events.value)):
            self._settle(events)

    def _settle(self, events: Hidden[Sequence[Mapping[str, Any]]]) -> None:
        exchange = self._open(self._attempts)
        waiting, halved = [events], False
        while waiting:
            part = waiting.pop()
            event_ids = ids_of(part.value)
            try:
                answer = exchange.ask(Request("POST", self._address.url, event_ids, self._body(part, event_ids)))
                # H3: which of several is held only each alone can tell.
                if answer.verdict is Verdict.CONFLICT and len(part.value) > 1:
                    middle, halved = len(part.value) // 2, True
                    waiting += [Hidden(part.value[middle:]), Hidden(part.value[:middle])]
                    continue
                error = answer.error(self._address.where, event_ids)
                if error is not None:
                    raise error
            except EmitterUnavailable as error:
                error.event_ids = ids_of(event for rest in (part, *reversed(waiting)) for event in rest.value)
                error.ambiguous = error.ambiguous or halved  # the endpoint holds at least one of them
                raise

    def validate(self, events: Sequence[Mapping[str, Any]], /) -> None:
        """Let the endpoint check events without storing them. An empty sequence does nothing.

        Raises:
            EmitterUnavailable: the endpoint could not be asked.
            EndpointRefused: the endpoint or the credentials are wrong, or it cannot validate.
            EventRejected: it would not accept them.
        """
        hidden, events = Hidden(events), ()
        if not hidden.value:
            return
        event_ids = ids_of(hidden.value)
        request = Request("POST", self._address.below("validate"), event_ids, self._body(hidden, event_ids))
        answer = self._asked(request)
        error = answer.error(self._address.where, event_ids)
        if error is not None:
            raise error

    def held(self, event_ids: Collection[str], /) -> frozenset[str]:
        """Return those of the ids that the endpoint shows. Absence proves nothing.

        Takes at most 5 s (or the deadline, if that is shorter), and then returns what it has found until then.

        Raises:
            EmitterUnavailable: the endpoint could not be asked.
        """
        wanted = tuple(dict.fromkeys(event_ids))
        if not wanted:
            return frozenset()
        self._here().breaker.check(wanted)
        return within(min(self.deadline_seconds, READ_BACK_SECONDS), self._found, wanted)

    def _found(self, wanted: Sequence[str]) -> frozenset[str]:
        found: set[str] = set()
        exchange = self._open(1)
        for event_id in wanted:
            try:
                answer = exchange.ask(Request("GET", self._address.beside("events", event_id), (event_id,)))
                if answer.status not in _OK and answer.status != _HTTP_NOT_FOUND:
                    raise answer.refused(self._address.where, wanted)
            except EmitterUnavailable:
                if found:
                    break
                raise
            if answer.status in _OK and answer.holds(event_id):
                found.add(event_id)
        return frozenset(found)

    def listed(self, actor_id: str, /) -> list[dict[str, Any]]:
        """Return every event that the endpoint holds of an actor, page by page from ``GET …/events?actorId=``.

        Each page has the emitter's deadline.

        Raises:
            EmitterUnavailable: the endpoint could not be asked, or not for all of it.
            EndpointRefused: the endpoint or the credentials are wrong, or it cannot list.
        """
        from caliper_readtime.emitters._listing import EventList  # noqa: PLC0415 - requests is loaded late

        self._here().breaker.check(())
        return EventList(self._address.where, self._asked_for_page).read(actor_id)

    def _asked_for_page(self, query: dict[str, str]) -> EndpointResponse:
        return self._asked(Request("GET", self._address.list_beside("events", query), ()))

    def _asked(self, request: Request) -> EndpointResponse:
        return within(self.deadline_seconds, lambda: self._open(self._attempts).ask(request))

    def close(self) -> None:
        """Close this process's connections. A later call opens new ones."""
        self._here().sessions.close()

    def _body(self, events: Hidden[Sequence[Mapping[str, Any]]], event_ids: Sequence[str]) -> bytes:
        sensor = self._sensor if self._sensor is not None else _sensor_of(events.value[0])
        if sensor is None:
            raise EventRejected(
                "the event names no object, and the emitter has no sensor: pass one", event_ids=event_ids
            )
        sent_ms = time.time_ns() // 1_000_000
        if isinstance(events.value, EventTexts):
            # A retry sends the same bytes, and nobody reads an event only to write it again.
            around = to_json(Hidden(envelope(sensor, (), sent_ms=sent_ms)), event_ids)
            return b"".join((around[:-2], events.value.joined(","), around[-2:]))
        return to_json(Hidden(envelope(sensor, events.value, sent_ms=sent_ms)), event_ids)

    def _open(self, attempts: int) -> Exchange:
        here = self._here()
        return self._exchange(here.sessions.current(), attempts=attempts, pause=here.breaker.pause)

    def _here(self) -> _Process:
        """Return what belongs to this process alone: connections and locks must not survive a fork."""
        process = self._processes.get(os.getpid())
        if process is None:
            from caliper_readtime.emitters._transport import Sessions  # noqa: PLC0415 - requests is loaded late

            mine = _Process(CircuitBreaker(self._address.where), Sessions(self._network))
            process = self._processes.setdefault(os.getpid(), mine)
        return process


@attrs.frozen
class _Process:
    breaker: CircuitBreaker
    sessions: Sessions


def _sensor_of(event: Mapping[str, Any]) -> str | None:
    """Return the application's id, or else the origin of the object's; None where there is neither."""
    target = event.get("object")
    target = target if isinstance(target, dict) else {}
    app = target.get("app")
    sensor = app.get("id") if isinstance(app, dict) else None
    if sensor is None and isinstance(target.get("id"), str):
        parts = urlsplit(target["id"])
        sensor = f"{parts.scheme}://{parts.netloc}" if parts.netloc else target["id"]
    return sensor if isinstance(sensor, str) else None
