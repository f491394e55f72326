"""Fail-over: Sentinel under traffic, and what an asynchronous fail-over that loses the last writes can cost."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import ExitStack, closing

import attrs
import pytest

from caliper_readtime import Outcome, PageView, RedisStateStore, StoreUnavailable
from tests.redis_scenes import GENEROUS, tracker_on
from tests.redis_topologies import Replicated, Sentinels, wait
from tests.scenes import ANNA, OWLS, Hooked, Scene, running
from tests.tcp_proxy import TcpProxy

pytestmark = pytest.mark.redis


class Dies(BaseException):
    """The process dies while it sends."""


class Site:
    """A master, a replica behind a network that can be cut, and an address that names whichever is the master."""

    def __init__(self, stack, **options):
        self.between = TcpProxy(0)
        self.pair = stack.enter_context(Replicated(through=self.between))
        stack.enter_context(self.between)
        (self.replica,) = self.pair.replicas
        self.address = stack.enter_context(TcpProxy(self.pair.master.port))
        self.scene = Scene(lambda: RedisStateStore.from_url(f"redis://127.0.0.1:{self.address.port}", **options))
        stack.enter_context(closing(self.scene.store))

    def lag(self):
        """From now on the replica gets nothing; what was written before, it has."""
        self.pair.wait_for_replicas()
        self.between.park()

    def fail_over(self):
        """The replica becomes the master, and the address names it."""
        self.pair.master.server.kill()
        self.replica.promote()
        self.address.target = self.replica.port
        self.address.cut()


@pytest.fixture
def site():
    """A site whose claims wait for nobody."""
    with ExitStack() as stack:
        yield Site(stack)


@pytest.fixture
def careful():
    """A site whose claims wait for the replica."""
    with ExitStack() as stack:
        yield Site(stack, claim_replicas=1, claim_wait_seconds=10, timeout_seconds=30)


def test_the_commit_of_a_claim_that_is_lost(site, caplog):
    """K6: Fail-over while an event is sent: its commit finds no claim, says so, and the seconds are not sent again."""
    site.scene.read(seconds=30)
    site.lag()
    tracker = site.scene.use(Hooked(site.fail_over, after=True))
    with caplog.at_level(logging.ERROR, "caliper_readtime"):
        report = tracker.partial(ANNA, OWLS)
    assert (report.outcome, report.delta_seconds) == (Outcome.SENT, 30)
    (said,) = caplog.records
    assert "the store lost the claim" in said.message
    assert said.event_id == report.event_ids[0]
    site.scene.read(seconds=10)
    assert tracker.finalize(ANNA, OWLS).delta_seconds == 10
    assert site.scene.emitter.seconds(ANNA, OWLS) == 40
    assert site.scene.sent == [30, 10]


def test_a_sender_that_dies_together_with_the_master(site):
    """What an asynchronous fail-over can cost: nobody knows of the claim, and its seconds go again by another id."""
    site.scene.read(seconds=30)
    site.lag()
    site.scene.emitter.fail(Dies(), delivered=True)
    with pytest.raises(Dies):
        site.scene.tracker.partial(ANNA, OWLS)
    site.fail_over()
    assert site.scene.state().in_flight is False
    site.scene.read(seconds=10)
    assert site.scene.tracker.finalize(ANNA, OWLS).delta_seconds == 40
    assert site.scene.sent == [30, 40]
    first, second = site.scene.emitter.events
    assert first["id"] != second["id"]
    assert site.scene.emitter.seconds(ANNA, OWLS) == 70  # of which 30 twice


def test_with_claim_replicas_that_does_not_happen(careful):
    """C7: ``claim_replicas=1``: a claim that the replica does not have is not sent, so that no second goes twice."""
    careful.scene.read(seconds=30)
    careful.lag()
    careful.scene.store.claim_wait_seconds = 0.2  # in vain
    with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
        careful.scene.tracker.partial(ANNA, OWLS)
    careful.fail_over()
    careful.scene.read(seconds=10)
    careful.scene.store.claim_replicas = 0  # the operator's choice, until there is a replica again
    assert careful.scene.tracker.finalize(ANNA, OWLS).delta_seconds == 40
    assert careful.scene.sent == [40]


def test_with_claim_replicas_a_dead_sender_is_taken_over(careful):
    """``claim_replicas=1``: what was sent is claimed on the replica: the same event goes again, and counts once."""
    careful.scene.read(seconds=30)
    careful.scene.emitter.fail(Dies(), delivered=True)
    with pytest.raises(Dies):
        careful.scene.tracker.partial(ANNA, OWLS)
    careful.lag()
    careful.fail_over()
    careful.scene.store.claim_replicas = 0
    careful.scene.read(seconds=31)
    assert careful.scene.tracker.finalize(ANNA, OWLS).delta_seconds == 61
    assert careful.scene.sent == [30, 30, 31]
    assert careful.scene.emitter.seconds(ANNA, OWLS) == 61


def test_lost_heartbeats_are_healed_by_the_next_total(site):
    """S1: the last heartbeats before a fail-over are lost; a page view's next running total brings them back."""
    site.scene.tracker.observe(ANNA, OWLS, PageView("view", 0))
    site.scene.clock.advance(10)
    site.scene.tracker.observe(ANNA, OWLS, PageView("view", 10))
    site.lag()
    site.scene.clock.advance(10)
    assert site.scene.tracker.observe(ANNA, OWLS, PageView("view", 20)).state.cumulative_read_time_seconds == 20
    site.fail_over()
    assert site.scene.state().cumulative_read_time_seconds == 10
    site.scene.clock.advance(10)
    assert site.scene.tracker.observe(ANNA, OWLS, PageView("view", 30)).accepted_seconds == 20
    assert site.scene.tracker.finalize(ANNA, OWLS).delta_seconds == 30


@pytest.mark.parametrize("sentinels", [1, 3])
def test_sentinel_fails_over_under_traffic(sentinels):
    """The master dies: typed errors until another one is elected, then everything goes on, every second once."""
    with (
        Sentinels(sentinels, replicas=2) as site,
        closing(RedisStateStore.from_url(site.url, claim_replicas=1, claim_wait_seconds=0.5)) as store,
    ):
        tracker, emitter = tracker_on(store, policy=attrs.evolve(GENEROUS, lock_seconds=0.5))
        stop, total, troubles = threading.Event(), [0], []

        def reads():
            while not stop.is_set():
                try:
                    tracker.observe(ANNA, OWLS, PageView("view", total[0] + 1))
                    total[0] += 1
                    if total[0] % 10 == 0:
                        tracker.partial(ANNA, OWLS)
                except StoreUnavailable as error:
                    troubles.append(error)
                    time.sleep(0.02)

        with running(reads) as results:
            wait(lambda: total[0] > 30 and emitter.events, "there is traffic")
            site.master.server.kill()
            site.wait_for_fail_over()
            before = total[0]
            wait(lambda: total[0] > before + 30, "traffic goes on")
            stop.set()
        assert results == [None]
        assert troubles
        tracker.observe(ANNA, OWLS, PageView("view", total[0]))
        wait(lambda: _settles(tracker), "everything is reported")
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == total[0]
        assert emitter.seconds(ANNA, OWLS) == total[0]


def _settles(tracker):
    try:
        return tracker.flush_reader(ANNA, wait_seconds=1).settled
    except StoreUnavailable:
        return False
