"""The page's script: its files, and the tag that starts it."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from html import escape
from importlib import resources
from typing import Any, Final
from urllib.parse import urljoin

import attrs

#: URL names of the files, and where each is in the package.
FILES: Final = {
    "readtime.js": "readtime.min.js",
    "readtime.mjs": "readtime.mjs",
    "readtime-media.js": "readtime-media.min.js",
}
#: Of a file that is asked for under its version: browsers may keep it for a year.
CACHE_CONTROL: Final = "public, max-age=31536000, immutable"
#: Of one that is asked for without a version, or under that of another release: the next release must get through.
REVALIDATE: Final = "no-cache"


@attrs.frozen
class ScriptFile:
    """One file of the script.

    Attributes:
        body: its bytes.
        version: a digest of them.
    """

    body: bytes = attrs.field(repr=False)
    version: str

    def cache_control(self, asked: str | None) -> str:
        """Return how long it may be kept, by the version that the request's ``v`` asks for."""
        return CACHE_CONTROL if asked == self.version else REVALIDATE


@cache
def file(name: str) -> ScriptFile:
    """Return a file by its URL name."""
    body = (resources.files("caliper_readtime.web") / FILES[name]).read_bytes()
    return ScriptFile(body, sha256(body).hexdigest()[:12])


def tag(src: str, nonce: str | None, options: dict[str, Any]) -> str:
    """Return the HTML that starts the script: external files and data attributes, no inline code.

    Args:
        src: URL of ``readtime.js``; with the option ``media``, ``readtime-media.js`` is taken from beside it.
        nonce: of the page's content security policy, where it has one.
        options: the script's options; None for one that is not given.
    """
    made = _element(src, "readtime.js", nonce, options)
    if options.get("media") is not None:
        made += _element(urljoin(src, "readtime-media.js"), "readtime-media.js", nonce, {})
    return made


def _element(src: str, name: str, nonce: str | None, options: dict[str, Any]) -> str:
    data = {f"data-{option}": value for option, value in options.items()}
    attributes = {"src": f"{src}?v={file(name).version}", "nonce": nonce, **data}
    written = "".join(f' {name}="{escape(str(value))}"' for name, value in attributes.items() if value is not None)
    return f"<script defer{written}></script>"
