"""Gives each page the description that search engines and chats show: its first paragraph."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Any

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

LONGEST = 200


def description(document: nodes.document) -> str:
    """Return the first paragraphs of a page, as much of them as a description may have."""
    words = ""
    for paragraph in document.findall(nodes.paragraph):
        if isinstance(paragraph.parent, nodes.section):
            words = f"{words} {' '.join(paragraph.astext().split())}".strip()
            if len(words) >= LONGEST // 2:
                break
    return words if len(words) <= LONGEST else words[: LONGEST - 1].rpartition(" ")[0] + "…"


def add(_app: Sphinx, _page: str, _template: str, context: dict[str, Any], document: nodes.document | None) -> None:
    """Put it into the page's head."""
    if document is not None and (said := description(document)):
        tags = "".join(
            f'<meta {name} content="{escape(said)}">\n' for name in ('name="description"', 'property="og:description"')
        )
        context["metatags"] = context.get("metatags", "") + tags


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the hook."""
    app.connect("html-page-context", add)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
