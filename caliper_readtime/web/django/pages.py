"""The script tag of article pages, for Django's templates (``templatetags``) and Jinja's (``jinja``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.exceptions import DisallowedHost
from django.urls import reverse
from django.utils.safestring import SafeString, mark_safe

from caliper_readtime.web.django import current_page_counter

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest

    from caliper_readtime._model import Activity, Reader

#: Set on a request whose page carries a ticket.
MARK: Final = "_caliper_readtime_ticket"
#: Set on a request for a signal that has come to its view.
SEEN: Final = "_caliper_readtime_signal"


def readtime_script(
    context: Mapping[str, Any], reader: Reader | str, article: Activity | None = None, **options: Any
) -> SafeString:
    """Return the script tag of an article page.

    Args:
        context: the template's; its ``request`` brings the nonce of the content security policy.
        reader: whose page, or their sourced id.
        article: what they read; or name its fields.
        options: as for ``PageCounter.script_tag``.
    """
    # Django's own context has it without the context processor too, and in an ``include … only``.
    request = getattr(context, "request", None) or context.get("request")
    if request is not None:
        setattr(request, MARK, True)
        # ``cache_page`` keeps a view's page before a middleware can mark it; this is how Django tells it not to.
        request._cache_update_cache = False  # noqa: SLF001
        # django-csp's, or that of Django's own policy (since 6.0). A nonce that nobody has read yet is false.
        nonce = getattr(request, "csp_nonce", getattr(request, "_csp_nonce", None))
        options.setdefault("nonce", None if nonce is None else str(nonce))
    urls = reverse("caliper_readtime:script", args=["readtime.js"]), reverse("caliper_readtime:signals")
    how: dict[str, Any] = {"request": request, "base_url": _base(request), "debug": settings.DEBUG}
    return mark_safe(current_page_counter().script_tag(urls, reader, article, **how, **options))  # noqa: S308 - escaped there


def _base(request: HttpRequest | None) -> str | None:
    try:
        return None if request is None else request.build_absolute_uri("/")
    except DisallowedHost:
        return None
