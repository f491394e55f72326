"""What host applications and third-party stores and emitters import in their tests."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from caliper_readtime._units import minutes_rounded_up
from caliper_readtime.testing._assertions import HasEvents, assert_banked, assert_reported
from caliper_readtime.testing._crash.faults import Fault, Step
from caliper_readtime.testing._crash.report import CrashFinding, CrashFindings, CrashReport
from caliper_readtime.testing._crash.runs import crash_every_step
from caliper_readtime.testing._crash.steps import Steps
from caliper_readtime.testing._endpoint import CaliperEndpoint
from caliper_readtime.testing._kit import FlakyEmitter, ManualClock, RecordingEmitter
from caliper_readtime.testing._minutes import banked_minutes

if TYPE_CHECKING:
    from caliper_readtime.testing._emitter_contract import EmitterContract
    from caliper_readtime.testing._store_contract import StateStoreContract

__all__ = [
    "CaliperEndpoint",
    "CrashFinding",
    "CrashFindings",
    "CrashReport",
    "EmitterContract",
    "Fault",
    "FlakyEmitter",
    "HasEvents",
    "ManualClock",
    "RecordingEmitter",
    "StateStoreContract",
    "Step",
    "Steps",
    "assert_banked",
    "assert_reported",
    "banked_minutes",
    "crash_every_step",
    "minutes_rounded_up",
]

# The contracts need pytest, which the demo and hosts' notebooks may lack.
_CONTRACTS = {"EmitterContract": "_emitter_contract", "StateStoreContract": "_store_contract"}
_CHECKS = (
    "_emitter_contract",
    "_store_concurrency",
    "_store_contract",
    "_store_driver",
    "_store_indexes",
    "_store_many",
    "_store_updates",
    "_store_walls",
)


def __getattr__(name: str) -> Any:
    if name in _CONTRACTS:
        import pytest  # noqa: PLC0415 - only for whoever asks

        # A failing check shows its values, as in a test file; what is imported already, pytest would complain about.
        checks = (f"{__name__}.{module}" for module in _CHECKS)
        pytest.register_assert_rewrite(*(module for module in checks if module not in sys.modules))
        return getattr(import_module(f"{__name__}.{_CONTRACTS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
