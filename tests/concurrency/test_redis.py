"""Many threads, many processes and forks on one Redis."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from caliper_readtime import PageView
from caliper_readtime.testing._redis_server import RedisServer
from tests.concurrency.arrivals import seconds_of
from tests.concurrency.children import child
from tests.concurrency.crowd import BEATS, THREADS, all_count
from tests.concurrency.roles import tracker_on
from tests.redis_scenes import Watched
from tests.redis_scenes import tracker_on as tracker_of
from tests.redis_topologies import Node, program
from tests.scenes import ANNA, OWLS, in_threads

pytestmark = pytest.mark.redis

forks = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


@pytest.fixture
def node():
    """A server of a test's own."""
    with Node(RedisServer(program=program())) as one:
        yield one


@pytest.mark.parametrize("native", [True, False], ids=["Lua", "Python"])
def test_sixteen_threads_on_one_state(node, native):
    """Defect 1: no update is lost, by the script or by compare-and-swap, and nobody is told of contention."""
    with closing(Watched.from_url(node.server.url, native_heartbeats=native)) as store:
        tracker, emitter = tracker_of(store)

        def reads(place):
            for number in range(BEATS):
                tracker.accumulate(ANNA, OWLS, 1)
                tracker.observe(ANNA, OWLS, PageView(f"view{place}", number + 1))

        in_threads(*(lambda place=place: reads(place) for place in range(THREADS)))
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == 2 * THREADS * BEATS
        assert tracker.finalize(ANNA, OWLS).delta_seconds == 2 * THREADS * BEATS
        assert emitter.seconds(ANNA, OWLS) == 2 * THREADS * BEATS
        assert native or store.sometimes["lost-race"] > 0


def test_sixteen_threads_that_report_one_state(node):
    """Defect 3: partial against finalize against flush against sweep: one of them sends, and no second goes twice."""
    with closing(Watched.from_url(node.server.url)) as store:
        tracker, emitter = tracker_of(store)
        verbs = (
            lambda: tracker.partial(ANNA, OWLS),
            lambda: tracker.finalize(ANNA, OWLS),
            lambda: tracker.flush_reader(ANNA),
            lambda: tracker.sweep(idle_seconds=0),
        )
        for number in range(1, 6):
            tracker.accumulate(ANNA, OWLS, 10)
            in_threads(*(verbs[place % len(verbs)] for place in range(THREADS)))
            assert [event["generated"]["items"][0]["value"] for event in emitter.events] == [10] * number


def test_nothing_is_lost_between_processes_and_threads(node, tmp_path):
    """Eight processes of two threads, and sixteen threads here, on the same four states.

    Nobody is told that the store is unavailable or contended, every accepted millisecond is in the totals, and every
    whole second arrives once.
    """
    all_count(node.server.url, tmp_path / "events.jsonl")


def test_one_store_may_be_closed_while_threads_use_it(node):
    """A call that meets a close opens another connection; nobody is told that the store is unavailable."""
    tracker, store = tracker_on(node.server.url)
    with closing(store):

        def reads():
            for _ in range(100):
                tracker.accumulate(ANNA, OWLS, 1)

        def closes():
            for _ in range(100):
                store.close()

        in_threads(reads, reads, reads, closes)
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == 300


@forks
def test_parent_child_and_grandchild_share_what_was_built_before(node, tmp_path):
    """A tracker with warm connections is forked: all of them count, each on its own, and every second arrives once."""
    endpoint = tmp_path / "events.jsonl"
    with child("preloaded", path=node.server.url, endpoint=endpoint) as parent:
        assert parent.result() == {"statuses": [0, 0], "total": 10 + 2 * (20 + 40) + 5}
    assert sum(seconds_of(endpoint).values()) == 10 + 2 * (20 + 40) + 5


@forks
def test_a_child_goes_on_after_its_parent_has_closed(node):
    """What a parent closes is its own."""
    with child("survivor", path=node.server.url) as parent:
        assert {parent.line(), parent.line()} == {"forked", "closed"}
        parent.log()
        assert parent.result() == 0
    tracker, store = tracker_on(node.server.url)
    with closing(store):
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == 10 + 20 + 40


@forks
def test_a_fork_while_another_thread_is_inside_an_update(node):
    """The child finds no lock that nobody will ever release, and answers that are its own."""
    with child("held_fork", path=node.server.url) as parent:
        assert parent.result() == [0, True]


@forks
def test_a_fork_in_the_middle_of_others_updates(node):
    """Threads with answers under way do not exist in the child; what they held must not stay locked there."""
    number, beats = 8, 3
    with child("busy_fork", path=node.server.url, forks=number) as parent:
        answer = parent.result()
    assert answer["statuses"] == [0] * number
    assert answer["accepted"] > 0
    assert answer["total"] == answer["accepted"] + number * beats


@forks
def test_a_fork_while_another_thread_holds_the_drivers_locks(node):
    """The driver does not renew its locks in a child, which would wait for good for a thread that it does not have."""
    with child("forked_while_locked", roles="redis_roles", url=node.server.url) as parent:
        assert parent.result() == {"status": 0, "total": 30}
