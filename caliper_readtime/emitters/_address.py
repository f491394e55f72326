"""``Address``: a URL to send to, checked, with a name for messages that holds no secret."""

from __future__ import annotations

import logging
from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, quote, urlsplit

import attrs

from caliper_readtime import _checks
from caliper_readtime._logs import log
from caliper_readtime.errors import ConfigurationError, InvalidInput

_SCHEMES: Final = ("http", "https")


@attrs.frozen
class Address:
    """A URL to send to.

    Attributes:
        url: the whole URL; its query may hold a key, so it is never shown.
        where: host and path, for people.
    """

    url: str = attrs.field(repr=False)
    where: str

    @classmethod
    def checked(cls, url: object, name: str) -> Address:
        """Return the address of a URL that an operator has configured.

        Args:
            url: absolute http or https URL without credentials and without a fragment.
            name: of the argument, for the error.

        Raises:
            ConfigurationError: it is not such a URL. The error does not quote it.
        """
        try:
            checked_url = _checks.url(url, name)
        except InvalidInput as error:
            raise ConfigurationError(str(error)) from None
        parts = urlsplit(checked_url)
        if parts.scheme.lower() not in _SCHEMES:
            raise ConfigurationError(f"{name}: must be an http or https URL")
        if "@" in parts.netloc:
            raise ConfigurationError(f"{name}: must not hold a user or password, pass them as auth")
        if "#" in checked_url:
            raise ConfigurationError(f"{name}: must not have a fragment")
        where = f"{parts.netloc}{parts.path}"
        if parts.scheme.lower() == "http" and not _is_loopback(parts.hostname or ""):
            log(logging.WARNING, "events and credentials are sent unencrypted: use https", setting=name, url=where)
        return cls(checked_url, where)

    def beside(self, directory: str, identifier: str) -> str:
        """Return the URL whose last path segment is replaced by ``directory`` and a quoted id."""
        parts = urlsplit(self.url)
        base = parts.path.rpartition("/")[0]
        return _with_path(parts, f"{base}/{directory}/{quote(identifier, safe='')}")

    def below(self, segment: str) -> str:
        """Return the URL with one more path segment."""
        parts = urlsplit(self.url)
        return _with_path(parts, f"{parts.path.rstrip('/')}/{segment}")


def _with_path(parts: SplitResult, path: str) -> str:
    return parts._replace(path=path).geturl()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
