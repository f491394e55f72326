"""The Django application: its settings, made into a ``PageCounter`` when it is needed first."""

from __future__ import annotations

import os
from threading import Lock
from typing import Any, Final

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import register
from django.core.signals import setting_changed

from caliper_readtime import _settings
from caliper_readtime._tracker import ReadTimeTracker
from caliper_readtime.errors import ConfigurationError
from caliper_readtime.web.django.signing import DjangoSigner
from caliper_readtime.web.page_counter import PageCounter
from caliper_readtime.web.tickets import chosen_secrets

#: The one setting, a dict. What it does not name may stand in the environment.
SETTING: Final = "CALIPER_READTIME"
_READ: Final = {SETTING, "SECRET_KEY", "SECRET_KEY_FALLBACKS", "CSRF_TRUSTED_ORIGINS"}


class ReadTimeConfig(AppConfig):
    """``caliper_readtime`` in Django's registry."""

    name = "caliper_readtime.web.django"
    label = "caliper_readtime"
    default_auto_field: str = "django.db.models.BigAutoField"
    verbose_name: str = "Reading time"
    _page_counter: PageCounter | None = None
    _lock = Lock()

    def ready(self) -> None:
        """Register the checks. Nothing is built or connected before a page or a signal needs it."""
        # It needs the registry, which is not ready when this module is loaded.
        from caliper_readtime.web.django.checks import check, check_installation  # noqa: PLC0415

        register(check, "caliper_readtime")
        register(check_installation, "caliper_readtime", deploy=True)
        setting_changed.connect(self._changed, dispatch_uid="caliper_readtime")

    @property
    def page_counter(self) -> PageCounter:
        """What counts this project's pages; one, however many first requests come at once.

        Raises:
            ConfigurationError: settings are wrong.
        """
        if self._page_counter is None:
            with self._lock:
                if self._page_counter is None:
                    table = table_of_settings()
                    origins = {"trusted_origins": settings.CSRF_TRUSTED_ORIGINS}
                    web = _settings.Settings.of({**origins, **table}).web
                    self._page_counter = PageCounter(
                        (lambda: ReadTimeTracker.from_settings(table)) if web.tracker is None else web.tracker,
                        DjangoSigner(_secrets(web)),
                        web,
                    )
        return self._page_counter

    def _changed(self, *, setting: str, **_: Any) -> None:
        # Tests override settings; a server never sees this.
        if setting in _READ:
            self._page_counter = None


def _secrets(web: _settings.WebSettings) -> list[bytes]:
    # Django's own may be empty, which is an error to read, where others are set.
    own = [] if web.secrets else [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return chosen_secrets(web, own, "SECRET_KEY and SECRET_KEY_FALLBACKS")


def table_of_settings() -> dict[str, Any]:
    """Return the settings by their lower-case names: the dict's, and for the rest the environment's.

    Raises:
        ConfigurationError: a name is unknown, or the setting is no dict.
    """
    given = getattr(settings, SETTING, {})
    if not isinstance(given, dict):
        raise ConfigurationError(f"the setting {SETTING} must be a dict")
    return _settings.named(_settings.prefixed(os.environ)) | _settings.named(_settings.prefixed(given) or given)
