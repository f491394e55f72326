"""Django: add ``"caliper_readtime.web.django"`` to INSTALLED_APPS; docs/how-to/django.md has the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from caliper_readtime.tracker import ReadTimeTracker
    from caliper_readtime.web.host import Host

__all__ = ["current_host", "current_tracker"]


def current_host() -> Host:
    """Return what counts this project's pages; set its ``tracker`` in tests."""
    # Django loads this package before its registry is ready.
    from django.apps import apps  # noqa: PLC0415

    config: Any = apps.get_app_config("caliper_readtime")
    host: Host = config.host
    return host


def current_tracker() -> ReadTimeTracker:
    """Return this project's tracker."""
    return current_host().tracker
