"""System checks: what a project's developer, and with ``--deploy`` its operator, should know before readers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.urls import NoReverseMatch, reverse

from caliper_readtime.doctor import Finding, Level, examine
from caliper_readtime.errors import ConfigurationError, StoreError
from caliper_readtime.web.django import current_page_counter

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Dotted path of the middleware that pages with tickets need.
MIDDLEWARE: Final = "caliper_readtime.web.django.middleware.private_pages"

#: The number of each of doctor's checks, the same in every release, so that a project can silence one.
NUMBERS: Final = {
    "emitter.none": 10,
    "emitter.deadline": 11,
    "endpoint.validate": 12,
    "clock.skew": 13,
    "sweep.last": 14,
    "store.unknown": 20,
    "memory.volatile": 21,
    "store.older": 22,
    "sqlite.file": 30,
    "sqlite.wal": 31,
    "sqlite.disk": 32,
    "sqlite.rights": 33,
    "database.durable": 35,
    "database.writable": 36,
    "database.locks": 37,
    "redis.version": 40,
    "redis.loading": 41,
    "redis.role": 42,
    "redis.eviction": 43,
    "redis.memory": 44,
    "redis.persistence": 45,
    "redis.replication": 46,
    "redis.timeouts": 47,
}
#: Of the checks that could not be made.
_STORE_DOWN, _FAILED = 8, 9


def check(app_configs: Sequence[Any] | None = None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001 - Django passes it
    """Return what is wrong with the project's code and settings; asks nobody."""
    return [*_settings(), *_pages()]


def check_installation(app_configs: Sequence[Any] | None = None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001
    """Return what ``doctor`` finds: it asks the store and the endpoint, so only ``check --deploy`` runs it."""
    try:
        tracker = current_page_counter().tracker
    except (ConfigurationError, StoreError):
        return []  # the check above has said so
    return [message for message in map(_message, examine(tracker)) if message is not None]


def _message(finding: Finding) -> CheckMessage | None:
    if finding.level is Level.OK:
        return None
    other = _STORE_DOWN if finding.id.endswith(".store") else _FAILED
    number = NUMBERS.get(finding.id, other)
    kind, letter = (Error, "E") if finding.level is Level.ERROR else (Warning, "W")
    return kind(f"{finding.id}: {finding.text}", hint=finding.hint or None, id=f"caliper_readtime.{letter}{number:03}")


def _settings() -> list[CheckMessage]:
    try:
        counter = current_page_counter()
        counter.tracker  # noqa: B018 - reading it builds it
    except ConfigurationError as error:
        hint = "See CALIPER_READTIME in settings, and the environment's CALIPER_READTIME_… variables."
        return [Error(str(error), hint=hint, id="caliper_readtime.E001")]
    except StoreError as error:
        hint = "Pages are shown, and signals are answered 503, until it does."
        return [Warning(f"the store does not answer: {error}", hint=hint, id="caliper_readtime.W001")]
    if counter.settings.reader is None:
        text = "nothing says how a reader's e-mail address is found, which every event needs"
        hint = 'Set CALIPER_READTIME["READER"] to the dotted path of a function: sourced id -> Reader or None.'
        return [Error(text, hint=hint, id="caliper_readtime.E002")]
    return []


def _pages() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    try:
        reverse("caliper_readtime:signals")
    except NoReverseMatch:
        hint = 'Add path("readtime/", include("caliper_readtime.web.django.urls")) to the URLs.'
        found.append(Error("the URLs are not included", hint=hint, id="caliper_readtime.E003"))
    if MIDDLEWARE not in settings.MIDDLEWARE:
        text = "a shared cache could give one reader's page to another"
        hint = f'Add "{MIDDLEWARE}" to MIDDLEWARE, below Django\'s cache middleware.'
        found.append(Warning(text, hint=hint, id="caliper_readtime.W002"))
    return found
