"""A sweep, as far as the endpoint takes what it gets or is away (chapter W). Refusals: test_sweep_refusals."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    InvalidInput,
    Outcome,
    Reader,
    SqliteStateStore,
)
from caliper_readtime.testing import FlakyEmitter, RecordingEmitter
from tests.scenes import (
    ANNA,
    BEES,
    BEN,
    OWLS,
    WAIT_SECONDS,
    HeldEmitter,
    Hooked,
    Scene,
    SelectiveEmitter,
    article,
    in_threads,
    nothing,
    running,
)


def readers(count):
    """That many readers."""
    return [Reader(f"r{number}", f"r{number}@example.org") for number in range(count)]


def test_it_reports_what_was_left_behind(scene: Scene):
    """W1, W2, W13: due and idle states are sent in one envelope; the sweep records when it ran."""
    emitter = RecordingEmitter()
    scene.use(emitter)
    for reader in readers(5):
        scene.read(reader, OWLS, 30)
    scene.clock.advance(60)
    swept = scene.tracker.sweep()
    assert emitter.batches == [5]
    assert (swept.events_sent, swept.states_settled, swept.seconds_sent) == (5, 5, 150.0)
    assert (swept.failed, swept.in_flight, swept.parked, swept.more, swept.stopped_by) == (0, 0, 0, False, "drained")
    assert [report.outcome for report in swept.reports] == [Outcome.SENT] * 5
    assert scene.store.last_sweep() * 1000 == scene.clock().timestamp() * 1_000_000


def test_nothing_due_is_drained(scene: Scene):
    """W1: an empty store is drained."""
    swept = scene.tracker.sweep()
    assert (swept.events_sent, swept.reports, swept.more, swept.stopped_by) == (0, (), False, "drained")
    assert scene.store.last_sweep() is not None


def test_an_active_reader_is_left_alone(scene: Scene):
    """D7: a sweep takes what is due and idle, and moves an active reader's entry on."""
    scene.read(ANNA, OWLS, 30)
    for _ in range(5):
        scene.read(ANNA, OWLS, 50)
        assert scene.tracker.sweep().events_sent == 0
    last = scene.clock()
    assert scene.state().due_at == last
    scene.clock.advance(59.999)
    assert scene.tracker.sweep().events_sent == 0
    scene.clock.advance(0.001)
    assert scene.tracker.sweep().seconds_sent == 280.0


def test_idle_seconds_zero_takes_everything(scene: Scene):
    """D7: idle_seconds is the caller's."""
    scene.read()
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 1


def test_a_sweep_does_not_finalize(scene: Scene):
    """D8: a sweep reports; only what wants finalizing is stamped."""
    scene.read()
    scene.clock.advance(60)
    scene.tracker.sweep()
    assert scene.state().finalized_at is None


def test_less_than_a_second_is_not_due(scene: Scene):
    """D3: a remainder below a second waits for more."""
    scene.read(seconds=0.9)
    scene.clock.advance(3600)
    assert scene.tracker.sweep().reports == ()


