"""``flush_reader`` (chapter F of the protocol)."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    InvalidInput,
    Outcome,
    Reader,
    SqliteStateStore,
)
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import (
    ANNA,
    BEES,
    BEN,
    OWLS,
    ROSTER,
    WAIT_SECONDS,
    HeldEmitter,
    Scene,
    SelectiveEmitter,
    article,
    events,
    everything,
    nothing,
    running,
)


def of_article(name):
    """Tells the events of this article."""
    return lambda event: event["object"]["activity"]["name"] == name


def test_everything_goes_in_one_envelope(scene: Scene):
    """F1: everything this reader has unreported, in as few envelopes as possible; one Report per article."""
    emitter = RecordingEmitter()
    scene.use(emitter)
    for number in range(5):
        scene.read(ANNA, article(f"a{number}"), 30)
    scene.read(BEN, OWLS, 30)
    flushed = scene.tracker.flush_reader(ANNA)
    assert emitter.batches == [5]
    assert (flushed.settled, flushed.confirmed, flushed.seconds_sent) == (True, None, 150.0)
    assert sorted(report.resource_id for report in flushed.reports) == [f"a{number}" for number in range(5)]
    assert {(report.outcome, report.delta_seconds) for report in flushed.reports} == {(Outcome.SENT, 30.0)}
    flushed.raise_unless_settled()
    assert scene.state(BEN).unreported_seconds == 30.0


def test_a_hundred_and_fifty_articles_are_two_envelopes(scene: Scene):
    """F1, W2: as few envelopes as possible, of up to so many events each."""
    emitter = RecordingEmitter()
    scene.use(emitter)
    for number in range(150):
        scene.tracker.accumulate(ANNA, article(f"a{number}"), 10)
    flushed = scene.tracker.flush_reader(ANNA)
    assert emitter.batches == [100, 50]
    assert (flushed.settled, len(flushed.reports)) == (True, 150)


def test_an_article_that_had_nothing_has_no_report(scene: Scene):
    """F1: one Report per article that had something."""
    scene.read(ANNA, OWLS, 0.5)
    scene.read(ANNA, BEES, 30)
    assert [report.resource_id for report in scene.tracker.flush_reader("anna").reports] == ["bees"]


def test_a_reader_without_anything_is_settled(scene: Scene):
    """F6: FlushReport.settled: nothing of a whole second left, nothing in flight."""
    flushed = scene.tracker.flush_reader(ANNA, confirm=True)
    assert (flushed.reports, flushed.settled, flushed.seconds_sent) == ((), True, 0.0)


def test_only_the_articles_that_are_asked_for(scene: Scene):
    """F1, I1: resource_ids limits it; plain ids and full URLs name the same article."""
    for what in (OWLS, BEES, article("ants")):
        scene.read(ANNA, what, 30)
    url = f"{ROSTER}/ims/oneroster/rostering/v1p2/resources/bees"
    flushed = scene.tracker.flush_reader(ANNA, resource_ids=["owls", url, "unknown"])
    assert sorted(report.resource_id for report in flushed.reports) == ["bees", "owls"]
    assert flushed.settled
    assert scene.state(ANNA, article("ants")).unreported_seconds == 30.0


def test_resource_ids_as_one_text_is_refused(scene: Scene):
    """InvalidInput: a text where several ids belong is a mistake, and nothing is sent."""
    scene.read()
    with pytest.raises(InvalidInput) as raised:
        scene.tracker.flush_reader(ANNA, resource_ids="owls")
    assert (raised.value.field, scene.sent) == ("resource_ids", [])


def test_a_flush_ignores_the_back_off(scene: Scene):
    """F1: a flush does not mind the back-off."""
    scene.read()
    scene.emitter.fail(EndpointRefused("no"))
    with pytest.raises(EndpointRefused):
        scene.tracker.partial(ANNA, OWLS)
    assert scene.tracker.flush_reader(ANNA).settled
    assert scene.sent == [30]


def test_a_flush_sends_more_than_a_day(scene: Scene):
    """F1: everything this reader has unreported: three days are three events, and one report."""
    scene.read(seconds=3 * 86_400 + 5)
    flushed = scene.tracker.flush_reader(ANNA)
    assert (flushed.settled, flushed.seconds_sent) == (True, 3 * 86_400 + 5)
    assert [len(report.event_ids) for report in flushed.reports] == [4]


def test_a_flush_sends_an_older_claim_and_what_came_after(scene: Scene):
    """F1: an ambiguous claim goes again under its id, then later time; together they are one report."""
    scene.read(seconds=30)
    scene.emitter.fail(EmitterUnavailable("lost"), delivered=True)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(seconds=12)
    flushed = scene.tracker.flush_reader(ANNA)
    assert scene.sent == [30, 30, 12]
    assert scene.emitter.events[0] == scene.emitter.events[1]
    assert [report.delta_seconds for report in flushed.reports] == [42.0]


def test_an_endpoint_that_is_gone_leaves_everything_due(scene: Scene):
    """F6: a flush never raises for the endpoint: FAILED for each article, unsettled, and the error on demand."""
    for what in (OWLS, BEES):
        scene.read(ANNA, what, 30)
    error = EmitterUnavailable("gone")
    scene.emitter.fail(error)
    flushed = scene.tracker.flush_reader(ANNA)
    assert (flushed.settled, flushed.seconds_sent) == (False, 0.0)
    assert [(report.outcome, report.error) for report in flushed.reports] == [(Outcome.FAILED, error)] * 2
    with pytest.raises(EmitterUnavailable) as raised:
        flushed.raise_unless_settled()
    assert raised.value is error
    assert scene.tracker.flush_reader(ANNA).settled


def test_one_bad_article_never_hides_the_others(scene: Scene):
    """F4: one bad article never hides the others: it is found by bisection and parked, the rest is sent."""
    scene.use(SelectiveEmitter(of_article("A3")))
    for number in range(7):
        scene.read(ANNA, article(f"a{number}"), 30)
    flushed = scene.tracker.flush_reader(ANNA)
    outcomes = {report.resource_id: report.outcome for report in flushed.reports}
    assert outcomes.pop("a3") is Outcome.PARKED
    assert set(outcomes.values()) == {Outcome.SENT}
    assert len(outcomes) == 6
    assert (flushed.settled, flushed.seconds_sent) == (False, 180.0)
    with pytest.raises(EventRejected):
        flushed.raise_unless_settled()


def test_a_reader_whose_every_event_is_refused_is_parked(scene: Scene):
    """W4: it takes at least two readers: one reader's flush parks, however many articles are bad."""
    scene.use(SelectiveEmitter(everything))
    for number in range(10):
        scene.read(ANNA, article(f"a{number}"), 30)
    flushed = scene.tracker.flush_reader(ANNA)
    assert {report.outcome for report in flushed.reports} == {Outcome.PARKED}
    assert len(flushed.reports) == 10
    assert len(scene.tracker.parked()) == 10


