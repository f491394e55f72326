"""What the store tells its scripts: the arguments of a heartbeat, and of a write under a new nonce."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from caliper_readtime.stores._codec import fingerprint
from caliper_readtime.stores._redis.encoding import Names, meter_text, other_fields

if TYPE_CHECKING:
    from caliper_readtime._rules import Signal
    from caliper_readtime._rules.state import ReadTimeState


class Write:
    """What a transition wants written, as the arguments of the script that writes it."""

    __slots__ = ("args", "claims", "moment", "state")

    def __init__(self, names: Names, new: ReadTimeState, old: ReadTimeState | None, meter: Any, moment: int) -> None:
        due = new.due
        expires = new.expires_at_ms
        ledger, before = new.ledger, None if old is None else old.ledger
        self.state: ReadTimeState = new
        self.moment: int = moment
        #: Somebody is about to send what this claims.
        self.claims: bool = (
            ledger.claim is not None
            and ledger.claim.owner is not None
            and (before is None or before.claim != ledger.claim)
        )
        self.args: list[Any] = [
            "" if meter is None else meter,
            meter_text(new.meter, os.urandom(8).hex()),
            int(old is None),
            names.member,
            names.resource,
            "" if due is None or due.soft else due.at_ms,
            "" if due is None or not due.soft else due.at_ms,
            int(ledger is before),
            int(bool(ledger.parked)),
            "" if expires is None else expires,
            moment,
            *other_fields(new),
        ]


def beat(member: str, signal: Signal, now: int | None) -> tuple[Any, ...]:
    """Return the arguments of the heartbeat script."""
    policy = signal.policy
    view = signal.view_id
    return (
        "" if now is None else now,
        member,
        signal.nonce[16:],
        signal.heartbeat_id if view is None else view,
        signal.offered_ms,
        signal.acknowledged_ms if view is not None else "" if signal.drawn else "-",
        "" if signal.opened_at_ms is None else signal.opened_at_ms,
        "" if signal.position_ms is None else signal.position_ms,
        1 if signal.duration_ms else 0,
        "" if signal.reader is None else fingerprint(signal.reader),
        "" if signal.article is None else fingerprint(signal.article),
        policy.leeway_ms,
        policy.catch_up_ms,
        "" if policy.max_delta_ms is None else policy.max_delta_ms,
        repr(policy.completion_ratio),
        "" if policy.completion_dwell_ms is None else policy.completion_dwell_ms,
    )
