"""Page tickets: what lets a page's script, and nobody else, tell one reader's time on one article.

A ticket is signed, not encrypted: it holds the reader's id, the article and two times, and no e-mail address.
It stands for itself, also after a logout or on a shared device; the host's session only issues it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, Final, Protocol

import attrs

from caliper_readtime import _checks
from caliper_readtime._model import Article, Course, Reader
from caliper_readtime._settings import GRACE_SECONDS, TICKET_SECONDS, WebSettings, variable
from caliper_readtime._units import MAX_SECONDS, to_datetime, to_epoch_ms, to_ms
from caliper_readtime.errors import ConfigurationError, InvalidInput
from caliper_readtime.web.refusals import Refusal, Refused

#: Longest ticket, in characters: the message that carries it has at most 4 KiB (``signals.MAX_BODY``).
MAX_TICKET: Final = 3584
#: Shortest secret, in characters.
MIN_SECRET: Final = 16
#: Verified tickets that are remembered, so that a steady page's ticket is verified once.
CACHED: Final = 1024
#: Signatures of ours are good for nothing else, and others' for nothing here.
SALT: Final = "caliper_readtime.page-ticket"

_LAYOUT: Final = 1


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
        from hashlib import sha256  # noqa: PLC0415

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
    """

    reader_sourced_id: str
    article: Article
    opened_at: datetime
    expires_at: datetime
    duration_seconds: float | None = None

    @property
    def lifetime_ms(self) -> int:
        """The most that can have been read with it, milliseconds."""
        return (self.expires_at - self.opened_at) // timedelta(milliseconds=1)


class Tickets:
    """Issues, verifies and renews page tickets. Thread-safe.

    Args:
        signer: holds the secrets.
        ticket_seconds: how long a ticket is good for; a page that is read is given fresh ones.
        grace_seconds: for how long after that a late replay is taken, with what was read before.

    Raises:
        ConfigurationError: a time is out of range.
    """

    def __init__(
        self,
        signer: Signer,
        *,
        ticket_seconds: float = TICKET_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._signer = signer
        self._lifetime = _span("ticket_seconds", ticket_seconds)
        self._grace = _span("grace_seconds", grace_seconds)
        if not self._lifetime:
            raise ConfigurationError("ticket_seconds must be above 0")
        # Of good tickets only, so that forged ones displace nothing.
        self._opened = lru_cache(CACHED)(self._open)

    def issue(
        self, reader: Reader | str, article: Article, now: datetime, *, duration_seconds: float | None = None
    ) -> str:
        """Return a ticket for a page that is being rendered. Nothing is stored.

        Args:
            reader: whose page, or her sourced id.
            article: what she reads.
            now: the time that decides, ``ReadTimeTracker.now()``.
            duration_seconds: how long the article is, so that how far she is can complete it.

        Raises:
            InvalidInput: a value is not acceptable, or the article is too long for a ticket.
        """
        sourced_id = _checks.identifier(reader.sourced_id if isinstance(reader, Reader) else reader, "reader")
        if not isinstance(article, Article):
            raise InvalidInput("article", f"must be an Article, not {type(article).__name__}")
        if duration_seconds is not None:
            to_ms(duration_seconds, "duration_seconds")
        return self._sign(Ticket(sourced_id, article, now, now + self._lifetime, duration_seconds))

    def verify(self, text: str, now: datetime) -> Ticket:
        """Return what a ticket says.

        Args:
            text: the ticket.
            now: the time that decides, ``ReadTimeTracker.now()``.

        Raises:
            Refused: TICKET_FORGED, or TICKET_EXPIRED: longer ago than the grace period.
        """
        ticket = None
        # Text that no signer has written is not even shown to one.
        if text.isascii() and len(text) <= MAX_TICKET:
            try:
                ticket = self._opened(text)
            except ValueError:
                ticket = None
        if ticket is None:
            raise Refused(Refusal.TICKET_FORGED)
        if now > ticket.expires_at + self._grace:
            raise Refused(Refusal.TICKET_EXPIRED)
        return ticket

    def renew(self, ticket: Ticket, now: datetime) -> str | None:
        """Return a fresh ticket for the same opening, where half of this one's time is gone and it is still good."""
        if not ticket.expires_at - self._lifetime / 2 < now <= ticket.expires_at:
            return None
        return self._sign(attrs.evolve(ticket, expires_at=now + self._lifetime))

    def _sign(self, ticket: Ticket) -> str:
        article = ticket.article
        course = article.course
        text = self._signer.sign(
            [
                _LAYOUT,
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
            ]
        )
        if len(text) > MAX_TICKET:
            raise InvalidInput("article", f"title, URL and course do not fit into a ticket of {MAX_TICKET} characters")
        return text

    def _open(self, text: str) -> Ticket:
        fields = self._signer.unsign(text)
        if not isinstance(fields, list) or fields[:1] != [_LAYOUT]:
            raise ValueError("a ticket of another layout")
        _, reader, opened, expires, duration, resource, title, url, subject, course, course_id = fields
        return Ticket(
            reader,
            Article(resource, title, url, None if course is None else Course(course, course_id), subject),
            to_datetime(opened),
            to_datetime(expires),
            duration,
        )


def _span(name: str, seconds: float) -> timedelta:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_SECONDS:
        raise ConfigurationError(f"{name} must be a number of seconds, at most {MAX_SECONDS:.0f}")
    return timedelta(seconds=seconds)
