"""Flask: ``init_app``, ``current_tracker`` and the Jinja global ``readtime_script``.

::

    init_app(app, reader=find_reader)                      # settings: app.config, then the environment
    {{ readtime_script(user.sourced_id, article) }}        # in the article's template
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from flask import Blueprint, Flask, Request, Response, current_app, g, request, url_for
from markupsafe import Markup
from werkzeug.local import LocalProxy

from caliper_readtime import _building, _settings
from caliper_readtime._logs import log
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.web import script
from caliper_readtime.web.page_counter import PageCounter
from caliper_readtime.web.refusals import Refusal, Refused
from caliper_readtime.web.signals import MAX_BODY
from caliper_readtime.web.tickets import ItsdangerousSigner, chosen_secrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime._model import Activity, Reader
    from caliper_readtime.web.page_counter import PageResponse

#: Under this name the host's part lives in ``app.extensions``.
NAME: Final = "caliper_readtime"
# Set on a request for a signal that has come to its view.
_SEEN: Final = "_caliper_readtime_signal"


def init_app(
    app: Flask,
    *,
    reader: Callable[[str], Reader | None] | None = None,
    tracker: ReadTimeTracker | None = None,
    on_refusal: Callable[[Refusal], object] | None = None,
    url_prefix: str = "/readtime",
) -> PageCounter:
    """Count an application's article pages.

    Settings are those of ``app.config`` and of the environment, all named ``CALIPER_READTIME_…``; ``app.config`` wins.
    Tickets are signed by the setting ``SECRETS``, or by Flask's ``SECRET_KEY`` and ``SECRET_KEY_FALLBACKS``.

    Args:
        app: the application.
        reader: returns the ``Reader`` of a sourced id, or None; in place of the setting ``READER``.
        tracker: in place of one from the settings.
        on_refusal: called with the ``Refusal`` of each signal that is not taken, for metrics; in place of the setting
            ``ON_REFUSAL``.
        url_prefix: where the script, the signals and the health answer are.

    Raises:
        ConfigurationError: settings are wrong. Missing ones are told where a tracker is needed first, so that commands
            such as ``flask routes`` do without.
    """
    settings = _settings.named(_settings.prefixed(os.environ)) | _settings.named(_settings.prefixed(app.config))
    web = _settings.Settings.of(settings if reader is None else {**settings, "reader": reader}).web
    given = web.tracker if tracker is None else tracker
    if given is None:
        lacking = _building.missing(settings)
        if lacking:
            log(logging.WARNING, "no page is counted until these are set", problem=lacking)
    counter = PageCounter(
        (lambda: ReadTimeTracker.from_settings(settings)) if given is None else given,
        ItsdangerousSigner(chosen_secrets(web, _own_secrets(app), "Flask's SECRET_KEY and SECRET_KEY_FALLBACKS")),
        web,
        on_refusal=on_refusal,
    )
    app.extensions[NAME] = counter
    app.register_blueprint(_blueprint(counter), url_prefix=url_prefix)
    app.add_template_global(readtime_script)
    app.after_request(_private)
    return counter


def _own_secrets(app: Flask) -> list[Any]:
    return [app.secret_key, *(app.config.get("SECRET_KEY_FALLBACKS") or ())]


def current_page_counter() -> PageCounter:
    """Return what ``init_app`` made for the current application; set its ``tracker`` in tests.

    Raises:
        ConfigurationError: it was not called.
    """
    counter = current_app.extensions.get(NAME)
    if not isinstance(counter, PageCounter):
        raise ConfigurationError("call caliper_readtime.web.flask.init_app(app) first")
    return counter


#: The current application's tracker.
current_tracker: ReadTimeTracker = LocalProxy(lambda: current_page_counter().tracker)  # type: ignore[assignment]


def readtime_script(reader: Reader | str, article: Activity | None = None, **options: Any) -> Markup:
    """Return the script tag of an article page, for templates.

    Args:
        reader: whose page, or their sourced id.
        article: what they read; or name its fields.
        options: as for ``PageCounter.script_tag``.
    """
    g.caliper_readtime_ticket = True
    how: dict[str, Any] = {"request": request, "base_url": request.url_root, "debug": current_app.debug}
    urls = url_for(f"{NAME}.script_file", name="readtime.js"), url_for(f"{NAME}.signals")
    return Markup(current_page_counter().script_tag(urls, reader, article, **how, **options))  # noqa: S704 - escaped there


def _private(response: Response) -> Response:
    """Keep shared caches from giving one reader's ticket to another."""
    if "caliper_readtime_ticket" in g:
        response.cache_control.public = False
        response.cache_control.private = True
    return response


def _blueprint(counter: PageCounter) -> Blueprint:
    blueprint = Blueprint(NAME, __name__)

    # The first hook of a request: it comes before all that the host has of the usual kind.
    @blueprint.url_value_preprocessor
    def exempt_from_csrf(_: str | None, __: dict[str, Any] | None) -> None:
        """Tell Flask-WTF, which asks every POST for a token, that no cookie carries authority here: the ticket does."""
        protection: Any = current_app.extensions.get("csrf")
        if hasattr(protection, "exempt"):
            protection.exempt(blueprint)

    @blueprint.post("/signals")
    def signals() -> Response:
        this: Any = request._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001 - each look through it costs
        setattr(this, _SEEN, True)
        return _response(counter.receive(this.headers, _body(this), this))

    @blueprint.after_request
    def seen(response: Response) -> Response:
        """Count a signal that something of the host's has turned away before its view, however it did so."""
        if request.method == "POST" and not hasattr(request, _SEEN) and request.endpoint == f"{NAME}.signals":
            counter.refusals.count(Refused(Refusal.BEFORE_VIEW, f"status {response.status_code}"))
        return response

    @blueprint.get(f"/<any({', '.join(map(repr, script.FILES))}):name>")
    def script_file(name: str) -> Any:
        file = script.file(name)
        headers = {"Cache-Control": file.cache_control(request.args.get("v"))}
        response = _WithoutCookies(file.body, mimetype="text/javascript", headers=headers)
        response.set_etag(file.version)
        return response.make_conditional(request)

    @blueprint.get("/health")
    def health() -> Response:
        return _response(counter.health())

    return blueprint


def _body(this: Request) -> bytes:
    """Return the body; one byte more than is taken tells a longer one, which is not read."""
    length = this.environ.get("CONTENT_LENGTH", "")
    plain = length.isdecimal() and len(length) < 5 and "HTTP_TRANSFER_ENCODING" not in this.environ  # noqa: PLR2004
    # Werkzeug's stream can do more than a plain body needs, and takes as long as all that is checked of a signal. But
    # where a hook of the host's has read by it, a server would wait for more than there is.
    if plain and "stream" not in vars(this):
        body: bytes = this.environ["wsgi.input"].read(min(int(length), MAX_BODY + 1))
        return body
    return this.stream.read(MAX_BODY + 1) or this.get_data()


class _WithoutCookies(Response):
    """Renews no session: a leave's answer may overtake the logout's, and caches keep the script."""

    default_mimetype = None  # a 204 has no body to be of a type

    def set_cookie(self, *_: Any, **__: Any) -> None:
        """Set none."""


def _response(answer: PageResponse) -> Response:
    return _WithoutCookies(answer.body or None, answer.status, answer.headers)
