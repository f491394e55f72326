"""What the log says of a counted signal: its delta, what was clamped of it, and a duration that differs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from caliper_readtime.logs import say
from caliper_readtime.units import to_seconds

if TYPE_CHECKING:
    from caliper_readtime.state import Key, ReadTimeState
    from caliper_readtime.transitions import Counted, Signal

#: Clamped time of one state from which its clamping is worth a warning: beyond a busy page with a few tabs.
CLAMP_WARNING_MS: Final = 300_000


def say_counted(key: Key, signal: Signal, counted: Counted, state: ReadTimeState) -> None:
    """Log what came of a signal; ``state`` is what it left."""
    whose = key._asdict()
    if counted.clamped_ms:
        crossed = state.meter.clamped_ms - counted.clamped_ms < CLAMP_WARNING_MS <= state.meter.clamped_ms
        # PROTOCOL: debug each; one warning per state when its clamped time passes a threshold.
        for level in (logging.DEBUG, logging.WARNING) if crossed else (logging.DEBUG,):
            say(
                level,
                "article accumulate: clamp",
                **whose,
                clamped=to_seconds(counted.clamped_ms),
                clamped_in_all=state.clamped_seconds,
            )
    if counted.other_duration:
        say(
            logging.WARNING,
            "article accumulate: another duration, the first one stays",
            **whose,
            duration=to_seconds(signal.duration_ms or 0),
            canonical=state.canonical_duration_seconds,
        )
    say(
        logging.DEBUG,
        "article accumulate: delta",
        **whose,
        delta=to_seconds(counted.accepted_ms),
        duplicate=counted.duplicate,
    )
