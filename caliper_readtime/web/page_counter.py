"""``PageCounter``: everything that an adapter needs and no framework knows; adapters only translate."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from threading import Lock
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import attrs

from caliper_readtime import _checks
from caliper_readtime._logs import log
from caliper_readtime._model import Activity, Reader
from caliper_readtime._settings import Leave, WebSettings
from caliper_readtime.errors import ConfigurationError, InvalidInput, ReadTimeError, StoreError
from caliper_readtime.web import _cleaning, script, signals
from caliper_readtime.web._background import DRAIN_SECONDS, BackgroundSender
from caliper_readtime.web._readers import remembering
from caliper_readtime.web.origins import foreign, is_trusted
from caliper_readtime.web.refusals import Refusal, Refusals, Refused
from caliper_readtime.web.tickets import PROBE, Tickets, application_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from caliper_readtime._results import Report, SweepReport
    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.web.origins import Headers
    from caliper_readtime.web.tickets import Signer, Ticket

__all__ = ["Leave", "PageCounter", "PageResponse", "WebSettings"]

#: When the script, and a probe, should come back after a 503.
RETRY_AFTER_SECONDS: Final = 5
#: A reader that nobody is: the health answer asks the store for what they have.
_NOBODY: Final = "-"


class PageResponse(NamedTuple):
    """An HTTP answer.

    Attributes:
        status: HTTP status.
        body: JSON, or nothing.
        headers: header fields.
    """

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...]


#: The script's options, by the names that templates use.
_OPTIONS: Final = {"idle": "idle", "dwell": "dwell", "depth": "depth", "selector": "article", "media": "media"}
#: What the tag is made with, besides.
_TAG: Final = ("nonce", "duration_seconds")
#: To how many characters a title is shortened where a ticket has no room for it.
_TITLES: Final = (200, 50)
#: Reasons for pages without a tag that are counted apart.
_MOST_REASONS: Final = 100
_FIELDS: Final = tuple(attribute.alias for attribute in attrs.fields(Activity))
#: By this the script knows our answers from those of whatever stands between it and us: 1 is our last word on a
#: signal, 2 is not.
_MARK: Final = "rt"
_ACCEPTED: Final = PageResponse(204, b"", (("Cache-Control", "no-store"),))


def _answer(status: int, said: dict[str, Any]) -> PageResponse:
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    if status == 503:  # noqa: PLR2004 - Service Unavailable
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    return PageResponse(status, json.dumps(said, separators=(",", ":")).encode(), tuple(headers.items()))


class PageCounter:
    """Counts the pages of one application. Thread-safe; may be built before a fork.

    Args:
        tracker: takes the time; or a function that builds it, called once, when it is needed first.
        signer: signs page tickets.
        settings: how pages are counted.
        on_refusal: in place of the settings'.

    Attributes:
        tickets: issues and verifies page tickets.
        refusals: how often which reason occurred.
    """

    def __init__(
        self,
        tracker: ReadTimeTracker | Callable[[], ReadTimeTracker],
        signer: Signer,
        settings: WebSettings | None = None,
        *,
        on_refusal: Callable[[Refusal], object] | None = None,
    ) -> None:
        self.settings: WebSettings = WebSettings() if settings is None else settings
        self.refusals: Refusals = Refusals(on_refusal or self.settings.on_refusal)
        self.tickets: Tickets = Tickets(
            signer,
            ticket_seconds=self.settings.ticket_seconds,
            life_seconds=self.settings.ticket_life_seconds,
            grace_seconds=self.settings.ticket_grace_seconds,
        )
        self._sender = BackgroundSender(self._send)
        self._trusted = (*self.settings.trusted_origins, *(["null"] if self.settings.trust_null_origin else []))
        lookup = self.settings.reader
        self._reader = None if lookup is None else remembering(lookup)
        self._not_counted: dict[str, int] = {}
        self._lock = Lock()
        self._make = tracker if callable(tracker) else lambda: tracker
        self._tracker: ReadTimeTracker | None = None

    @property
    def tracker(self) -> ReadTimeTracker:
        """The tracker. Set another one in tests."""
        if self._tracker is None:
            with self._lock:
                if self._tracker is None:
                    self._tracker = self._make()
        return self._tracker

    @tracker.setter
    def tracker(self, tracker: ReadTimeTracker) -> None:
        self._tracker = tracker

    def receive(self, headers: Headers, body: bytes, request: Any = None) -> PageResponse:
        """Take a signal.

        Args:
            headers: the request's; its ``Host`` is this host as the browser sees it.
            body: the request's; of a long one no more than ``signals.MAX_BODY + 1`` bytes need be read.
            request: the framework's, for the setting ``SESSION``.

        Returns:
            204; 200 with a fresh ticket; 400, 403, 413 or 503 with the reason.
        """
        try:
            fresh = self._take(headers, body, request)
        except Refused as refused:
            return self.turn_away(headers, refused)
        return self._shown(headers, _ACCEPTED if fresh is None else _answer(200, {_MARK: 1, "k": fresh}))

    def turn_away(self, headers: Headers, refused: Refused) -> PageResponse:
        """Count a signal that an adapter does not take, and answer it.

        Args:
            headers: the request's.
            refused: why.
        """
        self.refusals.count(refused)
        reason = refused.reason
        said = {_MARK: 1 if reason.final else 2, "error": reason.value, "do": reason.advice}
        # Who is refused for its origin is told so, and nothing else.
        return self._shown(headers, _answer(reason.status, said), to_all=reason is Refusal.FOREIGN_ORIGIN)

    def _shown(self, headers: Headers, answer: PageResponse, *, to_all: bool = False) -> PageResponse:
        origin = headers.get("Origin")
        if origin is None or not (to_all or is_trusted(origin, self._trusted)):
            return answer
        # The browser shows another origin's page no answer without this: its script would take each for a failure.
        shown = ("Access-Control-Allow-Origin", origin), ("Vary", "Origin")
        return answer._replace(headers=(*answer.headers, *shown))

    def _take(self, headers: Headers, body: bytes, request: Any) -> str | None:
        if foreign(headers, self._trusted):
            raise Refused(Refusal.FOREIGN_ORIGIN)
        kind = (headers.get("Content-Type") or "").partition(";")[0].strip().lower()
        if kind not in signals.CONTENT_TYPES:
            raise Refused(Refusal.CONTENT_TYPE)
        if not body and headers.get("Transfer-Encoding") is not None:
            # It came in chunks, which this server does not hand on: that is not the script's fault, and not for good.
            raise Refused(Refusal.UNREADABLE, "the server does not hand on bodies that come in chunks")
        signal = signals.parse(body)
        refused: Refused
        try:
            tracker = self.tracker
            now = tracker.now()
            ticket = self.tickets.verify(signal.ticket, now, **self._bound(tracker, request))
            if ticket.reader_sourced_id == PROBE:
                return None
            signals.take(
                tracker,
                ticket,
                signal,
                self._reader,
                now=now,
                defer=self.settings.leave is Leave.DEFER,
                soon=self._put_off if self.settings.leave is Leave.BACKGROUND else None,
            )
            # Nobody reads the answer to a leave.
            return None if signal.leaving else self._renewed(ticket, now)
        except StoreError as error:
            refused = Refused(Refusal.STORE_UNAVAILABLE, str(error))
        except (ConfigurationError, InvalidInput) as error:
            # The ticket is ours and the signal is well formed, so the host is wrong: the script keeps the time.
            refused = Refused(Refusal.HOST_FAILED, str(error))
        raise refused

    def _renewed(self, ticket: Ticket, now: datetime) -> str | None:
        fresh = self.tickets.renew(ticket, now)
        if fresh is None or self._reader is None:
            return fresh
        try:
            signals.found(ticket.reader_sourced_id, self._reader)
        except Refused as refused:  # the time is counted; the page's last ticket ends at its hour
            log(logging.WARNING, "a page's ticket is not renewed", detail=refused.detail)
            return None
        return fresh

    def _bound(self, tracker: ReadTimeTracker, request: Any) -> dict[str, Any]:
        """Return what tickets are bound to, as keyword arguments."""
        return {"application": application_of(tracker.events), "session": self._session(request)}

    def _session(self, request: Any) -> str | None:
        bind = self.settings.session
        if bind is None:
            return None
        name, failed = None, None
        try:
            name = bind(request)
        except Exception as error:  # noqa: BLE001 - not chained either: what a host's own errors quote is not known here
            failed = type(error).__name__
        if failed is not None or not isinstance(name, str | None):
            raise ConfigurationError(
                f"the setting SESSION {f'raised {failed}' if failed else 'must return text or None'}"
            )
        return name or ""

    def _put_off(self, report: Report) -> None:
        if self.tracker.emitter is not None:
            self._sender.add((report.reader_sourced_id, report.resource_id))

    def _send(self, keys: list[tuple[str, str]]) -> SweepReport:
        return self.tracker.send_deferred(keys)  # the one of this moment: tests set another

    def close(self, timeout: float = DRAIN_SECONDS) -> bool:
        """Send what left pages have put off, and end the thread that does; it starts again when it is needed.

        A worker that ends calls it by itself, where Python gets to end it (``atexit``).

        Args:
            timeout: how long to wait for that, seconds; the rest is the sweeper's.

        Returns:
            Whether it has ended.
        """
        return self._sender.stop(timeout)

    def health(self) -> PageResponse:
        """Answer a probe: 200 when the store answers, or 503."""
        try:
            self.tracker.states(_NOBODY)
        except StoreError as error:
            log(logging.WARNING, "health: the store does not answer", error=error)
            return _answer(503, {"status": "unavailable"})
        return _answer(200, {"status": "ok"})

    def script_tag(
        self,
        urls: tuple[str, str],
        reader: Reader | str | int,
        article: Activity | None = None,
        *,
        request: Any = None,
        base_url: str | None = None,
        debug: bool = False,
        **options: Any,
    ) -> str:
        """Return the HTML that counts a page, with a ticket for its reader and article.

        A page is never broken for it: what can be made acceptable is (an IRI, a title with a line break, an id that is
        a number), and otherwise the log has an ERROR, and the page no tag.

        Args:
            urls: of ``readtime.js``, and of where signals go.
            reader: whose page, or their sourced id.
            article: what they read; or name its fields: ``resource_id``, ``title``, ``url``, ``course``, ``subject``,
                ``kind``, ``attempt``, ``words``, ``extensions``.
            request: the framework's, for the setting ``SESSION``.
            base_url: the site's address, for an article's ``url`` that is relative.
            debug: raise what is wrong, for whoever writes the page.
            options: the article's fields; ``nonce``, of the page's content security policy; ``duration_seconds``: how
                long the article is, so that how far they are can complete it; and the script's ``idle``, ``dwell``,
                ``depth`` and ``media``, and its ``article`` as ``selector``.

        Raises:
            ReadTimeError: with ``debug``: a value is not acceptable, or the settings or the store are not usable.
        """
        try:
            return self._tag(urls, _cleaning.identifier(reader), article, request, base_url, options)
        except Exception as error:
            if debug:
                raise
            self._untagged(error, reader, options.get("resource_id") if article is None else article)
        return ""

    def _tag(
        self,
        urls: tuple[str, str],
        reader: Reader | str,
        article: Activity | None,
        request: Any,
        base_url: str | None,
        options: dict[str, Any],
    ) -> str:
        chosen = {_OPTIONS[name]: options[name] for name in _OPTIONS if name in options}
        fields = {name: value for name, value in options.items() if name not in (*_OPTIONS, *_TAG)}
        for name in fields:
            if article is not None or name not in _FIELDS:
                raise InvalidInput(name, f"is not an option; the options are: {', '.join((*_TAG, *_OPTIONS))}")
        what = _cleaning.article(fields, base_url) if article is None else article
        tracker = self.tracker
        bound = self._bound(tracker, request)
        now = tracker.now()
        ticket = self._issued(reader, what, now, duration_seconds=options.get("duration_seconds"), **bound)
        src, url = urls
        heartbeat, opened = f"{tracker.policy.heartbeat_seconds:g}", f"{now.timestamp():.0f}"
        return script.tag(
            src,
            options.get("nonce"),
            {"url": url, "ticket": ticket, "opened": opened, "heartbeat": heartbeat, **chosen},
        )

    def _issued(self, reader: Reader | str, article: Activity, now: datetime, **more: Any) -> str:
        """Return a ticket, its title shortened where it would not fit into a message."""
        for longest in _TITLES:
            if len(article.title) > longest:
                with suppress(InvalidInput):
                    return self.tickets.issue(reader, article, now, **more)
                article = attrs.evolve(article, title=article.title[:longest].rstrip())
        return self.tickets.issue(reader, article, now, **more)

    def _untagged(self, error: Exception, reader: object, article: object) -> None:
        """Tell the operator of pages that are not counted: of a reason's first, its tenth, its hundredth and so on."""
        reason = str(error) if isinstance(error, ReadTimeError) else type(error).__name__
        with self._lock:
            count = self._not_counted[reason] = self._not_counted.get(reason, 0) + 1
        if len(self._not_counted) > _MOST_REASONS:
            self._not_counted.clear()
        if str(count).rstrip("0") == "1":
            log(
                logging.ERROR,
                "a page is not counted: its tag cannot be made",
                problem=reason,
                count=count,
                reader_sourced_id=_named(reader.sourced_id if isinstance(reader, Reader) else reader),
                resource_id=_named(article.resource_id if isinstance(article, Activity) else article),
            )


def _named(value: object) -> str | None:
    """Return what a log line may say of an id that may be anything, an object with an address in it, too."""
    if value is None or isinstance(value, str | int):
        return None if value is None else _checks.without_emails(str(value))
    return f"({type(value).__name__})"
