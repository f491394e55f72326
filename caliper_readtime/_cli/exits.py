"""Exit codes, and ``CommandError``: what ends a command with one line."""

from __future__ import annotations

from typing import Final

#: What was asked has been done.
OK: Final = 0
#: It could not be done, or not wholly: store, endpoint, configuration, an unknown reader.
FAILED: Final = 1
#: The command line itself is wrong; argparse uses the same number.
USAGE: Final = 2
#: It was looked at, and something is not as it should be: a threshold, a finding, an account.
UNHEALTHY: Final = 3


class CommandError(Exception):
    """Ends a command with one line on standard error that says what to do.

    Attributes:
        code: the exit code.
    """

    def __init__(self, text: str, code: int = FAILED) -> None:
        super().__init__(text)
        self.code = code
