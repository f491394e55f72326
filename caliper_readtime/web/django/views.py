"""The views: signals, the script's files, health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.contrib.auth.decorators import login_not_required
from django.core.exceptions import DisallowedHost
from django.db.transaction import non_atomic_requests
from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST, require_safe

from caliper_readtime.web import script
from caliper_readtime.web.django import current_page_counter
from caliper_readtime.web.django.pages import SEEN
from caliper_readtime.web.signals import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime.web.page_counter import PageResponse


class _Headers:
    """A request's header fields, looked up one by one: Django's own are made all at once, which costs a heartbeat."""

    def __init__(self, request: HttpRequest) -> None:
        self._request = request

    def get(self, name: str, /) -> str | None:
        """Return a field's value, or None; of the host what Django makes of it, behind proxies too."""
        if name == "Host":
            try:
                return self._request.get_host()
            except DisallowedHost:  # no page of ours has sent it from there
                return None
        key = name.upper().replace("-", "_")
        value: str | None = self._request.META.get(key if key == "CONTENT_TYPE" else f"HTTP_{key}")
        return value


def _in_no_transaction(view: Callable[..., HttpResponse]) -> Callable[..., HttpResponse]:
    """Let ATOMIC_REQUESTS of no database open a transaction: most signals use none, and a report must not be in one."""
    for alias in settings.DATABASES:
        view = non_atomic_requests(using=alias)(view)
    return view


@login_not_required  # nor does a session: a leave that follows a logout counts all the same
@csrf_exempt  # no cookie carries authority here, the ticket does
@_in_no_transaction
@require_POST
def signals(request: HttpRequest) -> HttpResponse:
    """Take a signal."""
    setattr(request, SEEN, True)
    return _response(current_page_counter().receive(_Headers(request), _body(request), request))


def _body(request: HttpRequest) -> bytes:
    """Return the body; one byte more than is taken tells a longer one, which is not read."""
    # Django takes a body without a length for none. A server that takes chunks says so where it ends them itself.
    if request.META.get("wsgi.input_terminated") and not request.META.get("CONTENT_LENGTH"):
        body: bytes = request.META["wsgi.input"].read(MAX_BODY + 1)
        return body or request.body
    return request.read(MAX_BODY + 1)


@login_not_required
@require_safe
def script_file(request: HttpRequest, name: str) -> HttpResponse:
    """Serve a file of the script."""
    file = script.file(name)
    headers = {"Cache-Control": file.cache_control(request.GET.get("v")), "ETag": quote_etag(file.version)}
    response = HttpResponse(file.body, content_type="text/javascript", headers=headers)
    answer: Any = get_conditional_response(request, etag=headers["ETag"], response=response) or response
    return _for(request, _without_cookies(answer))


@login_not_required
@_in_no_transaction
@require_safe
def health(request: HttpRequest) -> HttpResponse:
    """Answer a probe."""
    return _for(request, _response(current_page_counter().health()))


def _for(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    """Leave the body out for HEAD: not every server does."""
    if request.method == "HEAD":
        response.headers.setdefault("Content-Length", str(len(response.content)))
        response.content = b""
    return response


def _response(answer: PageResponse) -> HttpResponse:
    response = HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
    # Refusals are counted and logged already: Django must not log, or mail, each one of a flood or of an outage.
    response._has_been_logged = True  # type: ignore[attr-defined]  # noqa: SLF001
    return _without_cookies(response)


def _without_cookies(response: Any) -> HttpResponse:
    """Let no middleware renew the session: a leave's answer may overtake the logout's, and caches keep the script."""
    response.set_cookie = lambda *_, **__: None
    answer: HttpResponse = response
    return answer
