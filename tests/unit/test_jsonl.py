"""The file of JSON lines: whole lines, whatever happens."""

import json
import multiprocessing
import os
import stat
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from caliper_readtime.emitters._jsonl import JsonLinesEmitter
from caliper_readtime.errors import ConfigurationError, EmitterUnavailable, EventRejected


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events.jsonl"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def event(number, size=1):
    return {"id": f"urn:uuid:{number}", "text": "ü" * size}


def test_one_line_for_each_event_in_order(path):
    """Each event is one line of UTF-8 JSON, and calls append."""
    emitter = JsonLinesEmitter(path)
    emitter.emit([event(1), event(2)])
    emitter.emit([event(3)])
    assert lines(path) == [event(1), event(2), event(3)]
    assert path.read_bytes().endswith(b"\n")
    assert str(path) in repr(emitter)
    assert "ü" in path.read_text(encoding="utf-8")


def test_nothing_makes_no_file(path):
    """An empty sequence does nothing."""
    JsonLinesEmitter(str(path)).emit([])
    assert not path.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_the_file_is_for_its_owner(path):
    """Events hold e-mail addresses: others cannot read a file that the emitter creates."""
    JsonLinesEmitter(path).emit([event(1)])
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_a_torn_last_line_does_not_spoil_the_next(path):
    """After a crash in the middle of a write, the next event stands on a line of its own."""
    path.write_bytes(b'{"id":"urn:uuid:0"}\n{"id":"urn:u')
    JsonLinesEmitter(path).emit([event(1)])
    first, torn, last = path.read_text(encoding="utf-8").splitlines()
    assert (json.loads(first)["id"], torn, json.loads(last)) == ("urn:uuid:0", '{"id":"urn:u', event(1))


def test_it_goes_on_after_the_file_was_moved_away(path):
    """Log rotation: no descriptor is kept, so the next call makes a new file."""
    emitter = JsonLinesEmitter(path)
    emitter.emit([event(1)])
    path.rename(path.with_suffix(".1"))
    emitter.emit([event(2)])
    assert lines(path) == [event(2)]


@pytest.mark.skipif(sys.platform != "linux", reason="names the files by /proc")
@pytest.mark.parametrize("fsync", [True, False])
def test_fsync_is_as_asked(path, fsync, monkeypatch):
    """With ``fsync`` a call returns once the file, and a new file's name, are on the disk."""
    synced = []
    monkeypatch.setattr(os, "fsync", lambda file: synced.append(str(Path(f"/proc/self/fd/{file}").readlink())))
    emitter = JsonLinesEmitter(path, fsync=fsync)
    emitter.emit([event(1)])
    emitter.emit([event(2)])
    assert synced == ([str(path), str(path.parent), str(path)] if fsync else [])


@pytest.mark.parametrize("target", ["missing/events.jsonl", "."])
def test_a_file_that_cannot_be_written_is_unavailable(tmp_path, target):
    """An OSError becomes EmitterUnavailable with the ids, and is its cause."""
    with pytest.raises(EmitterUnavailable) as caught:
        JsonLinesEmitter(tmp_path / target).emit([event(1)])
    assert caught.value.event_ids == ("urn:uuid:1",)
    assert isinstance(caught.value.__cause__, OSError)


def test_a_full_disk_leaves_whole_lines(path, monkeypatch):
    """Where only a part can be written, the part is taken back and nothing counts as delivered."""
    emitter = JsonLinesEmitter(path)
    emitter.emit([event(1)])
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:5]))
    with pytest.raises(EmitterUnavailable):
        emitter.emit([event(2)])
    monkeypatch.undo()
    emitter.emit([event(2)])
    assert lines(path) == [event(1), event(2)]


@pytest.mark.parametrize("bad", [float("nan"), object(), "\ud800"])
def test_an_event_that_is_no_json_is_rejected(path, bad):
    """What JSON cannot express will never be accepted; nothing of the call is written."""
    with pytest.raises(EventRejected) as caught:
        JsonLinesEmitter(path).emit([event(1), {"id": "urn:uuid:2", "value": bad}])
    assert caught.value.event_ids == ("urn:uuid:1", "urn:uuid:2")
    assert not path.exists()


@pytest.mark.parametrize("path", [None, "", 7])
def test_the_path_must_be_a_path(path):
    """A wrong argument is a ConfigurationError at once."""
    with pytest.raises(ConfigurationError, match="path"):
        JsonLinesEmitter(path)


def _append(emitter, process):
    for call in range(20):
        emitter.emit([event(f"{process}-{call}-{part}", 3000) for part in range(3)])


def test_forked_processes_and_threads_never_mix_their_lines(path):
    """Calls of many processes and threads stand in the file one after the other, each whole."""
    emitter = JsonLinesEmitter(path, fsync=False)
    emitter.emit([event("first")])
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_append, args=(emitter, f"p{number}")) for number in range(3)]
    for process in processes:
        process.start()
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(lambda number: _append(emitter, f"t{number}"), range(3)))
    for process in processes:
        process.join(30)
        assert process.exitcode == 0
    found = [entry["id"].removeprefix("urn:uuid:") for entry in lines(path)][1:]
    assert len(found) == len(set(found)) == 6 * 60
    calls = [tuple(found[start : start + 3]) for start in range(0, len(found), 3)]
    assert all([name.rpartition("-")[2] for name in call] == ["0", "1", "2"] for call in calls)
    assert all(len({name.rpartition("-")[0] for name in call}) == 1 for call in calls)
