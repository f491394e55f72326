"""PURE: what templates pass to a page's tag, made acceptable where that can be done without guessing."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urljoin, urlsplit, urlunsplit
from uuid import UUID

from caliper_readtime import _checks
from caliper_readtime._model import Activity, Article

if TYPE_CHECKING:
    from collections.abc import Mapping

_STRAY_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")


def identifier(value: Any) -> Any:
    """Return an id as text where a database has it as a number or a UUID; everything else as it is."""
    return str(value) if isinstance(value, int | UUID) and not isinstance(value, bool) else value


def title(value: Any, fallback: Any) -> Any:
    """Return a title without line breaks, control characters and too much of it; the fallback for a blank one."""
    words = "" if value is None else str(value)  # lazy translations, and what templates do not have
    printable = "".join(character if character.isprintable() or character == "\u200d" else " " for character in words)
    return " ".join(printable.split())[: _checks.MAX_TITLE].rstrip() or fallback


def page_url(value: Any, base: str | None) -> Any:
    """Return a page's address as the URI that it means.

    Args:
        value: an absolute or relative URL or IRI.
        base: the site's address, which a relative one is relative to.
    """
    if value is None:
        return None
    text = "".join(character for character in str(value).strip() if character.isprintable())
    try:
        parts = urlsplit(text if base is None or _checks.is_url(text) else urljoin(base, text))
        netloc = parts.netloc if parts.netloc.isascii() else _ascii(parts.netloc)
    except ValueError:
        return text  # whoever checks it says so
    for kept in (parts, parts._replace(fragment=""), parts._replace(fragment="", query="")):
        written = _checks.to_uri(_STRAY_PERCENT.sub("%25", urlunsplit(kept._replace(netloc=netloc))))
        if len(written) <= _checks.MAX_URL:
            break
    return written


def _ascii(netloc: str) -> str:
    user, at, place = netloc.rpartition("@")
    host, colon, port = place.partition(":")
    return user + at + host.encode("idna").decode() + colon + port


def article(fields: Mapping[str, Any], base: str | None) -> Activity:
    """Return the article, or the activity of another kind, that a template's fields name.

    Raises:
        InvalidInput: a field is not acceptable, and cannot be made so.
    """
    resource_id = identifier(fields.get("resource_id"))
    fields = {name: value for name, value in fields.items() if value not in (None, "")}  # what templates do not have
    kind = Activity if "kind" in fields else Article
    return kind(
        **{
            **fields,
            "resource_id": resource_id,
            "title": title(fields.get("title"), resource_id),
            "url": page_url(fields.get("url"), base),
        }
    )
