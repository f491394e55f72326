"""PURE: ``TimeSpentEvents`` builds Caliper 1.2 TimeSpentEvents and envelopes as the Timeback profile wants them."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import attrs

from caliper_readtime import _checks
from caliper_readtime._model import Activity, App, Reader
from caliper_readtime._rules.identity import ROSTERING, reduced
from caliper_readtime._rules.state import SECOND
from caliper_readtime._units import to_caliper_time
from caliper_readtime.errors import ConfigurationError, InvalidInput

CONTEXT: Final = "http://purl.imsglobal.org/ctx/caliper/v1p2"
#: A TimeSpentEvent carries at most a day; a longer range is split.
MAX_EVENT_MS: Final = 86_400_000
MAX_EVENT_SECONDS: Final = MAX_EVENT_MS // SECOND

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ActivityIds(StrEnum):
    """How ``object.activity.id`` is written: as a OneRoster URI, or the resource id as it is."""

    URI = "uri"
    PLAIN = "plain"


def _activity_ids(value: Any) -> ActivityIds:
    activity_ids = _checks.member(ActivityIds, value)
    if activity_ids is None:
        raise ConfigurationError('TimeSpentEvents.activity_ids: must be "uri" or "plain"')
    return activity_ids


def _configured_url(value: Any, name: str) -> str:
    try:
        return _checks.to_uri(_checks.url(value, name))
    except InvalidInput as error:
        raise ConfigurationError(f"TimeSpentEvents.{error}") from error


def _sensor(value: Any) -> str:
    return _configured_url(value, "sensor")


def _ed_app(value: Any) -> str | None:
    return None if value is None else _configured_url(value, "ed_app")


def _oneroster_url(value: Any) -> str:
    base = _configured_url(value, "oneroster_url").rstrip("/")
    if "?" in base or "#" in base:
        raise ConfigurationError("TimeSpentEvents.oneroster_url: must end with its path: ids are appended to it")
    return base


def _app(value: Any) -> App:
    try:
        return value if isinstance(value, App) else App(value)
    except InvalidInput as error:
        raise ConfigurationError(f"TimeSpentEvents.app: {error}") from error


def begins_at_ms(began_at_ms: int, ended_at_ms: int, seconds: int) -> int:
    """E1: return where an event begins, milliseconds since the epoch: early enough for its active seconds."""
    return min(began_at_ms, ended_at_ms - seconds * SECOND)


@attrs.frozen
class TimeSpentEvents:
    """Builds events and envelopes. Pure: the same arguments give the same event.

    Attributes:
        sensor: IRI of the sensor, usually the application's URL.
        app: the application, an ``App`` or its name.
        oneroster_url: base URL of the OneRoster service that the actors and resources live on.
        activity_ids: ``"uri"``, or ``"plain"`` for endpoints that want the resource id as it is.
        ed_app: URL of the application as the event's ``edApp``; None for events without one.

    Raises:
        ConfigurationError: a value is not acceptable.
    """

    sensor: str = attrs.field(converter=_sensor)
    app: App = attrs.field(converter=_app)
    oneroster_url: str = attrs.field(converter=_oneroster_url)
    activity_ids: ActivityIds = attrs.field(default=ActivityIds.URI, converter=_activity_ids, kw_only=True)
    ed_app: str | None = attrs.field(default=None, converter=_ed_app, kw_only=True)

    def actor_id(self, sourced_id: str) -> str:
        """Return the actor's URI: the full OneRoster user URL, or ``sourced_id`` itself where it is a URL elsewhere."""
        return self._roster_id("users", reduced(sourced_id, "reader", self.oneroster_url))

    def activity_id(self, resource_id: str) -> str:
        """Return the activity's id: the OneRoster resource URL unless ``activity_ids`` is ``"plain"``."""
        plain = reduced(resource_id, "article", self.oneroster_url)
        return plain if self.activity_ids is ActivityIds.PLAIN else self._roster_id("resources", plain)

    def event(
        self,
        reader: Reader,
        article: Activity,
        *,
        event_id: str,
        generated_id: str,
        seconds: int,
        started_at_ms: int,
        ended_at_ms: int,
    ) -> dict[str, Any]:
        """Return one finished TimeSpentEvent, ready for JSON; nothing in it is None.

        Args:
            reader: the actor.
            article: the object and activity, of any kind.
            event_id: ``urn:uuid:…``.
            generated_id: ``urn:uuid:…`` of the metrics collection.
            seconds: whole seconds, more than 0 and at most 86,400.
            started_at_ms: when the reading began, milliseconds since the epoch.
            ended_at_ms: when it ended; also the event's time.

        Raises:
            InvalidInput: ``seconds`` is out of range.
        """
        if not 0 < seconds <= MAX_EVENT_SECONDS:
            raise InvalidInput("seconds", f"must be more than 0 and at most {MAX_EVENT_SECONDS}")
        target: dict[str, Any] = {
            "id": _checks.to_uri(article.url),
            "type": "TimebackActivityContext",
            "subject": article.subject.value,
            "app": _named(self.app.name, None if self.app.id is None else _checks.to_uri(self.app.id)),
            "activity": _named(article.title, self.activity_id(article.resource_id)),
        }
        if article.course is not None:
            course_id = None if article.course.id is None else self._roster_id("courses", article.course.id)
            target["course"] = _named(article.course.name, course_id)
        event: dict[str, Any] = {
            "@context": CONTEXT,
            "id": event_id,
            "type": "TimeSpentEvent",
            "profile": "TimebackProfile",
            "action": "SpentTime",
            "eventTime": to_caliper_time(ended_at_ms),
            "actor": {"id": self.actor_id(reader.sourced_id), "type": "TimebackUser", "email": reader.email},
            "object": target,
            "generated": {
                "id": generated_id,
                "type": "TimebackTimeSpentMetricsCollection",
                "items": [
                    {
                        "type": "active",
                        "value": seconds,
                        "startDate": to_caliper_time(begins_at_ms(started_at_ms, ended_at_ms, seconds)),
                        "endDate": to_caliper_time(ended_at_ms),
                    }
                ],
            },
        }
        if self.ed_app is not None:
            event["edApp"] = self.ed_app
        # E3: what the profile has no field for. An article says nothing of its kind, as it always has.
        kind = {} if article.kind == "article" else {"kind": article.kind}
        attempt = {} if article.attempt is None else {"attempt": article.attempt}
        extensions = {**kind, **attempt, **article.extensions}
        if extensions:
            event["extensions"] = extensions
        return event

    def envelope(self, events: Sequence[Mapping[str, Any]], *, sent_ms: int) -> dict[str, Any]:
        """Return the Caliper envelope around finished events.

        Args:
            events: at least one.
            sent_ms: milliseconds since the epoch.
        """
        return envelope(self.sensor, events, sent_ms=sent_ms)

    def _roster_id(self, collection: str, plain: str) -> str:
        if _checks.is_url(plain):
            return _checks.to_uri(plain)
        return f"{self.oneroster_url}{ROSTERING}/{collection}/{quote(plain, safe='')}"


def envelope(sensor: str, events: Sequence[Mapping[str, Any]], *, sent_ms: int) -> dict[str, Any]:
    """Return a Caliper 1.2 envelope: these four members and no other."""
    return {"sensor": sensor, "sendTime": to_caliper_time(sent_ms), "dataVersion": CONTEXT, "data": list(events)}


def _named(name: str, identifier: str | None) -> dict[str, str]:
    return {"name": name} if identifier is None else {"id": identifier, "name": name}
