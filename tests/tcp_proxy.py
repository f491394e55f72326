"""``TcpProxy``: stands between a client and a server, and loses, cuts, hangs or refuses when told to."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress

BYTES = 1 << 16


class TcpProxy:
    """Forwards every connection to a port on loopback, until told otherwise. A context manager.

    Args:
        target: the server's port; set it to send new connections elsewhere.

    Attributes:
        port: where it listens.
        lost: how many replies it has lost.
        seen: how many replies there were that could have been lost.
    """

    def __init__(self, target):
        self.target = target
        self.lost = self.seen = 0
        self._losing = []  # which of the coming replies: 0 is the next one
        self._to = b""
        self._lock = threading.Lock()
        self._flows = threading.Event()
        self._flows.set()
        self._pairs = set()
        self._threads = []
        self._closed = False
        self._listener = None
        self.port = 0
        self._listen()

    def _listen(self):
        self._listener = socket.create_server(("127.0.0.1", self.port), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def _start(self, what, *args):
        thread = threading.Thread(target=what, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    # Faults

    def lose_next_reply(self, to=b"EVALSHA", *, after=0, times=1):
        """Drop replies to a command, and the connection with each: the command was carried out.

        Args:
            to: what the request must contain.
            after: how many such requests are answered before.
            times: how many replies in a row are lost.
        """
        with self._lock:
            self._to, self.lost, self.seen = to, 0, 0
            self._losing = list(range(after, after + times))

    def cut(self):
        """Close every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            for end in pair:
                _shut(end)

    def hang(self):
        """Forward nothing any more; connections stay open."""
        self._flows.clear()

    def park(self):
        """Close every connection and take no other."""
        listener, self._listener = self._listener, None
        if listener is not None:
            _shut(listener)
            listener.close()
        self.cut()

    def heal(self):
        """Forward everything again, what hung included."""
        with self._lock:
            self._losing = []
        self._flows.set()
        if self._listener is None:
            self._listen()

    # Work

    def _accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._pairs.add((client, server))
            ending = threading.Event()
            self._start(self._pump, client, server, lambda data, ending=ending: self._asked(data, ending))
            self._start(self._pump, server, client, lambda _, ending=ending: not ending.is_set())

    def _asked(self, data, ending):
        """Note a request; its reply may be one to lose."""
        with self._lock:
            if self._to and self._to in data:
                place, self.seen = self.seen, self.seen + 1
                if place in self._losing:
                    self.lost += 1
                    ending.set()
        return True

    def _pump(self, source, sink, passes):
        """Forward one direction until either end closes, or a reply is lost."""
        try:
            while data := source.recv(BYTES):
                self._flows.wait()
                if not passes(data):
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            _shut(end)
        with self._lock:
            pair = next((pair for pair in self._pairs if source in pair), None)
            self._pairs.discard(pair)
        source.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.park()
        self._flows.set()
        self.cut()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()


def _shut(end):
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
