"""A news site for students, in Starlette. The lines marked ``# reading time`` are all that counting takes.

FastAPI takes the same lines.
Run it:  uvicorn --app-dir docs/examples/asgi_app app:app
"""

from __future__ import annotations

import tempfile
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from caliper_readtime import Reader  # reading time
from caliper_readtime.web.asgi import init_app, readtime_script  # reading time

if TYPE_CHECKING:
    from starlette.requests import Request

STUDENTS = {"u1": Reader("u1", "anna@example.org"), "u2": Reader("u2", "ben@example.org")}  # your table of users
ARTICLES = {"leaves": ("nice_x1", "How leaves eat light"), "volcanoes": ("nice_x2", "Volcanoes")}
HERE = Path(tempfile.gettempdir())
#: Where time lives and where events go. A real site sets these in its environment, with its own endpoint and secret.
DEFAULTS = {
    "STORE_URL": f"sqlite:///{HERE / 'readtime-example.db'}",
    "ENDPOINT": f"jsonl://{HERE / 'readtime-example.jsonl'}",
    "ONEROSTER_URL": "https://oneroster.example.org",
    "SENSOR": "https://news.example.org",
    "APP_NAME": "Example News",
    "SECRETS": "only-for-this-example",
}


async def article(request: Request) -> Response:
    if request.path_params["slug"] not in ARTICLES:
        raise HTTPException(404)
    resource_id, title = ARTICLES[request.path_params["slug"]]
    student = request.cookies.get("student")  # a real site asks its session
    fields = {"resource_id": resource_id, "title": title, "url": request.url.path}
    tag = await readtime_script(request, student, **fields) if student else ""  # reading time
    return HTMLResponse(
        f"<!doctype html><title>{escape(title)}</title><article><h1>{escape(title)}</h1></article>{tag}"
    )


async def login(request: Request) -> Response:
    answer = HTMLResponse('<a href="/articles/leaves">How leaves eat light</a>')
    answer.set_cookie("student", request.path_params["student"])
    return answer


async def logout(request: Request) -> Response:
    answer = HTMLResponse("Good bye.")
    answer.delete_cookie("student")
    return answer


def create_app(settings: dict[str, Any] | None = None) -> Starlette:
    routes = [Route("/articles/{slug}", article), Route("/login/{student}", login), Route("/logout", logout)]
    app = Starlette(routes=routes)
    init_app(app, reader=STUDENTS.get, settings=DEFAULTS | (settings or {}))  # reading time
    return app


app = create_app()
