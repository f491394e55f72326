"""The demo's pages: an article on the real Flask adapter, panels beside it, and buttons that break things."""

from __future__ import annotations

import json
import secrets
from functools import partial
from typing import TYPE_CHECKING, Final

from flask import Flask, Response, abort, render_template, request

from caliper_readtime._demo.parts import EXPECTED_XP, LEAVES, READER
from caliper_readtime._demo.stage import IDLE_SECONDS, POLICY, EndpointMode
from caliper_readtime._units import UNPAID_SECONDS
from caliper_readtime.web.flask import init_app
from caliper_readtime.web.origins import foreign

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from caliper_readtime._demo.stage import Stage

_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; frame-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'self'"
)


def create_app(stage: Stage) -> Flask:
    """Return the application.

    Args:
        stage: what it shows, and lets its visitors break.
    """
    app = Flask(__name__, template_folder="templates", static_folder="static")
    # Whatever the environment says of other applications, here a page that is left reports at once.
    app.config.from_mapping(
        SECRET_KEY=secrets.token_hex(),
        CALIPER_READTIME_LEAVE="send",
        CALIPER_READTIME_SESSION=lambda _: stage.visit,  # so that what is still open counts no more after a restart
    )
    init_app(app, tracker=stage.tracker, reader={READER.sourced_id: READER}.get)
    _add_pages(app, stage)
    _add_actions(app, stage)

    @app.after_request
    def finish(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = _POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        if request.method == "POST":
            stage.tell()  # a signal may have moved time
        return response

    return app


def _add_pages(app: Flask, stage: Stage) -> None:
    @app.get("/")
    def panels() -> str:
        return render_template(
            "panels.html", lease=POLICY.lock_seconds, idle=IDLE_SECONDS, unpaid=UNPAID_SECONDS, xp=EXPECTED_XP
        )

    @app.get("/article")
    def article() -> str:
        if "prefetch" not in request.headers.get("Sec-Purpose", ""):
            stage.opened()
        return render_template("article.html", article=LEAVES, reader=READER)

    @app.get("/elsewhere")
    def elsewhere() -> str:
        return render_template("elsewhere.html")

    @app.get("/demo/changes")
    def changes() -> Response:
        return Response(_events(stage), mimetype="text/event-stream", headers={"Cache-Control": "no-store"})


def _add_actions(app: Flask, stage: Stage) -> None:
    actions: dict[str, Callable[[], object]] = {mode.value: partial(stage.turn, mode) for mode in EndpointMode}
    actions |= {"kill": stage.kill, "sweep": stage.sweep, "bank": stage.bank, "restart": stage.restart}

    @app.post("/demo/<action>")
    def act(action: str) -> tuple[str, int]:
        if foreign(request.headers):
            abort(403)
        if action not in actions:
            abort(404)
        stage.act(actions[action])
        return "", 204


def _events(stage: Stage) -> Iterator[str]:
    for document in stage.changes():
        # A comment is how a server finds out that nobody listens any more.
        yield ":\n\n" if document is None else f"data: {json.dumps(document)}\n\n"
