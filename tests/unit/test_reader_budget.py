"""``reader_budget``: time on one article that was read beside another is measured where it is claimed, or taken off."""

from __future__ import annotations

import logging

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime import (
    ConfigurationError,
    EmitterUnavailable,
    InMemoryStateStore,
    Outcome,
    PageView,
    ReadTimePolicy,
    ReadTimeTracker,
)
from caliper_readtime import Reader as HostReader
from caliper_readtime._rules import AcquireClaim, AcquireResult, Caller, Commit, Unpark
from caliper_readtime._rules.wall import NO_WALL, Stretch, Wall
from caliper_readtime._units import to_epoch_ms
from caliper_readtime.testing import ManualClock, RecordingEmitter
from tests.scenes import ANNA, BEES, OWLS, ROSTER, SENSOR, START, Scene, article, events
from tests.unit.builders import EVENTS, Broken, Life, ms

ENFORCE, MEASURE, OFF = (ReadTimePolicy(reader_budget=budget) for budget in ("enforce", "measure", "off"))
#: No window begins before its page, so that a scene's numbers are round.
STRICT = ReadTimePolicy(reader_budget="enforce", leeway_seconds=0, heartbeat_seconds=1, catch_up_seconds=0)


@pytest.fixture
def scene():
    """A tracker that enforces."""
    scene = Scene(InMemoryStateStore)
    scene.use(policy=STRICT)
    return scene


def tabs(scene, *what, seconds=60.0, tracker=None):
    """Each of these articles says that the same stretch of wall time was spent on it."""
    tracker = tracker or scene.tracker
    opened = scene.clock()
    scene.clock.advance(seconds)
    for one in what:
        tracker.observe(ANNA, one, PageView(f"{one.resource_id} {opened}", seconds), opened_at=opened)


def paid(emitter):
    """What the calculator would sum."""
    return sum(event["generated"]["items"][0]["value"] for event in emitter.events)


# The scenes of the promise


@pytest.mark.parametrize(("policy", "seconds"), [(OFF, 3900), (MEASURE, 3900), (ENFORCE, 125)], ids=str)
def test_thirty_articles_side_by_side(policy, seconds):
    """B11, U4, U9: 30 articles report 3,900 s in 120 s of wall time; enforced, those 120 s and one leeway of 5 s."""
    clock, emitter, heard = ManualClock(START), RecordingEmitter(), []
    tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events(), policy, clock, on_report=heard.append)
    articles = [article(f"a{number}") for number in range(30)]
    for _ in range(13):
        for what in articles:
            total = (clock() - START).total_seconds() + 10
            tracker.observe(ANNA, what, PageView("v", total))
        clock.advance(10)
    tracker.sweep(idle_seconds=0)
    assert paid(emitter) == seconds + (10 if policy is ENFORCE else 0)  # a first signal may bring a heartbeat
    over = sum(state.beside_seconds for state in tracker.states("anna"))
    assert over == (0 if policy is OFF else 3900 - 135)
    assert sum(report.beside_seconds for report in heard) == over
    beside = [line for line in tracker.explain("anna", "a7").lines if "of all of this reader's" in line]
    assert [f"articles {over:g} s: nobody reads two at once." in line for line in beside] == [True] * bool(over)


def test_two_hundred_crawled_tickets_pay_an_hour():
    """U4: whoever opens 200 pages and says an hour later that each was read for an hour is paid one hour."""
    clock, emitter = ManualClock(START), RecordingEmitter()
    tracker = ReadTimeTracker(InMemoryStateStore(), emitter, events(), STRICT, clock)
    clock.advance(3600)
    for number in range(200):
        tracker.observe(ANNA, article(f"a{number}"), PageView("v", 3600.0), opened_at=START)
    assert sum(state.unreported_seconds for state in tracker.states("anna")) == 200 * 3600
    tracker.sweep(idle_seconds=0)
    assert paid(emitter) == 3600
    assert sum(state.unreported_seconds for state in tracker.states("anna")) == 0


