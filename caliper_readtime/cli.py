"""The command line for hosts: ``main`` runs it; ``add_commands`` and ``run`` mount it on a parser of their own."""

from caliper_readtime._cli import FAILED, OK, UNHEALTHY, USAGE, add_commands, main, run

__all__ = ["FAILED", "OK", "UNHEALTHY", "USAGE", "add_commands", "main", "run"]
