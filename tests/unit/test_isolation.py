"""One event, article or reader that an endpoint never takes: everybody else is served, and newer time goes on."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import pytest

from caliper_readtime import EmitterUnavailable, EndpointRefused, EventRejected, InMemoryStateStore, Outcome, Reader
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, BEN, OWLS, Scene, article, nothing, of_reader, value

HOUR = 3600


class Endpoint(RecordingEmitter):
    """Answers every call that brings an event which ``bad`` names, or too many, with an error of its own making."""

    def __init__(self, error=None, bad=nothing, *, most=100, keeps=False):
        super().__init__()
        self.error, self.bad, self.most, self.keeps = error, bad, most, keeps
        self.calls = []
        self.copies = Counter()

    def emit(self, events, /):
        self.calls.append(len(events))
        failed = len(events) > self.most or any(self.bad(event) for event in events)
        if not failed or self.keeps:
            self.copies.update(event["id"] for event in events)
        if failed:
            raise self.error()
        super().emit(events)

    @property
    def seconds(self):
        """What arrived, each event once."""
        return sum({event["id"]: value(event) for event in self.events}.values())


def refused(status):
    return lambda: EndpointRefused("no", status=status)


def broken(status):
    return lambda: EmitterUnavailable("no", status=status)


def silent():
    return EmitterUnavailable("no answer in time")


def of_article(name):
    return lambda event: event["object"]["activity"]["name"] == name.title()


@pytest.fixture
def scene():
    return Scene(InMemoryStateStore)


def readers(count):
    return [Reader(f"r{number}", f"r{number}@example.org") for number in range(count)]


def everybody_reads(scene, count, seconds=20):
    for reader in readers(count):
        scene.tracker.accumulate(reader, OWLS, 0)
    scene.clock.advance(seconds)
    for reader in readers(count):
        assert scene.tracker.accumulate(reader, OWLS, seconds).accepted_seconds == seconds


def sweeps(scene, count, every=HOUR):
    """Sweep again and again; return the reports."""
    found = []
    for _ in range(count):
        found.append(scene.tracker.sweep(idle_seconds=0))
        scene.clock.advance(every)
    return found


# W8: halving after a failure that names no event


@pytest.mark.parametrize("error", [refused(403), refused(404), broken(500), broken(502), broken(504)])
@pytest.mark.parametrize("poisonous", [0, 1, 37, 99])
def test_one_bad_reader_keeps_nobody_else_waiting(scene, error, poisonous):
    """W8: of a hundred readers one is answered 404: the others' 1,980 s of 2,000 s go in the same sweep."""
    endpoint = Endpoint(error, of_reader(f"r{poisonous}"))
    scene.use(endpoint)
    everybody_reads(scene, 100)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (endpoint.seconds, swept.events_sent, swept.failed, swept.stopped_by) == (1980, 99, 1, "drained")
    assert len(endpoint.calls) <= 26


@pytest.mark.parametrize("error", [refused(403), broken(500), silent])
def test_after_three_failures_the_bad_one_is_set_aside(scene, error):
    """W9: at its third failure, beside others that were accepted, it is parked with its reason; nobody else is."""
    endpoint = Endpoint(error, of_reader("r5"))
    scene.use(endpoint)
    everybody_reads(scene, 20)
    for _ in range(12):
        scene.tracker.sweep(idle_seconds=0)
        scene.clock.advance(HOUR)
        scene.read(BEN, OWLS, 10)
    assert endpoint.seconds == 19 * 20 + 12 * 10 - 10
    (parked,) = scene.tracker.parked()
    assert (parked.reader_sourced_id, parked.seconds) == ("r5", 20.0)
    assert "no" in parked.reason


@pytest.mark.parametrize(
    ("error", "longest"), [(refused(403), 24 * HOUR), (broken(500), HOUR), (broken(503), HOUR), (silent, HOUR)]
)
def test_what_nobody_has_refused_waits_for_no_day(scene, error, longest):
    """P4, W9: bad luck may set an event aside, so once the endpoint takes it, it has arrived within a back-off."""
    endpoint = Endpoint(error, of_reader("r5"))
    scene.use(endpoint)
    everybody_reads(scene, 20)
    while not scene.tracker.parked():
        scene.tracker.sweep(idle_seconds=0)
        scene.clock.advance(60)
        scene.read(BEN, OWLS, 10)
    endpoint.bad = lambda event: False
    waited = 0
    while scene.tracker.parked():
        scene.clock.advance(60)
        waited += 60
        scene.tracker.sweep(idle_seconds=0)
    assert longest / 2 - 120 <= waited <= longest


