"""Django: add ``"caliper_readtime.web.django"`` to INSTALLED_APPS; docs/how-to/django.md has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caliper_readtime._tracker import ReadTimeTracker
    from caliper_readtime.web.page_counter import PageCounter

__all__ = ["current_page_counter", "current_tracker"]


def current_page_counter() -> PageCounter:
    """Return what counts this project's pages; set its ``tracker`` in tests."""
    # Django loads this package before its registry is ready.
    from django.apps import apps  # noqa: PLC0415

    config: Any = apps.get_app_config("caliper_readtime")
    host: PageCounter = config.host
    return host


def current_tracker() -> ReadTimeTracker:
    """Return this project's tracker."""
    return current_page_counter().tracker
