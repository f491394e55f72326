"""``requests`` sessions that keep a deadline whatever the server does, and read no more than they must.

Imports requests, so it is imported late.
"""

from __future__ import annotations

import http.client
import io
import math
import os
import socket
import threading
import time
import weakref
import zlib
from contextlib import ExitStack
from contextvars import ContextVar
from http import HTTPStatus
from http.cookiejar import DefaultCookiePolicy
from typing import TYPE_CHECKING, Any, Final

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError, ProtocolError

from caliper_readtime._interruptions import pass_interruption
from caliper_readtime.emitters._circuit import cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from caliper_readtime.emitters._address import Network

#: How long a connection that nobody used is kept, in seconds: servers close idle ones after 2 s (gunicorn) or more, and
#: one that breaks under a request leaves it unknown whether that has arrived.
MAX_IDLE_SECONDS: Final = 1.0
#: How many 1xx answers may come before the real one.
MAX_INFORMATIONAL: Final = 20
#: How much of an answer is read, in bytes, compressed and decompressed.
MAX_ANSWER_BYTES: Final = 65_536
#: The same, for a caller that asks for long answers.
answer_limit: Final[ContextVar[int]] = ContextVar("answer_limit", default=MAX_ANSWER_BYTES)

_PIECE: Final = 16_384  # one TLS record
_GZIP_OR_ZLIB: Final = zlib.MAX_WBITS | 32
_LONGEST_LINE: Final = 65_536
_MOST_HEADERS: Final = 100
# Whether the request at hand may have left this host.
_may_have_left: Final[ContextVar[bool]] = ContextVar("may_have_left", default=True)
# Sessions of the process before a fork. A thread that is gone here may hold their locks: they are left alone.
_LEFT_ALONE: Final[list[requests.Session]] = []


class _Reader(io.RawIOBase):
    """Reads from a socket, each time with no more time than is left. A server that trickles gains nothing."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        self._longest = sock.gettimeout()

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        self._sock.settimeout(cut(self._longest))
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _Response(http.client.HTTPResponse):
    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Reader(sock))

    def _read_status(self) -> tuple[str, int, str]:
        """H12: the real answer comes after the informational ones, of which http.client knows only 100."""
        for _ in range(MAX_INFORMATIONAL + 1):
            status: tuple[str, int, str] = super()._read_status()  # type: ignore[misc]
            if status[1] >= HTTPStatus.OK:
                return status
            for _ in range(_MOST_HEADERS):
                if self.fp.readline(_LONGEST_LINE) in (b"\r\n", b"\n", b""):
                    break
        raise http.client.HTTPException("too many informational answers")

    def begin(self) -> None:
        super().begin()
        # urllib3 would log a header that cannot be read, whole, with the URL's query.
        self.msg.defects.clear()
        self.msg.set_payload("")


class _Connection(HTTPConnection):
    response_class = _Response

    def connect(self) -> None:
        # A tunnel through a proxy and the TLS handshake are part of it: what fails here has sent no event (H8).
        _may_have_left.set(False)
        super().connect()
        _may_have_left.set(True)

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers; urllib3 would give each of them the whole time-out."""
        problem: OSError = OSError("the name has no address")
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise NewConnectionError(self, f"the name cannot be resolved: {error}") from error
        for family, kind, protocol, _, address in found:
            try:
                return self._connected(socket.socket(family, kind, protocol), address)
            except OSError as error:
                problem = error
        if isinstance(problem, TimeoutError):
            raise ConnectTimeoutError(self, f"connecting took too long: {problem}") from problem
        raise NewConnectionError(self, f"no connection: {problem}") from problem

    def _connected(self, sock: socket.socket, address: Any) -> socket.socket:
        with ExitStack() as closing:
            closing.enter_context(sock)
            for option in self.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(cut(self.timeout))
            sock.connect(address)
            sock.settimeout(cut(self.timeout))  # for the TLS handshake
            closing.pop_all()
        return sock

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        # In pieces, because a TLS socket applies its time-out to each record and not to the whole.
        whole = memoryview(data)
        for start in range(0, len(whole), _PIECE):
            self.sock.settimeout(cut(self.timeout))
            super().send(whole[start : start + _PIECE])


class _TlsConnection(_Connection, HTTPSConnection):
    """The same over TLS."""


class _Pooling:
    """Hands out no connection that has been idle for long."""

    ours: type[_Connection]

    @property
    def ConnectionCls(self) -> Any:  # noqa: N802 - urllib3's name
        # A recorder such as vcrpy puts its own class into urllib3's place: it gets the requests.
        theirs = super().ConnectionCls  # type: ignore[misc]
        return self.ours if theirs in (HTTPConnection, HTTPSConnection) else theirs

    def _put_conn(self, conn: Any) -> None:
        if conn is not None:
            conn.idle_since = time.monotonic()
        super()._put_conn(conn)  # type: ignore[misc]

    def _get_conn(self, timeout: float | None = None) -> Any:
        conn: Any = super()._get_conn(timeout)  # type: ignore[misc]
        if time.monotonic() - getattr(conn, "idle_since", math.inf) > MAX_IDLE_SECONDS:
            conn.close()  # it connects anew when it is used
        return conn


class _Pool(_Pooling, HTTPConnectionPool):  # type: ignore[override]
    ours = _Connection


class _TlsPool(_Pooling, HTTPSConnectionPool):  # type: ignore[override]
    ours = _TlsConnection


_POOLS: Final = {"http": _Pool, "https": _TlsPool}


