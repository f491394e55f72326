"""Keeps one reader's ticket out of shared caches: ``Cache-Control: private`` on pages that carry one."""

from __future__ import annotations

from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any

from django.utils.cache import patch_cache_control
from django.utils.decorators import sync_and_async_middleware

from caliper_readtime.web.django.pages import MARK

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.http import HttpRequest, HttpResponse


@sync_and_async_middleware
def private_pages(get_response: Callable[[HttpRequest], Any]) -> Callable[[HttpRequest], Any]:
    """Mark pages that carry a ticket as private. List it anywhere below Django's cache middleware."""

    def marked(request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if hasattr(request, MARK):
            patch_cache_control(response, private=True)
        return response

    if iscoroutinefunction(get_response):

        async def middleware(request: HttpRequest) -> HttpResponse:
            return marked(request, await get_response(request))

        return middleware
    return lambda request: marked(request, get_response(request))
