"""Databases for ``DjangoStateStore``: aliases of the example project that are made while tests run."""

from __future__ import annotations

from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any

from tests.postgresql_server import PostgresqlServer, programs
from tests.web.sites import setup_django

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def has_server() -> bool:
    """Whether there is a PostgreSQL to start."""
    return programs() is not None


@cache
def server() -> PostgresqlServer:
    """The server that all tests share, unless they kill it. No power fails here, so nobody waits for the disk."""
    return PostgresqlServer(fsync="off")


def stop_server() -> None:
    """End the shared server, if a test has started it."""
    if server.cache_info().currsize:
        server().close()
        server.cache_clear()


def sqlite(path: Path, **options: Any) -> dict[str, Any]:
    """An entry of DATABASES for a file of the test's own."""
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(path / "django.db"),
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 20,
            "init_command": "PRAGMA journal_mode=wal",
            **options,
        },
    }


def postgresql() -> dict[str, Any]:
    """An entry of DATABASES for the shared server."""
    return server().database


@contextmanager
def database(entry: dict[str, Any], alias: str = "readtime", *, empty: bool = True) -> Iterator[str]:
    """Give the alias of a migrated, empty database."""
    setup_django()
    from django.core.management import call_command  # noqa: PLC0415
    from django.db import connections  # noqa: PLC0415
    from django.db.backends.signals import connection_created  # noqa: PLC0415

    made = []

    def remember(connection, **_):
        made.append(connection)

    # As Django does with the setting DATABASES.
    connections.settings[alias] = type(connections)({"default": {}, alias: entry}).settings[alias]
    connection_created.connect(remember)
    try:
        call_command("migrate", "caliper_readtime", database=alias, verbosity=0)
        if empty:
            with connections[alias].cursor() as cursor:
                for table in ("caliper_readtime_state", "caliper_readtime_wall", "caliper_readtime_fact"):
                    cursor.execute(f"DELETE FROM {table}")  # noqa: S608
        yield alias
    finally:
        connection_created.disconnect(remember)
        for connection in made:  # of threads that have ended, too
            connection.inc_thread_sharing()
            connection.close()
        del connections[alias]
        del connections.settings[alias]
