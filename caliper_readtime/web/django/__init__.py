"""Django: add ``"caliper_readtime.web.django"`` to INSTALLED_APPS; the documentation has the rest (How-to, Django)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.protocols import StateStore
    from caliper_readtime.web.page_counter import PageCounter

__all__ = ["current_page_counter", "current_tracker"]


def current_page_counter() -> PageCounter:
    """Return what counts this project's pages; set its ``tracker`` in tests."""
    # Django loads this package before its registry is ready.
    from django.apps import apps  # noqa: PLC0415

    config: Any = apps.get_app_config("caliper_readtime")
    counter: PageCounter = config.page_counter
    return counter


def store_of(url: str) -> StateStore:
    """Return the store that ``django://`` names: the project's own database, ``django://reports`` another than default.

    Raises:
        ConfigurationError: there is no project with this application around, or no such database.
    """
    from urllib.parse import urlsplit  # noqa: PLC0415

    from caliper_readtime.errors import ConfigurationError  # noqa: PLC0415

    parts = urlsplit(url)
    if parts.path.strip("/") or parts.query:
        raise ConfigurationError("STORE_URL=django://alias names one of DATABASES, and nothing else")
    try:
        # The registry may not be ready, or there is no Django at all.
        from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415
    except Exception as error:
        raise ConfigurationError(
            "STORE_URL=django:// works inside a Django project that has caliper_readtime.web.django in INSTALLED_APPS:"
            f" use its manage.py readtime ({type(error).__name__})"
        ) from error
    return DjangoStateStore(parts.netloc or None)


def current_tracker() -> ReadTimeTracker:
    """Return this project's tracker."""
    return current_page_counter().tracker
