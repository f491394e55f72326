"""``manage.py readtime …``: the operator's commands on the project's own tracker."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import reverse

from caliper_readtime._cli import add_commands, run
from caliper_readtime._cli.parser import ErrorFirst
from caliper_readtime.errors import ReadTimeError
from caliper_readtime.web._probe import examine_signals
from caliper_readtime.web.django import current_page_counter, current_tracker

if TYPE_CHECKING:
    from caliper_readtime.doctor import Finding


def _pages() -> Finding:
    # Importing it sets Django up, as far as it is not.
    from django.core.handlers.wsgi import WSGIHandler  # noqa: PLC0415

    names = [name.removeprefix(".") for name in settings.ALLOWED_HOSTS if name != "*"]
    path = reverse("caliper_readtime:signals")
    return examine_signals(current_page_counter(), WSGIHandler(), path, names[0] if names else "localhost")


class _Parser(ErrorFirst, CommandParser):
    """Django's, which says what is wrong before it says how it is done."""


class Command(BaseCommand):
    """Mounts the commands of ``caliper-readtime``."""

    help = "Looks at readers' time, and sends what is due."
    requires_system_checks: tuple[str, ...] = ()  # an operator who looks for what is wrong must get in

    def create_parser(self, prog_name: str, subcommand: str, **more: Any) -> CommandParser:
        """Return the parser of ``manage.py readtime`` itself."""
        parser = super().create_parser(prog_name, subcommand, **more)
        parser.__class__ = _Parser  # Django asks for none of another class
        return parser

    def add_arguments(self, parser: CommandParser) -> None:
        """Add every command."""
        add_commands(parser)

    def handle(self, *_: Any, **options: Any) -> None:
        """Run one, and end with its exit code."""
        try:
            tracker = current_tracker()
        except ReadTimeError as error:
            raise CommandError(str(error)) from error
        code = run(argparse.Namespace(**options), tracker, checks=[_pages])
        if code:
            sys.exit(code)
