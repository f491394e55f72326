"""Starlette and FastAPI: ``init_app``, ``readtime_script`` and ``current_page_counter``.

::

    init_app(app, reader=find_reader)                              # settings: the environment
    tag = await readtime_script(request, user.sourced_id, article)  # where the article's page is made
"""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from starlette.datastructures import MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Mount, Route, Router

from caliper_readtime import _settings
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.web import script
from caliper_readtime.web.page_counter import PageCounter
from caliper_readtime.web.refusals import Refusal, Refused
from caliper_readtime.web.signals import MAX_BODY
from caliper_readtime.web.tickets import ItsdangerousSigner, chosen_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from caliper_readtime._model import Activity, Reader
    from caliper_readtime.web.page_counter import PageResponse

T = TypeVar("T")

#: Under this name a request's ``Page`` lives in its scope.
NAME: Final = "caliper_readtime"
#: Threads that wait for the store, of one event loop; the host's own are left alone.
THREADS: Final = 8
#: Requests that may wait for one of them; more are answered 503, and the scripts come back.
MOST_WAITING: Final = 500


@attrs.define(eq=False)
class _Pool:
    """The threads of one event loop, and how many requests are in them or wait for one."""

    limiter: CapacityLimiter = attrs.field(factory=lambda: CapacityLimiter(THREADS))
    there: int = 0


_POOL: Final[RunVar[_Pool]] = RunVar("caliper_readtime_threads")


class Tag(str):
    """HTML, which templates do not escape again."""

    __slots__ = ()

    def __html__(self) -> str:
        """Return it as it is."""
        return self


@attrs.define
class Page:
    """What one request has to do with reading time.

    Attributes:
        counter: counts it.
        prefix: where the script and the signals are, as the browser has to ask for them.
        ticket: its answer carries one.
        seen: it is a signal that has come to its view.
    """

    counter: PageCounter
    prefix: str
    ticket: bool = False
    seen: bool = False


def init_app(
    app: Starlette,
    *,
    reader: Callable[[str], Reader | None] | None = None,
    tracker: ReadTimeTracker | None = None,
    settings: Mapping[str, Any] | None = None,
    on_refusal: Callable[[Refusal], object] | None = None,
    url_prefix: str = "/readtime",
) -> PageCounter:
    """Count the article pages of a Starlette or FastAPI application.

    Args:
        app: the application.
        reader: returns the ``Reader`` of a sourced id, or None; in place of the setting ``READER``. It is called in a
            thread, and may block.
        tracker: in place of one from the settings.
        settings: by name, with the prefix ``CALIPER_READTIME_`` or without; what they lack comes from the environment.
            ``SECRETS`` is needed: page tickets are signed with it.
        on_refusal: called with the ``Refusal`` of each signal that is not taken, for metrics.
        url_prefix: where the script, the signals and the health answer are.

    Raises:
        ConfigurationError: settings are wrong. Missing ones are told where a tracker is needed first.
    """
    given = dict(settings or {})
    values = _settings.named(_settings.prefixed(os.environ)) | _settings.named(_settings.prefixed(given) or given)
    web = _settings.Settings.of(values if reader is None else {**values, "reader": reader}).web
    made = web.tracker if tracker is None else tracker
    counter = PageCounter(
        (lambda: ReadTimeTracker.from_settings(values)) if made is None else made,
        ItsdangerousSigner(chosen_secrets(web, [], "no secret of the framework's")),
        web,
        on_refusal=on_refusal,
    )
    # First, or a route of the host's that takes every path would take these.
    app.router.routes.insert(0, Mount(url_prefix, app=Router(_routes(), redirect_slashes=False)))
    app.add_middleware(_Pages, counter=counter, prefix=url_prefix)
    app.state.caliper_readtime = counter
    return counter


def current_page_counter(request: Request) -> PageCounter:
    """Return what ``init_app`` made for a request's application. Its tracker's verbs block: run them in a thread.

    Raises:
        ConfigurationError: it was not called.
    """
    return _page(request).counter


async def readtime_script(
    request: Request, reader: Reader | str | int, article: Activity | None = None, **options: Any
) -> Tag:
    """Return the script tag of an article page, for templates; its answer becomes ``Cache-Control: private``.

    Args:
        request: for the page.
        reader: whose page, or their sourced id.
        article: what they read; or name its fields.
        options: as for ``PageCounter.script_tag``.
    """
    page, scope = _page(request), request.scope
    page.ticket = True
    how: dict[str, Any] = {
        "request": request,
        "base_url": _base(request),
        "debug": getattr(scope.get("app"), "debug", False),
    }
    urls = f"{page.prefix}/readtime.js", f"{page.prefix}/signals"
    made = await _threaded(partial(page.counter.script_tag, urls, reader, article, **how, **options))
    return Tag(made or "")


