"""Draws the package: its layers from ``pyproject.toml``, top to bottom, and what each module says of itself."""

from __future__ import annotations

import ast
import tomllib
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
        yield ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"), said.partition("\n")[0]


class PackageLayers(SphinxDirective):
    """``{package-layers}``: a box for each layer."""

    def run(self) -> list[nodes.Node]:
        """Return the boxes."""
        boxes: list[nodes.Node] = []
        for layer in layers():
            rows = nodes.definition_list()
            for name, said in (row for part in layer for row in modules(part)):
                # Docstrings are reStructuredText; here their doubled backticks are all that matters.
                parts = [
                    nodes.literal(text=text) if odd else nodes.Text(text)
                    for odd, text in ((number % 2, text) for number, text in enumerate(said.split("``")))
                    if text
                ]
                term = nodes.term("", "", nodes.literal(text=name))
                rows += nodes.definition_list_item("", term, nodes.definition("", nodes.paragraph("", "", *parts)))
            boxes.append(nodes.container("", rows, classes=["layer"]))
        return boxes


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("package-layers", PackageLayers)
    return {"parallel_read_safe": True}