def test_a_released_claim_is_taken_when_its_back_off_ends(scene: Scene):
    """D2: a released claim is due when its back-off ends: not before, and then the same event."""
    scene.read()
    scene.emitter.fail(EmitterUnavailable("lost"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert scene.tracker.sweep(idle_seconds=0).reports == ()
    scene.clock.advance(5)
    assert scene.tracker.sweep().events_sent == 1
    assert scene.emitter.events[0] == scene.emitter.events[1]


def test_a_claim_whose_owner_died_is_taken_when_its_lease_ends(scene: Scene):
    """D2: a claim whose owner died is taken when its lease ends: the same event goes again."""
    scene.read()
    scene.emitter.fail(SystemExit(), delivered=True)
    with pytest.raises(SystemExit):
        scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(29.999)
    assert scene.tracker.sweep(idle_seconds=0).reports == ()
    scene.clock.advance(0.001)
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 1
    assert scene.emitter.events[0] == scene.emitter.events[1]
    assert scene.state().reported_read_time_seconds == 30.0


def test_a_sweep_sends_more_than_a_day(scene: Scene):
    """C3, W1: at most 86,400 s in one event; the sweep goes on until nothing is due."""
    scene.read(seconds=2 * 86_400 + 3)
    scene.clock.advance(60)
    swept = scene.tracker.sweep()
    assert (swept.events_sent, swept.states_settled, swept.seconds_sent) == (3, 1, 2 * 86_400 + 3)


def test_batches_hold_at_most_a_hundred_events(scene: Scene):
    """W2: an envelope holds at most a hundred events."""
    emitter = RecordingEmitter()
    scene.use(emitter)
    for reader in readers(150):
        scene.tracker.accumulate(reader, OWLS, 10)
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 150
    assert emitter.batches == [100, 50]


def test_an_emitters_own_limit_is_kept(scene: Scene):
    """max_batch: no call brings more."""
    emitter = SelectiveEmitter(nothing, max_batch=2)
    scene.use(emitter)
    for reader in readers(5):
        scene.tracker.accumulate(reader, OWLS, 10)
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 5
    assert emitter.batches == [2, 2, 1]


def test_oldest_first(scene: Scene):
    """W1, W11: due states are taken oldest first (of one shard), up to the limit; more tells of the rest."""
    for number in range(6):
        scene.read(ANNA, article(f"a{number}"), 10)
    swept = scene.tracker.sweep(idle_seconds=0, limit=4)
    assert [report.resource_id for report in swept.reports] == ["a0", "a1", "a2", "a3"]
    assert (swept.events_sent, swept.more, swept.stopped_by) == (4, True, "limit")
    swept = scene.tracker.sweep(idle_seconds=0, limit=4)
    assert (swept.events_sent, swept.more, swept.stopped_by) == (2, False, "drained")


def test_a_budget_that_is_used_up_sends_nothing(scene: Scene):
    """W11: once the budget is used up nothing is sent: what is due stays due."""
    scene.read()
    swept = scene.tracker.sweep(idle_seconds=0, budget_seconds=0)
    assert (swept.events_sent, swept.more, swept.stopped_by) == (0, True, "budget")
    assert scene.state().unreported_seconds == 30.0
    assert not scene.state().in_flight


def test_no_envelope_starts_after_the_budget(scene: Scene):
    """W11: after the budget the envelope under way ends, no other begins, the rest stays due."""

    class Slow(SelectiveEmitter):
        """Uses up the budget with its first call: time that the monotonic clock shows."""

        def emit(self, events, /):
            super().emit(events)
            clock[0] += 100

    clock = [0.0]
    scene.use(Slow(nothing, max_batch=1))
    scene.tracker._delivery.leases.monotonic = lambda: clock[0]
    for reader in readers(3):
        scene.tracker.accumulate(reader, OWLS, 10)
    swept = scene.tracker.sweep(idle_seconds=0, budget_seconds=50)
    assert (swept.events_sent, swept.more, swept.stopped_by) == (1, True, "budget")
    assert scene.another(RecordingEmitter()).sweep(idle_seconds=0).events_sent == 2


def ticking(scene, seconds, kind=RecordingEmitter, **more):
    """Go on with an emitter each of whose calls takes that long on the monotonic clock; return it."""
    now = [0.0]

    class Slow(kind):
        """Takes its time."""

        def emit(self, events, /):
            now[0] += seconds
            super().emit(events)

    emitter = Slow(**more)
    scene.use(emitter)
    scene.tracker._delivery.leases.monotonic = lambda: now[0]
    return emitter


def test_the_budget_is_looked_at_before_each_envelope(scene: Scene):
    """W11: the budget is looked at also where one batch is too many bytes for one envelope."""
    emitter = ticking(scene, 20)
    for number in range(100):
        scene.tracker.accumulate(ANNA, article(f"a{number}", title="\N{OWL}" * 1000), 10)
    swept = scene.tracker.sweep(idle_seconds=0, budget_seconds=10)
    assert (len(emitter.batches), swept.more, swept.stopped_by) == (1, True, "budget")
    assert swept.events_sent == emitter.batches[0]
    assert scene.another(RecordingEmitter()).sweep(idle_seconds=0).events_sent == 100 - emitter.batches[0]


def test_bisecting_ends_with_the_budget(scene: Scene):
    """W11, L6: halves that the budget left untried stay due, and count no attempt."""
    emitter = ticking(scene, 3, SelectiveEmitter, bad=lambda event: event["object"]["activity"]["name"] == "A6")
    for number in range(8):
        scene.tracker.accumulate(ANNA, article(f"a{number}"), 10)
    swept = scene.tracker.sweep(idle_seconds=0, budget_seconds=10)  # 8, 4 and 4 again; the time is up
    assert ([len(call) for call in emitter.calls], swept.stopped_by) == ([8, 4, 4, 2], "budget")
    assert (swept.events_sent, swept.parked, swept.more) == (6, 0, True)
    assert {scene.state(what=article(f"a{number}")).attempts for number in (6, 7)} == {0}
    assert scene.another(RecordingEmitter()).sweep(idle_seconds=0).events_sent == 2


def test_it_stops_when_the_endpoint_is_gone(scene: Scene):
    """W11: it stops when the endpoint is gone: one attempt, not one for each batch."""
    emitter = FlakyEmitter(SelectiveEmitter(nothing, max_batch=2))
    emitter.max_batch = 2
    scene.use(emitter)
    for reader in readers(6):
        scene.tracker.accumulate(reader, OWLS, 10)
    emitter.fail(EmitterUnavailable("gone"))
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.failed, swept.stopped_by, swept.more) == (0, 2, "unavailable", True)
    assert emitter.inner.calls == []
    assert {report.error.args for report in swept.reports} == {("gone",)}
    assert all(scene.clock() < report.retry_at for report in swept.reports)
    scene.clock.advance(5)
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 6


def test_it_stops_when_the_endpoint_refuses_us(scene: Scene):
    """L3: a refusing endpoint is left alone for the maximum at once; the sweep ends."""
    for reader in readers(3):
        scene.tracker.accumulate(reader, OWLS, 10)
    scene.emitter.fail(EndpointRefused("who are you", status=401))
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.failed, swept.parked, swept.stopped_by) == (0, 3, 0, "refused")
    waits = {(report.retry_at - scene.clock()).total_seconds() for report in swept.reports}
    assert (len(waits), min(waits) >= 1800, max(waits) <= 3600) == (3, True, True)  # W10: they come back apart


