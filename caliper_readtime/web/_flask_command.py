"""``flask readtime …``: the operator's commands on the application's own tracker."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from flask import current_app
from flask.cli import with_appcontext

from caliper_readtime.errors import ConfigurationError

if TYPE_CHECKING:
    from caliper_readtime.doctor import Finding


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
    from caliper_readtime.web._probe import examine_signals  # noqa: PLC0415
    from caliper_readtime.web.flask import NAME, current_page_counter  # noqa: PLC0415

    app: Any = current_app
    try:
        counter = current_page_counter()
        tracker = counter.tracker
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error

    def pages() -> Finding:
        host = app.config["SERVER_NAME"] or "localhost"
        path = next(rule.rule for rule in app.url_map.iter_rules(f"{NAME}.signals"))
        return examine_signals(counter, app._get_current_object(), path, host)  # noqa: SLF001 - werkzeug's name

    sys.exit(main(words, tracker, checks=[pages], prog="flask readtime"))
