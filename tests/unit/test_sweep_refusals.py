"""A sweep where the endpoint refuses events: halving and the systemic rule (W3 to W7)."""

from __future__ import annotations

import pytest

from caliper_readtime import EmitterUnavailable, EndpointRefused, EventRejected, Outcome, Reader
from caliper_readtime.testing import FlakyEmitter
from tests.scenes import ANNA, BEN, OWLS, Scene, SelectiveEmitter, article, events, everything, nothing, of_reader

CARL = Reader("carl", "carl@example.org")


def fill(scene, count, *, seconds=10):
    """Let that many readers leave time behind, r0 first; return them."""
    everybody = [Reader(f"r{number}", f"r{number}@example.org") for number in range(count)]
    for reader in everybody:
        scene.read(reader, OWLS, seconds)
    return everybody


def picky(scene, bad, **more):
    """Go on with an endpoint that refuses these."""
    emitter = SelectiveEmitter(bad, **more)
    scene.use(emitter)
    return emitter


def outcomes(swept):
    """Whose event came to what."""
    return {report.reader_sourced_id: report.outcome for report in swept.reports}


@pytest.mark.parametrize("poisonous", range(7))
def test_the_poisonous_event_stands_alone(scene: Scene, poisonous):
    """W3: a rejected envelope is halved until the poisonous event stands alone: parked; the rest is sent."""
    emitter = picky(scene, of_reader(f"r{poisonous}"))
    fill(scene, 7)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.parked, swept.failed, swept.stopped_by) == (6, 1, 0, "drained")
    assert outcomes(swept)[f"r{poisonous}"] is Outcome.PARKED
    assert len(emitter.events) == len({event["id"] for event in emitter.events}) == 6
    assert [event.reader_sourced_id for event in scene.tracker.parked()] == [f"r{poisonous}"]
    assert emitter.singles == 1


def test_bisecting_costs_few_calls(scene: Scene):
    """W3: one bad event among a hundred costs some 2 log2(100) calls, not a hundred."""
    emitter = picky(scene, of_reader("r37"))
    fill(scene, 100)
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 99
    assert len(emitter.calls) <= 15


def test_one_reader_alone_is_parked(scene: Scene):
    """W4: it takes at least two readers: a single bad reader is parked, though nothing was accepted."""
    picky(scene, everything)
    for number in range(3):
        scene.read(ANNA, article(f"a{number}"), 10)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.parked, swept.failed, swept.stopped_by) == (3, 0, "drained")


def test_two_bad_readers_and_none_accepted_is_systemic(scene: Scene):
    """W4: at least two readers rejected and none accepted is systemic: nothing is parked."""
    picky(scene, everything)
    for reader in (ANNA, BEN):
        scene.read(reader)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.parked, swept.failed, swept.stopped_by) == (0, 2, "refused")
    assert all(isinstance(report.error, EndpointRefused) for report in swept.reports)
    assert all(1800 <= (report.retry_at - scene.clock()).total_seconds() <= 3600 for report in swept.reports)
    assert scene.tracker.parked() == ()
    assert scene.state(ANNA).unreported_seconds == 30.0


@pytest.mark.parametrize("max_batch", [1, 2, 100])
def test_two_bad_readers_among_good_ones_are_parked(scene: Scene, max_batch):
    """W4: where another was accepted in the round, both are parked, batches or not."""
    picky(scene, of_reader("r4", "r5"), max_batch=max_batch)
    fill(scene, 6)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.parked, swept.failed, swept.stopped_by) == (4, 2, 0, "drained")


@pytest.mark.parametrize("max_batch", [1, 2, 100])
def test_bad_readers_before_good_ones_are_parked(scene: Scene, max_batch):
    """W4: an acceptance that comes after the rejections counts as well."""
    picky(scene, of_reader("r0", "r1"), max_batch=max_batch)
    fill(scene, 6)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.parked, swept.failed, swept.stopped_by) == (4, 2, 0, "drained")