def test_a_platforms_frame_beside_the_sites_own_window(scene: Scene):
    """U4: two views on two articles at the same wall time, of which no script knows the other, are one reader's."""
    tabs(scene, OWLS, BEES)
    assert scene.tracker.flush_reader(ANNA).seconds_sent == 60
    assert scene.tracker.flush_reader(ANNA).settled
    tabs(scene, OWLS)
    tabs(scene, BEES)
    assert scene.tracker.flush_reader(ANNA).seconds_sent == 120


def test_two_devices_share_the_time(scene: Scene):
    """U4, U6: another host that enforces on the same store finds what this one has claimed."""
    tabs(scene, OWLS, BEES)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 60
    report = scene.another(policy=STRICT).partial(ANNA, BEES)
    assert (report.outcome, report.beside_seconds) == (Outcome.NOTHING_TO_SEND, 60)
    assert paid(scene.emitter) == 60


# What is told


def test_a_clamp_is_told_everywhere(scene: Scene, caplog):
    """U4: in the report, the state, the history, explain, status and one line of the log, without an e-mail."""
    caplog.set_level(logging.DEBUG, "caliper_readtime")
    tabs(scene, OWLS)
    scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(-20)
    tabs(scene, BEES, seconds=60)
    report = scene.tracker.partial(ANNA, BEES)
    assert (report.outcome, report.delta_seconds, report.beside_seconds) == (Outcome.SENT, 40, 20)
    state = scene.state(what=BEES)
    assert (state.cumulative_read_time_seconds, state.clamped_seconds, state.beside_seconds) == (40, 20, 20)
    assert [(entry.kind, entry.seconds) for entry in state.history] == [("clamped", 20), ("claimed", 40), ("sent", 40)]
    (line,) = (record for record in caplog.records if "read beside" in record.getMessage())
    assert (line.levelname, line.reader_sourced_id, line.resource_id, line.clamped) == ("WARNING", "anna", "bees", 20)
    assert "@" not in line.getMessage()
    lines = scene.tracker.explain(ANNA, BEES).lines
    assert any("20 s of this article were read beside another article" in line for line in lines)
    assert any("clamped 20 s: read beside another article" in line for line in lines)
    tabs(scene, BEES, seconds=5)
    assert scene.tracker.status().beside_seconds == 20


def test_what_is_only_measured_counts(scene: Scene, caplog):
    """U2, U4: by default the time is told and claimed all the same, and the history says nothing of it."""
    caplog.set_level(logging.DEBUG, "caliper_readtime")
    scene.use(policy=MEASURE)
    tabs(scene, OWLS, BEES, seconds=600)
    scene.tracker.sweep(idle_seconds=0)
    assert paid(scene.emitter) == 1200
    assert [report.beside_seconds for report in scene.reports] == [0, 595]
    assert [entry.kind for state in scene.tracker.states(ANNA) for entry in state.history] == ["claimed", "sent"] * 2
    (line,) = (record for record in caplog.records if "read beside" in record.getMessage())
    assert (line.levelname, line.beside) == ("DEBUG", 595)


