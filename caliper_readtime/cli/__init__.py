"""The command line: ``main`` runs it; ``add_commands`` and ``run`` let a host mount it on a parser of its own."""

from caliper_readtime.cli.exits import FAILED, OK, UNWELL, USAGE
from caliper_readtime.cli.parser import add_commands
from caliper_readtime.cli.running import main, run

__all__ = ["FAILED", "OK", "UNWELL", "USAGE", "add_commands", "main", "run"]
