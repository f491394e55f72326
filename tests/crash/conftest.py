"""A loopback endpoint for the tests of the harness, and what judges a diary at it."""

from __future__ import annotations

import linecache

import pytest

from caliper_readtime.testing import CaliperEndpoint, CrashFindings, crash_every_step


@pytest.fixture(scope="module")
def endpoint():
    with CaliperEndpoint() as serving:
        yield serving


@pytest.fixture
def judged(endpoint):
    """Judges a kind of diary in a scene; returns the report, whatever it says."""

    def judge(kind, scene, **more):
        def host(steps):
            endpoint.reset()
            steps.watch(endpoint)
            return scene(kind(steps, endpoint.url), steps)

        try:
            return crash_every_step(host, expected={("anna", "owls"): 60}, **more)
        except CrashFindings as error:
            return error.report

    return judge


def code_of(step):
    """The source line that a step names."""
    return linecache.getline(step.file, step.line).strip()