@pytest.mark.parametrize("max_batch", [1, 100])
def test_bisecting_gives_up_after_eight(scene: Scene, max_batch):
    """W5: bisecting gives up after 8 single rejections without an acceptance; the rest is not tried."""
    emitter = picky(scene, everything, max_batch=max_batch)
    fill(scene, 40)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert emitter.singles == 8
    assert (swept.parked, swept.events_sent, swept.stopped_by) == (0, 0, "refused")
    assert scene.tracker.parked() == ()


def test_one_reader_with_many_bad_articles_is_no_broken_endpoint(scene: Scene):
    """W4: one bad e-mail must not look like a broken endpoint: parked, and who comes after is served."""
    picky(scene, of_reader("anna"), max_batch=4)
    for number in range(10):
        scene.read(ANNA, article(f"a{number}"), 10)
    fill(scene, 3)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.parked, swept.events_sent, swept.stopped_by) == (10, 3, "drained")


def test_the_third_refusal_parks_whatever_the_others_did(scene: Scene):
    """W6: an event refused for the third time is parked whatever the others did: not retried for ever."""
    picky(scene, everything)
    for reader in (ANNA, BEN):
        scene.read(reader)
    for _ in range(2):
        assert scene.tracker.sweep(idle_seconds=0).parked == 0
        scene.clock.advance(3600)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.parked, swept.failed) == (2, 0)
    assert scene.tracker.sweep(idle_seconds=0).reports == ()
    assert scene.state(ANNA).unreported_seconds == 30.0


def test_an_endpoint_that_refuses_everything_for_two_days(scene: Scene):
    """W4: an endpoint that refuses everything for two days must not leave good events parked: all arrives."""
    emitter = picky(scene, everything)
    fill(scene, 30)
    for _ in range(48):
        scene.tracker.sweep()
        scene.clock.advance(3600)
    emitter.bad = nothing
    for _ in range(30):
        scene.tracker.sweep()
        scene.clock.advance(3600)
    assert scene.tracker.parked() == ()
    assert sum(event["generated"]["items"][0]["value"] for event in emitter.events) == 300


def park(scene, reader, what=OWLS):
    """Have one event refused."""
    keep, scene.emitter.bad = scene.emitter.bad, everything
    with pytest.raises(EventRejected):
        scene.tracker.partial(reader, what)
    scene.emitter.bad = keep


def test_retries_of_parked_events_go_alone_and_last(scene: Scene):
    """W7: retries of parked events are sent alone and last."""
    emitter = picky(scene, nothing)
    for reader in fill(scene, 3):
        park(scene, reader)
    scene.clock.advance(86_400)
    for name in ("n0", "n1"):
        scene.read(Reader(name, f"{name}@example.org"), OWLS, 10)
    emitter.calls.clear()
    swept = scene.tracker.sweep(idle_seconds=0)
    assert [len(call) for call in emitter.calls] == [2, 1, 1, 1]
    assert [report.reader_sourced_id[0] for report in swept.reports] == ["n", "n", "r", "r", "r"]
    assert (swept.events_sent, swept.stopped_by) == (5, "drained")


def test_refused_retries_do_not_count_as_systemic(scene: Scene):
    """W7: refused retries, of two readers even, say nothing about the endpoint."""
    emitter = picky(scene, nothing)
    for reader in fill(scene, 2):
        park(scene, reader)
    emitter.bad = everything
    scene.clock.advance(86_400)
    swept = scene.tracker.sweep()
    assert (swept.parked, swept.failed, swept.stopped_by) == (2, 0, "drained")
    assert scene.tracker.sweep().reports == ()  # for another day


def test_an_accepted_retry_does_not_count_either(scene: Scene):
    """W7: an accepted retry is no acceptance."""
    emitter = picky(scene, nothing)
    scene.read(ANNA)
    park(scene, ANNA)
    scene.clock.advance(86_400)
    fill(scene, 2)
    emitter.bad = of_reader("r0", "r1")
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.parked, swept.stopped_by) == (1, 0, "refused")


