"""``choose``: rich output where it is installed and somebody is looking, plain text otherwise."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._cli.output import Output

if TYPE_CHECKING:
    from typing import TextIO


def choose(out: TextIO, err: TextIO) -> Output:
    """Return how to speak on these two streams; rich comes with the ``cli`` extra."""
    if out.isatty():
        try:
            from caliper_readtime._cli.rich_output import FancyOutput  # noqa: PLC0415 - rich is an extra
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] != "rich":
                raise
        else:
            return FancyOutput(out, err)
    return Output(out, err)
