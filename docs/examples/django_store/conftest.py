"""A Django project in a few lines, on a database file of its own."""

import os
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.core.management import call_command

HOME = tempfile.TemporaryDirectory()


def pytest_configure():
    """Set Django up before the tests import its models."""
    settings.configure(
        INSTALLED_APPS=["readtime_store"],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": Path(HOME.name) / f"{os.getpid()}.db",
                # SQLite locks the file when a transaction begins, as SELECT FOR UPDATE locks a row elsewhere.
                "OPTIONS": {"transaction_mode": "IMMEDIATE", "timeout": 20},
            }
        },
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    )
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)
