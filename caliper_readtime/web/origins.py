"""PURE: whether a signal comes from a page of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Collection


class Headers(Protocol):
    """Header fields, as every framework has them: looked up without regard to case."""

    def get(self, name: str, /) -> str | None:
        """Return a field's value, or None."""


def foreign(headers: Headers, trusted: Collection[str] = ()) -> bool:
    """Return whether the browser says that another origin's page has sent this.

    No cookie carries authority here, the ticket does; this only keeps pages elsewhere from using stolen tickets.

    Args:
        headers: the request's; its ``Host`` is this host as the browser sees it.
        trusted: other origins whose pages may send signals: ``https://reader.example.org``, ``https://*.example.org``.
    """
    site = headers.get("Sec-Fetch-Site")
    # It goes first: with "Referrer-Policy: no-referrer" a browser says "Origin: null" for the host's own pages.
    if site == "same-origin":
        return False
    origin = headers.get("Origin")
    if origin is None:
        # An old browser on a page of the same origin, or no browser at all.
        return site is not None
    if is_trusted(origin, trusted):
        return False
    # The scheme may be another one behind a proxy that ends TLS; "null" has no host.
    host = (headers.get("Host") or "").lower()
    # Proxies may name the port; browsers leave a scheme's own out.
    if _netloc(origin) not in (host, host.removesuffix(":80"), host.removesuffix(":443")):
        return True
    # A sandboxed frame's fetch says "null"; its beacon names this host in WebKit, and is "cross-site" all the same.
    return site is not None and not is_trusted("null", trusted)


def _netloc(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower() or None
    except ValueError:
        return None


def is_trusted(origin: str, trusted: Collection[str]) -> bool:
    """Return whether an origin is one of these (as for ``foreign``)."""
    lowered = origin.lower()
    for pattern in map(str.lower, trusted):
        scheme, star, domain = pattern.partition("://*.")
        if lowered == pattern or (star and lowered.startswith(scheme + "://") and lowered.endswith("." + domain)):
            return True
    return False
