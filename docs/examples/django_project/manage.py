"""Runs Django's commands for the example project, and ``readtime``.

Run it:  python docs/examples/django_project/manage.py runserver
"""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "news.settings")
    execute_from_command_line(sys.argv)
