"""Read-back: an ambiguous claim is asked for before it is sent again (chapter R)."""

from __future__ import annotations

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, Outcome, Reader
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, BEN, OWLS, Scene


class Asked(RecordingEmitter):
    """Can be asked, unless it is deaf; ``fails`` are the errors of its next calls, after delivery where ``lost``."""

    def __init__(self, *fails, lost=True):
        super().__init__()
        self.fails = list(fails)
        self.lost = lost
        self.deaf = None
        self.asked = []

    def emit(self, events, /):
        error = self.fails.pop(0) if self.fails else None
        if error is None or self.lost:
            super().emit(events)
        if error is not None:
            raise error

    def held(self, event_ids, /):
        self.asked.append(frozenset(event_ids))
        if self.deaf is not None:
            raise self.deaf
        return super().held(event_ids)


def ambiguous(scene, **more):
    """Leave a claim behind whose answer was lost; return the emitter."""
    emitter = Asked(EmitterUnavailable("lost answer"), **more)
    scene.use(emitter)
    scene.read()
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    return emitter


def test_a_new_claim_is_not_asked_for(scene: Scene):
    """R1: an older, ambiguous claim is asked for first: a new one is not."""
    emitter = Asked()
    scene.use(emitter)
    scene.read()
    scene.tracker.partial(ANNA, OWLS)
    assert emitter.asked == []


@pytest.mark.parametrize("verb", ["partial", "finalize", "flush", "sweep"])
def test_what_the_endpoint_holds_is_committed_without_a_second_send(scene: Scene, verb):
    """R1: what the endpoint holds is committed without a second send, whoever takes the claim over."""
    emitter = ambiguous(scene)
    scene.clock.advance(60)
    if verb == "flush":
        assert scene.tracker.flush_reader(ANNA).seconds_sent == 30.0
    elif verb == "sweep":
        assert scene.tracker.sweep().seconds_sent == 30.0
    else:
        report = getattr(scene.tracker, verb)(ANNA, OWLS)
        assert (report.outcome, report.delta_seconds) == (Outcome.SENT, 30.0)
    assert len(emitter.events) == 1
    assert emitter.asked == [frozenset({emitter.events[0]["id"]})]
    assert scene.state().unreported_seconds == 0.0


def test_absence_proves_nothing(scene: Scene):
    """R2: absence proves nothing (ingestion lags): then it is sent again, same id."""
    emitter = ambiguous(scene, lost=False)
    claimed = scene.state().history[0].event_id
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30.0
    assert [event["id"] for event in emitter.events] == [claimed]


@pytest.mark.parametrize("deaf", [EmitterUnavailable("no answer"), RuntimeError("bug")])
def test_an_endpoint_that_cannot_be_asked_is_sent_the_same_again(scene: Scene, deaf):
    """R2: not knowing is no reason not to send the same event again."""
    emitter = ambiguous(scene)
    emitter.deaf = deaf
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30.0
    first, again = emitter.events
    assert first == again


def test_it_can_be_switched_off(scene: Scene):
    """R1: only with read_back=True: an emitter that says False is not asked."""
    emitter = ambiguous(scene)
    emitter.read_back = False
    scene.tracker.partial(ANNA, OWLS)
    assert (emitter.asked, len(emitter.events)) == ([], 2)


def test_a_parked_event_is_asked_for_first(scene: Scene):
    """P7: rebuilt under the same id, read-back asked first where there is one."""
    emitter = Asked(EventRejected("bad", status=422), lost=False)
    scene.use(emitter)
    scene.read()
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    parked = scene.state().parked[0].event_id
    scene.tracker.partial(Reader("anna", "right@example.org"), OWLS)
    assert emitter.asked == [frozenset({parked})]
    assert [event["id"] for event in emitter.events] == [parked]


def test_a_sweep_asks_for_all_ambiguous_claims_at_once(scene: Scene):
    """R1: in a batch held ones are committed, the others and the new ones are sent in one envelope."""
    emitter = Asked(EmitterUnavailable("lost"), EmitterUnavailable("lost"))
    scene.use(emitter)
    for reader in (ANNA, BEN):
        scene.read(reader)
        with pytest.raises(EmitterUnavailable):
            scene.tracker.partial(reader, OWLS)
    lost = emitter.events.pop()["id"]
    emitter.batches.clear()
    scene.read(Reader("carl", "carl@example.org"))
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.seconds_sent) == (3, 90.0)
    assert (len(emitter.asked), len(emitter.asked[0]), emitter.batches) == (1, 2, [2])
    assert lost in {event["id"] for event in emitter.events}
