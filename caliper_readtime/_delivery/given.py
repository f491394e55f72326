"""Reports given states in as few envelopes as possible: what pages that were left have put off a moment ago."""

from __future__ import annotations

from typing import TYPE_CHECKING

from caliper_readtime._delivery.envelopes import EnvelopeBatch, nothing_whole
from caliper_readtime._delivery.send import PARTIAL
from caliper_readtime._results import Outcome, SweepReport
from caliper_readtime._rules import AcquireResult, Caller

if TYPE_CHECKING:
    from collections.abc import Sequence

    from caliper_readtime._delivery.send import Delivery
    from caliper_readtime._rules.state import Key


def send_given(delivery: Delivery, owner: str, keys: Sequence[Key]) -> SweepReport:
    """Send what these states have put off; as a sweep, leave others' claims, back-offs and refused events alone.

    Raises:
        StoreError: the store could not be reached; everything stays due.
    """
    batch = EnvelopeBatch(delivery, owner, PARTIAL)
    in_flight, waiting = 0, list(keys)
    while waiting and not batch.over():
        answers = batch.take(waiting[: delivery.most_events], Caller.SWEEP, retries=False)
        if not answers:  # no lease would last: the sweeper's
            break
        del waiting[: len(answers)]
        there = [answer for answer in answers if answer is not None]
        in_flight += sum(acquired.result is AcquireResult.IN_FLIGHT for acquired, _, _ in there)
        batch.deliver([leased for _, _, leased in there if leased is not None])
    batch.judge()
    reports = tuple(batch.reports)
    return SweepReport(
        events_sent=batch.count(Outcome.SENT),
        states_settled=len({(r.reader_sourced_id, r.resource_id) for r in reports if nothing_whole(r.state)}),
        failed=batch.count(Outcome.FAILED),
        in_flight=in_flight,
        parked=batch.count(Outcome.PARKED),
        seconds_sent=batch.seconds_sent,
        more=in_flight > 0 or bool(waiting) or batch.stopped_by is not None,
        stopped_by=batch.stopped_by or "drained",
        reports=reports,
    )
