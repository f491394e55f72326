"""``flask readtime …``: the operator's commands on the application's own tracker."""

from __future__ import annotations

import sys

import click
from flask.cli import with_appcontext

from caliper_readtime.errors import ConfigurationError


@click.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    add_help_option=False,
)
@click.argument("words", nargs=-1, type=click.UNPROCESSED)
@with_appcontext
def readtime(words: tuple[str, ...]) -> None:
    """Look at readers' time, and send what is due."""
    # Every run of ``flask`` loads this module; the rest only for whoever asks.
    from caliper_readtime._cli import main  # noqa: PLC0415
    from caliper_readtime.web.flask import current_page_counter  # noqa: PLC0415

    try:
        tracker = current_page_counter().tracker
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    sys.exit(main(words, tracker))