def test_alone_it_stays_due(scene):
    """W9: where nobody was accepted, nothing says that the event is to blame: it stays due."""
    scene.use(Endpoint(broken(500), of_reader("r0")))
    everybody_reads(scene, 1)
    sweeps(scene, 12)
    assert (scene.tracker.parked(), scene.state(readers(1)[0]).due_at is not None) == ((), True)


@pytest.mark.parametrize("error", [refused(403), broken(500)])
def test_one_bad_article_keeps_none_of_a_readers_others_from_a_flush(scene, error):
    """W8, F4: one of ten articles is answered 403 or 500: the other nine are flushed, 270 s of 300 s."""
    endpoint = Endpoint(error, of_article("a0"))
    scene.use(endpoint)
    for number in range(10):
        scene.read(ANNA, article(f"a{number}"), 30)
    flushed = scene.tracker.flush_reader(ANNA)
    assert (endpoint.seconds, flushed.seconds_sent, flushed.settled) == (270, 270.0, False)
    assert [report.outcome for report in flushed.reports].count(Outcome.SENT) == 9


@pytest.mark.parametrize("error", [broken(504), silent])
def test_an_envelope_that_is_too_big_shrinks(scene, error):
    """W8: above ten events the endpoint times out: all 2,000 events arrive in a bounded number of sweeps."""
    endpoint = Endpoint(error, most=10)
    scene.use(endpoint)
    everybody_reads(scene, 2000, seconds=1)
    count = 0
    while endpoint.seconds < 2000:
        scene.tracker.sweep(idle_seconds=0, limit=10_000)
        scene.clock.advance(60)
        count += 1
        assert count <= 100
    assert scene.tracker.status().unreported_states == 0


def test_the_size_of_envelopes_grows_again(scene):
    """W8: the size that is remembered grows again with success."""
    endpoint = Endpoint(silent, most=0)
    scene.use(endpoint)
    everybody_reads(scene, 300, seconds=1)
    sweeps(scene, 8)
    endpoint.most = 100
    endpoint.calls.clear()
    scene.tracker.sweep(idle_seconds=0)
    assert endpoint.seconds == 300
    assert max(endpoint.calls) >= 20


def test_an_outage_costs_few_calls(scene):
    """W8: an endpoint that answers 500 to everything is asked three times, and nothing is parked."""
    endpoint = Endpoint(broken(500), most=0)
    scene.use(endpoint)
    everybody_reads(scene, 100)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (endpoint.calls, swept.stopped_by, swept.failed, swept.parked) == ([100, 1, 1], "unavailable", 100, 0)


@pytest.mark.parametrize("error", [refused(401), refused(405), broken(None), broken(429)])
def test_what_is_the_endpoints_own_affair_ends_the_round(scene, error):
    """W8, W11: credentials, pauses and silence are about no event: one call, and the round is over."""
    endpoint = Endpoint(error, most=0)
    scene.use(endpoint)
    everybody_reads(scene, 10)
    scene.tracker.sweep(idle_seconds=0)
    assert endpoint.calls == [10]


def test_a_failed_group_comes_back_apart(scene):
    """W10: what failed together has as many hours as events, all within the longest back-off."""
    scene.use(Endpoint(refused(401), most=0))
    everybody_reads(scene, 100)
    swept = scene.tracker.sweep(idle_seconds=0)
    waits = [report.retry_at - scene.clock() for report in swept.reports]
    assert len(set(waits)) > 90
    assert timedelta(seconds=1800) <= min(waits)
    assert max(waits) <= timedelta(seconds=3600)


def test_copies_of_an_event_are_bounded_by_ambiguous_tries(scene):
    """H8, W8: an endpoint that keeps what it answers 500 to has no event more often than it was sent in doubt."""
    endpoint = Endpoint(broken(500), of_reader("r7"), keeps=True)
    scene.use(endpoint)
    everybody_reads(scene, 100)
    scene.tracker.sweep(idle_seconds=0)
    assert max(endpoint.copies.values()) <= 4  # the envelope, the rest of it, a tenth of that, and alone
    assert sorted(endpoint.copies.values())[50] <= 3


