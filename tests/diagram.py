"""Draws the state machine from the table that the code runs by. ``python -m tests.diagram`` rewrites the page."""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

from caliper_readtime._rules import TABLE

PAGE = Path(__file__).parents[1] / "docs" / "explanation" / "delivery.md"
_BLOCK = re.compile(r"(<!-- diagram: [^>]*-->\n```mermaid\n).*?(```\n<!-- /diagram -->)", re.DOTALL)


def diagram() -> str:
    """Return the state machine in Mermaid; verbs that leave a phase as it is are not drawn."""
    edges: dict[tuple[str, str], list[str]] = defaultdict(list)
    for (phase, verb), rule in TABLE.items():
        for end in sorted(rule.ends):
            if end != phase:
                edges[phase, end].append(verb)
    lines = [f"    {start} --> {end}: {', '.join(sorted(verbs))}" for (start, end), verbs in sorted(edges.items())]
    return "\n".join(["stateDiagram-v2", "    [*] --> absent", *lines, ""])


def drawn(page: str) -> str:
    """Return the page with the drawing as it should be."""
    return _BLOCK.sub(lambda found: found[1] + diagram() + found[2], page)


if __name__ == "__main__":
    PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
