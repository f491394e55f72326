"""Page tickets signed by ``django.core.signing``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.signing import BadSignature, Signer

from caliper_readtime.web.tickets import SALT, checked_secrets

if TYPE_CHECKING:
    from collections.abc import Sequence


class DjangoSigner:
    """Signs by HMAC-SHA-256 of ``django.core.signing``, under a salt of its own.

    Args:
        secrets: newest first; empty for SECRET_KEY, which signs, and SECRET_KEY_FALLBACKS, which only verify.

    Raises:
        ConfigurationError: there is no secret, or a short one.
    """

    def __init__(self, secrets: Sequence[str | bytes] = ()) -> None:
        newest, *older = checked_secrets(secrets or [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS])
        self._signer = Signer(key=newest, fallback_keys=[*older], salt=SALT, algorithm="sha256")

    def sign(self, value: list[Any], /) -> str:
        """Return the values as signed text."""
        return self._signer.sign_object(value, compress=True)

    def unsign(self, text: str, /) -> Any:
        """Return what was signed."""
        try:
            return self._signer.unsign_object(text)
        except BadSignature:
            pass  # its error quotes the text
        raise ValueError("not signed by us")
