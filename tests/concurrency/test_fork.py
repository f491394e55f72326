"""A tracker that was built, and used, before a fork (gunicorn's preload)."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from caliper_readtime import SqliteStateStore
from tests.concurrency.arrivals import seconds_of
from tests.concurrency.children import child
from tests.concurrency.roles import tracker_on
from tests.scenes import ANNA, OWLS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")


def test_parent_child_and_grandchild_share_what_was_built_before(tmp_path):
    """A tracker may be built before a fork: all of them count, and every second arrives once."""
    path, endpoint = tmp_path / "readtime.db", tmp_path / "events.jsonl"
    with child("preloaded", path=path, endpoint=endpoint) as parent:
        assert parent.result() == {"statuses": [0, 0], "total": 10 + 2 * (20 + 40) + 5}
    assert sum(seconds_of(endpoint).values()) == 10 + 2 * (20 + 40) + 5


def test_a_childs_writes_outlive_its_parents_file(tmp_path):
    """A child holds locks of its own on the file.

    Otherwise SQLite, once everybody else has closed it, takes the log for unused and removes it under the child.
    """
    path = tmp_path / "readtime.db"
    with child("survivor", path=path) as parent:
        assert {parent.line(), parent.line()} == {"forked", "closed"}
        with closing(SqliteStateStore(path)) as store:  # opens and, as the last one that SQLite knows of, closes it
            store.now()
        parent.log()
        assert parent.result() == 0
    tracker, store = tracker_on(path)
    with closing(store):
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == 10 + 20 + 40


@pytest.mark.parametrize("name", [None, "readtime.db"], ids=["memory", "sqlite"])
def test_a_fork_while_another_thread_holds_the_store(tmp_path, name):
    """A fork waits for the call under way; the child finds no lock that nobody will ever release."""
    with child("held_fork", path=name and tmp_path / name) as parent:
        assert parent.result() == [0, True]


@pytest.mark.parametrize("store", ["memory", "sqlite"])
def test_a_fork_in_the_middle_of_others_updates(tmp_path, store):
    """Threads that are inside ``update`` do not exist in the child; what they held must not stay locked there."""
    forks, beats = 8, 3
    path = tmp_path / "readtime.db" if store == "sqlite" else None
    with child("busy_fork", path=path, forks=forks) as parent:
        answer = parent.result()
    assert answer["statuses"] == [0] * forks
    assert answer["accepted"] > 0
    # A store in memory is copied: what its children add is theirs alone.
    assert answer["total"] == answer["accepted"] + (forks * beats if store == "sqlite" else 0)
