"""What hosts pass in by mistake or on purpose, by kind, and how a refusal must look."""

from __future__ import annotations

import math
import time
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from caliper_readtime import InMemoryStateStore, InvalidInput
from caliper_readtime._units import MAX_SECONDS
from caliper_readtime.stores._codec import dump_ledger
from caliper_readtime.stores._redis.store import RedisStateStore

HUGE = 10**400
LONG = "x" * 10_000_000
LONGEST_MESSAGE = 250
LONGEST_REFUSAL_SECONDS = 0.5  # of this thread's own work: a busy machine changes nothing

NOTHING = {"none": None, "empty": ""}
NOT_TEXT = {
    "int": 5,
    "true": True,
    "false": False,
    "float": 1.5,
    "nan": math.nan,
    "inf": math.inf,
    "minus-inf": -math.inf,
    "negative": -1,
    "huge": HUGE,
    "list": ["a"],
    "empty-list": [],
    "dict": {"a": "b"},
    "tuple": ("a",),
    "set": {"a"},
    "bytes": b"anna",
    "object": object(),
    "class": str,
    "exception": ValueError("a"),
}
BAD_TEXT = {
    "10-mb": LONG,
    "10-mb-url": "https://example.org/" + LONG,
    "nul": "a\x00b",
    "newline": "anna\n",
    "tab": "a\tb",
    "escape": "a\x1bb",
    "separator": "a\x1fb",
    "delete": "a\x7fb",
    "c1": "a\x85b",
    "high-surrogate": "a\ud800b",
    "low-surrogate": "\udfff",
    "blank": "   ",
    "unicode-blank": "\u2003\u00a0",
}
BAD_ID = {
    "256-characters": "i" * 256,
    "url-without-host": "https:///users/anna",
    "url-with-blank": "https://example.org/a b",
    "url-bad-percent": "https://example.org/%zz",
    "url-bad-port": "https://example.org:99999/x",
    "url-of-2049": "https://example.org/" + "x" * 2029,
    "url-that-names-none": "https://roster.example.org/",
    "url-not-utf-8": "https://roster.example.org/users/%ff",
    "url-of-control": "https://roster.example.org/users/%00",
    "url-of-blank": "https://roster.example.org/users/%20",
    "url-of-long-id": "https://roster.example.org/users/" + "x" * 256,
}
BAD_URL = {
    "no-scheme": "canary.example/page",
    "path": "/page",
    "network-path": "//canary.example/page",
    "no-authority": "mailto:anna@canary.example",
    "urn": "urn:uuid:7c0d6f0e-6f8a-4e0c-9d0a-3f8f5b0f2a11",
    "no-host": "https://",
    "port-alone": "https://:443/",
    "user-alone": "https://anna@/",
    "blank-inside": "https://canary.example/a b",
    "blank-before": " https://canary.example/",
    "angle": "https://canary.example/<a>",
    "backslash": "https://canary.example\\a",
    "bad-percent": "https://canary.example/%2",
    "bad-port": "https://canary.example:port/",
    "open-bracket": "https://[::1/",
    "two-users": "https://a@b@canary.example/",
    "2049-characters": "https://canary.example/" + "x" * 2026,
}
BAD_EMAIL = {
    "no-at": "anna.example.org",
    "no-local": "@example.org",
    "no-domain": "anna@",
    "two-ats": "anna@home@example.org",
    "blank-inside": "an na@example.org",
    "display-name": "Anna <anna@example.org>",
    "hyphen-first": "anna@-example.org",
    "empty-label": "anna@example..org",
    "dot-last": "anna@example.org.",
    "underscore": "anna@ex_ample.org",
    "unicode": "änna@example.org",
    "idn": "anna@exämple.org",
    "two": "anna@example.org,ben@example.org",
    "321-characters": "a" * 309 + "@example.org",
}
BAD_SECONDS = {
    **{kind: value for kind, value in NOT_TEXT.items() if kind not in ("int", "float")},
    "text": "5",
    "empty": "",
    "10-mb": LONG,
    "above-10-years": MAX_SECONDS + 1,
    "just-below-zero": -5e-324,
    "huge-fraction": Fraction(HUGE),
    "decimal": Decimal(5),
    "complex": 5 + 0j,
    "timedelta": timedelta(seconds=5),
}
BAD_MOMENT = {
    **{kind: value for kind, value in NOT_TEXT.items() if kind != "none"},
    "empty": "",
    "iso-text": "2026-03-02T08:00:00Z",
    "10-mb": LONG,
    "naive": datetime(2026, 3, 2, 8, 0),  # noqa: DTZ001 - that is the point
    "date": date(2026, 3, 2),
    "time": datetime(2026, 3, 2, 8, 0, tzinfo=UTC).timetz(),
}
BAD_COUNT = {
    **{kind: value for kind, value in NOT_TEXT.items() if kind != "int"},
    "none": None,
    "text": "5",
    "zero": 0,
    "real": 5.0,
    "beyond-64-bits": 2**63,
}
WIRED = {**NOTHING, **NOT_TEXT, **BAD_TEXT}  # bad wherever text is needed
GOOD_IDS = (
    "a:b",
    "{a}",
    "a{b}c",
    "a|b",
    "a/b",
    "/",
    "..",
    ".",
    "a?b=c&d",
    "a#b",
    "a%2Fb",
    "100%",
    "a b",
    "a'b\"c",
    "a\\b",
    "a@school.test",
    "0",
    "None",
    "*",
    "ünïcødé",
    "読者",
    "قارئ",
    "👩‍🏫",
    "e\u0301",
    "\u00e9",
    "a\u202eb",
    "i" * 255,
    "読" * 255,
    "urn:uuid:1",
    "https://elsewhere.example.org/users/a?b#c",
    "<script>",
    "'; DROP TABLE state; --",
)


def problem_text(error):
    """Everything that an error and what stands behind it say."""
    said = []
    while error is not None:
        said += [str(error), repr(error)]
        error = error.__cause__ or error.__context__
    return said


@contextmanager
def refused(kind, field, value=None, says=""):
    """The body must raise this kind of error, soon, naming the field, in few words that do not quote the value."""
    started = time.thread_time()
    with pytest.raises(kind) as caught:
        yield
    assert time.thread_time() - started < LONGEST_REFUSAL_SECONDS
    error = caught.value
    assert str(error).startswith(field), str(error)[:LONGEST_MESSAGE]
    assert says in str(error)
    if isinstance(error, InvalidInput):
        assert error.field == field
    for said in problem_text(error):
        assert len(said) < LONGEST_MESSAGE
        assert "@" not in said
    if isinstance(value, str) and len(value.strip()) > 8:
        assert not any(value in said for said in problem_text(error))


def contents(store):
    """Everything that a store holds, as bytes where it is bytes that it holds."""
    if isinstance(store, InMemoryStateStore):
        states = {key: (*state.meter, dump_ledger(state.ledger)) for key, state in store._states.items()}
        readers = {reader: tuple(keys) for reader, keys in store._readers.items()}
        return states, readers, dict(store._due.entries), tuple(store._parked), dict(store._meta), store._swept
    if isinstance(store, RedisStateStore):
        keys = sorted(store.client.scan_iter(f"{store._layout.namespace}:*"))
        return {key: (store.client.dump(key), store.client.pexpiretime(key)) for key in keys}
    sqlite = store._file.connection().sqlite
    rows = sqlite.execute("SELECT rowid, * FROM state ORDER BY rowid").fetchall()
    return rows, sqlite.execute("SELECT * FROM meta ORDER BY name").fetchall()
