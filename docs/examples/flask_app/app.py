"""A news site for students, in Flask. The lines marked ``# reading time`` are all that counting takes.

Run it:  flask --app docs/examples/flask_app/app.py run
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flask import Flask, abort, redirect, render_template, session, url_for

from caliper_readtime import Reader  # reading time
from caliper_readtime.web.flask import current_tracker, init_app  # reading time

if TYPE_CHECKING:
    from werkzeug.wrappers import Response

STUDENTS = {"u1": Reader("u1", "anna@example.org"), "u2": Reader("u2", "ben@example.org")}  # your table of users
ARTICLES = {  # your table of articles
    "leaves": {"resource_id": "nice_x1", "title": "How leaves eat light", "text": "Leaves are green because …"},
    "volcanoes": {"resource_id": "nice_x2", "title": "Volcanoes", "text": "Deep below the ground …"},
}
HERE = Path(tempfile.gettempdir())
#: Where time lives and where events go. A real site sets these in its environment, with its own endpoint.
DEFAULTS = {
    "CALIPER_READTIME_STORE_URL": f"sqlite:///{HERE / 'readtime-example.db'}",
    "CALIPER_READTIME_ENDPOINT": f"jsonl://{HERE / 'readtime-example.jsonl'}",
    "CALIPER_READTIME_ONEROSTER_URL": "https://oneroster.example.org",
    "CALIPER_READTIME_SENSOR": "https://news.example.org",
    "CALIPER_READTIME_APP_NAME": "Example News",
}


def create_app(config: dict[str, Any] | None = None) -> Flask:
    app = Flask(__name__)
    app.config.from_mapping(DEFAULTS, SECRET_KEY="only-for-this-example")  # noqa: S106
    app.config.from_mapping(config or {})
    init_app(app, reader=STUDENTS.get)  # reading time

    @app.get("/")
    def front_page() -> str:
        return render_template("front_page.html", articles=ARTICLES, students=STUDENTS)

    @app.get("/articles/<slug>")
    def article(slug: str) -> str:
        if slug not in ARTICLES:
            abort(404)
        return render_template("article.html", article=ARTICLES[slug], student=session.get("student"))

    @app.get("/login/<student>")
    def login(student: str) -> Response:
        if student not in STUDENTS:
            abort(404)
        session["student"] = student
        return redirect(url_for("front_page"))

    @app.get("/logout")
    def logout() -> Response:
        session.clear()
        return redirect(url_for("front_page"))

    @app.post("/bank")
    def bank() -> dict[str, Any]:
        """Before minutes are paid, everything that is still unreported has to be."""
        flushed = current_tracker.flush_reader(session["student"], wait_seconds=2.0)
        return {"settled": flushed.settled, "seconds_sent": flushed.seconds_sent}

    return app
