"""``Bridge``: an ASGI application as a WSGI one, so that every web test runs over it as it does over the others."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from urllib.parse import unquote


class Bridge:
    """Answers WSGI requests by an ASGI application, on an event loop of its own.

    Attributes:
        read: how many bytes of the last request's body the application has asked for.
    """

    CHUNK = 1024

    def __init__(self, application):
        self.application = application
        self.read = 0
        self._runner = asyncio.Runner()

    def close(self):
        self._runner.close()

    def __call__(self, environ, start_response):
        status, headers, body = self._runner.run(self._asked(environ))
        phrase = HTTPStatus(status).phrase
        start_response(f"{status} {phrase}", [(name.decode(), value.decode()) for name, value in headers])
        return [body]

    async def _asked(self, environ):
        names = {"CONTENT_TYPE": b"content-type", "CONTENT_LENGTH": b"content-length"}
        headers = [
            (names.get(key) or key.removeprefix("HTTP_").replace("_", "-").lower().encode(), value.encode("latin-1"))
            for key, value in environ.items()
            if key.startswith("HTTP_") or (key in names and value)
        ]
        path = (environ["SCRIPT_NAME"] + environ["PATH_INFO"]).encode("latin-1").decode(errors="replace")
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": environ["REQUEST_METHOD"],
            "scheme": environ["wsgi.url_scheme"],
            "path": unquote(path),
            "raw_path": path.encode(),
            "root_path": environ["SCRIPT_NAME"],
            "query_string": environ["QUERY_STRING"].encode("latin-1"),
            "headers": headers,
            "server": (environ["SERVER_NAME"], int(environ["SERVER_PORT"])),
            "client": ("127.0.0.1", 1),
        }
        self.read, stream = 0, environ["wsgi.input"]
        length = int(environ.get("CONTENT_LENGTH") or 0)
        ends = "HTTP_TRANSFER_ENCODING" in environ and "wsgi.input_terminated" in environ
        done, sent = asyncio.Event(), []

        async def receive():
            if done.is_set():
                await asyncio.Event().wait()  # the client stays until it has its answer
            chunk = stream.read(self.CHUNK if ends else min(self.CHUNK, length - self.read))
            self.read += len(chunk)
            more = bool(chunk) and (ends or self.read < length)
            if not more:
                done.set()
            return {"type": "http.request", "body": chunk, "more_body": more}

        async def send(message):
            sent.append(message)

        await self.application(scope, receive, send)
        start = sent[0]
        return start["status"], start["headers"], b"".join(message.get("body", b"") for message in sent[1:])
