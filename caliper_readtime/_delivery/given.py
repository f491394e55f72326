"""Reports given states in as few envelopes as possible: what pages that were left have put off a moment ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._delivery.envelopes import EnvelopeBatch
from caliper_readtime._delivery.send import PARTIAL
from caliper_readtime._rules import AcquireResult, Caller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._results import SweepReport
    from caliper_readtime._rules.state import Key


def send_given(delivery: Delivery, owner: str, keys: Sequence[Key]) -> SweepReport:
    """Send what these states have put off; as a sweep, leave others' claims, back-offs and refused events alone.

    Raises:
        StoreError: the store could not be reached; everything stays due.
    """
    batch = EnvelopeBatch(delivery, owner, PARTIAL)
    in_flight = 0
    rest = list(keys)
    while rest and not batch.over():
        answers = batch.take(rest[: delivery.most_events], Caller.SWEEP, retries=False)
        if not answers:
            break
        del rest[: len(answers)]
        in_flight += sum(answer is not None and answer[0].result is AcquireResult.IN_FLIGHT for answer in answers)
        batch.deliver([answer[2] for answer in answers if answer is not None and answer[2] is not None])
    batch.judge()
    more = bool(rest) or in_flight > 0 or batch.stopped_by is not None
    return batch.result(in_flight=in_flight, more=more, stopped_by="drained")
