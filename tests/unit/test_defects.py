"""What the flow that this replaces gets wrong, defect by defect."""

from __future__ import annotations

from datetime import timedelta

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, Outcome, PageView, StoreUnavailable
from tests.scenes import (
    ANNA,
    BEES,
    BEN,
    OWLS,
    WAIT_SECONDS,
    HeldEmitter,
    Hooked,
    Scene,
    in_threads,
    running,
    until,
    value,
)


def test_defect_01_concurrent_heartbeats_both_count(scene: Scene):
    """T1: row 1: two concurrent heartbeats read the same state, one is lost -> atomic update."""
    scene.tracker.accumulate(ANNA, OWLS, 0)
    scene.clock.advance(100)

    def beats():
        for _ in range(25):
            scene.tracker.accumulate("anna", "owls", 0.5)

    in_threads(*[beats] * 8)
    assert scene.state().cumulative_read_time_seconds == 100.0


def test_defect_01_heartbeats_and_reports_do_not_erase_each_other(scene: Scene):
    """Row 1: a heartbeat while a report commits keeps both the time and the reported total."""
    scene.read(seconds=30)
    scene.use(Hooked(lambda: scene.read(seconds=12))).partial(ANNA, OWLS)
    state = scene.state()
    assert (state.cumulative_read_time_seconds, state.reported_read_time_seconds) == (42.0, 30.0)


def test_defect_02_two_tabs_share_one_budget(scene: Scene):
    """B1: row 2: each heartbeat gets its own fresh leeway -> one shared budget: two tabs count the wall time once."""
    for second in range(0, 301, 10):
        for tab in ("left", "right"):
            scene.tracker.observe(ANNA, OWLS, PageView(tab, second))
        scene.clock.advance(10)
    assert scene.state().cumulative_read_time_seconds <= 300 + 10 + 5


def test_defect_02_a_burst_of_calls_does_not_over_count(scene: Scene):
    """B2: row 2: a burst of a thousand calls -> the heartbeat and the leeway, once."""
    accepted = sum(scene.tracker.accumulate(ANNA, OWLS, 5).accepted_seconds for _ in range(1000))
    assert accepted == scene.state().cumulative_read_time_seconds == 15.0


def test_defect_02_a_steady_liar_is_bounded_by_wall_time(scene: Scene):
    """Row 2: elapsed x 1.5 at each call over-counts without bound -> never more than wall time and one allowance."""
    for _ in range(360):
        scene.tracker.accumulate(ANNA, OWLS, 15)
        scene.clock.advance(10)
    assert scene.state().cumulative_read_time_seconds <= 3600 + 15


@pytest.mark.parametrize("second", ["partial", "finalize"])
def test_defect_03_a_second_report_meets_the_claim(scene: Scene, second):
    """C1: row 3: partial takes no lock: partial || partial, partial || finalize send twice -> every report claims."""
    scene.read(seconds=30)
    gate = HeldEmitter()
    with running(lambda: scene.another(gate).partial(ANNA, OWLS)) as results:
        assert gate.arrived.wait(WAIT_SECONDS)
        assert getattr(scene.tracker, second)(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
        gate.open.set()
    assert results[0].delta_seconds == 30.0
    assert scene.sent == []


def test_defect_03_reports_at_once_send_each_second_once(scene: Scene):
    """Row 3: twelve reports at once, of every kind -> each second in one event."""
    scene.read(seconds=30)
    sends = [
        lambda: scene.tracker.partial(ANNA, OWLS),
        lambda: scene.tracker.finalize(ANNA, OWLS),
        lambda: scene.tracker.flush_reader(ANNA),
        lambda: scene.tracker.sweep(idle_seconds=0),
    ]
    in_threads(*sends * 3)
    assert scene.sent == [30]


def test_defect_04_accepted_but_the_state_write_fails(scene: Scene):
    """C2: row 4: event accepted, then the write fails: sent again under a new id -> claimed before, the same event."""

    class Breaks:
        """The store, until it breaks after the event was accepted."""

        def __getattr__(self, name):
            return getattr(scene.store, name)

        def update(self, *args):
            if scene.emitter.events:
                raise StoreUnavailable("gone")
            return scene.store.update(*args)

    scene.read(seconds=30)
    with pytest.raises(StoreUnavailable):
        scene.another(store=Breaks()).partial(ANNA, OWLS)
    scene.read(seconds=12)
    scene.clock.advance(30)
    scene.tracker.partial(ANNA, OWLS)
    first, again, rest = scene.emitter.events
    assert first == again
    assert value(rest) == 12
    assert scene.emitter.seconds(ANNA, OWLS) == 42.0


def test_defect_04_the_claim_is_stored_before_anything_is_sent(scene: Scene):
    """C6: row 4: claim before send: at the moment of sending the store already holds the event's id."""
    scene.read(seconds=30)
    seen = []
    emitter = Hooked(lambda: seen.append(scene.state()))
    scene.use(emitter).partial(ANNA, OWLS)
    assert seen[0].in_flight
    assert seen[0].history[-1].event_id == emitter.events[0]["id"]
    assert seen[0].due_at == scene.clock() + timedelta(seconds=30)


def test_defect_05_the_remainder_is_carried(scene: Scene):
    """V2: row 5: floor(delta) is sent but all marked reported: up to 1 s lost at each partial -> carried."""
    for _ in range(20):
        scene.read(seconds=2.9)
        scene.tracker.partial(ANNA, OWLS)
    assert sum(scene.sent) == 58
    assert scene.state().unreported_seconds == 0.0


def test_defect_06_reports_do_not_move_the_clock_of_heartbeats(scene: Scene):
    """B10: row 6: partial moves lastServerSyncAt: the next honest heartbeat is clamped -> only signals move it."""
    scene.tracker.accumulate(ANNA, OWLS, 15)  # uses up the allowance
    scene.clock.advance(9)
    before = scene.state().last_server_sync_at
    scene.tracker.partial(ANNA, OWLS)
    assert scene.state().last_server_sync_at == before
    scene.clock.advance(1)
    counted = scene.tracker.accumulate(ANNA, OWLS, 10)
    assert (counted.accepted_seconds, counted.clamped_seconds) == (10.0, 0.0)


def test_defect_07_unreported_time_never_expires(scene: Scene):
    """X1: row 7: a 7-day TTL drops time that was never reported -> state with unreported time never expires."""
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 30)
    scene.tracker.partial(ANNA, BEES)
    scene.clock.advance(400 * 86_400)
    assert scene.state(ANNA, OWLS).unreported_seconds == 30.0
    assert scene.state(ANNA, BEES) is None
    assert scene.tracker.sweep().seconds_sent == 30.0


