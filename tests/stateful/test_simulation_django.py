"""The simulation over the store in Django's database: fewer seeds, the same audit to the second."""

from __future__ import annotations

from contextlib import closing

import pytest

from caliper_readtime._logs import logger
from tests.django_databases import database, postgresql, sqlite
from tests.stateful.simulation import Simulation, Task

SEEDS = 12


@pytest.fixture
def _tidy(monkeypatch):
    """Each of the simulation's many threads gives its connection back when it ends, as a request's does."""
    from django.db import connections  # noqa: PLC0415

    run = Task._run

    def tidy(self, act):
        run(self, act)
        connections.close_all()

    monkeypatch.setattr(Task, "_run", tidy)
    monkeypatch.setattr(logger, "disabled", True)


@pytest.mark.usefixtures("_tidy")
@pytest.mark.parametrize("kind", [pytest.param("postgresql", marks=pytest.mark.postgresql), "sqlite"])
def test_no_seed_loses_or_doubles_a_second(kind, tmp_path, request):
    """K3: faults stop, everything drains: at the endpoint is what was accepted, to the second."""
    for seed in range(request.config.getoption("seeds") or SEEDS):
        with database(postgresql() if kind == "postgresql" else sqlite(tmp_path)) as alias:
            from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415

            with closing(DjangoStateStore(alias)) as store:
                Simulation(seed, store).run()