def _page(request: Request) -> Page:
    page = request.scope.get(NAME)
    if not isinstance(page, Page):
        raise ConfigurationError("call caliper_readtime.web.asgi.init_app(app) first")
    return page


def _base(request: Request) -> str | None:
    try:
        return str(request.base_url)
    except ValueError:  # of a Host that is none
        return None


async def _threaded(function: Callable[[], T]) -> T | None:
    """Run what may wait for the store; None where too much waits already."""
    try:
        pool = _POOL.get()
    except LookupError:  # of this event loop, and so made in the worker that runs it
        pool = _Pool()
        _POOL.set(pool)
    if pool.there >= THREADS + MOST_WAITING:
        return None
    pool.there += 1
    try:
        return await run_sync(function, limiter=pool.limiter)
    finally:
        pool.there -= 1


def _routes() -> list[Route]:
    return [
        Route("/signals", _signals, methods=["POST"]),
        *(Route(f"/{name}", _script_file) for name in script.FILES),
        Route("/health", _health),
    ]


async def _signals(request: Request) -> Response:
    page, body = _page(request), b""
    page.seen = True
    counter = page.counter
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:  # one byte more than is taken tells a longer body, which is not read
                break
    except ClientDisconnect:  # a tab that closes in the midst of it is nobody's failure: its script comes back
        gone = Refused(Refusal.UNREADABLE, "the browser went away before all of it had come")
        return _response(counter.turn_away(request.headers, gone))
    answer = await _threaded(partial(counter.receive, request.headers, body[: MAX_BODY + 1], request))
    busy = Refused(Refusal.STORE_UNAVAILABLE, "too many requests wait for it")
    return _response(counter.turn_away(request.headers, busy) if answer is None else answer)


async def _script_file(request: Request) -> Response:
    file = script.file(request.url.path.rpartition("/")[2])
    version = f'"{file.version}"'
    headers = {"Cache-Control": file.cache_control(request.query_params.get("v")), "ETag": version}
    known = [tag.strip().removeprefix("W/") for tag in request.headers.get("If-None-Match", "").split(",")]
    if version in known:
        return Response(b"", 304, headers)
    return _for(request, Response(file.body, media_type="text/javascript", headers=headers))


async def _health(request: Request) -> Response:
    counter = _page(request).counter
    answer = await _threaded(counter.health)
    return _for(request, Response(b"", 503) if answer is None else _response(answer))


def _response(answer: PageResponse) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


def _for(request: Request, response: Response) -> Response:
    """Leave the body out for HEAD: not every server does."""
    if request.method == "HEAD":
        response.body = b""
    return response


class _Pages:
    """Knows each request's counter; keeps shared caches from giving a ticket to others; ends with the application."""

    def __init__(self, app: ASGIApp, *, counter: PageCounter, prefix: str) -> None:
        self._app = app
        self._counter = counter
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, partial(self._ending, receive), send)
            return
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Here, and not where a route of the host's is, the root is this application's own, mounted or not.
        root = scope.get("root_path", "")
        page = scope[NAME] = Page(self._counter, root + self._prefix)
        path = scope["path"].removeprefix(root)  # another application that is mounted in this one has signals, too
        signal = scope["method"] == "POST" and path == f"{self._prefix}/signals"

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                if page.ticket:
                    headers = MutableHeaders(scope=message)
                    headers["Cache-Control"] = _private(headers.get("Cache-Control", ""))
                if signal and not page.seen:
                    refused = Refused(Refusal.BEFORE_VIEW, f"status {message['status']}")
                    self._counter.refusals.count(refused)
            await send(message)

        await self._app(scope, receive, sent)

    async def _ending(self, receive: Receive) -> Message:
        """A3: a worker that ends sends what waits, before the host closes its own; uvicorn lets no ``atexit`` do it."""
        message = await receive()
        if message["type"] == "lifespan.shutdown":
            await run_sync(self._counter.close)
        return message


def _private(said: str) -> str:
    kept = [part.strip() for part in said.split(",") if part.strip().lower() not in ("", "public", "private")]
    return ", ".join(["private", *kept])