class Asked(Endpoint):
    """Can be asked what it holds."""

    def held(self, event_ids, /):
        return [event_id for event_id in event_ids if self.copies[event_id]]


def test_with_read_back_no_copy_is_made(scene):
    """R1: what an ambiguous answer left in doubt is asked for before each further step: one copy each."""
    endpoint = Asked(broken(500), of_reader("r7"), keeps=True)
    scene.use(endpoint)
    everybody_reads(scene, 100)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, set(endpoint.copies.values())) == (100, {1})


# P9, P12, V4: newer time never waits behind what is set aside


def other(number):
    """A reader whose address another tab writes differently."""
    return Reader("anna", f"anna+{number % 2}@example.org")


def test_a_context_that_alternates_blocks_no_time(scene):
    """P5, V4: two tabs with two addresses, an event that is refused with both: 1,970 s of 2,000 s, and few retries."""
    endpoint = Endpoint(lambda: EventRejected("bad", status=422))
    scene.use(endpoint)
    scene.read(other(0), OWLS, 30)
    endpoint.bad = lambda event: value(event) == 30
    raised = 0
    for number in range(198):
        try:
            scene.tracker.partial(other(number), OWLS)
        except EventRejected:
            raised += 1
        if number < 197:
            scene.read(other(number), OWLS, 10)
    assert (endpoint.seconds, raised) == (1970, 2)
    assert [parked.seconds for parked in scene.tracker.parked()] == [30.0]


def test_many_contexts_do_not_send_a_refused_event_for_ever(scene):
    """P5: a context that is new at each call (a URL with a time in it) is tried no more than eight times a day."""
    endpoint = Endpoint(lambda: EventRejected("bad", status=422), lambda event: value(event) == 30)
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 30)
    raised = 0
    for number in range(30):
        try:
            scene.tracker.partial(Reader("anna", f"anna{number}@example.org"), OWLS)
        except EventRejected:
            raised += 1
        scene.read(ANNA, OWLS, 10)
    scene.tracker.partial("anna", "owls")
    assert (raised, endpoint.seconds) == (9, 300)


@pytest.mark.parametrize("error", [broken(500), refused(403), silent])
def test_a_daily_retry_blocks_no_time(scene, error):
    """P9, V4: 30 days, a refused event whose every retry fails otherwise: all 960 s but its own 30 s arrive."""
    endpoint = Endpoint(lambda: EventRejected("bad", status=422), lambda event: value(event) == 30)
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 30)
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    endpoint.error = error
    for _ in range(31):
        scene.clock.advance(86_400 - 31)
        scene.read(ANNA, OWLS, 31)
        try:
            scene.tracker.partial(ANNA, OWLS)
        except EmitterUnavailable:
            assert not scene.state().in_flight
    assert endpoint.seconds == 31 * 31
    assert scene.state().unreported_seconds == 30.0


@pytest.mark.parametrize("verb", ["partial", "finalize", "flush", "sweep"])
def test_an_event_that_always_gets_500_blocks_no_time(scene, verb):
    """P12: the slot is free after three failures: of 7,200 s in 30 days all arrive but the bad event's 10 s."""
    endpoint = Endpoint(broken(500), lambda event: value(event) == 10)
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 10)
    for day in range(30):
        for _ in range(4):
            try:
                if verb == "flush":
                    scene.tracker.flush_reader(ANNA)
                elif verb == "sweep":
                    scene.tracker.sweep(idle_seconds=0)
                else:
                    getattr(scene.tracker, verb)(ANNA, OWLS)
            except EmitterUnavailable:
                pass
            scene.clock.advance(HOUR)
        scene.read(ANNA, OWLS, 240 if day else 230)
        scene.clock.advance(86_400 - 5 * HOUR)
    if verb == "sweep":
        sweeps(scene, 3)
    else:
        scene.tracker.flush_reader(ANNA)
    assert endpoint.seconds == 30 * 240 - 10
    (parked,) = scene.tracker.parked()
    assert (parked.seconds, parked.reason.startswith("unavailable")) == (10.0, True)


