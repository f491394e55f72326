"""System checks: what a project's developer should know before its readers do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004 - Django's name
from django.urls import NoReverseMatch, reverse

from caliper_readtime.errors import ConfigurationError, StoreError
from caliper_readtime.web.django import current_host

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Dotted path of the middleware that pages with tickets need.
MIDDLEWARE: Final = "caliper_readtime.web.django.middleware.private_pages"


def check(app_configs: Sequence[Any] | None = None, **_: Any) -> list[CheckMessage]:  # noqa: ARG001 - Django passes it
    """Return what is wrong with how this project counts reading time."""
    return [*_settings(), *_pages()]


def _settings() -> list[CheckMessage]:
    try:
        host = current_host()
        host.tracker  # noqa: B018 - reading it builds it
    except ConfigurationError as error:
        hint = "See CALIPER_READTIME in settings, and the environment's CALIPER_READTIME_… variables."
        return [Error(str(error), hint=hint, id="caliper_readtime.E001")]
    except StoreError as error:
        hint = "Pages are shown, and signals are answered 503, until it does."
        return [Warning(f"the store does not answer: {error}", hint=hint, id="caliper_readtime.W001")]
    if host.settings.reader is None:
        return [
            Error(
                "nothing says how a reader's e-mail address is found, which every event needs",
                hint='Set CALIPER_READTIME["READER"] to the dotted path of a function: sourced id -> Reader or None.',
                id="caliper_readtime.E002",
            )
        ]
    return []


def _pages() -> list[CheckMessage]:
    found: list[CheckMessage] = []
    try:
        reverse("caliper_readtime:signals")
    except NoReverseMatch:
        hint = 'Add path("readtime/", include("caliper_readtime.web.django.urls")) to the URLs.'
        found.append(Error("the URLs are not included", hint=hint, id="caliper_readtime.E003"))
    if MIDDLEWARE not in settings.MIDDLEWARE:
        hint = f'Add "{MIDDLEWARE}" to MIDDLEWARE, below Django\'s cache middleware.'
        found.append(
            Warning("a shared cache could give one reader's page to another", hint=hint, id="caliper_readtime.W002")
        )
    return found
