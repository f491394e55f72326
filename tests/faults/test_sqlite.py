"""A SQLite file that goes while it is open, that many wait for, and that nobody else may read."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import attrs
import pytest

from caliper_readtime import (
    ConfigurationError,
    EmitterUnavailable,
    PageView,
    ReadTimePolicy,
    ReadTimeTracker,
    SqliteStateStore,
    StoreUnavailable,
)
from caliper_readtime._building import store as store_at
from caliper_readtime._rules.state import Key
from caliper_readtime.doctor import examine
from caliper_readtime.stores._sqlite import connection
from caliper_readtime.testing import FlakyEmitter
from tests.concurrency.children import child
from tests.concurrency.roles import tracker_on
from tests.scenes import ANNA, BEN, OWLS, Scene, events

# It goes


def _removed(path):
    path.unlink()


def _replaced(path):
    other = path.with_name("other.db")
    SqliteStateStore(other).close()
    other.replace(path)


def _moved_away(path):
    path.rename(path.with_name("backup.db"))


def _log_removed(path):
    path.with_name(f"{path.name}-wal").unlink()


def _relinked(path):
    real = path.with_name("real.db")
    other = path.with_name("other.db")
    SqliteStateStore(other).close()
    assert path.is_symlink()
    path.unlink()
    path.symlink_to(other)
    assert real.exists()


@pytest.mark.parametrize("loss", [_removed, _replaced, _moved_away, _log_removed, _relinked])
def test_nothing_is_accepted_into_a_file_that_is_gone(tmp_path, loss):
    """StoreUnavailable says so at the very next call, reads included; then the file that is there takes the time."""
    path = tmp_path / "readtime.db"
    if loss is _relinked:
        path.symlink_to(tmp_path / "real.db")
    tracker, store = tracker_on(path)
    with closing(store):
        tracker.accumulate(ANNA, OWLS, 5)
        loss(path)
        with pytest.raises(StoreUnavailable, match=r"readtime\.db: it was removed or replaced"):
            tracker.accumulate(ANNA, OWLS, 5)
        accepted = [tracker.accumulate(ANNA, OWLS, 5).accepted_seconds for _ in range(3)]
        with closing(SqliteStateStore(path)) as other:
            there = ReadTimeTracker(other).state(ANNA, OWLS)
        assert there.cumulative_read_time_seconds >= sum(accepted) == 15
        loss(path) if loss is not _relinked else path.unlink()
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            tracker.state(ANNA, OWLS)


@pytest.mark.parametrize("loss", [_removed, _replaced, _moved_away, _log_removed, _relinked])
def test_a_quiet_directory_hides_no_loss(tmp_path, monkeypatch, loss):
    """T1: where the directory alone was looked at, because nothing had happened in it, the next loss is seen."""
    monkeypatch.setattr(connection, "_TICK_NS", 0)
    directory, probe = tmp_path.resolve() / "quiet", tmp_path / "probe"
    directory.mkdir()
    path = directory / "readtime.db"
    if loss is _relinked:
        path.symlink_to(directory / "real.db")
    tracker, store = tracker_on(path)
    with closing(store):
        while not probe.exists() or probe.stat().st_ctime_ns <= directory.stat().st_ctime_ns:
            probe.write_text("the file system's clock goes on")
        for _ in range(3):
            tracker.accumulate(ANNA, OWLS, 5)
        assert (store._file.connection().quiet is None) == (loss is _relinked)
        loss(path)
        with pytest.raises(StoreUnavailable, match="removed or replaced"):
            tracker.accumulate(ANNA, OWLS, 5)


def test_a_file_that_stays_is_never_taken_for_another(tmp_path):
    """Checkpoints, other processes that come and go, and a vacuum change nothing about which file it is."""
    path = tmp_path / "readtime.db"
    tracker, store = tracker_on(path)
    with closing(store):
        for _ in range(3):
            tracker.accumulate(ANNA, OWLS, 5)
            with closing(sqlite3.connect(path)) as other:
                other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                other.execute("VACUUM")
            with closing(SqliteStateStore(path)) as other:
                other.swept()
        assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == 15


# Many wait


@pytest.mark.parametrize("verb", ["accumulate", "state"])
def test_threads_and_processes_are_waited_for_within_one_bound(tmp_path, verb):
    """Another process writes without end: of eight threads none waits for longer than ``busy_seconds``, all told."""
    path, bound, threads = tmp_path / "readtime.db", 1.0, 8
    with closing(SqliteStateStore(path, busy_seconds=bound)) as store, child("holder", path=path) as holder:
        tracker = ReadTimeTracker(store)
        holder.expect("held")
        waited, together = [], threading.Barrier(threads)

        def asks(number):
            together.wait()
            since = time.monotonic()
            with suppress(StoreUnavailable):
                tracker.accumulate(ANNA, OWLS, 5) if number or verb == "accumulate" else tracker.state(ANNA, OWLS)
            waited.append(time.monotonic() - since)

        running = [threading.Thread(target=asks, args=(number,)) for number in range(threads)]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        assert len(waited) == threads
        assert max(waited) < 2.5 * bound  # one bound, and a busy machine; one after the other would take 8
        holder.log()
        assert holder.result() == "let go"
        assert tracker.accumulate(ANNA, OWLS, 5).accepted_seconds == 5


# Who may read it


@pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_files_are_for_their_own_user(tmp_path, umask):
    """The file, its log and its shared memory are 0600 whatever the umask; they hold e-mail addresses."""
    before = os.umask(umask)
    try:
        tracker, store = tracker_on(tmp_path / "readtime.db")
        with closing(store):
            tracker.accumulate(ANNA, OWLS, 5)
            found = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
            assert found == dict.fromkeys(("readtime.db", "readtime.db-wal", "readtime.db-shm"), 0o600)
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name != "posix", reason="rights as POSIX has them")
def test_doctor_tells_of_files_that_others_may_read(tmp_path):
    """Rights that a file had before are left to the operator, who is told."""
    path = tmp_path / "readtime.db"
    tracker, store = tracker_on(path)
    with closing(store):
        tracker.accumulate(ANNA, OWLS, 5)
        assert {finding.id: finding.level for finding in examine(tracker)}["sqlite.rights"] == "ok"
        path.chmod(0o640)
        found = {finding.id: finding for finding in examine(tracker)}["sqlite.rights"]
        assert (found.level, str(path) in found.text) == ("warn", True)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640


class Endpoint(FlakyEmitter):
    """An endpoint that can be asked."""

    def held(self, event_ids, /):
        return frozenset(event_ids) & {event["id"] for event in self.events}


def test_doctor_tells_of_a_restored_copy(tmp_path):
    """A copy from before a commit is put back: the endpoint holds what it takes for unsent, and doctor says so."""
    path, emitter = tmp_path / "readtime.db", Endpoint()
    with closing(SqliteStateStore(path)) as store:
        tracker = ReadTimeTracker(store, emitter, events(), ReadTimePolicy(leeway_seconds=60))
        tracker.accumulate(ANNA, OWLS, 30)
        assert "store.older" not in {finding.id for finding in examine(tracker)}
        emitter.fail(EmitterUnavailable("down"))
        with pytest.raises(EmitterUnavailable):
            tracker.partial(ANNA, OWLS)
        assert {finding.id: finding.level for finding in examine(tracker)}["store.older"] == "ok"
        store.close()
        shutil.copy(path, tmp_path / "backup.db")
        assert tracker.partial(ANNA, OWLS).delta_seconds == 30
        store.close()
        shutil.copy(tmp_path / "backup.db", path)
        found = {finding.id: finding for finding in examine(tracker)}["store.older"]
        assert (found.level, "holds 1" in found.text) == ("warn", True)
        assert "read_back" in found.hint


# What a URL names


def test_three_slashes_are_relative_and_four_absolute(tmp_path, monkeypatch):
    """As SQLAlchemy reads them."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for url, path in (
        ("sqlite:///readtime.db", "readtime.db"),
        ("sqlite:///data/read%20time.db", "data/read time.db"),
        (f"sqlite:///{tmp_path}/absolute.db", "absolute.db"),
        (f"sqlite:///{tmp_path}/odd%3F%23.db", "odd?#.db"),
    ):
        with closing(store_at(url)) as store:
            assert Path(tmp_path, path).exists(), url
            assert str(tmp_path) in repr(store)


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///readtime.db?timeout=30",
        "sqlite:///readtime.db#5",
        "sqlite:///:memory:",
        "sqlite:////",
        "sqlite:///",
        "sqlite://",
        "sqlite://host/readtime.db",
        "sqlite:readtime.db",
    ],
)
def test_what_is_no_file_is_refused(tmp_path, monkeypatch, url):
    """Options, fragments and ``:memory:`` are a ConfigurationError, and no file of such a name is made."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"^CALIPER_READTIME_STORE_URL: .*SQLite"):
        store_at(url)
    assert list(tmp_path.iterdir()) == []


# It changes

_CHANGES = {
    "cumulative_ms": "UPDATE state SET cumulative_ms = cumulative_ms + 60000",
    "views": "UPDATE state SET views = '\nv\t61000'",
    "ledger": "UPDATE state SET ledger = replace(ledger, 'anna@example.org', 'anna@example.com')",
}


@pytest.mark.parametrize("change", _CHANGES)
def test_a_row_that_others_have_changed_is_read_anew(tmp_path, change):
    """What this process remembers to have left in a row counts for exactly that row, each column of it."""
    path = tmp_path / "readtime.db"
    scene = Scene(lambda: SqliteStateStore(path))
    with closing(scene.store), closing(sqlite3.connect(path)) as other:
        scene.tracker.observe(ANNA, OWLS, PageView("v", 0))
        for total in (60, 120):  # the second one meets what the first one left
            scene.clock.advance(60)
            assert scene.tracker.observe("anna", "owls", PageView("v", total)).accepted_seconds == 60
        with other:
            other.execute(_CHANGES[change])
        scene.clock.advance(60)
        counted = scene.tracker.observe("anna", "owls", PageView("v", 121))
        assert counted.accepted_seconds == (60 if change == "views" else 1)
        total = {"cumulative_ms": 181, "views": 180}.get(change, 121)
        assert counted.state.cumulative_read_time_seconds == total == scene.state().cumulative_read_time_seconds
        assert counted.state.ledger.context.reader.email == f"anna@example.{'com' if change == 'ledger' else 'org'}"


def test_a_store_that_is_not_used_has_no_file_open(tmp_path):
    """Built at import, before a server forks without telling Python of it, it leaves its workers nothing to share."""
    path = tmp_path / "readtime.db"
    with closing(SqliteStateStore(path)) as store:
        assert [file.name for file in tmp_path.iterdir()] == [path.name]  # an open one has its log beside it
        assert store.last_sweep() is None
        assert len(list(tmp_path.iterdir())) > 1


@pytest.mark.parametrize("within", ["heartbeat", "look", "close"])
def test_a_call_in_the_midst_of_another(tmp_path, within):
    """L5: where a signal handler or a finalizer uses the store in the midst of a call, that one says it was undone."""
    with closing(SqliteStateStore(tmp_path / "readtime.db", busy_seconds=0.2)) as store:
        tracker = ReadTimeTracker(store, None, events())
        tracker.observe(ANNA, OWLS, PageView("hers", 1))
        calls = {
            "heartbeat": lambda: tracker.observe(BEN, OWLS, PageView("his", 5)),
            "look": lambda: tracker.state(BEN, OWLS),
            "close": store.close,
        }

        def transition(state, _):
            calls[within]()
            return attrs.evolve(state, ledger=attrs.evolve(state.ledger, finalize_wanted=True)), None

        with pytest.raises(StoreUnavailable, match="in the midst of another call"):
            store.update(Key("anna", "owls"), transition)
        assert not tracker.state(ANNA, OWLS).ledger.finalize_wanted
        assert tracker.observe(ANNA, OWLS, PageView("hers", 2)).state.cumulative_read_time_seconds == 2
        assert (tracker.state(BEN, OWLS) is not None) is (within == "heartbeat")


def test_a_transaction_that_was_undone_ends_nobody_elses(tmp_path):
    """L5: nor is it taken for committed because another thread's transaction is open as it ends."""
    file = connection.SqliteFile(tmp_path / "file.db", 0.2, "CREATE TABLE IF NOT EXISTS t (name)")
    begun, ended = threading.Event(), threading.Event()

    def another():
        with file.writing as sqlite:
            sqlite.execute("INSERT INTO t VALUES ('another thread')")
            begun.set()
            ended.wait(10)

    thread = threading.Thread(target=another)

    def undone():
        with file.writing as sqlite:
            sqlite.execute("INSERT INTO t VALUES ('undone')")
            with file.writing as within:
                within.execute("INSERT INTO t VALUES ('within')")
            thread.start()
            assert begun.wait(10)

    with pytest.raises(StoreUnavailable, match="in the midst of another call"):
        undone()
    ended.set()
    thread.join()
    with closing(file), file.reading as sqlite:
        assert sqlite.execute("SELECT name FROM t").fetchall() == [("within",), ("another thread",)]
