"""A loopback peer that hands each request's raw connection to the test, so that it can answer byte by byte."""

import socket
import threading
from contextlib import suppress

import attrs

SECONDS = 10.0  # only a hang ever waits so long


def reply(status=200, body=b"", *headers):
    """The bytes of a whole answer."""
    lines = (f"HTTP/1.1 {status} Odd", f"Content-Length: {len(body)}", *headers, "", "")
    return "\r\n".join(lines).encode() + body


@attrs.frozen
class Arrived:
    head: str
    body: bytes

    @property
    def line(self):
        return self.head.partition("\r\n")[0]

    def header(self, name):
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name.lower():
                return value.strip()
        return None


class RawServer:
    """Serves on 127.0.0.1, one thread for each connection, until the ``with`` block ends.

    Args:
        answer: called with (connection, number of the request) once a request has been read; bytes it returns are
            sent; False ends the connection.
        tls: an ``ssl.SSLContext`` for the server's side.
    """

    def __init__(self, answer=lambda _connection, _number: reply(), tls=None):
        self.answer = answer
        self.closing = threading.Event()
        self.requests = []
        self.connections = 0
        self._tls = tls
        self._lock = threading.Lock()
        self._open = {}
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept)

    @property
    def url(self):
        return f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self.port}/caliper/event"

    def __enter__(self):
        self._accepting.start()
        return self

    def __exit__(self, *_):
        self.closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(SECONDS)
        with self._lock:
            threads = dict(self._open)
        for thread, connection in threads.items():
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            thread.join(SECONDS)

    def trickle(self, connection, data, interval=0.02):
        """Send one byte at a time until the peer goes away."""
        for byte in data:
            connection.sendall(bytes([byte]))
            if self.closing.wait(interval):
                break
        return False

    def hang(self, *_):
        """Say nothing until the test is over."""
        self.closing.wait(SECONDS)
        return False

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            thread = threading.Thread(target=self._serve, args=(connection,))
            with self._lock:
                self.connections += 1
                self._open[thread] = connection
            thread.start()

    def _serve(self, connection):
        try:
            with suppress(OSError):
                connection.settimeout(SECONDS)
                if self._tls is not None:
                    connection = self._tls.wrap_socket(connection, server_side=True)
                while (arrived := _read(connection)) is not None:
                    with self._lock:
                        self.requests.append(arrived)
                        number = len(self.requests)
                    sent = self.answer(connection, number)
                    if sent is False:
                        break
                    connection.sendall(sent)
        finally:
            connection.close()
            with self._lock:
                self._open.pop(threading.current_thread(), None)


def _read(connection):
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    arrived = Arrived(head.decode("latin-1"), body)
    wanted = int(arrived.header("Content-Length") or 0)
    while len(body) < wanted:
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return attrs.evolve(arrived, body=body)
