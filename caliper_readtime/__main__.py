"""``python -m caliper_readtime``: the command line, with the demo."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from caliper_readtime import _cli, _demo

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Further commands of this program, which a host that mounts ours has no use for.
MORE = (_demo.add,)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; see ``caliper_readtime._cli.main``."""
    return _cli.main(argv, more=MORE)


if __name__ == "__main__":
    sys.exit(main())