def test_what_was_parked_before_is_told(scene: Scene):
    """F6: FlushReport: parked seconds are not settled, and the article that holds them has a report that says why."""
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 30)
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, OWLS, 10)
    flushed = scene.tracker.flush_reader(ANNA)
    reports = {report.resource_id: report for report in flushed.reports}
    assert (reports["owls"].delta_seconds, reports["bees"].delta_seconds) == (10.0, 30.0)
    assert reports["owls"].error.status == 422
    assert not flushed.settled
    with pytest.raises(EventRejected):
        flushed.raise_unless_settled()


def test_a_corrected_reader_is_flushed(scene: Scene):
    """P4: a parked event is claimable when the state's context differs from its own: one rule for every verb."""
    scene.read()
    scene.emitter.fail(EventRejected("bad", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.tracker.accumulate(Reader("anna", "right@example.org"), OWLS, 0)
    flushed = scene.tracker.flush_reader("anna")
    assert (flushed.settled, flushed.seconds_sent) == (True, 30.0)


def test_another_owners_claim_is_not_waited_for_by_default(scene: Scene):
    """F2: wait_seconds 0: IN_FLIGHT, and not settled while somebody else is sending."""
    scene.read(ANNA, OWLS, 30)
    gate = HeldEmitter()
    with running(lambda: scene.another(gate).partial(ANNA, OWLS)):
        assert gate.arrived.wait(WAIT_SECONDS)
        scene.read(ANNA, BEES, 20)
        flushed = scene.tracker.flush_reader(ANNA)
        gate.open.set()
    assert {report.resource_id: report.outcome for report in flushed.reports} == {
        "owls": Outcome.IN_FLIGHT,
        "bees": Outcome.SENT,
    }
    assert not flushed.settled
    with pytest.raises(EmitterUnavailable, match="owls"):
        flushed.raise_unless_settled()


def test_another_owners_claim_is_waited_for(scene: Scene):
    """F2: others' claims are waited for within wait_seconds, then what is left is claimed."""
    scene.read(ANNA, OWLS, 30)
    gate = HeldEmitter()
    with running(lambda: scene.another(gate).partial(ANNA, OWLS)):
        assert gate.arrived.wait(WAIT_SECONDS)
        scene.read(ANNA, OWLS, 12)
        with running(lambda: scene.tracker.flush_reader(ANNA, wait_seconds=WAIT_SECONDS)) as results:
            gate.open.set()
    assert results[0].settled
    assert scene.sent == [12]
    assert len(gate.events) == 1


def test_waiting_ends_with_its_budget(scene: Scene):
    """F2: within wait_seconds: a claim that stays with its owner is IN_FLIGHT afterwards."""
    scene.read()
    scene.emitter.fail(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        scene.tracker.partial(ANNA, OWLS)
    flushed = scene.tracker.flush_reader(ANNA, wait_seconds=0.2)
    assert [report.outcome for report in flushed.reports] == [Outcome.IN_FLIGHT]
    assert not flushed.settled


def test_confirm_asks_the_endpoint(scene: Scene):
    """F3: ``confirm=True`` asks until the endpoint holds what this flush sent."""
    scene.use(RecordingEmitter())
    scene.read()
    flushed = scene.tracker.flush_reader(ANNA, confirm=True)
    assert (flushed.settled, flushed.confirmed) == (True, True)


class Lagging(RecordingEmitter):
    """Accepts at once, and shows what it holds only after it was asked a few times."""

    def __init__(self, asks):
        super().__init__()
        self.asks = asks
        self.asked = set()

    def held(self, event_ids, /):
        self.asks -= 1
        self.asked |= set(event_ids)
        return frozenset() if self.asks >= 0 else super().held(event_ids)


def test_confirm_polls_inside_the_same_budget(scene: Scene):
    """F3: an endpoint that lags is asked again, until wait_seconds are over."""
    emitter = Lagging(asks=3)
    scene.use(emitter)
    scene.read()
    flushed = scene.tracker.flush_reader(ANNA, wait_seconds=WAIT_SECONDS, confirm=True)
    assert (flushed.confirmed, emitter.asks) == (True, -1)


def test_an_endpoint_that_never_shows_it_is_not_confirmed(scene: Scene):
    """F3, F6: FlushReport.confirmed False: settled, but not to be banked."""
    scene.use(Lagging(asks=10_000))
    scene.read()
    flushed = scene.tracker.flush_reader(ANNA, wait_seconds=0.2, confirm=True)
    assert (flushed.settled, flushed.confirmed) == (True, False)
    with pytest.raises(EmitterUnavailable) as raised:
        flushed.raise_unless_settled()
    assert raised.value.event_ids == flushed.reports[0].event_ids


def test_confirm_also_asks_for_the_last_minute(scene: Scene):
    """F3: what history says was sent in the last minute is asked for too, but not what is older."""
    emitter = Lagging(asks=0)
    scene.use(emitter)
    ids = []
    for seconds in (100, 30, 30):
        scene.read(seconds=seconds)
        ids += scene.tracker.partial(ANNA, OWLS).event_ids
        scene.clock.advance(25)
    assert scene.tracker.flush_reader(ANNA, confirm=True).confirmed
    assert emitter.asked == {ids[2]}


def test_an_emitter_that_cannot_be_asked_leaves_it_unknown(scene: Scene):
    """F3: FlushReport.confirmed None: it cannot be asked."""
    scene.read()
    assert scene.tracker.flush_reader(ANNA, confirm=True).confirmed is None


def test_an_endpoint_that_cannot_be_asked_now_is_asked_again(scene: Scene):
    """F3: an EmitterUnavailable of read-back is no answer: asked again, False when the budget is over."""

    class Deaf(RecordingEmitter):
        def held(self, event_ids, /):
            raise EmitterUnavailable("no answer")

    scene.use(Deaf())
    scene.read()
    assert scene.tracker.flush_reader(ANNA, wait_seconds=0.1, confirm=True).confirmed is False


def test_a_flush_respects_the_emitters_batch(scene: Scene):
    """max_batch: an emitter that takes only so many events in one call gets no more."""
    emitter = SelectiveEmitter(nothing, max_batch=2)
    scene.use(emitter)
    for number in range(5):
        scene.read(ANNA, article(f"a{number}"), 30)
    assert scene.tracker.flush_reader(ANNA).settled
    assert emitter.batches == [2, 2, 1]


def test_big_events_are_sent_in_smaller_envelopes(scene: Scene):
    """W2: an envelope holds only so many bytes, in sweeps and flushes."""
    emitter = RecordingEmitter()
    scene.use(emitter)
    for number in range(100):
        scene.tracker.accumulate(ANNA, article(f"a{number}", title="\N{OWL}" * 1000), 10)
    assert scene.tracker.flush_reader(ANNA).settled
    assert sum(emitter.batches) == 100
    assert len(emitter.batches) == 2  # some 1.3 MB


def test_an_event_that_cannot_be_built_is_parked(scene: Scene):
    """C5: an event that cannot be built is parked: the others go, and on_report hears of it."""
    scene.use(events=Unbuildable(events(), "owls"))
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 20)
    flushed = scene.tracker.flush_reader(ANNA)
    outcomes = {report.resource_id: report.outcome for report in flushed.reports}
    assert outcomes == {"owls": Outcome.PARKED, "bees": Outcome.SENT}
    assert not flushed.settled
    assert sorted(report.outcome for report in scene.reports) == [Outcome.PARKED, Outcome.SENT]


class Unbuildable:
    """A builder that fails for one article."""

    def __init__(self, inner, resource_id):
        self.inner = inner
        self.resource_id = resource_id

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def event(self, reader, what, **more):
        if what.resource_id == self.resource_id:
            raise KeyError(reader.email)
        return self.inner.event(reader, what, **more)


def test_a_state_that_cannot_be_read_does_not_hide_the_others(tmp_path):
    """F4, T7: one bad article never hides the others: a corrupt one fails alone, and nothing counts as settled."""
    with closing(SqliteStateStore(tmp_path / "readtime.db")) as store:
        scene = Scene(lambda: store)
        for what in (OWLS, BEES):
            scene.read(ANNA, what, 30)
        with closing(sqlite3.connect(tmp_path / "readtime.db")) as file:
            file.execute("UPDATE state SET ledger = '{}' WHERE resource = 'owls'")
            file.commit()
        flushed = scene.tracker.flush_reader(ANNA)
    assert {report.resource_id: report.outcome for report in flushed.reports} == {
        "owls": Outcome.FAILED,
        "bees": Outcome.SENT,
    }
    assert (flushed.settled, flushed.seconds_sent) == (False, 30.0)
    with pytest.raises(EmitterUnavailable):
        flushed.raise_unless_settled()


@pytest.mark.parametrize("wait", [-1, float("nan"), float("inf"), True, "1"])
def test_a_wait_that_is_no_time_is_refused(scene: Scene, wait):
    """InvalidInput names the field."""
    with pytest.raises(InvalidInput) as raised:
        scene.tracker.flush_reader(ANNA, wait_seconds=wait)
    assert raised.value.field == "wait_seconds"
