"""doctor's look at pages: one real signal through the host's whole application, past all that stands before it."""

from __future__ import annotations

import json
import sys
from io import BytesIO
from typing import TYPE_CHECKING, Any, Final

from caliper_readtime._model import Article
from caliper_readtime.doctor._findings import Finding, error, ok
from caliper_readtime.errors import ReadTimeError
from caliper_readtime.web.signals import VERSION
from caliper_readtime.web.tickets import PROBE, application_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from caliper_readtime.web.page_counter import PageCounter

_NOTHING: Final = Article(PROBE, "Example of caliper-readtime doctor", "https://example.org/doctor")
_NO_CONTENT: Final = 204


def examine_signals(counter: PageCounter, application: Callable[..., Any], path: str, host: str) -> Finding:
    """Send a page's first signal through a WSGI application, as a browser would; nothing of it is counted.

    Args:
        counter: whose pages.
        application: the host's, with all its middleware and hooks.
        path: where signals go.
        host: the host's name.
    """
    try:
        tracker = counter.tracker
        session = None if counter.settings.session is None else ""
        application_id = application_of(tracker.events)
        ticket = counter.tickets.issue(PROBE, _NOTHING, tracker.now(), application=application_id, session=session)
    except ReadTimeError as failed:
        return error("pages.signals", f"no ticket can be issued: {failed}", "no page is counted until this is mended")
    try:
        status, body = _post(application, path, host, {"s": VERSION, "k": ticket, "v": "doctor", "t": 0})
    except Exception as failed:  # noqa: BLE001 - whatever the host's application raises, doctor goes on
        return error("pages.signals", f"POST {path} raised {type(failed).__name__}", "look at the application's log")
    if status == _NO_CONTENT:
        return ok("pages.signals", f"POST {path} takes signals")
    said = body[:100].decode(errors="replace")
    if b'"rt":' in body:
        return error("pages.signals", f"POST {path} answers {status} {said}", "docs: signals, the reasons")
    return error(
        "pages.signals",
        f"POST {path} is answered {status} before it gets to its view, so no second of any page is counted",
        "let it through: it needs neither a CSRF token nor a login, the ticket in it authorises",
    )


def _post(application: Callable[..., Any], path: str, host: str, message: dict[str, Any]) -> tuple[int, bytes]:
    body = json.dumps(message).encode()
    statuses: list[str] = []
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "SCRIPT_NAME": "",
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": host,
        "SERVER_PORT": "443",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": host,
        "HTTP_SEC_FETCH_SITE": "same-origin",
        "HTTP_X_FORWARDED_PROTO": "https",  # or a host behind a proxy would lead us to https
        "CONTENT_TYPE": "text/plain;charset=UTF-8",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https",
        "wsgi.input": BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": True,
    }
    answer = application(environ, lambda status, *_: statuses.append(status))
    try:
        content = b"".join(answer)
    finally:
        getattr(answer, "close", lambda: None)()
    return int(statuses[-1].split()[0]), content
