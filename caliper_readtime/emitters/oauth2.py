"""``ClientCredentials``: an auth for ``requests`` that fetches bearer tokens (OAuth2 client credentials)."""

from __future__ import annotations

import json
import os
import re
import time
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from threading import RLock, local
from typing import TYPE_CHECKING, Any, Final

import attrs

from caliper_readtime._interruptions import pass_interruption
from caliper_readtime.emitters import _address
from caliper_readtime.emitters._address import Address, Network
from caliper_readtime.emitters._circuit import cut, left, within
from caliper_readtime.emitters._payload import without_carriers
from caliper_readtime.emitters._responses import EndpointResponse, Verdict
from caliper_readtime.errors import ConfigurationError, EmitError, EmitterUnavailable, EndpointRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from requests import PreparedRequest, Response

#: How long a token is taken to be good where the answer does not say, in seconds.
DEFAULT_EXPIRY_SECONDS: Final = 3600.0

_BEARER: Final = re.compile(r"[!-~]+")
_ERROR_CODE: Final = re.compile(r"[a-z_]{1,40}")


@attrs.frozen
class _Token:
    text: str = attrs.field(repr=False)
    renew_at: float  # on the monotonic clock


class ClientCredentials:
    """Sends ``Authorization: Bearer …``, with a token that is fetched when it is needed and renewed before it expires.

    Thread-safe: one thread fetches, the others wait for it. May be built before a fork. Pass it as
    ``HttpCaliperEmitter(auth=…)`` or as the auth of any ``requests`` call. Fetching keeps its own time-out, and the
    emitter's deadline.

    Args:
        token_url: where tokens are fetched; the credentials are sent in the body.
        client_id: identifier of this client.
        client_secret: its secret.
        scope: scopes to ask for, separated by spaces.
        timeout: longest duration of one fetch, in seconds.
        leeway_seconds: how long before its end a token is renewed; at most half of its life.
        proxies: URL of a proxy, or a mapping of schemes to URLs as ``requests`` takes it.
        ca_bundle: path of CA certificates, where the usual ones do not do.
        trust_env: whether proxies and CA certificates that the environment names count.

    Raises:
        ConfigurationError: an argument is not acceptable, or Authlib is not installed.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        client_secret: str,
        *,
        scope: str | None = None,
        timeout: float = 5.0,
        leeway_seconds: float = 60.0,
        proxies: str | Mapping[str, str] | None = None,
        ca_bundle: str | os.PathLike[str] | None = None,
        trust_env: bool = False,
    ) -> None:
        self._address = Address.checked(token_url, "token_url")
        for name, value in (("client_id", client_id), ("client_secret", client_secret)):
            if not isinstance(value, str) or not value:
                raise ConfigurationError(f"{name}: must be text that is not empty")
        self._client_id = client_id
        self._client_secret = client_secret
        if not isinstance(scope, str | None):
            raise ConfigurationError("scope: must be text")
        self._scope = scope
        self._timeout = _address.seconds(timeout, "timeout")
        self._leeway = _address.seconds(leeway_seconds, "leeway_seconds", zero=True)
        self._network = Network.checked(proxies, ca_bundle, trust_env)
        self._token: _Token | None = None
        self._used = local()
        self._locks: dict[int, Any] = {}
        _session_class()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._address.where!r}, client_id={self._client_id!r})"

    def __call__(self, request: PreparedRequest) -> PreparedRequest:
        """Put a token on a request.

        Raises:
            EndpointRefused: the credentials or the token URL are wrong.
            EmitterUnavailable: no token could be fetched now.
        """
        token = self._token
        if token is None or time.monotonic() >= token.renew_at:
            token = self._renewed(token)
        # So that renew() knows which token was refused, whatever other threads do meanwhile.
        self._used.token = token
        request.headers["Authorization"] = f"Bearer {token.text}"
        return request

    def renew(self) -> None:
        """Replace the token that this thread used last, unless another thread already has.

        Raises:
            EndpointRefused: the credentials or the token URL are wrong.
            EmitterUnavailable: no token could be fetched now.
        """
        self._renewed(getattr(self._used, "token", self._token))

    def _renewed(self, old: _Token | None) -> _Token:
        """Return a token that is not ``old``."""
        # A lock of this process: one that another thread held while the process forked would stay locked. It knows
        # whose it is, so that one that was interrupted as it took it lets go of it, too (L5).
        lock = self._locks.setdefault(os.getpid(), RLock())
        try:
            if not lock.acquire(timeout=max(0.0, min(self._timeout, left()))):
                raise EmitterUnavailable(
                    f"no token from {self._address.where} in time: try again later", ambiguous=False
                )
            token = self._token
            if token is None or token is old:
                token = self._token = within(self._timeout, self._fetch)
            return token
        finally:
            try:  # noqa: SIM105 - one more call here could be interrupted
                lock.release()
            except RuntimeError:
                pass  # it is another's

    def _fetch(self) -> _Token:
        started = time.monotonic()
        failure: EmitError
        # Whatever is raised in there has come through frames that hold the secret: it goes on without them.
        try:
            with self._session() as session:
                token = self._token_of(
                    session.fetch_token(
                        self._address.url,
                        grant_type="client_credentials",
                        timeout=cut(self._timeout),
                        allow_redirects=False,
                    ),
                    started,
                )
        except EmitError as error:
            failure = without_carriers(error)
        except (OSError, ValueError) as error:
            pass_interruption(without_carriers(error))
            failure = EmitterUnavailable(
                f"no token from {self._address.where} ({type(error).__name__}): try again later", ambiguous=False
            )
            # Other errors may quote the answer, so they are not chained.
            failure.__cause__ = without_carriers(error) if isinstance(error, OSError) else None
        except BaseException as error:  # noqa: BLE001 - raised again
            raise without_carriers(error)  # noqa: B904 - L5: it passes as it is
        else:
            if token is not None:
                return token
            failure = EmitterUnavailable(f"{self._address.where} answered without a usable token", ambiguous=False)
        raise failure

    def _token_of(self, fetched: Mapping[str, Any], started: float) -> _Token | None:
        text, life = fetched["access_token"], fetched["life"]
        if not isinstance(text, str) or not _BEARER.fullmatch(text):
            return None
        return _Token(text, started + life - min(self._leeway, life / 2))

    def _session(self) -> Any:
        from caliper_readtime.emitters._transport import fit  # noqa: PLC0415 - requests is loaded late

        session = _session_class()(
            self._client_id,
            self._client_secret,
            scope=self._scope,
            token_endpoint_auth_method="client_secret_post",  # noqa: S106 - the name of a method
        )
        fit(session, self._network)
        session.register_compliance_hook("access_token_response", self._judged)
        return session

    def _judged(self, response: Response) -> Response:
        """Return an answer that may hold a token, with its life in seconds as ``life``."""
        answer = EndpointResponse.of(response, datetime.now(UTC))
        where = self._address.where
        if answer.verdict is Verdict.UNAVAILABLE:
            raise EmitterUnavailable(
                f"{where} answered {answer.status} and gave no token: try again later",
                status=answer.status,
                retry_after_seconds=answer.retry_after_seconds,
                ambiguous=False,
            )
        document = _document(response)
        code = _error_code(document)
        if code or answer.verdict is not Verdict.ACCEPTED:
            raise EndpointRefused(
                f"{where} answered {answer.status}{code} and gave no token: check token_url, client_id and"
                " client_secret",
                status=answer.status,
                ambiguous=False,
            )
        # Authlib takes the life for a whole number, and finds no token where it is anything else.
        life = _life(document.pop("expires_in", None))
        document = {"access_token": document.get("access_token"), "token_type": "Bearer", "life": life}
        response._content = json.dumps(document).encode()  # noqa: SLF001 - the only way to hand over other content
        return response


def secret_from_file(path: str | os.PathLike[str], name: str) -> str:
    """Return a secret that stands alone in a file, as text in UTF-8 with or without a byte order mark.

    Args:
        path: the file.
        name: of the setting, for the error.

    Raises:
        ConfigurationError: it cannot be read, or is no such text. The error holds nothing of it.
    """
    try:
        secret = Path(path).read_text(encoding="utf-8-sig").strip()
    except OSError as error:
        problem = f"cannot be read: {error.strerror}"
    except ValueError:  # a UnicodeDecodeError carries what it could not decode
        problem = "is not text in UTF-8: save it as such"
    else:
        if secret.isprintable():  # UTF-16 without a mark is full of NULs
            return secret
        problem = "must hold the secret alone, in one line and without control characters"
        secret = ""
    raise ConfigurationError(f"{name}: {problem}")


def _document(response: Response) -> dict[str, Any]:
    try:
        document = response.json()
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}


def _error_code(document: Mapping[str, Any]) -> str:
    """Return the OAuth2 error code of an answer, such as " invalid_client", or nothing."""
    code = document.get("error")
    if code is None or code == "":
        return ""
    return f" {code}" if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else " error"


def _life(said: object) -> float:
    """Return how long a token is good in seconds; where that cannot be understood, a 401 will tell in time."""
    try:
        seconds = float(said) if said and isinstance(said, int | float | str) else DEFAULT_EXPIRY_SECONDS
    except (ValueError, OverflowError):
        seconds = DEFAULT_EXPIRY_SECONDS
    return seconds if isfinite(seconds) else DEFAULT_EXPIRY_SECONDS


def _session_class() -> Any:
    try:
        from authlib.integrations.requests_client import (  # type: ignore[import-untyped]  # noqa: PLC0415 - an extra
            OAuth2Session,
        )
    except ImportError as error:
        raise ConfigurationError('ClientCredentials needs Authlib: pip install "caliper-readtime[oauth2]"') from error
    return OAuth2Session
