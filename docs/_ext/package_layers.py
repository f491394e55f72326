"""Draws the package: its layers from ``pyproject.toml``, top to bottom, and what each module says of itself."""

from __future__ import annotations

import ast
import re
import tomllib
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "caliper_readtime"


def layers() -> list[list[str]]:
    """Return the names of every layer's modules and packages; imports run from the first layer to the last."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = (one for one in settings["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    return [[name.strip() for name in layer.split("|")] for layer in contract["layers"]]


def modules(name: str) -> Iterator[tuple[str, str]]:
    """Yield a module, or a package and all that it holds: the dotted name, and the first line of its docstring."""
    top = PACKAGE / name
    for path in sorted(top.rglob("*.py")) if top.is_dir() else [top.with_suffix(".py")]:
        said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        yield (
            ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"),
            said.partition("\n")[0],
        )


def _item(name: str, said: str) -> str:
    # Docstrings are reStructuredText; here their doubled backticks are all that matters.
    words = re.sub(r"``(.+?)``", r"<code>\1</code>", escape(said, quote=False))
    return f"<li><code>{name}</code> {words}</li>"


def drawn(layer: list[str]) -> str:
    """Return a layer as a box: what its modules and packages are for, and what is inside the packages to unfold."""
    parts = []
    for name in layer:
        (first, *inner) = (_item(*module) for module in modules(name))
        parts.append(f"<ul>{first}</ul>")
        if inner:
            parts.append(f"<details><summary>its {len(inner)} modules</summary><ul>{''.join(inner)}</ul></details>")
    return f'<div class="layer">{"".join(parts)}</div>'


class PackageLayers(SphinxDirective):
    """``{package-layers}``: a box for each layer."""

    def run(self) -> list[nodes.Node]:
        """Return the boxes."""
        return [nodes.raw("", "".join(map(drawn, layers())), format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("package-layers", PackageLayers)
    return {"parallel_read_safe": True}
