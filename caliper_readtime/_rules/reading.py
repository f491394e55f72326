"""PURE: when an activity counts as read or watched, and when that came sooner than it can have been (S12, S16)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from caliper_readtime._rules.state import MINUTE

if TYPE_CHECKING:
    from caliper_readtime._policy import ReadTimePolicy
    from caliper_readtime._rules.state import Ledger, Meter, ReadTimeState

#: Kinds whose duration is what they play.
_PLAYED: Final = ("video", "audio")


def words_ms(policy: ReadTimePolicy, words: int | None) -> float | None:
    """Return how long so many words take at the policy's pace, milliseconds; None where one of them is not known."""
    pace = policy.completion_words_per_minute
    # The heartbeat script of Redis does the same sum in the same order.
    return None if words is None or pace is None else words * MINUTE / pace


def least_ms(policy: ReadTimePolicy, ledger: Ledger) -> float:
    """Return the least time in which this activity can have been read or watched, milliseconds; 0 where nothing says.

    Its words at the policy's pace; or, of video and audio, the duration up to where it counts as watched, played as
    fast as the policy has it.
    """
    article = ledger.context.article
    words = words_ms(policy, article.words)
    if words is not None:
        return words
    if article.kind in _PLAYED and ledger.duration_ms is not None:
        return policy.completion_ratio * ledger.duration_ms / policy.completion_playback_rate
    return 0


def counts_as_read(policy: ReadTimePolicy, meter: Meter, ledger: Ledger) -> bool:
    """Return whether dwelling on it, or its end and the least time that it takes, make the activity count as read."""
    if policy.completion_dwell_ms is not None and meter.cumulative_ms >= policy.completion_dwell_ms:
        return True
    position, duration = meter.position_ms, ledger.duration_ms
    if position is None or duration is None:
        # Where nobody says how far the reader is, the time of its words alone decides.
        if policy.completion_words_per_minute is None or ledger.context.article.words is None:
            return False
    elif position / duration < policy.completion_ratio:
        return False
    return meter.cumulative_ms >= least_ms(policy, ledger)


def too_soon(policy: ReadTimePolicy, state: ReadTimeState) -> bool:
    """Return whether the time so far is less than the activity takes at least."""
    return state.meter.cumulative_ms < least_ms(policy, state.ledger)


def skimmed(policy: ReadTimePolicy, state: ReadTimeState) -> bool:
    """S16: return whether the reader was done sooner than it takes: at the end, or, without a depth, finalized."""
    depth, ledger = state.depth, state.ledger
    done = ledger.finalized_at_ms is not None if depth is None else depth >= policy.completion_ratio
    return done and too_soon(policy, state)
