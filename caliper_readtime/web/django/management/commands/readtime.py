"""``manage.py readtime …``: the operator's commands on the project's own tracker."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from caliper_readtime._cli import add_commands, run
from caliper_readtime.errors import ReadTimeError
from caliper_readtime.web.django import current_tracker


class Command(BaseCommand):
    """Mounts the commands of ``caliper-readtime``."""

    help = "Looks at readers' time, and sends what is due."
    requires_system_checks: tuple[str, ...] = ()  # an operator who looks for what is wrong must get in

    def add_arguments(self, parser: CommandParser) -> None:
        """Add every command."""
        add_commands(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run one, and end with its exit code."""
        try:
            tracker = current_tracker()
        except ReadTimeError as error:
            raise CommandError(str(error)) from error
        code = run(argparse.Namespace(**options), tracker)
        if code:
            sys.exit(code)
