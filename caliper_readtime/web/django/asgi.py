"""Keeps long bodies from Django under ASGI, which writes a whole body to the disk before any view may refuse it.

It also speaks the lifespan protocol in Django's stead, so that a worker that ends sends what pages have just left.

``application = bounded(get_asgi_application())``
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.core.handlers.asgi import ASGIHandler
from django.urls import NoReverseMatch, reverse

from caliper_readtime.web.django import current_page_counter
from caliper_readtime.web.refusals import Refusal, Refused
from caliper_readtime.web.signals import MAX_BODY

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    Application = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]


class _Nothing:
    """No header fields: a refusal that is answered here is shown to no other origin."""

    def get(self, _: str, /) -> None:
        """Return none."""


def bounded(application: Application) -> Application:
    """Return the application, with signals of more than 4 KiB refused before they are read to their end.

    Django's own knows no lifespan: it is given one, and at its end what pages have left is sent (A3).
    """
    lifeless = isinstance(application, ASGIHandler)

    async def bounding(scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if lifeless and scope["type"] == "lifespan":
            await _lived(receive, send)
            return
        if not _is_signal(scope):
            await application(scope, receive, send)
            return
        read, size = [], 0
        while size <= MAX_BODY:
            message = await receive()
            read.append(message)
            size += len(message.get("body", b""))
            if message["type"] != "http.request" or not message.get("more_body", False):
                break
        else:
            answer = current_page_counter().turn_away(_Nothing(), Refused(Refusal.TOO_LARGE))
            headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers]
            await send({"type": "http.response.start", "status": answer.status, "headers": headers})
            await send({"type": "http.response.body", "body": answer.body})
            return

        async def replayed() -> Message:
            return read.pop(0) if read else await receive()

        await application(scope, replayed, send)

    return bounding


def _is_signal(scope: MutableMapping[str, Any]) -> bool:
    """Return whether a request is for the signals, as far as the project's own URLs say where they are."""
    if scope["type"] != "http" or scope["method"] != "POST":
        return False
    with suppress(NoReverseMatch):  # a middleware may choose other URLs: for each tenant, or for a subdomain
        path: str = scope["path"].removeprefix(scope.get("root_path", ""))
        return path == reverse("caliper_readtime:signals")
    return False


async def _lived(receive: Receive, send: Send) -> None:
    """Begin and end; uvicorn lets no ``atexit`` send what waits."""
    ends = False
    while not ends:
        kind = (await receive())["type"]
        ends = kind == "lifespan.shutdown"
        if ends:
            await sync_to_async(current_page_counter().close, thread_sensitive=False)()
        await send({"type": f"{kind}.complete"})