def test_what_was_set_aside_goes_once_it_can(scene):
    """P12, V3: nobody has refused it, so the next flush sends it without minding its back-off, and settles."""
    endpoint = Endpoint(broken(500), lambda event: value(event) == 10)
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 10)
    for _ in range(2):
        with pytest.raises(EmitterUnavailable):
            scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, OWLS, 20)
    with pytest.raises(EmitterUnavailable):  # the third failure: set aside, and the newer time is sent
        scene.tracker.partial(ANNA, OWLS)
    assert (endpoint.seconds, scene.state().in_flight) == (20, False)
    endpoint.bad = nothing
    flushed = scene.tracker.flush_reader(ANNA)
    assert (flushed.settled, flushed.seconds_sent, endpoint.seconds) == (True, 10.0, 30)


def test_a_failed_retry_is_raised_at_the_end(scene):
    """V4: newer time goes on after a failed retry, and what failed is raised."""
    endpoint = Endpoint(lambda: EventRejected("bad", status=422), lambda event: value(event) == 30)
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 30)
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, OWLS, 12)
    with pytest.raises(EventRejected):
        scene.tracker.partial(Reader("anna", "mended@example.org"), OWLS)
    assert endpoint.seconds == 12
    assert scene.tracker.partial("anna", "owls").outcome is Outcome.NOTHING_TO_SEND


# P13


def test_a_delivered_event_that_is_refused_as_a_duplicate_is_not_parked(scene):
    """P13: taken, the reply lost, then 400 "already exists": read back before it is parked, so it is committed."""

    class Duplicates(Endpoint):
        lags = True

        def emit(self, events, /):
            self.calls.append(len(events))
            if any(self.copies[event["id"]] for event in events):
                self.lags = False
                raise EventRejected("already exists", status=400)
            self.copies.update(event["id"] for event in events)
            raise EmitterUnavailable("the reply was lost")

        def held(self, event_ids, /):
            return [] if self.lags else [event_id for event_id in event_ids if self.copies[event_id]]

    endpoint = Duplicates()
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 30)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30.0
    assert (scene.tracker.parked(), scene.state().reported_read_time_seconds) == ((), 30.0)
    assert set(endpoint.copies.values()) == {1}


def test_what_certainly_did_not_arrive_is_not_asked_for(scene):
    """R1, H8: only a claim whose delivery is in doubt is asked for."""
    endpoint = Asked(lambda: EmitterUnavailable("refused connection", ambiguous=False), most=0)
    endpoint.held = None
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 30)
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)
    assert not scene.state().ledger.claim.ambiguous
    endpoint.most = 100
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30.0


@pytest.mark.parametrize("bad", range(10))
def test_an_article_that_always_times_out_keeps_no_other_from_being_flushed(scene, bad):
    """W9, F4: a time-out ends each flush, so those with fewer failures go first: no article waits for ever."""
    endpoint = Endpoint(silent, of_article(f"a{bad}"))
    scene.use(endpoint)
    articles = [article(f"a{number}") for number in range(10)]
    for each in articles:
        scene.tracker.accumulate(ANNA, each, 0)
    scene.clock.advance(20)
    for each in articles:
        scene.tracker.accumulate(ANNA, each, 20)
    for _ in range(8):
        scene.tracker.flush_reader(ANNA)
    assert endpoint.seconds == 180


def always_silent_for_anna(scene):
    """An endpoint that never answers for Anna, whose first event was set aside for it, and whose newer time waits."""
    endpoint = Endpoint(silent, of_reader("anna"))
    scene.use(endpoint)
    for _ in range(3):
        scene.read(ANNA, OWLS, 10)
        with pytest.raises(EmitterUnavailable):
            scene.tracker.partial(ANNA, OWLS)
    assert len(scene.state(ANNA).parked) == 1
    return endpoint


def test_what_follows_an_event_that_was_set_aside_waits_until_others_are_served(scene):
    """W9: a reader for whom the endpoint never answers ends the round with their newer time, but behind all others."""
    endpoint = always_silent_for_anna(scene)
    everybody_reads(scene, 20)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (endpoint.seconds, swept.stopped_by) == (400, "unavailable")


