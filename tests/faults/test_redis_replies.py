"""A connection that breaks after the write and before the reply: as if it had been answered, for every verb."""

from __future__ import annotations

import itertools
from collections import Counter
from contextlib import ExitStack, closing, contextmanager

import pytest
import redis as driver
from redis.backoff import NoBackoff
from redis.retry import Retry

from caliper_readtime import ReadTimePolicy, RedisStateStore, StoreUnavailable
from caliper_readtime.stores._redis import connection
from tests.redis_scenes import VERBS, WRITING
from tests.scenes import ANNA, BEES, OWLS, Scene
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.redis

ANY = b"*"  # every request begins with it
SHORT = {"connect_timeout_seconds": 0.5, "timeout_seconds": 0.5}


@contextmanager
def behind(node, **options):
    """A scene whose store goes through a proxy; with options by a client of the host's own."""
    with ExitStack() as stack:
        proxy = stack.enter_context(TcpProxy(node.port))
        if options:
            client = stack.enter_context(closing(driver.Redis(port=proxy.port, **options)))
            scene = Scene(lambda: RedisStateStore(client))
        else:
            scene = Scene(lambda: RedisStateStore.from_url(f"redis://127.0.0.1:{proxy.port}/0"))
        stack.enter_context(closing(scene.store))
        yield scene, proxy


def begin(node, scene):
    """Half a minute of anna's on two articles, ten seconds ago."""
    node.admin.flushdb()
    scene.emitter.events.clear()
    scene.reports.clear()
    for what in (OWLS, BEES):
        scene.read(ANNA, what)
    scene.clock.advance(10)


def outcome(scene):
    """What an observer sees: the totals of each state, what arrived, and what the host was told."""
    arrived = {event["id"]: event for event in scene.emitter.events}
    for event in scene.emitter.events:
        assert arrived[event["id"]] == event  # the same id is the same event
    states = {state.resource_id: (state.meter.cumulative_ms, state.reported_ms) for state in scene.tracker.states(ANNA)}
    seconds = {what: scene.emitter.seconds(ANNA, what) for what in ("owls", "bees")}
    reports = Counter()
    for report in scene.reports:
        reports[report.resource_id] += report.delta_seconds
    return states, seconds, reports


def undisturbed(node, scene, proxy, verb):
    """The outcome of a verb, and how many replies it takes."""
    for _ in range(2):  # the first time, scripts have to be sent
        begin(node, scene)
        proxy.lose_next_reply(ANY, times=0)
        VERBS[verb](scene.tracker)
        replies = proxy.seen
    return outcome(scene), replies


@pytest.mark.parametrize("verb", WRITING)
@pytest.mark.parametrize("client", [None, {"decode_responses": True}], ids=["from_url", "client"])
def test_a_reply_that_is_lost(node, client, verb):
    """Whichever reply of a verb is lost: the driver asks again, and it is as if the first had been answered."""
    with behind(node, **(client or {})) as (scene, proxy):
        wanted, replies = undisturbed(node, scene, proxy, verb)
        assert replies > 0
        for place in range(replies):
            begin(node, scene)
            proxy.lose_next_reply(ANY, after=place)
            VERBS[verb](scene.tracker)
            assert proxy.lost == 1
            proxy.heal()
            assert outcome(scene) == wanted
            assert len(scene.emitter.events) == len({event["id"] for event in scene.emitter.events})


@pytest.mark.parametrize("verb", WRITING)
def test_replies_that_are_lost_again_and_again(node, verb):
    """Those of repetitions, too: StoreUnavailable; the host repeats the verb, and no second counts twice."""
    with behind(node) as (scene, proxy):
        wanted, replies = undisturbed(node, scene, proxy, verb)
        failures = 0
        for place in range(replies):
            begin(node, scene)
            proxy.lose_next_reply(ANY, after=place, times=9)
            try:
                VERBS[verb](scene.tracker)
            except StoreUnavailable:
                failures += 1
            proxy.heal()
            scene.clock.advance(31)  # a lease that nobody has given back ends
            VERBS[verb](scene.tracker)
            assert outcome(scene)[:2] == wanted[:2]
            # A commit whose answer is lost may be told by nobody, but never twice.
            assert all(outcome(scene)[2][what] <= wanted[2][what] for what in ("owls", "bees"))
        assert failures > 0


def beating_between(monkeypatch, proxy, page):
    """Have heartbeats come as soon as a reply was lost, before what asked for it asks again; return what came."""
    connect = driver.Connection.connect
    beats = []

    def connected(link, *more):
        if link.port == proxy.port and proxy.lost and not beats:
            beats.append(page.accumulate("anna", "owls", 5))
            page.accumulate("anna", "bees", 5)
        return connect(link, *more)

    monkeypatch.setattr(driver.Connection, "connect", connected)
    return beats