def test_new_time_behind_a_retry_is_swept_too(scene: Scene):
    """P7, W7: a sweep sends new time first, and the claimable parked event last."""
    emitter = picky(scene, nothing)
    scene.read(ANNA)
    park(scene, ANNA)
    scene.read(ANNA, OWLS, 12)
    scene.clock.advance(86_400)
    swept = scene.tracker.sweep()
    assert (swept.events_sent, swept.states_settled, swept.seconds_sent) == (2, 1, 42.0)
    assert [event["generated"]["items"][0]["value"] for event in emitter.events] == [12, 30]


def test_a_limit_leaves_retries_for_later(scene: Scene):
    """W11: SweepReport.more: retries that the limit left over are due still."""
    picky(scene, nothing)
    for reader in (ANNA, CARL):
        scene.read(reader)
        park(scene, reader)
    scene.clock.advance(86_400)
    scene.read(BEN)
    swept = scene.tracker.sweep(idle_seconds=0, limit=2)
    assert (swept.events_sent, swept.more, swept.stopped_by) == (2, True, "limit")
    assert outcomes(swept)["ben"] is Outcome.SENT
    assert scene.tracker.sweep(idle_seconds=0, limit=2).events_sent == 1


def test_a_retry_that_finds_the_endpoint_gone_stops_the_sweep(scene: Scene):
    """W11: EmitterUnavailable stops it among the retries too; those that were not tried are due still."""
    picky(scene, nothing)
    for reader in (ANNA, BEN):
        scene.read(reader)
        park(scene, reader)
    scene.clock.advance(86_400)
    scene.use(FlakyEmitter())
    scene.emitter.fail(EmitterUnavailable("gone"))
    swept = scene.tracker.sweep()
    assert (swept.events_sent, swept.failed, swept.stopped_by, swept.more) == (0, 2, "unavailable", True)
    assert len(scene.tracker.parked()) == 2
    scene.clock.advance(5)
    assert scene.tracker.sweep().events_sent == 2


def test_a_retry_that_was_cut_off_is_still_a_retry(scene: Scene):
    """P7: while claimed it stays in the list: taken over after a crash, it goes alone and last again."""
    emitter = picky(scene, nothing)
    scene.read(ANNA)
    park(scene, ANNA)
    scene.clock.advance(86_400)
    scene.use(FlakyEmitter())
    scene.emitter.fail(SystemExit())
    with pytest.raises(SystemExit):
        scene.tracker.sweep()
    scene.clock.advance(30)
    scene.use(emitter)
    emitter.calls.clear()
    scene.read(BEN)
    emitter.bad = everything
    swept = scene.tracker.sweep(idle_seconds=0)
    assert [len(call) for call in emitter.calls] == [1, 1]
    assert (swept.parked, swept.stopped_by) == (2, "drained")  # ben alone is one reader
    assert emitter.calls[1] == [next(event.event_id for event in scene.state(ANNA).parked)]


def test_an_event_that_cannot_be_built_is_parked_and_told(scene: Scene):
    """C5: an event that cannot be built is parked: the sweep counts it, on_report hears of it, others are sent."""

    class Broken:
        """A builder that fails for one reader."""

        def __getattr__(self, name):
            return getattr(events(), name)

        def event(self, reader, *args, **more):
            if reader.sourced_id == "r1":
                raise ValueError(reader.email)
            return events().event(reader, *args, **more)

    scene.use(events=Broken())
    fill(scene, 3)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.parked, swept.stopped_by) == (2, 1, "drained")
    assert outcomes(swept)["r1"] is Outcome.PARKED
    assert [report.outcome for report in scene.reports if report.reader_sourced_id == "r1"] == [Outcome.PARKED]
    (parked,) = scene.tracker.parked()
    assert (parked.status, "@" in parked.reason) == (None, False)
