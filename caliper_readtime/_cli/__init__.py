"""The command line: ``main`` runs it; ``add_commands`` and ``run`` let a host mount it on a parser of its own."""

from caliper_readtime._cli.parser import add_commands
from caliper_readtime._cli.running import main, run
from caliper_readtime._cli.session import FAILED, OK, UNHEALTHY, USAGE

__all__ = ["FAILED", "OK", "UNHEALTHY", "USAGE", "add_commands", "main", "run"]
