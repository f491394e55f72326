"""Compares what the old flow has reported with what the shadow would have.

Run it:  python docs/examples/migration/report.py old.jsonl shadow.jsonl
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """One reader's seconds on one article."""

    reader: str
    article: str
    old: float
    shadow: float

    @property
    def difference(self) -> float:
        """Seconds that the shadow has more."""
        return self.shadow - self.old


def compare(old: Path, shadow: Path) -> list[Row]:
    """Return a row for each reader and article, largest difference first. An event that stands twice counts once."""
    sums = _seconds(old), _seconds(shadow)
    rows = [Row(*key, sums[0].get(key, 0.0), sums[1].get(key, 0.0)) for key in {*sums[0], *sums[1]}]
    return sorted(rows, key=lambda row: (-abs(row.difference), row))


def _seconds(path: Path) -> dict[tuple[str, str], float]:
    events = {event["id"]: event for event in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
    sums: dict[tuple[str, str], float] = defaultdict(float)
    for event in events.values():
        key = event["actor"]["id"].rpartition("/")[2], event["object"]["activity"]["id"].rpartition("/")[2]
        sums[key] += sum(item["value"] for item in event["generated"]["items"])
    return sums


def main(old: str, shadow: str) -> None:
    """Print the comparison."""
    rows = compare(Path(old), Path(shadow))
    print(f"{'reader':<20} {'article':<20} {'old':>8} {'shadow':>8} {'difference':>11}")
    for row in rows:
        print(f"{row.reader:<20} {row.article:<20} {row.old:8g} {row.shadow:8g} {row.difference:+11g}")
    print(f"{'all':<41} {sum(r.old for r in rows):8g} {sum(r.shadow for r in rows):8g}")


if __name__ == "__main__":
    main(*sys.argv[1:])
