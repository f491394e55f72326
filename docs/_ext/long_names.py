"""Lets long names in tables break after their underscores, so that columns stay narrow."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

if TYPE_CHECKING:
    from sphinx.application import Sphinx


class LongNames(SphinxPostTransform):
    """Puts a ``<wbr>`` behind each underscore and slash of a literal in a table."""

    default_priority = 900
    formats = ("html",)

    def run(self, **_: Any) -> None:
        """Do so."""
        for table in self.document.findall(nodes.table):
            for literal in list(table.findall(nodes.literal)):
                first, *more = re.findall(r"[^_/]*[_/]+|[^_/]+", literal.astext()) or [""]
                literal.children = [nodes.Text(first)]
                for part in more:
                    literal += [nodes.raw("", "<wbr>", format="html"), nodes.Text(part)]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the transform."""
    app.add_post_transform(LongNames)
    return {"parallel_read_safe": True}
