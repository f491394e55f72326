"""``Exchange``: the requests of one emitter call, with auth, each repeated while that can help.

Imports requests and tenacity, so it is imported late.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import requests
from tenacity import Retrying, retry_if_exception, wait_random_exponential

from caliper_readtime.emitters._deadline import cut, left
from caliper_readtime.emitters._responses import EndpointResponse, Verdict
from caliper_readtime.errors import EmitError, EmitterUnavailable, EndpointRefused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tenacity import RetryCallState

#: The back-off is a random time between 0 and this many seconds, doubled after every further attempt.
BACKOFF_SECONDS: Final = 0.2
#: The longest back-off that the endpoint has not asked for.
MAX_BACKOFF_SECONDS: Final = 5.0

_BACKOFF: Final = wait_random_exponential(multiplier=BACKOFF_SECONDS, max=MAX_BACKOFF_SECONDS)


class Exchange:
    """The requests of one call, made by one thread inside the call's deadline.

    Args:
        session: the thread's session.
        where: name of the endpoint, for errors.
        auth: what ``requests`` takes as auth; None for none.
        timeout: seconds to connect, seconds to wait for each part of the answer.
        attempts: how often each request is sent at most.
    """

    def __init__(
        self, session: requests.Session, where: str, auth: Any, timeout: tuple[float, float], attempts: int
    ) -> None:
        self._session = session
        self._where = where
        self._auth = auth
        self._timeout = timeout
        self._attempts = attempts
        self._renewable = hasattr(auth, "renew")

    def ask(self, method: str, url: str, event_ids: Sequence[str], body: bytes | None = None) -> EndpointResponse:
        """Return an answer that says something about the events or the credentials.

        Args:
            method: HTTP method.
            url: where to.
            event_ids: the events concerned, for errors.
            body: JSON, if any.

        Raises:
            EmitterUnavailable: no such answer within the attempts and the deadline; or from the auth.
        """
        # A new object each time: tenacity keeps the numbers of a run in it.
        retrying = Retrying(
            stop=self._stop,
            wait=_pause,
            retry=retry_if_exception(_may_pass),
            reraise=True,
        )
        return retrying(self._attempt, method, url, event_ids, body)

    def _stop(self, state: RetryCallState) -> bool:
        return state.attempt_number >= self._attempts or state.upcoming_sleep >= left()

    def _attempt(self, method: str, url: str, event_ids: Sequence[str], body: bytes | None) -> EndpointResponse:
        answer = self._send(method, url, event_ids, body)
        if answer.verdict is Verdict.UNAUTHORIZED and self._renewable:
            # H6: the auth is renewed once.
            self._renewable = False
            with self._auth_errors(event_ids):
                self._auth.renew()
            answer = self._send(method, url, event_ids, body)
        error = answer.error(self._where, event_ids)
        if answer.verdict is Verdict.UNAVAILABLE and error is not None:
            raise error
        return answer

    def _send(self, method: str, url: str, event_ids: Sequence[str], body: bytes | None) -> EndpointResponse:
        headers = None if body is None else {"Content-Type": "application/json"}
        try:
            request = self._session.prepare_request(requests.Request(method, url, headers=headers, data=body))
            if self._auth is not None:
                with self._auth_errors(event_ids):
                    request.prepare_auth(self._auth)
            timeout = (cut(self._timeout[0]), cut(self._timeout[1]))
            response = self._session.send(request, timeout=timeout, allow_redirects=False)
        except EmitError:
            raise
        except requests.RequestException as error:
            raise self._silent(error, event_ids) from error
        except ValueError:
            response = None
        except Exception as error:
            raise self._silent(error, event_ids) from error
        if response is None:
            # http.client quotes a header that it cannot send, and that may be a token: nothing is chained.
            raise EndpointRefused(
                f"{self._where} cannot be asked: the auth sets a header that cannot be sent", event_ids=event_ids
            )
        if response.status_code < HTTPStatus.OK:
            self._session.close()  # the real answer is still to come, and is not the next request's
        return EndpointResponse.of(response, datetime.now(UTC))

    def _silent(self, error: Exception, event_ids: Sequence[str]) -> EmitterUnavailable:
        return EmitterUnavailable(
            f"{self._where} did not answer ({type(error).__name__}): try again later", event_ids=event_ids
        )

    @contextmanager
    def _auth_errors(self, event_ids: Sequence[str]) -> Iterator[None]:
        try:
            yield
        except EmitError as error:
            error.event_ids = error.event_ids or tuple(event_ids)
            raise
        except Exception as error:
            raise EmitterUnavailable(
                f"{self._where} was not asked: its auth failed ({type(error).__name__})", event_ids=event_ids
            ) from error


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, EmitterUnavailable) and not isinstance(error, EndpointRefused)


def _pause(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after_seconds if isinstance(error, EmitterUnavailable) else None
    return max(asked or 0.0, _BACKOFF(state))
