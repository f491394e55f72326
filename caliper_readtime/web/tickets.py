"""Page tickets: what lets a page's script, and nobody else, tell one reader's time on one article.

A ticket is signed, not encrypted: it holds the reader's id, the article and two times, and no e-mail address.
It stands for itself, also after a logout or on a shared device; the host's session only issues it.
It is good for one application, and a day at most: over all its views it pays no time after its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, Protocol

import attrs

from caliper_readtime import _checks
from caliper_readtime._model import Activity, Article, Course, Reader
from caliper_readtime._settings import GRACE_SECONDS, LIFE_SECONDS, TICKET_SECONDS, WebSettings, variable
from caliper_readtime._units import MAX_SECONDS, to_datetime, to_epoch_ms, to_ms
from caliper_readtime.errors import ConfigurationError, InvalidInput
from caliper_readtime.web.refusals import Refusal, Refused

if TYPE_CHECKING:
    from caliper_readtime._rules.event import TimeSpentEvents

#: Longest ticket, in characters: the message that carries it has at most 4 KiB (``signals.MAX_BODY``).
MAX_TICKET: Final = 3584
#: Shortest secret, in characters.
MIN_SECRET: Final = 16
#: Verified tickets that are remembered, so that a steady page's ticket is verified once.
CACHED: Final = 1024
#: Signatures of ours are good for nothing else, and others' for nothing here.
SALT: Final = "caliper_readtime.page-ticket"

#: Signals under a ticket of this reader, which only a secret of the host's can sign, are answered and not counted.
PROBE: Final = "caliper-readtime-doctor"

_LAYOUT: Final = 2


class Signer(Protocol):
    """Signs values, so that they can be trusted when they come back.

    Called from any thread. The newest of its secrets signs; older ones verify; one that was removed does not.
    """

    def sign(self, value: list[Any], /) -> str:
        """Return JSON-ready values as signed, URL-safe ASCII text."""

    def unsign(self, text: str, /) -> Any:
        """Return what was signed.

        Raises:
            ValueError: the signature is not one of ours. It quotes nothing.
        """


class ItsdangerousSigner:
    """Signs by HMAC-SHA-256 of ``itsdangerous``, under a salt of its own.

    Args:
        secrets: newest first. The first signs, every one verifies.

    Raises:
        ConfigurationError: there is no secret, or a short one.
    """

    def __init__(self, secrets: Sequence[str | bytes]) -> None:
        # Only for whoever signs with it: Django brings a signer of its own.
        from itsdangerous import BadData, URLSafeSerializer  # noqa: PLC0415
        from itsdangerous.encoding import base64_decode, base64_encode  # noqa: PLC0415

        self._bad = BadData
        self._decode, self._encode = base64_decode, base64_encode
        self._serializer: Any = URLSafeSerializer(
            list(reversed(checked_secrets(secrets))),  # its last key signs
            salt=SALT,
            signer_kwargs={"digest_method": sha256, "key_derivation": "hmac"},
        )

    def sign(self, value: list[Any], /) -> str:
        """Return the values as signed text."""
        signed: str = self._serializer.dumps(value)
        return signed

    def unsign(self, text: str, /) -> Any:
        """Return what was signed."""
        try:
            value = self._serializer.loads(text)
            signature = text.rpartition(".")[2]
            # It reads a signature leniently: each of endless spellings of one would be remembered as a ticket.
            if self._encode(self._decode(signature)) == signature.encode():
                return value
        except self._bad:
            pass  # its error quotes the text
        raise ValueError("not signed by us")


def checked_secrets(secrets: Sequence[str | bytes], named: str = "secrets") -> list[bytes]:
    """Return the secrets as bytes, if they can be used.

    Args:
        secrets: newest first.
        named: what whoever set them calls them.

    Raises:
        ConfigurationError: there is none, or one is short. None is quoted.
    """
    if isinstance(secrets, str | bytes) or not isinstance(secrets, Sequence) or not secrets:
        raise ConfigurationError(f"{named}: a list of at least one secret is needed, newest first")
    for secret in secrets:
        if not isinstance(secret, str | bytes) or len(secret) < MIN_SECRET:
            raise ConfigurationError(f"{named}: each must be text of at least {MIN_SECRET} characters")
    return [secret.encode() if isinstance(secret, str) else secret for secret in secrets]


def chosen_secrets(settings: WebSettings, own: Sequence[str | bytes | None], named: str) -> list[bytes]:
    """Return the secrets of the settings, or else the framework's own, which come under its own names.

    Args:
        settings: theirs go first.
        own: the framework's, newest first.
        named: what the framework calls them.

    Raises:
        ConfigurationError: there is none, or one is short. None is quoted.
    """
    if settings.secrets:
        return checked_secrets(settings.secrets, variable("secrets"))
    return checked_secrets([secret or "" for secret in own], f"{named} (or set {variable('secrets')})")


@attrs.frozen
class Ticket:
    """What a verified ticket says.

    Attributes:
        reader_sourced_id: whose time.
        article: on which article.
        opened_at: when the page was rendered, by the clock that decides.
        expires_at: until when the page may be read with it.
        duration_seconds: how long the article is, where the host said so.
        application: a digest of the application that issued it (``application_of``).
        session: a digest of the session that it was issued to, where the host binds tickets to one.
    """

    reader_sourced_id: str
    article: Activity
    opened_at: datetime
    expires_at: datetime
    duration_seconds: float | None = None
    application: str = ""
    session: str = ""

    @property
    def lifetime_ms(self) -> int:
        """The most that can have been read with it, milliseconds."""
        return (self.expires_at - self.opened_at) // timedelta(milliseconds=1)


class Tickets:
    """Issues, verifies and renews page tickets. Thread-safe.

    Args:
        signer: holds the secrets.
        ticket_seconds: how long a ticket is good for; a page that is read is given fresh ones.
        life_seconds: how long after the opening the last of them ends.
        grace_seconds: for how long after that a late replay is taken, with what was read before.

    Raises:
        ConfigurationError: a time is out of range.
    """

    def __init__(
        self,
        signer: Signer,
        *,
        ticket_seconds: float = TICKET_SECONDS,
        life_seconds: float = LIFE_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._signer = signer
        self._life = _span("life_seconds", life_seconds)
        self._lifetime = min(_span("ticket_seconds", ticket_seconds), self._life)
        self._grace = _span("grace_seconds", grace_seconds)
        if not self._lifetime:
            raise ConfigurationError("ticket_seconds and life_seconds must be above 0")
        # Of good tickets only, so that forged ones displace nothing.
        self._opened = lru_cache(CACHED)(self._open)

    def issue(
        self,
        reader: Reader | str,
        article: Activity,
        now: datetime,
        *,
        duration_seconds: float | None = None,
        application: str = "",
        session: str | None = None,
    ) -> str:
        """Return a ticket for a page that is being rendered. Nothing is stored.

        Args:
            reader: whose page, or their sourced id.
            article: what they read.
            now: the time that decides, ``ReadTimeTracker.now()``.
            duration_seconds: how long the article is, so that how far they are can complete it.
            application: which application issues it, ``application_of``.
            session: what the reader's session is called, to bind the ticket to it.

        Raises:
            InvalidInput: a value is not acceptable, or the article is too long for a ticket.
        """
        sourced_id = _checks.identifier(reader.sourced_id if isinstance(reader, Reader) else reader, "reader")
        if not isinstance(article, Activity):
            raise InvalidInput("article", f"must be an Article or Activity, not {type(article).__name__}")
        if duration_seconds is not None:
            to_ms(duration_seconds, "duration_seconds")
        bound = "" if session is None else _digest(session)
        return self._sign(Ticket(sourced_id, article, now, now + self._lifetime, duration_seconds, application, bound))

    def verify(self, text: str, now: datetime, *, application: str = "", session: str | None = None) -> Ticket:
        """Return what a ticket says.

        Args:
            text: the ticket.
            now: the time that decides, ``ReadTimeTracker.now()``.
            application: which application is asked.
            session: what the asking session is called; None where tickets are not bound to one.

        Raises:
            Refused: TICKET_FORGED; TICKET_FOREIGN: of another application or session; TICKET_EXPIRED: longer ago than
                the grace period.
        """
        ticket = None
        # Text that no signer has written is not even shown to one.
        if text.isascii() and len(text) <= MAX_TICKET:
            try:
                ticket = self._opened(text)
            except (TypeError, ValueError):  # the first: a newer version's, with fields that are not known here
                ticket = None
        if ticket is None:
            raise Refused(Refusal.TICKET_FORGED)
        if ticket.application != application or (session is not None and ticket.session != _digest(session)):
            raise Refused(Refusal.TICKET_FOREIGN)
        if now > ticket.expires_at + self._grace:
            raise Refused(Refusal.TICKET_EXPIRED)
        return ticket

    def renew(self, ticket: Ticket, now: datetime) -> str | None:
        """Return a fresh ticket for the same opening, where half of this one's time is gone and it is still good.

        Ask the host first whether the reader is still one. None, too, where the life of the opening allows no more.
        """
        expires_at = min(now + self._lifetime, ticket.opened_at + self._life)
        due = ticket.expires_at - self._lifetime / 2 < now <= ticket.expires_at
        return (
            self._sign(attrs.evolve(ticket, expires_at=expires_at)) if due and expires_at > ticket.expires_at else None
        )

    def _sign(self, ticket: Ticket) -> str:
        article = ticket.article
        course = article.course
        text = self._signer.sign(
            [
                _LAYOUT,
                ticket.application,
                ticket.session,
                ticket.reader_sourced_id,
                to_epoch_ms(ticket.opened_at, "opened_at"),
                to_epoch_ms(ticket.expires_at, "expires_at"),
                ticket.duration_seconds,
                article.resource_id,
                article.title,
                article.url,
                article.subject.value,
                None if course is None else course.name,
                None if course is None else course.id,
                *_more(article),
            ]
        )
        if len(text) > MAX_TICKET:
            raise InvalidInput("article", f"title, URL and course do not fit into a ticket of {MAX_TICKET} characters")
        return text

    def _open(self, text: str) -> Ticket:
        fields = self._signer.unsign(text)
        if not isinstance(fields, list) or fields[:1] != [_LAYOUT]:
            raise ValueError("a ticket of another layout")
        _, application, session, reader, opened, expires, duration, resource, *what = fields
        title, url, subject, course, course_id, *more = what
        plain = resource, title, url, None if course is None else Course(course, course_id), subject
        (said,) = more or ({},)
        return Ticket(
            reader,
            (Activity if "kind" in said else Article)(*plain, **said),
            to_datetime(opened),
            to_datetime(expires),
            duration,
            application,
            session,
        )


def _more(article: Activity) -> list[dict[str, Any]]:
    """Return what few activities say, as the last field; nothing for plain articles, whose tickets stay short."""
    fields = ((field.alias or field.name, field, getattr(article, field.name)) for field in attrs.fields(Activity))
    more = {alias: value for alias, field, value in fields if field.kw_only and value != field.default}
    return [more] if more else []


def _digest(text: str) -> str:
    return sha256(text.encode(errors="surrogatepass")).hexdigest()[:16]


_APPLICATION: Final = lru_cache(16)(_digest)  # every heartbeat asks for the same one


def application_of(events: TimeSpentEvents | None) -> str:
    """Return what tickets say of the application that issues them: its sensor and its OneRoster service.

    A secret that is copied from one installation to another makes no ticket of the one good in the other.
    """
    return "" if events is None else _APPLICATION(f"{events.sensor}\n{events.oneroster_url}")


def _span(name: str, seconds: float) -> timedelta:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
        raise ConfigurationError(f"{name} must be a number of seconds, at most {MAX_SECONDS:.0f}")
    return timedelta(seconds=seconds)
