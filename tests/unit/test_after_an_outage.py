"""An outage is over for everybody soon after its end, however long it was."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caliper_readtime import EmitterUnavailable, InMemoryStateStore, Reader, ReadTimeTracker
from caliper_readtime.testing import ManualClock, RecordingEmitter
from tests.scenes import OWLS, START, events

READ_SECONDS = 20


class Away(RecordingEmitter):
    """An endpoint that cannot be reached, behind a circuit breaker that opens for up to half a minute."""

    deadline_seconds = 5.0

    def __init__(self, clock):
        super().__init__()
        self.clock, self.down, self.tries = clock, True, 0
        self._until, self._span = clock(), timedelta(seconds=0.5)

    def emit(self, batch, /):
        left = (self._until - self.clock()).total_seconds()
        if left > 0:
            raise EmitterUnavailable("fails fast", ambiguous=False, tried=False, retry_after_seconds=left)
        if self.down:
            self.tries += 1
            self._until = self.clock() + self._span
            self._span = min(timedelta(seconds=30), self._span * 2)
            raise EmitterUnavailable("nobody listens", ambiguous=False)
        super().emit(batch)


@pytest.mark.parametrize("readers", [1, 2, 50])
@pytest.mark.parametrize(("outage", "step"), [(30, 5), (600, 60), (3600, 60), (43_200, 60)])
def test_everything_arrives_soon_after_an_outage(outage, step, readers):
    """W14: within the outage's own length and five minutes of its end; each sweep in it costs one attempt."""
    clock = ManualClock(START)
    emitter = Away(clock)
    tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events(), clock=clock)
    everybody = [Reader(f"reader {number}", "r@example.org") for number in range(readers)]
    for reader in everybody:
        tracker.accumulate(reader, OWLS, 0)
    clock.advance(READ_SECONDS)
    for reader in everybody:
        tracker.accumulate(reader, OWLS, READ_SECONDS)
        tracker.partial(reader, OWLS, defer=True)
    for _ in range(outage // step):
        clock.advance(step)
        tracker.sweep()
    assert (emitter.events, emitter.tries <= outage // step) == ([], True)
    emitter.down = False
    since = 0
    while len(emitter.events) < readers:
        clock.advance(step)
        since += step
        assert since <= min(outage, 300)
        tracker.sweep()
    assert sum(emitter.seconds(reader, OWLS) for reader in everybody) == readers * READ_SECONDS
    assert len({event["id"] for event in emitter.events}) == len(emitter.events) == readers
