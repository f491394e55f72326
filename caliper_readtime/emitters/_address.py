"""What an operator says of a server: its URL, the way to it, and times; anything else is a ``ConfigurationError``."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from ipaddress import ip_address
from math import isfinite
from numbers import Real
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

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
        checked_url = _http_url(url, name)
        parts = urlsplit(checked_url)
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
        base = parts.path.rstrip("/").rpartition("/")[0]
        return _with_path(parts, f"{base}/{directory}/{quote(identifier, safe='')}")

    def list_beside(self, directory: str, query: Mapping[str, str]) -> str:
        """Return the URL whose last path segment is replaced by ``directory``, with a query beside its own."""
        parts = urlsplit(self.url)
        path = f"{parts.path.rstrip('/').rpartition('/')[0]}/{directory}"
        queries = [part for part in (parts.query, urlencode(query)) if part]
        return parts._replace(path=path, query="&".join(queries)).geturl()

    def below(self, segment: str) -> str:
        """Return the URL with one more path segment."""
        parts = urlsplit(self.url)
        return _with_path(parts, f"{parts.path.rstrip('/')}/{segment}")


@attrs.frozen
class Network:
    """The way to a server.

    Attributes:
        proxies: proxy URL by scheme, as requests takes them; they may hold passwords, so they are never shown.
        ca_bundle: path of CA certificates; None for the usual ones.
        trust_env: whether the environment may name proxies and CA certificates.
    """

    proxies: Mapping[str, str] = attrs.field(repr=False)
    ca_bundle: str | None
    trust_env: bool

    @classmethod
    def checked(cls, proxies: object, ca_bundle: object, trust_env: object) -> Network:
        """Return the way that an operator has configured.

        Args:
            proxies: one URL for everything, or a mapping as requests takes it, or None.
            ca_bundle: path of CA certificates that exist, or None.
            trust_env: True or False.

        Raises:
            ConfigurationError: it is anything else. The error quotes no proxy.
        """
        if not isinstance(trust_env, bool):
            raise ConfigurationError("trust_env: must be True or False")
        by_scheme: dict[Any, Any] = {} if proxies is None else {"all": proxies}
        if isinstance(proxies, Mapping):
            by_scheme = dict(proxies)
        for scheme, url in by_scheme.items():
            if not isinstance(scheme, str):
                raise ConfigurationError("proxies: must be a URL, or a mapping of schemes to URLs")
            _http_url(url, "proxies")
        # An empty path is the present directory to pathlib.
        if ca_bundle is not None and not (
            isinstance(ca_bundle, str | os.PathLike) and os.fspath(ca_bundle) and Path(ca_bundle).exists()
        ):
            raise ConfigurationError(
                "ca_bundle: must be the path of CA certificates; TLS verification cannot be switched off"
            )
        return cls(by_scheme, None if ca_bundle is None else os.fspath(ca_bundle), trust_env)


def seconds(value: object, name: str, *, zero: bool = False) -> float:
    """Return a finite number of seconds above 0, or from 0 where ``zero`` is set.

    Raises:
        ConfigurationError: it is anything else.
    """
    if (
        isinstance(value, bool)
        or not isinstance(value, Real)
        or not isfinite(value)
        or value < 0
        or (value == 0 and not zero)
    ):
        raise ConfigurationError(f"{name}: must be a finite number of seconds, {'from' if zero else 'above'} 0")
    return float(value)


def timeouts(value: object, default: tuple[float, float]) -> tuple[float, float]:
    """Return seconds to connect and seconds to read; one number stands for both, None for the default.

    Raises:
        ConfigurationError: it is anything else.
    """
    if value is None:
        return default
    both = value if isinstance(value, tuple | list) else (value, value)
    if len(both) != 2:  # noqa: PLR2004 - to connect, to read
        raise ConfigurationError("timeout: must be seconds, or (seconds to connect, seconds to read)")
    return seconds(both[0], "timeout"), seconds(both[1], "timeout")


def count(value: object, name: str) -> int:
    """Return a whole number, at least 1.

    Raises:
        ConfigurationError: it is anything else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"{name}: must be a whole number, at least 1")
    return value


def auth(value: Any) -> Any:
    """Return what requests can take as auth.

    Raises:
        ConfigurationError: it is anything else. The error does not quote it.
    """
    pair = isinstance(value, tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)  # noqa: PLR2004
    if value is None or pair or callable(value):
        return value
    raise ConfigurationError("auth: must be a requests AuthBase, (user, password) or None")


def _http_url(url: object, name: str) -> str:
    try:
        checked_url = _checks.url(url, name)
    except InvalidInput as error:
        problem = str(error)
    else:
        if urlsplit(checked_url).scheme.lower() in _SCHEMES:
            return checked_url
        problem = f"{name}: must be an http or https URL"
    raise ConfigurationError(problem)


def _with_path(parts: SplitResult, path: str) -> str:
    return parts._replace(path=path).geturl()


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
