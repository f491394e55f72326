"""``python -m caliper_readtime``: the command line."""

from __future__ import annotations

import sys

from caliper_readtime.cli import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