def test_an_emitters_bug_counts_as_unavailable(scene: Scene):
    """L4: any other exception of an emitter stops the sweep as unavailable does."""
    scene.read()
    scene.emitter.fail(RuntimeError("bug"))
    assert scene.tracker.sweep(idle_seconds=0).stopped_by == "unavailable"
    assert scene.state().attempts == 1


def test_a_corrupt_state_does_not_sink_the_sweep(tmp_path, caplog):
    """T7: a state that cannot be read is never overwritten; the others are swept."""
    with closing(SqliteStateStore(tmp_path / "readtime.db")) as store:
        scene = Scene(lambda: store)
        for reader in (ANNA, BEN):
            scene.read(reader, OWLS, 30)
        with closing(sqlite3.connect(tmp_path / "readtime.db")) as file:
            file.execute("UPDATE state SET ledger = '{\"secret\": \"anna@example.org\"' WHERE reader = 'anna'")
            file.commit()
            swept = scene.tracker.sweep(idle_seconds=0)
            (left,) = file.execute("SELECT ledger FROM state WHERE reader = 'anna'").fetchone()
    assert (swept.events_sent, swept.stopped_by, swept.more) == (1, "drained", False)
    assert left == '{"secret": "anna@example.org"'
    assert "cannot be read" in caplog.text
    assert "anna@example.org" not in caplog.text


