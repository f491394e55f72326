"""The table of stores: what happens to tests that need a Redis where there is none, and whose states a folder holds."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from shutil import rmtree

import pytest

from caliper_readtime.testing._store_driver import StoreDriver
from tests.backends import redis_store

ROOT = Path(__file__).parents[2]
WITHOUT_A_SERVER = """
import sys
import pytest
from tests import backends
backends.find_server = lambda: None
# The package was imported before pytest could rewrite its plugin's assertions, which has none.
sys.exit(pytest.main(["-W", "ignore::pytest.PytestAssertRewriteWarning", *sys.argv[1:]]))
"""


@pytest.mark.parametrize(
    ("environment", "code", "counted"),
    [
        ({}, 0, "1 skipped"),
        ({"CI": "true"}, 1, "1 error"),
        ({"CALIPER_READTIME_REQUIRE_REDIS": "1"}, 1, "1 error"),
    ],
    ids=["elsewhere", "ci", "required"],
)
def test_without_a_redis(environment, code, counted):
    """Elsewhere they are left out, and the summary says loudly why; in CI they fail. The others run."""
    tests = ["-m", "", "tests/model/test_found.py", "-k", "deferral and not memory"]
    command = [sys.executable, "-c", WITHOUT_A_SERVER, "-q", "-p", "no:cacheprovider", "-p", "no:cov", *tests]
    ran = bare(command, environment)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert {"1 passed", counted} <= set(re.split(r", | in ", ran.stdout.splitlines()[-1]))
    assert "NO REDIS TO TEST WITH" in ran.stdout


def bare(command, environment):
    """Run a command in an environment that requires nothing but what is given."""
    hidden = ("CI", "CALIPER_READTIME_REQUIRE_", "PYTEST_ADDOPTS")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env = {**clean, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("environment", "code", "counted"),
    [
        ({}, 0, "1 skipped"),
        ({"CI": "true"}, 1, "1 error"),
        ({"CALIPER_READTIME_REQUIRE_POSTGRESQL": "1"}, 1, "1 error"),
    ],
    ids=["elsewhere", "ci", "required"],
)
def test_without_a_postgresql(environment, code, counted):
    """The same for what needs a PostgreSQL; the store's tests on SQLite run."""
    tests = ["-m", "", "tests/contract/test_django_stores.py", "-k", "test_sweeps_are_noted"]
    program = WITHOUT_A_SERVER.replace("import backends", "import django_databases").replace(
        "backends.find_server = lambda: None", "django_databases.programs = lambda: None"
    )
    ran = bare([sys.executable, "-c", program, "-q", "-p", "no:cacheprovider", "-p", "no:cov", *tests], environment)
    assert ran.returncode == code, ran.stdout + ran.stderr
    assert {"1 passed", counted} <= set(re.split(r", | in ", ran.stdout.splitlines()[-1]))
    assert "NO POSTGRESQL TO TEST WITH" in ran.stdout


@pytest.mark.redis
def test_states_belong_to_their_folder(tmp_path):
    """Opening a folder again reaches its states; another one, or a new one of the same name, holds nothing."""
    folders = tmp_path / "one", tmp_path / "other"
    for folder in folders:
        folder.mkdir()
    with closing(redis_store(folders[0])) as store:
        state = StoreDriver(store).read().state
    with closing(redis_store(folders[0])) as store:
        assert StoreDriver(store).loaded == state
    with closing(redis_store(folders[1])) as store:
        assert StoreDriver(store).loaded is None
    rmtree(folders[0])
    folders[0].mkdir()
    with closing(redis_store(folders[0])) as store:
        assert StoreDriver(store).loaded is None
