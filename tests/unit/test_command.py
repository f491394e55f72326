"""The command line: the demo's story, and one line where something is wrong."""

from __future__ import annotations

import pytest

from caliper_readtime.__main__ import main


@pytest.mark.parametrize("store", ["memory", "sqlite", "url"])
def test_the_demo_tells_its_story(store, tmp_path, capsys):
    """Heartbeats, a lost one healed, a report whose answer was lost, a closed tab swept, and what is banked."""
    assert main(["demo", "--store", f"sqlite://{tmp_path}/demo.db" if store == "url" else store]) == 0
    told = capsys.readouterr().out
    for step in (
        "heartbeat  50 s: +20 s",
        "partial: sent, 57 s",
        "sweep: 1 event sent, 130 s; drained",
        "accepted 3 deliveries of 2 distinct events",
        "(came 2 times)",
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


def test_no_command_is_a_usage_error(capsys):
    """Without a command the usage is shown."""
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "demo" in capsys.readouterr().err
