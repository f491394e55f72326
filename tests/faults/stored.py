"""States of every kind, and what writes over what is stored of one; SQLite's here, Redis' with its tests."""

from __future__ import annotations

import copy

import attrs
import pytest

from caliper_readtime import Article, Course, EmitterUnavailable, EventRejected, Reader
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._sqlite.store import SqliteStateStore
from caliper_readtime.testing import RecordingEmitter
from tests.ledger_documents import document_of, text_of
from tests.scenes import ANNA, BEES, BEN, OWLS, Scene, article

VICTIM = Key("anna", "owls")
NEWS = article("news")
TEXTS = ("views", "heartbeats", "ledger")
NUMBERS = ("cumulative_ms", "last_sync_at_ms", "budget_ms", "since_at_ms", "clamped_ms", "position_ms")
COLUMNS = (*NUMBERS, *TEXTS, "due_at_ms", "soft", "expires_at_ms", "parked")
_MOST_CALLS = 60


class Endless(BaseException):
    """A verb has sent so much that it would never end."""


class Counting(RecordingEmitter):
    """Accepts everything, and ends what would go on for ever."""

    def emit(self, events, /):
        if len(self.batches) > _MOST_CALLS:
            raise Endless
        super().emit(events)


class Killed(BaseException):
    """The process dies while it sends."""


class Stored:
    """A store with a victim, of which what is stored is written over, and two healthy states beside it.

    Attributes:
        scene: a tracker on that store.
        rows: what is stored of a victim of each kind.
    """

    def __init__(self, make_store):
        self.scene = Scene(make_store)
        self.rows = {}
        for kind, make in KINDS.items():
            make(self.scene)
            self.rows[kind] = self.raw()
            self.scene.tracker.forget(ANNA)
        self.scene.clock.advance(5)

    def raw(self):
        """What is stored of the victim; None where nothing is."""
        raise NotImplementedError

    def write(self, raw):
        """Store exactly this of the victim."""
        raise NotImplementedError

    def begin(self, raw):
        """A fresh start: the victim as given, and two states with 30 unreported seconds; returns the tracker."""
        emitter = Counting()
        tracker = self.scene.another(emitter)
        tracker.forget(BEN)
        tracker.forget(ANNA)
        for reader, what in ((ANNA, NEWS), (BEN, BEES)):
            self.scene.read(reader, what, tracker=tracker)
        self.write(raw)
        return tracker, emitter

    def close(self):
        self.scene.store.close()


class StoredInFile(Stored):
    """Rows of one SQLite file, by column."""

    def __init__(self, path):
        super().__init__(lambda: SqliteStateStore(path / "readtime.db"))

    @property
    def sqlite(self):
        return self.scene.store._file.connection().sqlite

    def raw(self):
        columns = [f"CAST({name} AS BLOB)" if name in TEXTS else name for name in COLUMNS]
        query = f"SELECT {', '.join(columns)} FROM state WHERE reader = ? AND resource = ?"  # noqa: S608 - constants
        row = self.sqlite.execute(query, VICTIM).fetchone()
        return None if row is None else dict(zip(COLUMNS, row, strict=True))

    def write(self, raw):
        marks = ["CAST(? AS TEXT)" if name in TEXTS else "?" for name in COLUMNS]
        self.sqlite.execute(
            f"INSERT OR REPLACE INTO state (reader, resource, {', '.join(COLUMNS)})"  # noqa: S608 - constants
            f" VALUES (?, ?, {', '.join(marks)})",
            (*VICTIM, *(raw[name] for name in COLUMNS)),
        )


def _fails(scene, error):
    scene.emitter.fail(error)
    with pytest.raises(type(error)):
        scene.tracker.partial(ANNA, OWLS)


def _unreported(scene):
    scene.read(ANNA, OWLS)
    scene.tracker.accumulate(ANNA, OWLS, 1, position_seconds=5, duration_seconds=600, heartbeat_id="beat")


def _settled(scene):
    _unreported(scene)
    scene.tracker.finalize(ANNA, OWLS)


def _claimed(scene):
    scene.read(ANNA, OWLS)
    _fails(scene, Killed())


def _released(scene):
    scene.read(ANNA, OWLS)
    _fails(scene, EmitterUnavailable("down"))


def _parked(scene):
    scene.read(ANNA, OWLS)
    _fails(scene, EventRejected("no", status=422))
    _unreported(scene)


def _full(scene):
    for _ in range(9):
        scene.read(ANNA, OWLS)
        _fails(scene, EventRejected("no", status=422))


def _everything(scene):
    scene.read(ANNA, attrs.evolve(OWLS, course=Course("Birds", "birds"), subject="Science"))
    _fails(scene, EventRejected("no", status=422))
    scene.read(ANNA, OWLS)
    scene.tracker.finalize(ANNA, OWLS, defer=True)
    scene.tracker.accumulate(Reader("anna", "new@example.org"), Article("owls", "Owls", "https://o.example/"), 0)
    scene.clock.advance(30)
    scene.tracker.accumulate(ANNA, OWLS, 30, duration_seconds=600)
    _fails(scene, EmitterUnavailable("down"))


KINDS = {
    "unreported": _unreported,
    "settled": _settled,
    "claimed": _claimed,
    "released": _released,
    "parked": _parked,
    "full": _full,
    "everything": _everything,
}


def ledger_of(raw):
    """A row's ledger as a document."""
    return document_of(raw["ledger"].decode())


def with_ledger(raw, document):
    """The row with another ledger."""
    return {**raw, "ledger": text_of(document).encode(errors="surrogatepass")}  # what no writer of ours leaves


def paths(document, path=()):
    """Every place in a document, the document itself apart."""
    pairs = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    for name, value in pairs:
        yield (*path, name)
        yield from paths(value, (*path, name))


def replaced(document, path, *value):
    """A copy with another value at a place, or without it."""
    document = copy.deepcopy(document)
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    if value:
        inner[path[-1]] = value[0]
    else:
        del inner[path[-1]]
    return document
