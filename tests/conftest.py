"""What the whole suite shares: options, and how hard hypothesis looks."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from caliper_readtime._logs import logger
from caliper_readtime.testing._redis_server import NO_SERVER, must_have_server
from tests import backends, django_databases, postgresql_server

# The machine may be busy: only the number of examples bounds a test, never a clock.
_SHARED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow], "print_blob": True}
# The everyday run is the same each time: what passed on one machine passes on the next. The others look elsewhere.
settings.register_profile("fast", max_examples=40, stateful_step_count=30, derandomize=True, **_SHARED)
settings.register_profile("ci", max_examples=200, stateful_step_count=50, **_SHARED)
settings.register_profile("deep", max_examples=5000, stateful_step_count=100, **_SHARED)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))  # or pytest --hypothesis-profile=deep


TESTS = Path(__file__).parent
#: Files whose tests are all proofs (see the marker), relative to this folder. Single ones are marked where they stand.
PROOFS = (
    "browser/test_*.py",
    "concurrency/test_*.py",
    "contract/test_django_stores.py",
    "faults/test_cli.py",
    "faults/test_django_store.py",
    "faults/test_doctor_redis.py",
    "faults/test_outages.py",
    "faults/test_redis*.py",
    "model/test_*.py",
    "packaging/test_plugin.py",
    "packaging/test_site.py",
    "packaging/test_wheel.py",
    "recipes/test_*.py",
    "stateful/test_*.py",
)


def pytest_addoption(parser):
    """Options that make single proofs go on for longer."""
    parser.addoption("--seeds", dest="seeds", type=int, default=None, help="how many simulated seeds for each store")
    parser.addoption(
        "--kill-seconds",
        dest="kill_seconds",
        type=float,
        default=10.0,
        help="for how long worker processes are killed at random moments",
    )
    parser.addoption(
        "--deep",
        action="store_true",
        help="explore the model for half an hour: ten million worlds instead of some 400,000; reconcile for longer",
    )


@pytest.hookimpl(tryfirst=True)  # before what is not wanted is left out by its marks
def pytest_collection_modifyitems(items):
    """Mark what is a proof, and what runs over the Redis of the table of stores."""
    proofs = {path for pattern in PROOFS for path in TESTS.glob(pattern)}
    for item in items:
        if item.path in proofs:
            item.add_marker("proof")
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if any(value is backends.redis_store for value in parameters):
            item.add_marker("redis")


def pytest_runtest_setup(item):
    """Without a server that it needs, a test fails in CI; elsewhere it is left out, and the summary says why."""
    if item.get_closest_marker("redis") and not backends.has_server():
        (pytest.fail if must_have_server() else pytest.skip)(NO_SERVER)
    if item.get_closest_marker("postgresql") and not django_databases.has_server():
        (pytest.fail if postgresql_server.required() else pytest.skip)(postgresql_server.NO_SERVER)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Make what a test has logged fit to be sent to another process: some tests log lone surrogates."""
    report = yield
    report.sections = [(name, said.encode("utf-8", "backslashreplace").decode()) for name, said in report.sections]
    return report


def pytest_terminal_summary(terminalreporter, config):
    """Say in one line what this run has left out, and why."""
    out = ["proofs, which take long (python -m pytest -m proof)"] if config.option.markexpr == "not proof" else []
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", ())]
    # What a contract does not ask of a store or an emitter is no gap.
    reasons = Counter(why.removeprefix("Skipped: ") for path, _, why in skipped if TESTS in Path(path).parents)
    out += [f"{why} ({count})" for why, count in sorted(reasons.items())]
    if out:
        terminalreporter.write_line(f"Left out: {'; '.join(out)}", yellow=True)


class _Leaks(logging.Handler):
    """Reads every line that the package logs during any test, with all that is attached to it."""

    # The addresses that tests use, and what a token looks like on its way. Some lines are very long.
    _SECRET = re.compile(r"[\w.+-]@(?:\w{1,20}\.)?example\.(?:org|com)|Bearer \w|client_secret=", re.ASCII)

    def __init__(self):
        super().__init__(logging.NOTSET)
        self.found = []

    def emit(self, record):
        attached = {name: value for name, value in vars(record).items() if name not in ("args", "exc_info")}
        if self._SECRET.search(f"{record.getMessage()} {attached}"):
            self.found.append(record.getMessage())


@pytest.fixture(autouse=True, scope="session")
def _no_line_of_the_suite_leaks():
    """No line that any test makes the package log holds an address or a token."""
    leaks = _Leaks()
    logger.addHandler(leaks)
    yield
    logger.removeHandler(leaks)
    assert leaks.found == []


def pytest_sessionfinish():
    """End the Redis and the PostgreSQL that the tests shared."""
    backends.stop_server()
    django_databases.stop_server()
