"""A loopback endpoint for the tests of the harness, and what judges a diary at it."""

from __future__ import annotations

import linecache
from functools import partial

import pytest

from caliper_readtime.testing import CaliperEndpoint
from tests.crash import table


@pytest.fixture(scope="module")
def endpoint():
    with CaliperEndpoint() as serving:
        yield serving


@pytest.fixture
def judged(endpoint):
    """Judges a kind of diary in a scene; returns the report, whatever it says."""
    return partial(table.judged, endpoint)


def code_of(step):
    """The source line that a step names."""
    return linecache.getline(step.file, step.line).strip()
