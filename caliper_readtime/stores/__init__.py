"""Where states live, and what whoever writes a store needs: what is stored, how it is written, what is told."""

from caliper_readtime._logs import log_unreadable
from caliper_readtime._rules.account import Account
from caliper_readtime._rules.state import Claim, Context, Due, Key, Ledger, Meter, Parked, Phase
from caliper_readtime._rules.wall import Wall
from caliper_readtime.stores._codec import (
    SCHEMA,
    check_meter,
    compare_meta,
    dump_heartbeats,
    dump_views,
    load_heartbeats,
    load_views,
    named,
)
from caliper_readtime.stores._ledger_text import dump_ledger, load_ledger
from caliper_readtime.stores._walls import dump_wall, load_wall

__all__ = [
    "SCHEMA",
    "Account",
    "Claim",
    "Context",
    "Due",
    "Key",
    "Ledger",
    "Meter",
    "Parked",
    "Phase",
    "Wall",
    "check_meter",
    "compare_meta",
    "dump_heartbeats",
    "dump_ledger",
    "dump_views",
    "dump_wall",
    "load_heartbeats",
    "load_ledger",
    "load_views",
    "load_wall",
    "log_unreadable",
    "named",
]
