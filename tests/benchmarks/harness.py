"""Ratios measured fairly: one pinned core, subject and floor interleaved, medians."""

from __future__ import annotations

import os
import statistics
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def pin() -> None:
    """Keep this process, and what it starts from now on, on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def medians(subjects: dict[str, Callable[[], object]], *, number: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of one call of each subject; every round calls all of them, ``number`` times each."""
    seconds_by_name: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(rounds):
        for name, subject in subjects.items():
            start = time.perf_counter()
            for _ in range(number):
                subject()
            seconds_by_name[name].append((time.perf_counter() - start) / number)
    return {name: statistics.median(values) for name, values in seconds_by_name.items()}


def show(title: str, values: dict[str, float], floor: str, target: float | None = None) -> None:
    """Print microseconds and ratios to the floor."""
    print(title)
    for name, seconds in values.items():
        ratio = seconds / values[floor]
        wanted = "" if target is None or name == floor else f"   (target {target:g})"
        print(f"  {name:<44} {seconds * 1e6:10.2f} µs   {ratio:7.2f} x{wanted if ratio != 1 else ''}")