def test_another_owners_claim_is_counted(scene: Scene):
    """SweepReport.in_flight: a state that another owner took between the look and the claim."""
    scene.read(ANNA, OWLS, 30)
    scene.read(BEN, OWLS, 30)
    gate = HeldEmitter()

    class Racing:
        """The store; somebody else claims right after the sweeper has looked what is due."""

        def __getattr__(self, name):
            return getattr(scene.store, name)

        def due(self, *args):
            keys = scene.store.due(*args)
            if not gate.arrived.is_set():
                threads.enter_context(running(lambda: scene.another(gate).partial(ANNA, OWLS)))
                assert gate.arrived.wait(WAIT_SECONDS)
            return keys

    from contextlib import ExitStack  # noqa: PLC0415 - this test alone

    with ExitStack() as threads:
        threads.callback(gate.open.set)
        swept = scene.another(store=Racing()).sweep(idle_seconds=0)
        gate.open.set()
    assert (swept.events_sent, swept.in_flight) == (1, 1)


def test_many_sweepers_share_the_work(scene: Scene):
    """W12: many sweepers at once are safe and share the work: every event once."""
    everybody = readers(60)
    for reader in everybody:
        scene.tracker.accumulate(reader, OWLS, 10)
    emitter = SelectiveEmitter(nothing, max_batch=5)
    sweepers = [scene.another(emitter) for _ in range(4)]
    reports = in_threads(*(lambda sweeper=sweeper: sweeper.sweep(idle_seconds=0) for sweeper in sweepers))
    assert sum(report.events_sent for report in reports) == 60
    assert len(emitter.events) == len({event["id"] for event in emitter.events}) == 60
    assert sum(report.delta_seconds for report in scene.reports) == 600.0


def test_leases_are_renewed_before_each_envelope(scene: Scene):
    """C11: leases are renewed before each step: a slow first envelope does not cost the second its lease."""
    clock = [0.0]

    class Slow(RecordingEmitter):
        """Takes twenty seconds for each call, by both clocks."""

        deadline_seconds = 25.0

        def emit(self, events, /):
            super().emit(events)
            clock[0] += 20
            scene.clock.advance(20)

    emitter = Slow()
    scene.use(emitter)
    scene.tracker._delivery.leases.monotonic = lambda: clock[0]
    for number in range(100):
        scene.tracker.accumulate(ANNA, article(f"a{number}", title="\N{OWL}" * 1000), 10)
    assert scene.tracker.flush_reader(ANNA).settled
    assert len(emitter.batches) == 2
    assert scene.emitter.seconds("anna", "a99") == 10.0


def test_time_that_is_read_meanwhile_is_not_lost(scene: Scene):
    """T1: a heartbeat during the sending counts, and stays for the next report."""
    scene.read(ANNA, OWLS, 30)
    scene.clock.advance(60)
    scene.use(Hooked(lambda: scene.read(ANNA, OWLS, 15)))
    assert scene.tracker.sweep().seconds_sent == 30.0
    assert scene.state().unreported_seconds == 15.0


def test_several_articles_of_one_reader(scene: Scene):
    """W1: states are swept one by one, whoever they belong to."""
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 30)
    scene.clock.advance(60)
    assert scene.tracker.sweep().states_settled == 2


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("idle_seconds", -1),
        ("idle_seconds", float("nan")),
        ("budget_seconds", -0.1),
        ("budget_seconds", True),
        ("limit", 0),
        ("limit", 1.5),
        ("limit", True),
    ],
)
def test_wrong_arguments_are_refused(scene: Scene, name, given):
    """InvalidInput names the field; nothing is sent."""
    scene.read()
    with pytest.raises(InvalidInput) as raised:
        scene.tracker.sweep(**{name: given})
    assert (raised.value.field, scene.sent) == (name, [])
