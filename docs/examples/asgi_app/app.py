"""A news site for students, in Starlette; a FastAPI application takes the same routes.

The verbs of a tracker block, so they run in the thread pool.
Run it:  uvicorn --app-dir docs/examples/asgi_app app:app
"""

from __future__ import annotations

import os
from html import escape
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from caliper_readtime import Reader, ReadTimeTracker
from caliper_readtime._settings import WebSettings
from caliper_readtime.web import script
from caliper_readtime.web.page_counter import PageCounter, PageResponse
from caliper_readtime.web.signals import MAX_BODY
from caliper_readtime.web.tickets import ItsdangerousSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.requests import Request

STUDENTS = {"u1": Reader("u1", "anna@example.org"), "u2": Reader("u2", "ben@example.org")}  # your table of users
ARTICLES = {"leaves": ("nice_x1", "How leaves eat light"), "volcanoes": ("nice_x2", "Volcanoes")}


def readtime_routes(host: PageCounter) -> list[Route]:
    """The three routes, for ``Mount("/readtime", routes=…)``; in FastAPI ``app.mount`` takes a Starlette of them."""

    async def signals(request: Request) -> Response:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:  # one byte more than is taken tells a longer body, which is not read
                break
        return _response(await run_in_threadpool(host.receive, request.headers, body))

    async def script_file(request: Request) -> Response:
        file = script.file("readtime.js")
        headers = {"Cache-Control": file.cache_control(request.query_params.get("v")), "ETag": f'"{file.version}"'}
        return Response(file.body, media_type="text/javascript", headers=headers)

    async def health(request: Request) -> Response:
        return _response(await run_in_threadpool(host.health))

    return [
        Route("/signals", signals, methods=["POST"]),
        Route("/readtime.js", script_file),
        Route("/health", health),
    ]


def _response(answer: PageResponse) -> Response:
    return Response(answer.body, answer.status, dict(answer.headers))


def create_app(make_tracker: Callable[[], ReadTimeTracker], secrets: list[str]) -> Starlette:
    host = PageCounter(make_tracker, ItsdangerousSigner(secrets), WebSettings(reader=STUDENTS.get))

    async def article(request: Request) -> Response:
        resource_id, title = ARTICLES[request.path_params["slug"]]
        student = request.query_params["student"]  # a real site asks its session
        tag = await run_in_threadpool(
            host.script_tag,
            ("/readtime/readtime.js", "/readtime/signals"),
            student,
            resource_id=resource_id,
            title=title,
            url=str(request.url.replace(query="")),
        )
        page = f"<!doctype html><title>{escape(title)}</title><article><h1>{escape(title)}</h1></article>{tag}"
        # The page carries a ticket: no shared cache may keep it.
        return HTMLResponse(page, headers={"Cache-Control": "private"})

    app = Starlette(routes=[Route("/articles/{slug}", article), Mount("/readtime", routes=readtime_routes(host))])
    app.state.host = host
    return app


def __getattr__(name: str) -> Starlette:
    """Build ``app`` when a server asks for it, from the environment."""
    if name == "app":
        return create_app(ReadTimeTracker.from_env, os.environ["CALIPER_READTIME_SECRETS"].split())
    raise AttributeError(name)
