"""Benchmark: what four ways of reporting reading time make of the very same day of faults.

Prints the tables of docs/explanation/accuracy.md; with ``--write`` puts them into the page and draws its picture.
Run: ``python -m tests.benchmarks.accuracy [--write] [--sessions N] [--seed N]`` (drawing needs the extra ``test``)
"""

from __future__ import annotations

import argparse
import re
from contextlib import contextmanager
from pathlib import Path

from caliper_readtime._logs import logger
from tests.benchmarks.accuracy_library import Deltas, Totals
from tests.benchmarks.accuracy_replaced import ReadModifyWrite, UnmountOnly
from tests.benchmarks.accuracy_score import bound, bounds_table, rates_table, score, scores_table
from tests.benchmarks.accuracy_traces import trace
from tests.benchmarks.accuracy_world import FlowDriver
from tests.stateful.world import seeded

SEED = 2026
SESSIONS = 12_000
FLOWS = {
    "(a) unmount only": UnmountOnly,
    "(b) read-modify-write": ReadModifyWrite,
    "(c) this library, deltas": Deltas,
    "(d) this library, totals": Totals,
}
PAGE = Path(__file__).parents[2] / "docs" / "explanation" / "accuracy.md"
PICTURE = PAGE.with_suffix(".png")


@contextmanager
def quiet():
    """Thousands of failures on purpose need no log line each."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def play(drawn, make_flow):
    """Let a flow live through a trace; return it and its world."""
    world = FlowDriver(drawn)
    flow = make_flow(world)
    with quiet(), seeded(drawn.seed):
        world.play(flow)
    return flow, world


def measure(drawn):
    """Return every flow's score, and the library's bounds."""
    scores, bounds = [], []
    for name, make_flow in FLOWS.items():
        flow, world = play(drawn, make_flow)
        scores.append(score(name, drawn, world, flow))
        if hasattr(flow, "births"):
            bounds.append(bound(name, drawn, flow))
    return scores, bounds


def tables(drawn, scores, bounds):
    """Return the parts of the page that are generated, by name."""
    arrivals = sum(1 for _ in drawn.every())
    return {
        "run": f"Seed {drawn.seed}, {len(drawn.sessions):,} reading sessions, {arrivals:,} requests that arrive.",
        "scores": scores_table(scores),
        "bounds": bounds_table(bounds),
        "rates": rates_table(drawn.rates),
    }


def part(name):
    """Return the pattern of a generated part of the page."""
    return re.compile(rf"(?<=<!-- {name} -->\n).*?(?=<!-- end -->)", re.DOTALL)


def main():
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--write", action="store_true", help="put the tables and the picture into the page")
    asked = parser.parse_args()
    drawn = trace(asked.seed, asked.sessions)
    scores, bounds = measure(drawn)
    made = tables(drawn, scores, bounds)
    print("\n\n".join(made.values()))
    if asked.write:
        from tests.benchmarks.accuracy_plot import draw  # noqa: PLC0415 - only drawing needs matplotlib

        text = PAGE.read_text(encoding="utf-8")
        for name, content in made.items():
            text, written = part(name).subn(lambda _, content=content: f"\n{content}\n\n", text)
            assert written == 1, f"{PAGE} has no one place for {name}"
        PAGE.write_text(text, encoding="utf-8")
        draw(scores, PICTURE)


if __name__ == "__main__":
    main()
