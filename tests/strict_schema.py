"""A strict JSON Schema of the envelope, written from the wire format alone: the judge of the hand-written table."""

import re

import jsonschema
import rfc3986
from rfc3986.exceptions import RFC3986Exception
from rfc3986.validators import Validator

V1P2 = "http://purl.imsglobal.org/ctx/caliper/v1p2"
END = r"(?![\s\S])"  # "$" would let a final newline through

_LEAP = r"(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][48]|[13579][26]|[2468]0)00)"
_DAY = (
    r"(?:(?!0000)[0-9]{4}-(?:"
    r"(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])"
    r"|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)"
    r"|02-(?:0[1-9]|1[0-9]|2[0-8]))"
    rf"|(?!0000){_LEAP}-02-29)"
)
_CLOCK = r"(?:[01][0-9]|2[0-3])(?::[0-5][0-9]){2}\.[0-9]{3}"
_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]+"
_HEX = "[0-9A-Fa-f]"
_LABEL = r"(?!-)[A-Za-z0-9-]{1,63}(?<!-)"


def _constant(value):
    return {"type": "string", "enum": [value]}


def _object(required, optional=None):
    return {
        "type": "object",
        "required": sorted(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


_string = {"type": "string", "minLength": 1}
_uri = {"type": "string", "format": "uri"}
_time = {"type": "string", "pattern": f"^{_DAY}T{_CLOCK}Z{END}"}
_urn = {"type": "string", "pattern": f"^urn:uuid:{_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}}{END}"}
_email = {"type": "string", "pattern": rf"^{_ATOM}@{_LABEL}(?:\.{_LABEL})*{END}"}
_not_null = {"$ref": "#/$defs/notNull"}
_extensions = {"type": "object", "additionalProperties": _not_null}


def schema(activity_ids="uri"):
    """Return the schema of an envelope."""
    item = _object(
        {
            "type": {"enum": ["active", "inactive", "waste", "unknown", "anti-pattern"]},
            "value": {"type": "number", "exclusiveMinimum": 0, "maximum": 86400},
        },
        {"subType": _string, "startDate": _time, "endDate": _time, "extensions": _extensions},
    )
    named = {"name": _string}
    context = _object(
        {
            "id": _uri,
            "type": _constant("TimebackActivityContext"),
            "subject": {
                "enum": [
                    *("Reading", "Language", "Vocabulary", "Social Studies", "Writing"),
                    *("Science", "FastMath", "Math", "None"),
                ]
            },
            "app": _object(named, {"id": _uri, "extensions": _extensions}),
        },
        {
            "course": _object(named, {"id": _uri}),
            "activity": _object(named, {"id": _uri if activity_ids == "uri" else _string}),
            "process": {"type": "boolean"},
        },
    )
    actor = _object(
        {"id": _uri, "type": _constant("TimebackUser"), "email": _email},
        {"name": _string, "role": {"enum": ["student", "teacher", "admin", "guide"]}, "extensions": _extensions},
    )
    generated = _object(
        {
            "id": _uri,
            "type": _constant("TimebackTimeSpentMetricsCollection"),
            "items": {"type": "array", "minItems": 1, "items": item},
        },
        {"extensions": _extensions},
    )
    linked = {"anyOf": [_uri, _extensions]}
    links = ("edApp", "target", "referrer", "group", "membership", "session", "federatedSession")
    event = _object(
        {
            "@context": _constant(V1P2),
            "id": _urn,
            "type": _constant("TimeSpentEvent"),
            "profile": _constant("TimebackProfile"),
            "action": _constant("SpentTime"),
            "eventTime": _time,
            "actor": actor,
            "object": context,
            "generated": generated,
        },
        {**dict.fromkeys(links, linked), "extensions": _extensions},
    )
    envelope = _object(
        {
            "sensor": _uri,
            "sendTime": _time,
            "dataVersion": _constant(V1P2),
            "data": {"type": "array", "minItems": 1, "items": event},
        }
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **envelope,
        "$defs": {
            "notNull": {
                "anyOf": [
                    {"type": ["string", "boolean", "number"]},
                    {"type": "array", "items": _not_null},
                    _extensions,
                ]
            },
        },
    }


_URI_CHARACTERS = re.compile(r"(?:[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=-]|%[0-9A-Fa-f]{2})*")
FORMATS = jsonschema.FormatChecker(formats=())


@FORMATS.checks("uri", raises=(RFC3986Exception, ValueError))
def _is_uri(value):
    """An absolute URI by RFC 3986; ``//``, http and https need a host, and nothing is only a scheme."""
    if not isinstance(value, str):
        return True
    if not _URI_CHARACTERS.fullmatch(value):
        return False  # the library would quote such characters and find the result good
    scheme, _, rest = value.partition(":")
    uri = rfc3986.uri_reference(value)
    check = Validator().require_presence_of("scheme")
    check.check_validity_of("scheme", "userinfo", "host", "port", "path", "query", "fragment").validate(uri)
    return bool(uri.host if rest.startswith("//") or scheme.lower() in ("http", "https") else uri.path)


def strict(activity_ids="uri"):
    """Return a validator with the formats switched on."""
    return jsonschema.Draft202012Validator(schema(activity_ids), format_checker=FORMATS)
