"""PURE: what hosts may pass in: ids, titles, URLs, e-mail addresses, counts; checked before anything is stored."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from caliper_readtime.errors import InvalidInput, MissingField

if TYPE_CHECKING:
    from collections.abc import Callable
    from enum import Enum

    import attrs

E = TypeVar("E", bound="Enum")

MAX_ID: Final = 255
MAX_SIGNAL_ID: Final = 64
MAX_TITLE: Final = 1000
MAX_URL: Final = 2048
MAX_EMAIL: Final = 320

# C0 and C1 controls; lone surrogates cannot be encoded.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_URL_FORBIDDEN = re.compile(r'[\s<>"{}|\\^`]|%(?![0-9A-Fa-f]{2})')
# User and port may be absent; brackets stand around an address alone.
_NETLOC = re.compile(r"(?:[^@\[\]]+@)?(?:\[[^@\[\]]+\]|[^:@\[\]]+)(?::[0-9]*)?")
_AUTHORITY = re.compile(r"[^:]+://[^/?#]*")
_URI_SAFE: Final = "%/:=&?~+!$,;'@()*"
# The pattern that browsers apply to <input type=email> (WHATWG HTML, "valid e-mail address").
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]+@{_LABEL}(?:\.{_LABEL})*")
# From the beginning of a word alone, or long words without an "@" would take quadratic time.
# What ends a clause behind an address is left standing.
_MENTION = re.compile(r"(?<![^\s@])[^\s@]+@(?:\S*[^\s.,:;!?)\]}>]|\S+)")


def text(value: object, field: str, longest: int) -> str:
    """Return ``value`` if it is text of 1 to ``longest`` printable characters.

    Raises:
        MissingField: None or empty.
        InvalidInput: not text, too long, blank, or with control characters or lone surrogates.
    """
    if value is None or value == "":
        raise MissingField(field, "is required and must not be empty")
    if not isinstance(value, str):
        raise InvalidInput(field, f"must be text, not {type(value).__name__}")
    if len(value) > longest:
        raise InvalidInput(field, f"must have at most {longest} characters, this one has {len(value)}")
    if not value.isprintable() and _UNPRINTABLE.search(value):  # the former is quick, and seldom wrong
        raise InvalidInput(field, "must not contain control characters or lone surrogates")
    if value.isspace():
        raise InvalidInput(field, "must not be blank")
    return value


def is_url(value: str) -> bool:
    """Return whether ``value`` begins like an absolute URL (``scheme://``)."""
    return _URL.match(value) is not None


def identifier(value: object, field: str) -> str:
    """Return ``value`` if it can be an id: plain, or a URL that may later be reduced to one."""
    return url(value, field) if isinstance(value, str) and is_url(value) else text(value, field, MAX_ID)


def url(value: object, field: str) -> str:
    """Return ``value`` if it is an absolute URL with a host.

    Raises:
        MissingField: None or empty.
        InvalidInput: anything else that is not such a URL.
    """
    checked = text(value, field, MAX_URL)
    try:
        parts = urlsplit(checked)
        parts.port  # noqa: B018 - reading it checks it
        good = is_url(checked) and bool(_NETLOC.fullmatch(parts.netloc)) and not _URL_FORBIDDEN.search(checked)
    except ValueError:
        good = False
    if not good:
        raise InvalidInput(field, "must be an absolute URL such as https://example.org/page")
    return checked


def page_url(value: object, field: str) -> str:
    """Return ``value`` if it is the absolute URL of a page: others' scripts must not run where somebody follows it."""
    checked = url(value, field)
    if not checked.lower().startswith(("http://", "https://")):
        raise InvalidInput(field, "must be an http or https URL such as https://example.org/page")
    return checked


def email(value: object, field: str) -> str:
    """Return ``value`` if it is an e-mail address as browsers accept it. The value is never quoted in the error."""
    checked = text(value, field, MAX_EMAIL)
    if not _EMAIL.fullmatch(checked):
        raise InvalidInput(field, "must be an e-mail address (the TimebackUser schema requires one)")
    return checked


def without_emails(words: str) -> str:
    """Return free text in which nothing looks like an e-mail address any more."""
    return _MENTION.sub("(e-mail address)", words)


def to_uri(checked_url: str) -> str:
    """Return a URL with everything percent-encoded that RFC 3986 does not allow as it is."""
    authority = _AUTHORITY.match(checked_url)
    end = 0 if authority is None else authority.end()
    path, mark, fragment = checked_url[end:].partition("#")
    # Brackets may stand around an address alone, and one "#" before the fragment; browsers mind neither.
    host = quote(checked_url[:end], safe=_URI_SAFE + "[]")
    return host + quote(path, safe=_URI_SAFE) + mark + quote(fragment, safe=_URI_SAFE)


def count(value: object, field: str) -> int:
    """Return ``value`` if it is a whole number, at least 1, that a database can take.

    Raises:
        InvalidInput: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**63:
        raise InvalidInput(field, "must be a whole number, at least 1 and below 2**63")
    return value


def member(kind: type[E], value: Any) -> E | None:
    """Return the member of an enum that ``value`` is or names; None where there is none.

    Not by a chained error: that of an enum quotes the value, however long or private it is.
    """
    try:
        return kind(value)
    except ValueError:
        return None


def checked(
    check: Callable[..., Any], *args: Any, optional: bool = False
) -> Callable[[Any, attrs.Attribute[Any], Any], None]:
    """Return an attrs validator that applies one of the checks above under the attribute's own name."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not (value is None and optional):
            check(value, f"{type(instance).__name__}.{attribute.name}", *args)

    return validate
