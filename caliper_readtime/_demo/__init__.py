"""The demo, and its command: a story played in the terminal, or a page to read and to break things in."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._cli.session import OK, USAGE, CommandError
from caliper_readtime.errors import ConfigurationError

if TYPE_CHECKING:
    import argparse

    from caliper_readtime._cli.output import Output
    from caliper_readtime._cli.session import Add

#: What ``--serve`` needs beside what is always installed.
_FLASK = ("blinker", "click", "flask", "itsdangerous", "jinja2", "markupsafe", "werkzeug")


def add(add_command: Add) -> None:
    """Add the command."""
    parser = add_command(
        "demo", "play one reader's story against a loopback Caliper endpoint, or let you be the reader", _run, bare=True
    )
    parser.add_argument(
        "--store",
        default="sqlite",
        metavar="memory|sqlite|redis|URL",
        help='where states live: "memory", "sqlite" (a temporary file, the default), "redis" (a server of its own), or'
        " a URL such as redis://host:6379/0",
    )
    parser.add_argument(
        "--serve",
        action="store_true",
        help="serve a page on this machine instead: read an article, break things, and watch what becomes of your time;"
        " needs the flask extra",
    )
    parser.add_argument(
        "--port", type=int, metavar="N", help="with --serve: the page's port; 0 for any free one, 8765 by default"
    )


def _run(arguments: argparse.Namespace, output: Output) -> int:
    def log(text: str) -> None:
        output.raw(f"{text}\n")

    if not arguments.serve:
        if arguments.port is not None:
            raise CommandError("--port goes with --serve", USAGE)
        from caliper_readtime._demo import story  # noqa: PLC0415 - only for whoever asks

        story.run(arguments.store, log)
        return OK
    try:
        from caliper_readtime._demo import served  # noqa: PLC0415 - Flask is an extra
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _FLASK:
            raise
        raise ConfigurationError("demo --serve needs Flask: pip install 'caliper-readtime[flask]'") from error
    served.run(arguments.store, served.PORT if arguments.port is None else arguments.port, log)
    return OK
