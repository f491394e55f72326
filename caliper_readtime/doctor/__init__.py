"""What may cost time on this installation, before it does: checks of store, clock, endpoint and sweeper."""

from caliper_readtime.doctor._examination import examine
from caliper_readtime.doctor._findings import Finding, Level

__all__ = ["Finding", "Level", "examine"]
