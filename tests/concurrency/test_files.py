"""What can be wrong with a SQLite file: StoreUnavailable, and nothing is lost by it."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import pytest

from caliper_readtime import ReadTimePolicy, ReadTimeTracker, SqliteStateStore, StoreUnavailable
from tests.concurrency.children import child
from tests.concurrency.roles import GENEROUS, tracker_on
from tests.scenes import ANNA, BEN, OWLS, WAIT_SECONDS, article


def _big(number):
    return article(f"big-{number}", title="t" * 1000)


def test_a_file_that_another_process_writes_to_without_end(tmp_path):
    """StoreUnavailable once the busy time-out is over, with SQLite's error as the cause; then it works again."""
    path = tmp_path / "readtime.db"
    with closing(SqliteStateStore(path, busy_seconds=0.2)) as store, child("holder", path=path) as holder:
        tracker = ReadTimeTracker(store, policy=ReadTimePolicy(**GENEROUS))
        holder.expect("held")
        started = time.monotonic()
        with pytest.raises(StoreUnavailable, match="locked") as caught:
            tracker.accumulate(ANNA, OWLS, 5, heartbeat_id="h")
        assert 0.15 < time.monotonic() - started < WAIT_SECONDS
        assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
        assert tracker.state(ANNA, OWLS) is None  # who only reads is not kept waiting
        holder.log()
        assert holder.result() == "let go"
        assert tracker.accumulate(ANNA, OWLS, 5, heartbeat_id="h").accepted_seconds == 5


def test_a_database_that_may_not_grow(tmp_path):
    """SQLITE_FULL in the middle of a transaction: what was stored stays, to the byte, and later it goes on."""
    tracker, store = tracker_on(tmp_path / "readtime.db")
    with closing(store):
        tracker.accumulate(ANNA, OWLS, 5)
        sqlite = store._file.connection().sqlite
        pages = sqlite.execute("PRAGMA page_count").fetchone()[0]
        sqlite.execute(f"PRAGMA max_page_count={pages}")
        stored = []
        with pytest.raises(StoreUnavailable, match="full"):
            for number in range(1000):
                tracker.accumulate(BEN, _big(number), 5)
                stored.append(number)
        kept = {state.resource_id: state for state in tracker.states(BEN)}
        assert sorted(kept) == sorted(f"big-{number}" for number in stored)
        assert tracker.accumulate(ANNA, OWLS, 5).state.cumulative_read_time_seconds == 10
        store.close()  # the limit was this connection's
        tracker.accumulate(BEN, _big(len(stored)), 5)
        assert len(tracker.states(BEN)) == len(stored) + 1


@pytest.mark.parametrize("error", [sqlite3.OperationalError("disk I/O error"), KeyboardInterrupt()], ids=["i/o", "^C"])
@pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK"])
def test_a_transaction_that_does_not_end(tmp_path, statement, error):
    """No call leaves a transaction open, which would lock everybody else out: the file is closed and opened again."""
    tracker, store = tracker_on(tmp_path / "readtime.db")
    with closing(store):
        before = tracker.accumulate(ANNA, OWLS, 5).state
        connection = store._file.connection()
        connection.cursor = Failing(connection.cursor, statement, error)
        with pytest.raises(StoreUnavailable if isinstance(error, sqlite3.Error) else KeyboardInterrupt):
            # An article that nobody knows is refused inside the transaction, which is rolled back then.
            tracker.accumulate(ANNA, OWLS if statement == "COMMIT" else "unknown", 5)
        with closing(SqliteStateStore(tmp_path / "readtime.db", busy_seconds=0.1)) as other:
            other.swept()
        assert tracker.state(ANNA, OWLS) == before
        assert tracker.accumulate(ANNA, OWLS, 5).state.cumulative_read_time_seconds == 10


class Failing:
    """A cursor on which one statement raises before it is run."""

    def __init__(self, inner, statement, error):
        self.inner, self.statement, self.error = inner, statement, error

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def execute(self, statement, *more):
        if statement == self.statement:
            raise self.error
        return self.inner.execute(statement, *more)


def test_a_file_system_that_takes_no_more(tmp_path):
    """The write-ahead log cannot grow: StoreUnavailable, the state as it was, and nothing is lost in the end."""
    with child("limited", path=tmp_path / "readtime.db") as writer:
        answer = writer.result()
    assert answer.pop("refused")
    assert answer == {"same": True, "lost": 0.0}


def test_a_file_that_may_only_be_read():
    """StoreUnavailable when it is opened, and the file is left as it is."""
    folder = Path(tempfile.mkdtemp())  # others cannot look into pytest's own
    try:
        path = folder / "readtime.db"
        tracker, store = tracker_on(path)
        tracker.accumulate(ANNA, OWLS, 5)
        store.close()
        before = path.read_bytes()
        path.chmod(0o444)
        folder.chmod(0o555)
        with child("unprivileged", path=path) as reader:
            assert reader.result() != "opened"
        assert path.read_bytes() == before
        assert [path.name for path in folder.iterdir()] == ["readtime.db"]
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def _folder(path):
    path.mkdir()


def _text(path):
    path.write_bytes(b"This is no database. " * 500)


def _torn(path):
    SqliteStateStore(path).close()
    path.write_bytes(path.read_bytes()[:5000])


def _foreign(path):
    with closing(sqlite3.connect(path)) as file:
        file.execute("CREATE TABLE state (id INTEGER)")


@pytest.mark.parametrize("make", [_folder, _text, _torn, _foreign], ids=["folder", "text", "torn", "foreign"])
def test_a_path_that_is_no_store(tmp_path, make):
    """StoreUnavailable that names the file, SQLite's error as the cause, and what is there stays as it is."""
    path = tmp_path / "readtime.db"
    make(path)
    before = None if path.is_dir() else path.read_bytes()[100:]  # the head holds SQLite's own counters
    with pytest.raises(StoreUnavailable, match=r"readtime\.db") as caught:
        SqliteStateStore(path)
    assert isinstance(caught.value.__cause__, sqlite3.Error)
    assert before is None or path.read_bytes()[100:] == before


def test_a_folder_that_does_not_exist(tmp_path):
    """StoreUnavailable: folders are not created."""
    with pytest.raises(StoreUnavailable):
        SqliteStateStore(tmp_path / "missing" / "readtime.db")
    assert not (tmp_path / "missing").exists()


def test_an_empty_file_is_a_new_store(tmp_path):
    """As ``touch`` leaves it."""
    (tmp_path / "readtime.db").touch()
    tracker, store = tracker_on(tmp_path / "readtime.db")
    with closing(store):
        assert tracker.accumulate(ANNA, OWLS, 5).accepted_seconds == 5