class _Adapter(HTTPAdapter):
    """Sends, and returns answers whose content has been read within the deadline and the limit."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def send(
        self,
        request: requests.PreparedRequest,
        stream: bool = False,  # noqa: ARG002, FBT001, FBT002 - the base class's signature
        timeout: Any = None,
        verify: bool | str = True,  # noqa: FBT001, FBT002
        cert: Any = None,
        proxies: Mapping[str, str] | None = None,
    ) -> requests.Response:
        failure: Exception | None = None
        _may_have_left.set(True)
        try:
            response = super().send(request, stream=True, timeout=timeout, verify=verify, cert=cert, proxies=proxies)
        except requests.RequestException as error:
            failure = _interruption(error) or type(error)(_words(error))
        else:
            try:
                content = _decompressed(_read(response.raw), response.headers.get("Content-Encoding", ""))
            except (HTTPError, OSError, http.client.HTTPException) as error:
                broken = requests.ConnectionError(f"the answer broke off: {_words(error)}")
                failure = _interruption(error) or broken
            finally:
                response.close()  # a connection that was read to the answer's end is back in its pool already
        if failure is not None:
            # Outside of the handlers, so that nothing is chained that quotes what _words leaves out.
            raise failure
        # The only way to hand over content that was read elsewhere.
        response._content = content  # noqa: SLF001
        response._content_consumed = True  # type: ignore[attr-defined]  # noqa: SLF001
        return response


def _interruption(error: BaseException | None) -> Exception | None:
    """Return what a host raised from outside (L5), such as its own alarm's ``TimeoutError``, were it wrapped since."""
    innermost: Exception | None = None  # urllib3 wraps with the traceback of what it wraps
    while isinstance(error, Exception):
        behind = error.__context__
        try:
            pass_interruption(error)
        except Exception as found:  # noqa: BLE001 - returned
            innermost = found
        error = behind
    if innermost is not None:
        innermost.__context__ = None  # which raising it here has set
    return innermost


def _words(error: Exception) -> str:
    """Return what may be told of an error.

    urllib3's text for giving up quotes the URL with its query, which may hold a key; and http.client quotes what it
    cannot read of an answer, which may repeat the event.
    """
    inner = error.args[0] if isinstance(error, requests.RequestException) and error.args else error
    inner = getattr(inner, "reason", inner)
    if isinstance(inner, ProtocolError):
        inner = next((part for part in inner.args if isinstance(part, Exception)), inner)
    unread = isinstance(inner, ProtocolError | http.client.HTTPException)
    return type(inner).__name__ if unread and not isinstance(inner, OSError) else str(inner)


def _read(raw: Any) -> bytes:
    body = b""
    limit = answer_limit.get()
    while len(body) < limit:
        piece = raw.read(limit - len(body), decode_content=False)
        if not piece:
            if raw.length_remaining:  # urllib3 before 2.0 does not mind
                raise OSError("it is shorter than announced")
            break
        body += piece
    return body


def _decompressed(body: bytes, encoding: str) -> bytes:
    if encoding.strip().lower() not in ("gzip", "x-gzip", "deflate"):
        return body
    try:
        return zlib.decompressobj(_GZIP_OR_ZLIB).decompress(body, answer_limit.get())
    except zlib.error:
        return body


def may_have_left() -> bool:
    """Return whether this thread's last request may have been sent, wholly or in part."""
    return _may_have_left.get()


def nothing_has_left() -> None:
    """Note that this thread is about to make a request, and has sent nothing of it yet."""
    _may_have_left.set(False)


def fit(session: requests.Session, network: Network) -> None:
    """Make a session keep deadlines, follow no redirect, keep no cookie, and take only the way that it is told.

    Args:
        session: any session, just made.
        network: proxies and certificates.
    """
    session.trust_env = network.trust_env
    session.proxies = dict(network.proxies)
    session.verify = network.ca_bundle or True
    # H13: cookies that a server makes ever longer end in 400s, which good events would be parked for.
    session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
    session.headers.update(
        {"User-Agent": "caliper-readtime", "Accept": "application/json", "Accept-Encoding": "identity"}
    )
    session.get_redirect_target = lambda _: None  # type: ignore[assignment, method-assign]
    for scheme in ("https://", "http://"):
        session.mount(scheme, _Adapter(pool_connections=1, pool_maxsize=1))


class _Slot:
    """Dies with its thread, and the finalizer then closes the session."""

    def __init__(self, session: requests.Session) -> None:
        self.session = session
        self.close = weakref.finalize(self, _close, session, os.getpid())


def _close(session: requests.Session, pid: int) -> None:
    if pid == os.getpid():
        session.close()
    else:
        _LEFT_ALONE.append(session)


class Sessions:
    """One session for each thread of one process: a Session is not thread-safe."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._local = threading.local()
        self._lock = threading.Lock()
        self._slots: weakref.WeakSet[_Slot] = weakref.WeakSet()

    def current(self) -> requests.Session:
        """Return this thread's session."""
        slot: _Slot | None = getattr(self._local, "slot", None)
        if slot is None or not slot.close.alive:
            session = requests.Session()
            fit(session, self._network)
            slot = self._local.slot = _Slot(session)
            with self._lock:
                self._slots.add(slot)
        return slot.session

    def close(self) -> None:
        """Close the sessions of all threads; a thread that comes again gets a new one."""
        with self._lock:
            slots = list(self._slots)
        for slot in slots:
            slot.close()
