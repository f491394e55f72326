"""``Exchange``: the requests of one emitter call, with auth, each repeated while that can help.

Imports requests and tenacity, so it is imported late.
"""

from __future__ import annotations

import http.client
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import requests
from tenacity import Retrying, retry_if_exception, wait_random_exponential
from urllib3.exceptions import HTTPError

from caliper_readtime._interruptions import pass_interruption
from caliper_readtime.emitters._circuit import cut, left
from caliper_readtime.emitters._payload import without_carriers
from caliper_readtime.emitters._responses import EndpointResponse, Verdict
from caliper_readtime.emitters._transport import may_have_left, nothing_has_left
from caliper_readtime.errors import EmitError, EmitterUnavailable, EndpointRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tenacity import RetryCallState

    from caliper_readtime.emitters._payload import Request
    from caliper_readtime.emitters._responses import DuplicateAnswers

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
        duplicates: which answers mean that an event is held.
        pause: told of the seconds for which the endpoint asks to be left alone.
    """

    def __init__(
        self,
        session: requests.Session,
        where: str,
        auth: Any,
        timeout: tuple[float, float],
        attempts: int,
        duplicates: DuplicateAnswers,
        pause: Callable[[float], None],
    ) -> None:
        self._session = session
        self._where = where
        self._auth = auth
        self._timeout = timeout
        self._attempts = attempts
        self._duplicates = duplicates
        self._pause = pause
        self._renewable = hasattr(auth, "renew")

    def ask(self, request: Request) -> EndpointResponse:
        """Return an answer that says something about the events or the credentials.

        Raises:
            EmitterUnavailable: no such answer within the attempts and the deadline; or from the auth.
        """
        # A new object each time: tenacity keeps the numbers of a run in it.
        retrying = Retrying(stop=self._stop, wait=_wait, retry=retry_if_exception(_certainly_not_sent), reraise=True)
        return retrying(self._attempt, request)

    def _stop(self, state: RetryCallState) -> bool:
        return state.attempt_number >= self._attempts or state.upcoming_sleep >= left()

    def _attempt(self, request: Request) -> EndpointResponse:
        try:
            return self._once(request)
        except EmitterUnavailable as error:
            if error.retry_after_seconds:
                self._pause(error.retry_after_seconds)
            raise

    def _once(self, request: Request) -> EndpointResponse:
        answer = self._send(request)
        if answer.verdict is Verdict.UNAUTHORIZED and self._renewable:
            # H6: the auth is renewed once.
            self._renewable = False
            with self._auth_errors(request):
                self._auth.renew()
            answer = self._send(request)
        error = answer.error(self._where, request.event_ids)
        if answer.verdict is Verdict.UNAVAILABLE and error is not None:
            raise error
        return answer

    def _send(self, request: Request) -> EndpointResponse:
        try:
            response = self._answer(request)
        except EmitError:
            raise
        except (requests.RequestException, HTTPError, OSError, http.client.HTTPException) as error:
            pass_interruption(without_carriers(error))
            raise EmitterUnavailable(
                f"{self._where} did not answer ({type(error).__name__}): try again later",
                event_ids=request.event_ids,
                ambiguous=may_have_left(),
            ) from error
        except ValueError as error:
            pass_interruption(without_carriers(error))
        except BaseException as error:  # noqa: BLE001 - raised again
            raise without_carriers(error)  # noqa: B904 - L5: it passes as it is
        else:
            return EndpointResponse.of(response, datetime.now(UTC), self._duplicates)
        # http.client quotes a header that it cannot send, and that may be a token: nothing is chained.
        raise EndpointRefused(
            f"{self._where} cannot be asked: the auth sets a header that cannot be sent",
            event_ids=request.event_ids,
            ambiguous=False,
        )

    def _answer(self, request: Request) -> requests.Response:
        headers = None if request.body is None else {"Content-Type": "application/json"}
        # An auth that does nothing, or requests would look for one in a netrc file where it trusts the environment.
        prepared = self._session.prepare_request(
            requests.Request(request.method, request.url, headers=headers, data=request.body, auth=_no_auth)
        )
        if self._auth is not None:
            with self._auth_errors(request):
                prepared.prepare_auth(self._auth)
        nothing_has_left()
        return self._session.send(
            prepared,
            timeout=(cut(self._timeout[0]), cut(self._timeout[1])),
            allow_redirects=False,
            **self._session.merge_environment_settings(request.url, {}, None, None, None),
        )

    @contextmanager
    def _auth_errors(self, request: Request) -> Iterator[None]:
        try:
            yield
        except EmitError as error:
            error.event_ids = error.event_ids or tuple(request.event_ids)
            if isinstance(error, EmitterUnavailable):
                error.ambiguous = False  # the events were not sent
            raise
        except Exception as error:
            pass_interruption(error)
            raise EmitterUnavailable(
                f"{self._where} was not asked: its auth failed ({type(error).__name__})",
                event_ids=request.event_ids,
                ambiguous=False,
            ) from error


def _no_auth(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _certainly_not_sent(error: BaseException) -> bool:
    """H8: whatever may have arrived is not sent again here, since consumers that sum every delivery pay for it."""
    return isinstance(error, EmitterUnavailable) and not isinstance(error, EndpointRefused) and not error.ambiguous


def _wait(state: RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome is not None else None
    asked = error.retry_after_seconds if isinstance(error, EmitterUnavailable) else None
    return max(asked or 0.0, _BACKOFF(state))
