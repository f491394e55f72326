"""Keeps one reader's ticket out of shared caches: ``Cache-Control: private`` on pages that carry one."""

from __future__ import annotations

from contextlib import suppress
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from django.urls import NoReverseMatch, reverse
from django.utils.cache import patch_cache_control
from django.utils.decorators import sync_and_async_middleware

from caliper_readtime.errors import ReadTimeError
from caliper_readtime.web.django import current_page_counter
from caliper_readtime.web.django.pages import MARK, SEEN
from caliper_readtime.web.refusals import Refusal, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse


def _turned_away(request: HttpRequest, response: HttpResponse) -> None:
    """Count a signal that something below has turned away before its view."""
    with suppress(NoReverseMatch, ReadTimeError):
        if request.path == reverse("caliper_readtime:signals"):
            refused = Refused(Refusal.BEFORE_VIEW, f"status {response.status_code}")
            current_page_counter().refusals.count(refused)


@sync_and_async_middleware
def private_pages(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Mark pages that carry a ticket as private. List it anywhere below Django's cache middleware."""

    def marked(request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if hasattr(request, MARK):
            patch_cache_control(response, private=True)
        if request.method == "POST" and request.path.endswith("/signals") and not hasattr(request, SEEN):
            _turned_away(request, response)
        return response

    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponse:
            return marked(request, await get_response(request))

        return middleware
    return lambda request: marked(request, get_response(request))