def test_defect_08_a_late_owner_cannot_free_anothers_lock(scene: Scene):
    """L1: row 8: the lock is deleted without checking whose it is -> the lease carries an owner token."""
    scene.read(seconds=30)
    slow, fast = HeldEmitter(), HeldEmitter()
    slow.error = EmitterUnavailable("timed out")
    with running(lambda: scene.another(slow).finalize(ANNA, OWLS)) as late:
        assert slow.arrived.wait(WAIT_SECONDS)
        scene.clock.advance(31)
        with running(lambda: scene.another(fast).finalize(ANNA, OWLS)) as winner:
            assert fast.arrived.wait(WAIT_SECONDS)
            slow.open.set()
            until(lambda: late[0])
            assert scene.tracker.finalize(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
            fast.open.set()
    assert winner[0].outcome is Outcome.SENT
    assert scene.sent == []


def test_defect_09_time_after_finalize_is_reported(scene: Scene):
    """V5: row 9: time after finalize is thrown away -> it keeps counting and the next partial reports it."""
    scene.read(seconds=30)
    stamp = scene.tracker.finalize(ANNA, OWLS).state.finalized_at
    assert scene.read(seconds=12).report is None
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 12.0
    assert scene.state().finalized_at == stamp


def test_defect_10_every_signal_carries_the_running_total(scene: Scene):
    """S1: row 10: a failed heartbeat's seconds, and those before the leave beacon, are gone -> the total heals them."""
    scene.tracker.observe(ANNA, OWLS, PageView("v", 0))
    scene.clock.advance(47)  # four heartbeats were lost on the way
    assert scene.tracker.observe(ANNA, OWLS, PageView("v", 47)).accepted_seconds == 47.0
    late = scene.tracker.observe(ANNA, OWLS, PageView("v", 30))  # one of them arrives after all
    assert (late.accepted_seconds, late.clamped_seconds, late.duplicate) == (0.0, 0.0, True)


def test_defect_11_somebody_comes_back_for_a_dead_tab(scene: Scene):
    """W1: row 11: nobody comes back for state whose tab died -> due index and sweep."""
    scene.read(ANNA, OWLS, 30)
    scene.read(BEN, BEES, 40)
    scene.clock.advance(60)
    swept = scene.tracker.sweep()
    assert (swept.events_sent, swept.seconds_sent) == (2, 70.0)


@pytest.mark.parametrize("error", [EmitterUnavailable("gone"), EventRejected("bad", status=422), OSError("no route")])
def test_defect_12_send_errors_are_typed_and_reported_stays(scene: Scene, error):
    """V3, K1: row 12: send errors are swallowed, yet reported advances -> typed errors; only commit moves it."""
    scene.read(seconds=30)
    scene.emitter.fail(error)
    with pytest.raises((EmitterUnavailable, EventRejected)):
        scene.tracker.finalize(ANNA, OWLS)
    state = scene.state()
    assert (state.reported_read_time_seconds, state.unreported_seconds) == (0.0, 30.0)
    assert state.finalized_at is None
