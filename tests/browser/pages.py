"""Pages of the plain host that do not reload: Turbo, HTMX, or a shell whose fragments a scene swaps by hand."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

from tests.browser.devtools import need

#: The libraries, pinned by hash.
PINNED = Path(__file__).parent / "libraries"
FILES = {
    "turbo": "@hotwired/turbo/dist/turbo.es2017-umd.js",
    "htmx2": "htmx.org/dist/htmx.js",
    "htmx4": "htmx4/dist/htmx.js",
}
KINDS = (*FILES, "head", "bare")
SHELL = """<!doctype html><html><head><title>{title}</title>{head}</head><body {boost}>
<nav><a href="{base}/front">front</a> <a href="{base}/leaves">leaves</a> <a href="{base}/volcanoes">volcanoes</a></nav>
<main id="main" data-page="{title}">{main}</main></body></html>"""
ARTICLE = '<article style="height: 3000px">{slug}</article>'


@cache
def libraries():
    """The libraries' texts, installed once."""
    npm = shutil.which("npm")
    need(npm, "npm")
    with tempfile.TemporaryDirectory() as home:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINNED / name, home)
        command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=home, check=True, capture_output=True)
        return {name: Path(home, "node_modules", file).read_text(encoding="utf-8") for name, file in FILES.items()}


def single_page(kind, slug, script):
    """A page of a site of some kind (a library's name, "head" for Turbo with the tag in the head, or "bare").

    Args:
        kind: which.
        slug: an article, or "front", which is none.
        script: the article's tag.
    """
    name = "turbo" if kind == "head" else kind
    script = "" if slug == "front" else script
    loaded = f'<script src="/library/{name}"></script>' if name in FILES else '<script src="/readtime.min.js"></script>'
    main = ARTICLE.format(slug=slug) if slug != "front" else "The front page."
    return SHELL.format(
        title=slug,
        head=loaded + (script if kind == "head" else ""),
        boost={"htmx2": 'hx-boost="true"', "htmx4": 'hx-boost:inherited="true"'}.get(kind, ""),
        base=f"/{kind}",
        main=main + ("" if kind == "head" else script),
    )
