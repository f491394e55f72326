"""The demo that is served: one process with a page, a reader's time, and the endpoint that it goes to."""

from __future__ import annotations

import os
import socket
from contextlib import ExitStack
from threading import Thread
from typing import TYPE_CHECKING, Any, Final, Self

from werkzeug.serving import WSGIRequestHandler, make_server

from caliper_readtime._cli.signals import Signals
from caliper_readtime._demo import parts
from caliper_readtime._demo.site import create_app
from caliper_readtime._demo.stage import Stage
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.testing import CaliperEndpoint

if TYPE_CHECKING:
    from collections.abc import Callable

#: Where the page is, unless somebody wants it elsewhere.
PORT: Final = 8765
_MAX_PORT: Final = 65_535
_LONG_SECONDS: Final = 3600.0


def run(store: str, port: int, log: Callable[[str], object]) -> None:
    """Serve until the process is told to end.

    Args:
        store: as for ``parts.store``.
        port: of the page; 0 for any free one.
        log: takes each line.

    Raises:
        ConfigurationError: the port is taken or no port, the store URL is not known, or there is no Redis to start.
        StoreUnavailable: the store cannot be reached.
    """
    with Signals() as stop, Served(store, port) as served:
        log(f"Open {served.url} in a browser. Ctrl-C ends it.")
        while not stop.wait(_LONG_SECONDS):
            pass
    log("Ended.")


class Served:
    """The running demo. A context manager; leaving it ends everything.

    Args:
        store: as for ``parts.store``.
        port: of the page; 0 for any free one.

    Attributes:
        url: the page's.
        stage: what stands behind it.
        endpoint: where events go.

    Raises:
        ConfigurationError, StoreUnavailable: see ``run``.
    """

    def __init__(self, store: str = "memory", port: int = 0) -> None:
        if not 0 <= port <= _MAX_PORT:
            raise ConfigurationError(
                f"--port: {port} is not a port: choose one from 1 to {_MAX_PORT}, or 0 for any free one"
            )
        with ExitStack() as stack:
            self.endpoint: CaliperEndpoint = stack.enter_context(CaliperEndpoint())
            self.stage: Stage = Stage(parts.store(store, stack), self.endpoint)
            stack.callback(self.stage.close)
            server = _server(create_app(self.stage), port)
            stack.callback(server.server_close)
            self.url: str = f"http://127.0.0.1:{server.port}/"
            thread = Thread(target=server.serve_forever, args=(0.05,), name="readtime-demo", daemon=True)
            thread.start()
            stack.callback(thread.join)
            stack.callback(server.shutdown)
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()


class _Quiet(WSGIRequestHandler):
    def log_request(self, *_: Any) -> None:
        """Say nothing: the page shows what happens."""


def _server(app: Any, port: int) -> Any:
    try:
        listening = socket.create_server(("127.0.0.1", port))
    except OSError as error:
        why = os.strerror(error.errno or 0)  # without the address, which Python adds to its own text
        raise ConfigurationError(
            f"port {port} cannot be used ({why}): choose another one with --port; 0 takes any free one"
        ) from error
    with listening:
        return make_server("127.0.0.1", port, app, threaded=True, request_handler=_Quiet, fd=listening.fileno())
