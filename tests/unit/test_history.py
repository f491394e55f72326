"""The steps that a state remembers: lines of text that are checked as a whole, and decoded when somebody looks."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import pytest

from caliper_readtime import HistoryEntry
from caliper_readtime._rules.history import MAX_HISTORY, is_history, last_at_ms, steps, with_step

AT = 1_790_000_000_000
WHEN = datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
ODD = 'a "quoted"\nline \\ with ü and \u2028'


def test_a_step_is_a_line_without_what_says_nothing():
    """What is left out at its end is what an entry has by default."""
    assert with_step("", AT, "finalized") == f'[{AT},"finalized"]\n'
    assert with_step("", AT, "deferred", ms=12_000) == f'[{AT},"deferred",12000]\n'
    assert with_step("", AT, "sent", "urn:uuid:1", 12_000) == f'[{AT},"sent",12000,"urn:uuid:1"]\n'
    assert with_step("", AT, "clamped", ms=5, detail="why") == f'[{AT},"clamped",5,null,"why"]\n'


def test_steps_come_back_as_they_were():
    """Whatever words they have, in their order."""
    history = with_step(with_step("", AT, "failed", ODD, 250, ODD), AT + 1, "finalized")
    assert is_history(history)
    assert history.isascii()
    assert steps(history)[0] == HistoryEntry(WHEN, "failed", ODD, 0.25, ODD)
    assert [(entry.kind, entry.event_id, entry.seconds, entry.detail) for entry in steps(history)[1:]] == [
        ("finalized", None, 0.0, "")
    ]
    assert last_at_ms(history) == AT + 1


def test_the_oldest_makes_room():
    """A history is bounded, whatever its length was."""
    history = ""
    for place in range(MAX_HISTORY + 3):
        history = with_step(history, AT + place, "deferred")
    assert [int(entry.at.timestamp() * 1000) for entry in steps(history)] == [
        AT + place for place in range(3, MAX_HISTORY + 3)
    ]


def test_none_is_a_history():
    """Of a state that nothing was claimed of."""
    assert is_history("")
    assert (steps(""), last_at_ms("")) == ((), 0)


@pytest.mark.parametrize(
    "text",
    [
        "\n",
        f'[{AT},"sent"]',
        f'[{AT},"sent"]\n\n',
        f'[0{AT},"sent"]\n',
        f'[{AT},"se\tnt"]\n',
        f'[{AT},"\\u12"]\n',
        f'[{AT},"sent",1,"e",]\n',
    ],
)
def test_what_cannot_be_decoded_is_no_history(text):
    """So that decoding one never fails."""
    assert not is_history(text)


def test_a_hostile_text_takes_no_time():
    """Looking at it is linear in its length: it has no place that can be read in two ways."""
    text = (f'[{AT},"' + "\\\\" * 200_000 + "\n") * 2
    before = time.process_time()
    assert not is_history(text)
    assert time.process_time() - before < 1