def test_a_retry_finds_nothing_anew(scene: Scene):
    """U3: a failure is told with what its claim found; the try that succeeds is not told of it again."""
    scene.use(policy=MEASURE)
    tabs(scene, OWLS, BEES, seconds=600)
    scene.tracker.partial(ANNA, OWLS)
    scene.emitter.fail(EmitterUnavailable("gone"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, BEES)
    scene.clock.advance(10)
    scene.tracker.partial(ANNA, BEES)
    assert [report.beside_seconds for report in scene.reports] == [0, 595, 0]
    assert scene.state(what=BEES).beside_seconds == 595


@pytest.mark.parametrize(
    "send",
    [
        lambda tracker: tracker.partial(ANNA, BEES),
        lambda tracker: tracker.finalize(ANNA, BEES),
        lambda tracker: tracker.flush_reader(ANNA),
        lambda tracker: tracker.sweep(idle_seconds=0),
        lambda tracker: tracker.send_deferred([("anna", "bees")]),
    ],
    ids=["partial", "finalize", "flush", "sweep", "leave"],
)
def test_a_clamp_that_leaves_nothing_is_told(scene: Scene, send):
    """U4, V11: an article whose time was all read beside another one makes no event, and on_report hears of it once."""
    tabs(scene, OWLS, BEES)
    scene.tracker.partial(ANNA, OWLS)
    scene.tracker.partial(ANNA, BEES, defer=True)
    scene.reports.clear()
    report = send(scene.tracker)
    (told,) = scene.reports
    assert (told.outcome, told.delta_seconds, told.beside_seconds) == (Outcome.NOTHING_TO_SEND, 0, 60)
    assert (told.resource_id, told.event_ids, told.state.clamped_seconds) == ("bees", (), 60)
    assert getattr(report, "reports", (report,)) == (told,)
    send(scene.tracker)
    assert scene.reports == [told]


def test_a_clamp_below_the_least_partial_is_told(scene: Scene):
    """U4, V9, V11: what is left is put off, and on_report hears what was taken off."""
    scene.use(policy=attrs.evolve(STRICT, partial_min_seconds=50))
    tabs(scene, OWLS)
    scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(-20)
    tabs(scene, BEES, seconds=60)
    assert scene.tracker.partial(ANNA, BEES).outcome is Outcome.DEFERRED
    assert [(one.outcome, one.beside_seconds) for one in scene.reports[1:]] == [(Outcome.DEFERRED, 20)]


def test_what_a_claim_found_is_told_though_its_turn_did_not_come(scene: Scene):
    """U3, V11: a later try finds nothing anew, so an event that was given back untried is told of as well."""
    tabs(scene, OWLS, seconds=600)
    scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(-600)
    tabs(scene, article("ants"), BEES, seconds=600)
    scene.reports.clear()
    scene.tracker = ReadTimeTracker(
        scene.store, scene.emitter, events(), MEASURE, scene.clock, on_report=scene.reports.append, batch_bytes=1
    )
    scene.emitter.fail(EmitterUnavailable("gone", ambiguous=False))
    scene.tracker.sweep(idle_seconds=0)
    assert [one.beside_seconds for one in scene.reports] == [595, 600]


def test_what_a_claim_found_is_told_though_no_event_could_be_built(scene: Scene):
    """U4, C5, V11: the report of an event that cannot be built tells what its claim took off."""
    tabs(scene, OWLS)
    scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(-20)
    tabs(scene, BEES, seconds=60)
    broken = Broken()
    broken.sensor, broken.oneroster_url = SENSOR, ROSTER
    scene.use(policy=STRICT, events=broken)
    scene.tracker.sweep(idle_seconds=0)
    assert [(one.outcome, one.beside_seconds) for one in scene.reports[1:]] == [(Outcome.PARKED, 20)]


# The setting


def test_enforce_needs_a_store_that_keeps_records():
    """U8: a ConfigurationError at construction; measuring finds nothing there, and nothing else changes."""

    class Plain:
        def __init__(self):
            self._store = InMemoryStateStore()

        def __getattr__(self, name):
            if name == "wall":
                raise AttributeError(name)
            return getattr(self._store, name)

        def update(self, key, transition, now=None, /):
            old = self.load(key, now)

            def alone(state, moment, /):
                return transition(state, moment)

            assert old is None or old.key == key
            return self._store.update(key, alone, now)

    with pytest.raises(ConfigurationError, match=r"KeepsWalls.*Plain"):
        ReadTimeTracker(Plain(), policy=ENFORCE)
    scene = Scene(Plain)
    tabs(scene, OWLS, BEES, seconds=600)
    assert scene.tracker.flush_reader(ANNA).seconds_sent == 1200
    assert sum(state.beside_seconds for state in scene.tracker.states(ANNA)) == 0


@pytest.mark.parametrize("budget", ["", "on", "Enforce", None, True, 1])
def test_another_word_is_an_error(budget):
    """U8: it names the three that there are."""
    with pytest.raises(ConfigurationError, match='"off", "measure" or "enforce"'):
        ReadTimePolicy(reader_budget=budget)


def test_the_setting_may_change_at_any_time(scene: Scene):
    """U4, U8: what was claimed without looking is not looked at later, and is not in the way of what comes."""
    scene.use(policy=ReadTimePolicy(reader_budget="off"))
    tabs(scene, OWLS, BEES, seconds=600)
    assert scene.tracker.flush_reader(ANNA).seconds_sent == 1200
    assert scene.store.wall("anna") == NO_WALL
    scene.use(policy=STRICT)
    tabs(scene, OWLS, BEES)
    assert scene.tracker.flush_reader(ANNA).seconds_sent == 60
    assert sum(state.beside_seconds for state in scene.tracker.states(ANNA)) == 60


# Against what goes wrong in between


class Reader:
    """Several articles of one reader and their record, moved by the verbs themselves."""

    def __init__(self, number=2, policy=STRICT):
        self.lives = [Life(policy) for _ in range(number)]
        self.wall = NO_WALL

    def wait(self, seconds):
        for life in self.lives:
            life.wait(seconds)
        return self

    def tabs(self, seconds):
        """All of them say that the same time was spent on them."""
        opened = self.lives[0].now
        self.wait(seconds)
        for life in self.lives:
            life.view(seconds, str(opened), opened=opened)
        return self

    def take(self, number=0, owner="a", *, builder=EVENTS, caller=Caller.EXPLICIT, **more):
        life = self.lives[number]
        verb = AcquireClaim(owner, life.policy, builder, caller, 0.0, **more)
        life.state, self.wall, acquired = verb.with_wall(life.state, self.wall, life.now)
        return acquired


def test_a_claim_whose_answer_was_lost_was_measured():
    """U3: a crash between claim and answer leaves range, event and record; whoever takes it over changes none."""
    reader = Reader().tabs(60)
    first = reader.take().claim
    record = reader.wall
    again = reader.wait(60).take(owner="b")
    assert (again.again, again.claim.event, again.beside_ms) == (True, first.event, 0)
    assert reader.wall == record
    assert reader.take(1).beside_ms == ms(60)


def test_what_a_store_has_lost_is_not_measured_again():
    """U3, K6: a total that a fail-over took back and that climbs again is neither sent nor measured a second time."""
    reader = Reader(1).tabs(60)
    life = reader.lives[0]
    before = life.state
    claim = reader.take().claim
    life.state = before
    life.commit(claim)
    assert reader.wait(0).take().result is AcquireResult.NOTHING
    assert len(reader.wall.stretches) == 1
    reader.tabs(60)
    assert (reader.take().beside_ms, life.ledger.beside_ms) == (0, 0)


def test_a_record_that_was_lost_with_its_states_loses_nobody_anything():
    """U6: both lie in one slot; a reader whose record alone has gone is measured from there on."""
    reader = Reader().tabs(60)
    reader.take()
    reader.wall = NO_WALL
    assert reader.take(1).beside_ms == 0
    reader.tabs(60)
    assert reader.take(1, owner="a").again


def test_an_event_that_cannot_be_built_was_measured_once():
    """U3, C5: its range is set aside with its time; when it is built at last, nothing is measured again."""
    reader = Reader().tabs(60)
    acquired = reader.take(builder=Broken())
    assert (acquired.result, acquired.beside_ms) == (AcquireResult.UNBUILDABLE, 0)
    assert reader.take(1).beside_ms == ms(60)
    reader.lives[0].do(Unpark())
    again = reader.take()
    assert (again.retry, again.beside_ms, again.claim.end_ms) == (True, 0, ms(60))


def test_a_rest_below_a_second_is_lost_at_most_once():
    """U3: the rest that no event carries was measured with the seconds before it, and is not looked at again."""
    reader = Reader(2)
    opened = reader.lives[0].now
    reader.wait(10.9)
    reader.lives[0].view(10.9, opened=opened)
    assert reader.take().claim.end_ms == ms(10)
    assert reader.wall.stretches[0].ms == ms(10.9)
    claim = reader.lives[0].ledger.claim
    reader.lives[0].commit(claim)
    reader.wait(9.1)
    reader.lives[1].view(9.1, opened=reader.lives[1].now - ms(9.1))
    assert reader.take(1).beside_ms == 0
    reader.wait(5.1)
    reader.lives[0].view(16.0, opened=opened)
    acquired = reader.take()
    assert (acquired.beside_ms, acquired.claim.end_ms) == (0, ms(16))
    assert sum(one.ms for one in reader.wall.stretches) == ms(25.1)


def test_what_is_taken_off_is_taken_off_to_the_millisecond():
    """U4: what fits may end within a second: the whole seconds are claimed, and the rest waits, measured."""
    reader = Reader(2).tabs(10)
    reader.wall = Wall((Stretch(reader.lives[0].now - ms(6.3), reader.lives[0].now, ms(6.3)),), 2**50)
    acquired = reader.take()
    life = reader.lives[0]
    assert (acquired.beside_ms, acquired.claim.end_ms) == (ms(6.3), ms(3))
    assert (life.meter.cumulative_ms, life.ledger.measured_ms, life.meter.clamped_ms) == (ms(3.7), ms(3.7), ms(6.3))
    assert life.kinds == ["clamped", "claimed"]


def test_what_is_not_claimed_is_not_measured():
    """U1: a deferral, a partial below its minimum and an active reader's time leave record and total alone."""
    reader = Reader().tabs(10)
    reader.take(1)
    record, meter = reader.wall, reader.lives[0].meter
    assert reader.take(min_ms=ms(20)).result is AcquireResult.DEFERRED
    reader.lives[0].state = Reader().tabs(10).lives[0].state
    assert reader.take(caller=Caller.SWEEP, idle_ms=ms(60)).result is AcquireResult.WAITING
    assert (reader.wall, reader.lives[0].meter) == (record, meter)
    assert reader.lives[0].ledger.measured_ms == 0


def test_less_than_the_minimum_after_a_clamp_is_deferred():
    """U4, V9: what is left is judged as if no more had ever been there."""
    reader = Reader().tabs(60)
    reader.wall = Wall((Stretch(reader.lives[0].now - ms(55), reader.lives[0].now, ms(55)),), 2**50)
    acquired = reader.take(min_ms=ms(20))
    assert (acquired.result, acquired.beside_ms) == (AcquireResult.DEFERRED, ms(55))
    assert reader.lives[0].meter.cumulative_ms == ms(5)


def test_a_finalize_that_finds_nothing_left_is_stamped(scene: Scene):
    """U4, D8: an article whose time was all read beside another one is finalized, with nothing to send."""
    tabs(scene, OWLS, BEES)
    scene.tracker.finalize(ANNA, OWLS)
    report = scene.tracker.finalize(ANNA, BEES)
    assert (report.outcome, report.beside_seconds) == (Outcome.NOTHING_TO_SEND, 60)
    assert report.state.finalized_at == scene.clock()
    assert paid(scene.emitter) == 60


def test_the_event_is_made_of_what_is_left(scene: Scene):
    """U4: its id follows from the range that was claimed, so a commit, a retry and a reconciliation know it."""
    scene.use(RecordingEmitter(), STRICT)
    tabs(scene, OWLS)
    scene.tracker.partial(ANNA, OWLS)
    scene.clock.advance(-20)
    tabs(scene, BEES)
    scene.tracker.partial(ANNA, BEES)
    (found,) = (one for one in scene.tracker.reconcile(ANNA).articles if one.resource_id == "bees")
    assert found.matching.seconds == 40
    assert not found.missing


# Honest readers


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.floats(0.5, 90), st.booleans(), st.integers(0, 3), st.floats(0, 200)),
        min_size=1,
        max_size=30,
    )
)
def test_an_honest_reader_loses_nothing(steps):
    """U2: whoever reads one article after the other, claimed in any order, is clamped by nothing."""
    reader = Reader(4, ReadTimePolicy(reader_budget="enforce"))
    now, opened, totals = reader.lives[0].now, {}, dict.fromkeys(range(4), 0.0)
    for what, seconds, reports, which, pause in steps:
        life = reader.lives[what]
        opened.setdefault(what, now)
        now += ms(seconds)
        totals[what] += seconds
        life.now = now
        life.view(totals[what], opened=opened[what])
        other = reader.lives[which]
        other.now = now
        if reports and other.state is not None and reader.take(which).claim:
            other.commit(other.ledger.claim)
        now += ms(pause)
    for number, life in enumerate(reader.lives):
        if life.state is not None:
            reader.take(number)
            assert (life.ledger.beside_ms, life.meter.clamped_ms) == (0, 0)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.floats(0, 60), st.floats(0, 90), st.integers(0, 1), st.integers(0, 3)),
        max_size=40,
    )
)
def test_nobody_is_paid_more_than_the_wall(steps):
    """U9: however three articles' tabs claim, clamp and report, their sum fits into wall time and one leeway."""
    reader = Reader(3, ReadTimePolicy(reader_budget="enforce"))
    began = reader.lives[0].now
    for what, wait, total, tab, claims in steps:
        reader.wait(wait)
        reader.lives[what].view(total * 10, f"tab{tab}", opened=began)
        if claims < 3 and reader.lives[claims].state is not None and reader.take(claims).claim:
            reader.lives[claims].commit(reader.lives[claims].ledger.claim)
        sent = sum(life.state.reported_ms for life in reader.lives if life.state is not None)
        heartbeat = ms(10)  # a first signal at the opening may bring one
        assert sent <= max(heartbeat, reader.lives[0].now - began) + heartbeat + ms(5)


