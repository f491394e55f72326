"""PURE: the last steps of a state's life: text that grows by a line a step, and is decoded when somebody looks.

A line is a JSON array: when (milliseconds since the epoch), what, how much time (ms), the event's id, and more in
words; what says nothing at its end is left out: ``[1767225600000,"sent",30000,"urn:uuid:…"]``.
"""

from __future__ import annotations

import json
import re
from json.encoder import encode_basestring_ascii as quoted
from typing import Final

from caliper_readtime._model import HistoryEntry
from caliper_readtime._units import LARGEST, to_datetime, to_seconds

#: Steps of its life that one state remembers.
MAX_HISTORY: Final = 32

_NUMBER: Final = r"(?:0|[1-9]\d{0,14})"
_TEXT: Final = r'"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*"'
_STEPS: Final = re.compile(rf"(?:\[{_NUMBER},{_TEXT}(?:,{_NUMBER}(?:,(?:null|{_TEXT})(?:,{_TEXT})?)?)?\]\n)*", re.ASCII)


def with_step(history: str, at_ms: int, kind: str, event_id: str | None = None, ms: int = 0, detail: str = "") -> str:
    """Return a history with one more step; the oldest makes room.

    Args:
        history: as it was; "" for none.
        at_ms: when, milliseconds since the epoch.
        kind: what: claimed, sent, failed, parked, finalized, deferred or clamped.
        event_id: the event concerned.
        ms: its time.
        detail: more, in words.
    """
    if history.count("\n") >= MAX_HISTORY:
        history = history.partition("\n")[2]
    if detail:
        said = f",{ms},{'null' if event_id is None else quoted(event_id)},{quoted(detail)}"
    elif event_id is not None:
        said = f",{ms},{quoted(event_id)}"
    else:
        said = f",{ms}" if ms else ""
    return f'{history}[{at_ms},"{kind}"{said}]\n'


def steps(history: str) -> tuple[HistoryEntry, ...]:
    """Return the steps of a history, oldest first."""
    return tuple([_step(*json.loads(line)) for line in history.split("\n")[:-1]])


def _step(at_ms: int, kind: str, ms: int = 0, event_id: str | None = None, detail: str = "") -> HistoryEntry:
    return HistoryEntry(to_datetime(min(at_ms, LARGEST - 1)), kind, event_id, to_seconds(ms), detail)


def last_at_ms(history: str) -> int:
    """Return when the last step was, milliseconds since the epoch; 0 where there is none."""
    if not history:
        return 0
    begins = history.rfind("\n", 0, -1) + 2
    return int(history[begins : history.index(",", begins)])


def is_history(text: str) -> bool:
    """Return whether a text is one, so that ``steps`` can never fail."""
    return _STEPS.fullmatch(text) is not None and last_at_ms(text) < LARGEST
