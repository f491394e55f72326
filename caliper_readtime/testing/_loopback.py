"""An HTTP server on the loopback interface that can also hang, trickle and reset connections."""

from __future__ import annotations

import os
import socket
import struct
import sys
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from threading import Event, Thread, current_thread
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from caliper_readtime.testing.behaviours import Answer, Drop, Hang
from caliper_readtime.testing.records import Headers

if TYPE_CHECKING:
    from collections.abc import Callable

    Respond: TypeAlias = Callable[[str, str, Headers, Callable[[], bytes]], "Reply"]

__all__ = ["Delayed", "Hinted", "LoopbackServer", "Reply", "Trickled"]

# Linger for zero seconds: closing the socket sends RST, not FIN.
_RESET_ON_CLOSE: Final = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_POLL_SECONDS: Final = 0.02
_JOIN_SECONDS: Final = 5.0
_NO_BODY: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)


@attrs.frozen
class Trickled:
    """An answer to be sent one byte at a time."""

    answer: Answer
    interval_seconds: float


@attrs.frozen
class Delayed:
    """A reply to be given after a while."""

    reply: Answer | Drop
    seconds: float


@attrs.frozen
class Hinted:
    """An answer that informational ones, of this status and so many, go before."""

    answer: Answer
    status: int
    times: int


Reply: TypeAlias = Answer | Drop | Hang | Trickled | Delayed | Hinted


class _Handler(BaseHTTPRequestHandler):
    server: LoopbackServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        reply = self.server.respond(self.command, self.path, Headers(self.headers.items()), self._body)
        if isinstance(reply, Delayed):
            closing = self.server.closing.wait(reply.seconds)
            reply = Drop() if closing else reply.reply
        match reply:
            case Answer():
                self.connection.sendall(self._bytes(reply))
            case Hinted(answer, status, times):
                hint = f"HTTP/1.1 {status} \r\nLink: </style.css>; rel=preload\r\n\r\n".encode()
                self.connection.sendall(hint * times + self._bytes(answer))
            case Trickled(answer, interval):
                for byte in self._bytes(answer):
                    if self.server.closing.wait(interval):
                        self._reset()
                        break
                    self.connection.sendall(bytes([byte]))
            case _:
                if isinstance(reply, Hang):
                    self.server.closing.wait(reply.seconds)
                self._reset()

    do_DELETE = do_GET = do_HEAD = do_PATCH = do_POST = do_PUT = _serve  # noqa: N815 - names that the base class looks up

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers or not (length.isascii() and length.isdigit()):
            self.close_connection = True  # where the body ends is unknown
            return b""
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            raise ConnectionAbortedError
        return body

    def _bytes(self, answer: Answer) -> bytes:
        given = Headers(answer.headers)
        if given.get("Connection", "").lower() == "close":
            self.close_connection = True
        headers = list(answer.headers)
        if "Content-Length" not in given and answer.status not in _NO_BODY:
            headers.append(("Content-Length", str(len(answer.body))))
        phrase = self.responses.get(HTTPStatus(answer.status), ("",))[0] if answer.status in self.responses else ""
        lines = [f"HTTP/1.1 {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers), "", ""]
        return "\r\n".join(lines).encode("latin-1") + (b"" if self.command == "HEAD" else answer.body)

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # Detached, or the base class would first shut it down in order, and the files made from it would keep it open.
        socket.close(self.connection.detach())

    def log_message(self, *_: Any) -> None:
        """Say nothing: standard error belongs to the tests."""


class LoopbackServer(ThreadingHTTPServer):
    """Serves on 127.0.0.1 from construction until ``stop``, one thread for each connection.

    Attributes:
        respond: called with method, target, headers and a function that reads the body; tells what to reply.
        closing: set by ``stop``; whatever waits must watch it.
    """

    request_queue_size: int = 128

    def __init__(self, port: int, respond: Respond) -> None:
        self.respond = respond
        self.closing: Event = Event()
        self._connections: dict[Thread, socket.socket] = {}
        super().__init__(("127.0.0.1", port), _Handler)
        self._accepting = Thread(target=self.serve_forever, args=(_POLL_SECONDS,), name="CaliperEndpoint", daemon=True)
        self._accepting.start()

    def server_bind(self) -> None:
        """Bind without the look-up of the host's name, which can take seconds."""
        TCPServer.server_bind(self)
        self.server_name: str = "127.0.0.1"
        self.server_port: int = self.socket.getsockname()[1]

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection on a daemon thread that ``stop`` can find and join."""
        thread = Thread(target=self.process_request_thread, args=(request, client_address), daemon=True)
        self._connections[thread] = request
        thread.start()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve a connection to its end."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.pop(current_thread(), None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that went away; anything else is printed, because it is a mistake in a test."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def stop(self) -> None:
        """Accept no more, end every connection and join every thread."""
        self.closing.set()
        self.shutdown()
        self._accepting.join()
        self.server_close()
        for thread, connection in list(self._connections.items()):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(_JOIN_SECONDS)
