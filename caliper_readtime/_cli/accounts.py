"""PURE: whether the seconds of a state add up."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import attrs

from caliper_readtime._rules.state import MAX_HISTORY
from caliper_readtime._units import to_seconds

if TYPE_CHECKING:
    from caliper_readtime._model import HistoryEntry
    from caliper_readtime._rules.state import ReadTimeState


@attrs.frozen
class Account:
    """Where a state's accepted seconds are.

    Attributes:
        resource_id: the article.
        cumulative: accepted.
        reported: accepted by the endpoint.
        parked: refused by it.
        claimed: being sent for the first time.
        rest: not claimed yet.
        sent: what its history says was sent, as far as it remembers.
        problems: what does not add up, in words.
    """

    resource_id: str
    cumulative: float
    reported: float
    parked: float
    claimed: float
    rest: float
    sent: tuple[HistoryEntry, ...] = attrs.field(default=(), kw_only=True)
    problems: tuple[str, ...] = attrs.field(default=(), kw_only=True)


def account(state: ReadTimeState) -> Account:
    """Return the account of a state."""
    ledger = state.ledger
    # A parked event that is being sent again stays in the list, so only its place in there counts.
    parts = {
        "reported": state.reported_ms,
        "parked": sum(parked.end_ms - parked.start_ms for parked in ledger.parked),
        "claimed": ledger.claimed_end_ms - ledger.pointer_ms,
        "rest": state.unclaimed_ms,
    }
    problems = [f"{name} is {to_seconds(part):g} s" for name, part in parts.items() if part < 0]
    spans = sorted((parked.start_ms, parked.end_ms) for parked in ledger.parked)
    if any(later[0] < earlier[1] for earlier, later in pairwise(spans)):
        problems.append("parked events overlap")
    if any(end > ledger.pointer_ms for _, end in spans):
        problems.append("a parked event lies beyond what was claimed")
    sent = tuple(entry for entry in state.history if entry.kind == "sent")
    sent_ms = sum(round(entry.seconds * 1000) for entry in sent)
    whole = len(state.history) < MAX_HISTORY
    if sent_ms > parts["reported"] or (whole and sent_ms != parts["reported"]):
        problems.append(
            f"history says {to_seconds(sent_ms):g} s were sent, the state says {to_seconds(parts['reported']):g} s"
        )
    return Account(
        state.resource_id,
        state.cumulative_read_time_seconds,
        **{name: to_seconds(part) for name, part in parts.items()},
        sent=sent,
        problems=tuple(problems),
    )