def test_two_bad_readers_are_not_taken_for_the_endpoint_again(scene):
    """W9, W4: two readers answered 403 and read before all others; once set aside, they end no round for the others."""
    endpoint = Endpoint(refused(403), of_reader("anna", "ben"))
    scene.use(endpoint)
    for _ in range(3):
        everybody_reads(scene, 10)
        for reader in (ANNA, BEN):
            scene.read(reader, OWLS, 10)
        scene.tracker.sweep(idle_seconds=0)
        scene.clock.advance(HOUR)
    assert len(scene.tracker.parked()) == 2
    for reader in (ANNA, BEN):
        scene.read(reader, OWLS, 10)
    everybody_reads(scene, 10)
    scene.tracker.sweep(idle_seconds=0)
    assert endpoint.seconds == 4 * 10 * 20


def test_of_several_retries_the_one_that_failed_most_often_goes_last(scene):
    """W9: a retry that times out ends the round, so others that were set aside beside it are sent before."""
    endpoint = always_silent_for_anna(scene)
    poisonous = scene.state(ANNA).parked[0].event_id
    endpoint.bad = lambda event: event["id"] == poisonous
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, OWLS)  # tries it once more, and sends what is newer
    scene.clock.advance(2 * HOUR)
    endpoint.most = 0
    for reader in readers(3):
        for _ in range(3):
            scene.read(reader, OWLS, 10)
            with pytest.raises(EmitterUnavailable):
                scene.tracker.partial(reader, OWLS)
        assert len(scene.state(reader).parked) == 1
    endpoint.most = 100
    scene.clock.advance(2 * HOUR)
    scene.tracker.sweep(idle_seconds=0)
    assert [scene.state(reader).unreported_seconds for reader in readers(3)] == [0.0] * 3


# W7


def test_retries_have_a_share_of_the_limit(scene):
    """W7: behind a limit that others always use up, a parked event's retry has its turn all the same."""
    endpoint = Endpoint(lambda: EventRejected("bad", status=422), of_reader("anna"))
    scene.use(endpoint)
    scene.read(ANNA, OWLS, 30)
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    endpoint.bad = nothing
    scene.clock.advance(86_400)
    for _ in range(3):
        everybody_reads(scene, 30, seconds=5)
        swept = scene.tracker.sweep(idle_seconds=0, limit=10)
        assert (swept.events_sent, swept.stopped_by, swept.more) == (10, "limit", True)
    assert scene.state(ANNA).unreported_seconds == 0.0


@pytest.mark.parametrize("limit", [1, 10])
def test_retries_that_are_due_before_all_else_keep_their_share(scene, limit):
    """W7: as many retries as the limit allows, met first, leave no more of it to new time than what is not theirs."""
    endpoint = Endpoint(lambda: EventRejected("bad", status=422))
    scene.use(endpoint)
    pupils = [Reader(f"p{number}", f"p{number}@example.org") for number in range(limit)]
    for pupil in pupils:
        scene.read(pupil, OWLS, 30)
        endpoint.bad = of_reader(pupil.sourced_id)
        with pytest.raises(EventRejected):
            scene.tracker.partial(pupil, OWLS)
    endpoint.bad = nothing
    scene.clock.advance(86_400)
    everybody_reads(scene, 30)
    swept = scene.tracker.sweep(idle_seconds=0, limit=limit)
    assert (swept.events_sent, swept.stopped_by, swept.more) == (limit, "limit", True)
    assert sum(scene.state(pupil).unreported_seconds == 0.0 for pupil in pupils) >= 1


def test_a_builder_that_fails_for_everybody_parks_nobody_for_a_day(scene):
    """C5: the round ends as for an endpoint that refuses all; the builder mended, a flush sends at once."""

    class Broken:
        def __init__(self, inner):
            self.inner, self.fails = inner, True
            self.oneroster_url, self.sensor = inner.oneroster_url, inner.sensor

        def event(self, *args, **more):
            if self.fails:
                raise RuntimeError
            return self.inner.event(*args, **more)

    builder = Broken(scene.tracker.events)
    scene.use(Endpoint(), events=builder)
    everybody_reads(scene, 40)
    swept = scene.tracker.sweep(idle_seconds=0)
    assert (swept.events_sent, swept.stopped_by) == (0, "refused")
    builder.fails = False
    assert scene.tracker.flush_reader(readers(1)[0]).settled
    scene.clock.advance(HOUR)
    assert scene.tracker.sweep(idle_seconds=0).events_sent == 39