@pytest.mark.parametrize("verb", ["partial", "finalize", "flush", "sweep", "defer", "unpark"])
@pytest.mark.parametrize("client", [None, {"decode_responses": True}], ids=["from_url", "client"])
def test_a_heartbeat_between_a_lost_reply_and_its_repetition(node, client, verb, monkeypatch):
    """T9, V11: heartbeats leave a write's nonce, so whoever repeats it knows it for its own: on_report hears of all."""
    url = f"redis://127.0.0.1:{node.port}/0"
    with behind(node, **(client or {})) as (scene, proxy), closing(RedisStateStore.from_url(url)) as other:
        page = scene.another(store=other, on_report=None)
        beats = beating_between(monkeypatch, proxy, page)
        _, replies = undisturbed(node, scene, proxy, verb)
        between = 0
        for place in range(replies):
            begin(node, scene)
            page.accumulate("anna", "owls", 1)
            beats.clear()
            proxy.lose_next_reply(ANY, after=place)
            VERBS[verb](scene.tracker)
            proxy.heal()
            between += bool(beats)
            states, seconds, told = outcome(scene)
            for what, (_, reported_ms) in states.items():
                assert told[what] * 1000 == reported_ms == seconds[what] * 1000, (place, what)
            assert len(scene.emitter.events) == len({event["id"] for event in scene.emitter.events})
        assert between > 0


@pytest.mark.parametrize("verb", ["partial", "flush", "sweep"])
@pytest.mark.parametrize("budget", ["measure", "enforce"])
@pytest.mark.parametrize("client", [None, {"decode_responses": True}], ids=["from_url", "client"])
def test_what_a_claim_found_is_told_although_its_reply_was_lost(node, client, verb, budget, monkeypatch):
    """T9, U4: a claim, too, is known for its own: on_report hears of all that was read beside another article."""
    policy = ReadTimePolicy(reader_budget=budget)
    url = f"redis://127.0.0.1:{node.port}/0"
    with behind(node, **(client or {})) as (scene, proxy), closing(RedisStateStore.from_url(url)) as other:
        page = scene.another(store=other, on_report=None)
        scene.use(policy=policy)
        beats = beating_between(monkeypatch, proxy, page)

        def side_by_side():
            begin(node, scene)
            scene.clock.advance(60)
            for what in ("owls", "bees"):
                page.accumulate("anna", what, 70)
            if verb == "partial":  # of the other article: its claim finds what was read beside this one
                scene.tracker.partial(ANNA, BEES)
            beats.clear()

        for _ in range(2):  # the first time, scripts have to be sent
            side_by_side()
            proxy.lose_next_reply(ANY, times=0)
            VERBS[verb](scene.tracker)
            replies = proxy.seen
        between = 0
        for place in range(replies):
            side_by_side()
            proxy.lose_next_reply(ANY, after=place)
            VERBS[verb](scene.tracker)
            proxy.heal()
            between += bool(beats)
            scene.tracker.partial(ANNA, BEES)
            told = sum(report.beside_seconds for report in scene.reports)
            assert told == sum(state.beside_seconds for state in scene.tracker.states(ANNA)) > 0, place
        assert between > 0


def test_a_client_that_never_retries(node):
    """A host's client may give up at once: StoreUnavailable, and repeating the heartbeat counts it once."""
    with behind(node, retry=Retry(NoBackoff(), 0)) as (scene, proxy):
        begin(node, scene)
        for place in itertools.count():
            proxy.lose_next_reply(ANY, after=place)
            try:
                VERBS["accumulate"](scene.tracker)
            except StoreUnavailable:
                pass
            else:
                break
            VERBS["accumulate"](scene.tracker)
        proxy.heal()
        assert scene.state().meter.cumulative_ms == 40_000


def test_a_network_that_swallows_everything(node, monkeypatch):
    """A proxy that hangs: StoreUnavailable in time; what it swallowed arrives later, and counts once."""
    monkeypatch.setattr(connection, "FAIL_FAST_SECONDS", 0.0)
    with (
        TcpProxy(node.port) as proxy,
        closing(RedisStateStore.from_url(f"redis://127.0.0.1:{proxy.port}", **SHORT)) as store,
    ):
        scene = Scene(lambda: store)
        begin(node, scene)
        proxy.hang()
        with pytest.raises(StoreUnavailable, match="did not answer in time"):
            VERBS["accumulate"](scene.tracker)
        proxy.heal()
        assert VERBS["accumulate"](scene.tracker).state.cumulative_read_time_seconds == 40
        assert scene.tracker.finalize(ANNA, OWLS).delta_seconds == 40


def test_a_network_that_refuses_and_comes_back(node):
    """Connections cut, and no new ones: StoreUnavailable; once they are accepted again everything goes on."""
    with behind(node) as (scene, proxy):
        begin(node, scene)
        proxy.park()
        for verb in VERBS:
            with pytest.raises(StoreUnavailable, match="cannot be reached"):
                VERBS[verb](scene.tracker)
        proxy.heal()
        proxy.cut()
        assert scene.tracker.flush_reader(ANNA).seconds_sent == 60
