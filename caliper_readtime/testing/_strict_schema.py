"""The strict table of what a Caliper envelope with TimeSpentEvents may look like on the wire.

Written from the wire format, not from the package's builder, so that it can judge what the builder sends. It is
stricter than any known server: nulls and unknown keys are refused at every level.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    # Given where a value stands and the value, yields what is wrong. It never quotes the value, which may be private.
    Check = Callable[[str, Any], Iterator[str]]

__all__ = ["CALIPER_VERSION", "envelope_problems", "event_problems", "published_problems"]

CALIPER_VERSION: Final = "http://purl.imsglobal.org/ctx/caliper/v1p2"
MAX_ITEM_SECONDS: Final = 86_400

_TIME = re.compile(r"\d{4}-\d\d-\d\dT(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{3}Z", re.ASCII)
_UUID_URN = re.compile(r"urn:uuid:[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"[\w.!#$%&'*+/=?^`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*", re.ASCII)
# RFC 3986, with something after the scheme, a host after "//" and a user before "@".
_UNRESERVED = r"[A-Za-z0-9._~!$&'()*+,;=-]|%[0-9A-Fa-f]{2}"
_SEGMENT = rf"(?:{_UNRESERVED}|[:@])"
_URI = re.compile(
    rf"[A-Za-z][A-Za-z0-9+.-]*:"
    rf"(?://(?:(?:{_UNRESERVED}|:)+@)?(?:\[[0-9A-Fa-f:.]+\]|(?:{_UNRESERVED})+)(?::[0-9]*)?(?:/{_SEGMENT}*)*"
    rf"|/|/?{_SEGMENT}+(?:/{_SEGMENT}*)*)"
    rf"(?:\?(?:{_SEGMENT}|[/?])*)?(?:\#(?:{_SEGMENT}|[/?])*)?"
)


def _is_uri(value: str) -> bool:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018 - reading it checks its range
    except ValueError:
        return False
    return bool(_URI.fullmatch(value)) and (bool(parts.netloc) or parts.scheme not in ("http", "https"))


def _is_time(value: str) -> bool:
    try:
        return bool(_TIME.fullmatch(value)) and bool(date.fromisoformat(value[:10]))
    except ValueError:
        return False


def _text(good: Callable[[str], Any], what: str) -> Check:
    def check(path: str, value: Any) -> Iterator[str]:
        if not isinstance(value, str) or not good(value):
            yield f"{path}: must be {what}"

    return check


def _one_of(*allowed: str) -> Check:
    return _text(allowed.__contains__, " or ".join(f'"{value}"' for value in allowed))


def _boolean(path: str, value: Any) -> Iterator[str]:
    if not isinstance(value, bool):
        yield f"{path}: must be true or false"


def _seconds(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, bool) or not isinstance(value, int | float):
        yield f"{path}: must be a number"
    elif not 0 < value <= MAX_ITEM_SECONDS:  # false for NaN, too
        yield f"{path}: must be above 0 and at most {MAX_ITEM_SECONDS}"


def _json(path: str, value: Any) -> Iterator[str]:
    """Anything but null, to any depth."""
    if value is None:
        yield f"{path}: null is never sent, leave it out"
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _json(f"{path}.{key}", inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _json(f"{path}[{index}]", inner)
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{path}: must be finite"


def _free_object(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from _json(path, value)
    else:
        yield f"{path}: must be an object"


def _uri_or_object(path: str, value: Any) -> Iterator[str]:
    yield from (_free_object if isinstance(value, dict) else _uri)(path, value)


def _list_of(check: Check) -> Check:
    def check_list(path: str, value: Any) -> Iterator[str]:
        if not isinstance(value, list) or not value:
            yield f"{path}: must be an array of at least one"
            return
        for index, inner in enumerate(value):
            yield from check(f"{path}[{index}]", inner)

    return check_list


def _object(
    required: Mapping[str, Check], optional: Mapping[str, Check] | None = None, *, others: Check | None = None
) -> Check:
    known = {**required, **(optional or {})}

    def check(path: str, value: Any) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{path}: must be an object"
            return
        for key in required.keys() - value.keys():
            yield f"{path}.{key}: is required"
        for key, inner in value.items():
            where = f"{path}.{key}"
            if key not in known and others is not None:
                yield from others(where, inner)
            elif key not in known:
                yield f"{where}: is not allowed here"
            elif inner is None:
                yield f"{where}: null is never sent, leave it out"
            else:
                yield from known[key](where, inner)

    return check


_string = _text(bool, "text that is not empty")
_uri = _text(_is_uri, "an absolute URI")
_time = _text(_is_time, "a UTC time such as 2026-11-24T16:00:42.000Z")
_event_id = _text(_UUID_URN.fullmatch, "urn:uuid: and a UUID")
_email = _text(_EMAIL.fullmatch, "an e-mail address")

_ACTOR = _object(
    {"id": _uri, "type": _one_of("TimebackUser"), "email": _email},
    {"name": _string, "role": _one_of("student", "teacher", "admin", "guide"), "extensions": _free_object},
)
_SUBJECTS = _one_of(
    "Reading", "Language", "Vocabulary", "Social Studies", "Writing", "Science", "FastMath", "Math", "None"
)
_ITEM = _object(
    {"type": _one_of("active", "inactive", "waste", "unknown", "anti-pattern"), "value": _seconds},
    {"subType": _string, "startDate": _time, "endDate": _time, "extensions": _free_object},
)
_GENERATED = _object(
    {"id": _uri, "type": _one_of("TimebackTimeSpentMetricsCollection"), "items": _list_of(_ITEM)},
    {"extensions": _free_object},
)


def _event(activity_id: Check) -> Check:
    context = _object(
        {
            "id": _uri,
            "type": _one_of("TimebackActivityContext"),
            "subject": _SUBJECTS,
            "app": _object({"name": _string}, {"id": _uri, "extensions": _free_object}),
        },
        {
            "course": _object({"name": _string}, {"id": _uri}),
            "activity": _object({"name": _string}, {"id": activity_id}),
            "process": _boolean,
        },
    )
    links = ("edApp", "target", "referrer", "group", "membership", "session", "federatedSession")
    return _object(
        {
            "@context": _one_of(CALIPER_VERSION),
            "id": _event_id,
            "type": _one_of("TimeSpentEvent"),
            "profile": _one_of("TimebackProfile"),
            "action": _one_of("SpentTime"),
            "eventTime": _time,
            "actor": _ACTOR,
            "object": context,
            "generated": _GENERATED,
        },
        {**dict.fromkeys(links, _uri_or_object), "extensions": _free_object},
    )


def _published_time(value: str) -> bool:
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


#: What the service's own schema takes beside our events: other kinds, times of any precision, keys of one's own.
_ANY_TIME = _text(_published_time, "a time with a zone")
_PUBLISHED: Final = _object(
    {
        "sensor": _uri,
        "sendTime": _ANY_TIME,
        "dataVersion": _one_of(CALIPER_VERSION),
        "data": _list_of(
            _object(
                {
                    "id": _event_id,
                    "type": _string,
                    "action": _string,
                    "eventTime": _ANY_TIME,
                    "actor": _uri_or_object,
                    "object": _uri_or_object,
                },
                {},
                others=_json,
            )
        ),
    }
)

_EVENTS: Final = {"uri": _event(_uri), "plain": _event(_string)}
_ENVELOPES: Final = {
    kind: _object({"sensor": _uri, "sendTime": _time, "dataVersion": _one_of(CALIPER_VERSION), "data": _list_of(event)})
    for kind, event in _EVENTS.items()
}


def event_problems(event: object, *, activity_ids: str = "uri") -> tuple[str, ...]:
    """Return what is wrong with one TimeSpentEvent, each with a JSON path; nothing means that it is good.

    Args:
        event: the parsed JSON document.
        activity_ids: ``"uri"`` as the server's schema says, or ``"plain"`` where the host sends plain activity ids.
    """
    return tuple(_EVENTS[activity_ids]("$", event))


def envelope_problems(envelope: object, *, activity_ids: str = "uri") -> tuple[str, ...]:
    """Return what is wrong with an envelope and its events, each with a JSON path; nothing means that it is good.

    Args:
        envelope: the parsed JSON document.
        activity_ids: as in ``event_problems``.
    """
    return tuple(_ENVELOPES[activity_ids]("$", envelope))


def published_problems(envelope: object, *, activity_ids: str = "uri") -> tuple[str, ...]:  # noqa: ARG001 - one signature
    """Return what the published schema finds wrong with an envelope, whatever kinds of events it holds."""
    return tuple(_PUBLISHED("$", envelope))
