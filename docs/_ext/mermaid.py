"""Renders Mermaid drawings while the site is built: the same text that GitHub draws, laid out by Graphviz.

Only what our pages use is understood: edges of a ``stateDiagram-v2`` and edges and boxes of a ``flowchart``.
Anything else is an error, so that no drawing silently lacks a line.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from html import escape
from typing import TYPE_CHECKING

from docutils import nodes
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from sphinx.application import Sphinx

KIND = re.compile(r"stateDiagram-v2|flowchart (?:TB|LR)")
EDGE = re.compile(r"(\[\*\]|\w+) -->(?:\|(.+)\|)? (\[\*\]|\w+)(?:: (.+))?")
BOX = re.compile(r"(\w+)\[(.+)\]")
LOOK = """bgcolor=transparent; nodesep=0.3; ranksep=0.5;
node [shape=box style=rounded fontname=Helvetica fontsize=13 height=0.4];
edge [fontname=Helvetica fontsize=11 arrowsize=0.7];
"""


def dot(mermaid: str) -> str:
    """Translate a drawing to Graphviz' language."""
    kind, *lines = (line.strip() for line in mermaid.strip().splitlines())
    if not KIND.fullmatch(kind):
        raise ExtensionError(f"docs/_ext/mermaid.py cannot draw {kind!r}")
    parts = [LOOK, "rankdir=LR;" if kind.endswith("LR") else ""]
    for line in filter(None, lines):
        if edge := EDGE.fullmatch(line):
            start, above, end, after = edge.groups()
            if start == "[*]":
                parts.append('"[*]" [label="" shape=circle style=filled fixedsize=true width=0.15 height=0.15];')
            # One word a line, and air on both sides: Graphviz sets labels close to their edges.
            label = r"\n".join(f"  {part}  " for part in (above or after or "").split(", "))
            parts.append(f"{_quoted(start)} -> {_quoted(end)} [label={_quoted(label)}];")
        elif box := BOX.fullmatch(line):
            parts.append(f"{_quoted(box[1])} [label={_quoted(box[2])}];")
        else:
            raise ExtensionError(f"docs/_ext/mermaid.py cannot draw {line!r}")
    return "digraph {\n" + "\n".join(parts) + "\n}\n"


def _quoted(text: str) -> str:
    return '"' + text.strip('"').replace('"', r"\"").replace("<br>", r"\n") + '"'


def svg(source: str) -> str:
    """Lay out a drawing. Its colours are left to the page's style sheet."""
    try:
        drawn = subprocess.run(["dot", "-Tsvg"], input=source, capture_output=True, text=True, check=True)  # noqa: S607
    except subprocess.CalledProcessError as error:
        raise ExtensionError(f"Graphviz: {error.stderr}\n{source}") from error
    # Ids of the parts would not be unique in a page with two drawings; titles would be shown as tool tips.
    return re.sub(r' id="\w+"|<title>.*?</title>|<!--.*?-->', "", drawn.stdout[drawn.stdout.index("<svg") :])


class Mermaid(SphinxDirective):
    """A fenced block of the language ``mermaid``."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Return the drawing as a part of the page, so that it follows the page's colours."""
        text = "\n".join(self.content)
        drawing = f'<figure class="drawing" role="img" aria-label="{escape(text)}">{svg(dot(text))}</figure>'
        return [nodes.raw("", drawing, format="html")]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive; without Graphviz the build ends here, and not somewhere in the pages."""
    if shutil.which("dot") is None:
        # Not an ExtensionError: Sphinx would surround the one sentence with a report for its developers.
        raise SystemExit("The drawings of these pages need Graphviz's program dot: apt-get install graphviz")
    app.add_directive("mermaid", Mermaid)
    return {"parallel_read_safe": True}
