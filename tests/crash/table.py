"""The tables of planted defects on the page about wiring: ``python -m tests.crash.table`` prints them."""

from __future__ import annotations

from pathlib import Path

from caliper_readtime.testing import CaliperEndpoint, CrashFindings, crash_every_step
from tests.crash.diary import Diary, a_reader_leaves
from tests.crash.mistakes import MORE
from tests.crash.replaced import TWELVE, Deltas

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "test-your-wiring.md"
HEAD = "| defect | found as |\n|---|---|"


_REPORTS = {}


def judged(endpoint, kind, scene, **more):
    """What is found in a kind of diary in a scene: the same each time, so it is looked for once."""
    asked = kind, scene, str(more)
    if asked not in _REPORTS:
        _REPORTS[asked] = _judged(endpoint, kind, scene, **more)
    return _REPORTS[asked]


def _judged(endpoint, kind, scene, **more):

    def host(steps):
        endpoint.reset()
        steps.watch(endpoint)
        return scene(kind(steps, endpoint.url), steps)

    try:
        return crash_every_step(host, expected={("anna", "owls"): 60}, **more)
    except CrashFindings as error:
        return error.report


def row(endpoint, kind, scene, more, fault, name):
    """One planted defect, and the finding that names it best."""
    said = (Deltas if kind is Diary else kind).__doc__.strip()
    said = said.partition(": ")[2] if said[0].isdigit() else said
    findings = judged(endpoint, kind, scene, **more).findings
    finding = next(found for found in findings if (found.fault, found.step.name) == (fault, name))
    at = f"{fault or 'no fault; last sent by'} `{name}`"
    return f"| {said[0].upper()}{said[1:]} | {at}: {finding.result.rpartition(' on owls: ')[2]} |"


def tables():
    """Both tables, in Markdown."""
    with CaliperEndpoint() as endpoint:
        twelve = [row(endpoint, *planted[:-1]) for planted in TWELVE]
        more = [row(endpoint, kind, a_reader_leaves, {}, *found[:-1]) for kind, *found in MORE]
    return "\n".join([HEAD, *twelve]), "\n".join([HEAD, *more])


if __name__ == "__main__":
    print(*tables(), sep="\n\n")