@given(st.lists(st.tuples(st.floats(0, 60), st.floats(0, 90), st.integers(0, 2), st.booleans()), max_size=40))
def test_one_article_is_never_beside_itself(steps):
    """U1, B8: however its tabs claim, clamp and report, one article's time fits into its own windows."""
    reader = Reader(1, ReadTimePolicy(reader_budget="enforce"))
    life = reader.lives[0]
    opened = life.now
    for wait, total, tab, reports in steps:
        life.wait(wait).view(total * 10, f"tab{tab}", opened=opened)
        if reports and reader.take().claim:
            life.do(Commit(life.ledger.generation, life.ledger.claim.event_id, *_span(life.ledger.claim)))
        assert life.ledger.beside_ms == 0


def _span(claim):
    return claim.start_ms, claim.end_ms


def test_a_sweep_looks_at_no_record_that_stands(memory_scene, monkeypatch):
    """What has expired is removed in memory without a look at all the others."""
    store, tracker, clock = memory_scene.store, memory_scene.tracker, memory_scene.clock
    old, others = HostReader("old", "old@example.org"), [HostReader(f"r{n}", "r@example.org") for n in range(50)]
    for reader in (old, *others, old, *others):
        memory_scene.read(reader)
        tracker.partial(reader, OWLS)
        clock.advance(3600)
    looks, expired = [], Wall.expired
    monkeypatch.setattr(Wall, "expired", lambda wall, now: looks.append(wall) or expired(wall, now))
    store.swept(store.wall("old", to_epoch_ms(clock(), "clock")).expires_at_ms)
    assert len(looks) <= 3
    assert len(store._walls) == len(others)
