"""``python -m caliper_readtime``: the command line."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from caliper_readtime.errors import ReadTimeError

if TYPE_CHECKING:
    from collections.abc import Sequence


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="caliper-readtime", description="Reading time, reported exactly once.")
    commands = parser.add_subparsers(dest="command", required=True)
    demo = commands.add_parser("demo", help="play one reader's story against a loopback Caliper endpoint")
    demo.add_argument(
        "--store",
        default="sqlite",
        metavar="memory|sqlite|URL",
        help='where states live: "memory", "sqlite" (a temporary file, the default), or a URL such as sqlite:///path',
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code: 0, or 1 with one line on standard error that says what to do."""
    arguments = _parser().parse_args(argv)
    try:
        from caliper_readtime import demo  # noqa: PLC0415 - only for whoever asks

        demo.run(arguments.store)
    except ReadTimeError as error:
        print(f"caliper-readtime: {error}", file=sys.stderr)  # noqa: T201 - a command line prints
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
