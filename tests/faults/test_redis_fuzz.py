"""Fuzz of what is stored in Redis: whatever a hash holds, only CorruptState escapes, and nobody else loses a second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from caliper_readtime import CorruptState, MissingField
from caliper_readtime.stores._codec import LARGEST
from caliper_readtime.stores._redis.encoding import state_of
from tests.backends import redis_store
from tests.faults.bad_values import problem_text
from tests.faults.stored import KINDS, VICTIM, Stored
from tests.faults.test_fuzz import LONG_TEXT, ONE, survives, wounded

pytestmark = pytest.mark.redis
FIELDS = ("meter", "ledger")
NUMBERS = ("cumulative", "lastSync", "budget", "since", "clamped", "position")


class StoredInRedis(Stored):
    """Hashes of one namespace, by field, with their index entries."""

    def __init__(self, path, **options):
        super().__init__(lambda: redis_store(path, **options))

    @property
    def client(self):
        return self.scene.store.client

    @property
    def names(self):
        return self.scene.store._layout.names(VICTIM)

    def raw(self):
        """A hash's bytes by field, and its index entries; None where there is no hash."""
        names, client = self.names, self.client
        fields = {name.decode(): value for name, value in client.hgetall(names.state).items()}
        if not fields:
            return None
        sets = (names.due, names.member), (names.idle, names.member), (names.reader, names.resource)
        return {
            **fields,
            "sets": [(name, member, client.zscore(name, member)) for name, member in sets],
            "parked": bool(client.sismember(names.parked, names.member)),
        }

    def write(self, raw):
        """Store exactly these bytes and entries, of which no process knows anything yet."""
        self.scene.store._beats.ledgers.clear()
        names, client = self.names, self.client
        client.delete(names.state)
        client.hset(names.state, mapping={name: raw[name] for name in FIELDS if name in raw})
        for name, member, score in raw["sets"]:
            client.zrem(name, member) if score is None else client.zadd(name, {member: score})
        (client.sadd if raw["parked"] else client.srem)(names.parked, names.member)

    def readable(self):
        """Whether what is stored can be read."""
        try:
            return state_of(VICTIM, self.client.hmget(self.names.state, FIELDS)) is not None
        except CorruptState:
            return False


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """The hash that is written over, and a store that leaves every heartbeat to Python."""
    stored = StoredInRedis(tmp_path_factory.mktemp("fuzz"), native_heartbeats=False)
    yield stored
    stored.close()


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """The same with native heartbeats."""
    stored = StoredInRedis(tmp_path_factory.mktemp("native"))
    yield stored
    stored.close()


_NUMBERS = st.integers(-(2**63), -1) | st.integers(0, 10**9) | st.integers(LARGEST, 2**63 - 1) | st.just(10**40)


@st.composite
def mutated(draw, rows, fields):
    """A hash with one to three wounds."""
    raw = dict(rows[draw(st.sampled_from(sorted(rows)))])
    for _ in range(draw(st.integers(1, 3))):
        wound = draw(st.sampled_from(("structure", "text", "cut", "flip", "bytes", "number", "missing")))
        name = draw(st.sampled_from(fields))
        if wound == "number":
            # A total of years is left out: it is believed, and goes out in hundreds of events.
            number = draw(st.sampled_from(NUMBERS))
            values = _NUMBERS if number == "cumulative" else _NUMBERS | st.integers(0, LARGEST - 1)
            raw["meter"] = with_number(raw.get("meter", b""), number, draw(values))
        elif wound == "missing" or (wound == "flip" and not raw.get(name)):
            if len(raw) > len(fields):
                raw.pop(name, None)
        else:
            raw = draw(wounded(raw, name, wound, least=0))
    return raw


def with_number(meter, name, value):
    """The meter with another number."""
    words = meter.split(b" ")
    if len(words) > len(NUMBERS):
        words[NUMBERS.index(name)] = str(value).encode()
    return b" ".join(words)


def with_lists(meter, ids, lines):
    """The meter with other lists: how many of the lines are ids, and the lines."""
    first, *_ = meter.split(b"\n")
    words = first.split(b" ")
    words[len(NUMBERS)] = ids
    return b" ".join(words) + lines


def test_whatever_is_stored_only_corrupt_state_escapes_from_redis(stored):
    """T7: only CorruptState escapes, the hash stays as it was, other states are served, sweep and flush go on."""
    refused = []

    @given(mutated(stored.rows, FIELDS))
    def fuzz(raw):
        if "meter" in raw or "ledger" in raw:  # without both there is no state
            refused.append(not survives(stored, raw))

    fuzz()
    assert any(refused)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", NUMBERS)
def test_a_number_that_fits_is_believed(stored, number, kind):
    """A wound that leaves a state that can be read: it is served as it is."""
    row = stored.rows[kind]
    assert survives(stored, {**row, "meter": with_number(row["meter"], number, 7_000)})


def heartbeats_survive(native, raw):
    """Every kind of heartbeat, natively, on a victim with this hash. Returns whether the hash can be read.

    The script reads neither the ledger nor a whole list, so it cannot see all that is wrong with them: it may count the
    time before Python says CorruptState. What is wrong stays for whoever mends it, and the time with it.
    """
    tracker, _ = native.begin(raw)
    readable = native.readable()
    for verb in ("accumulate", "accumulate-ids", "observe"):
        native.write(raw)
        try:
            ONE[verb](tracker)
        except (CorruptState, MissingField) as error:
            assert isinstance(error, CorruptState) != readable, verb
            assert all("@" not in said and len(said) < LONG_TEXT for said in problem_text(error))
        else:
            assert readable, verb
        if not readable:
            assert not native.readable(), verb
            assert native.raw().get("ledger") == raw.get("ledger"), verb
    return readable


def test_no_heartbeat_mends_or_breaks_a_state(native):
    """T4, T7: fuzz with native heartbeats: CorruptState or the state as it is; what is wrong stays wrong."""
    seen = {True: 0, False: 0}

    @given(mutated(native.rows, FIELDS))
    def fuzz(raw):
        if "meter" in raw or "ledger" in raw:
            seen[heartbeats_survive(native, raw)] += 1

    fuzz()
    for whole in native.rows.values():  # few wounds leave a state that can be read
        seen[heartbeats_survive(native, whole)] += 1
    assert min(seen.values()) > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("side", ["stored", "native"])
def test_what_is_whole_can_be_read_in_redis(side, kind, request):
    """The hashes that are written over are good before."""
    stored = request.getfixturevalue(side)
    assert survives(stored, stored.rows[kind])


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("kind", ["unreported", "parked"])
def test_a_missing_field_is_corrupt(stored, native, kind, field):
    """A hash of which a field is gone is no state."""
    for side in (stored, native):
        raw = {name: value for name, value in side.rows[kind].items() if name != field}
        assert not survives(side, raw)


@pytest.mark.parametrize("number", NUMBERS)
@pytest.mark.parametrize("value", [-1, LARGEST, 2**63 - 1, 2**63, 10**40, "1.5", "1e3", "nan", "0x10", "", " 1", "٣"])
def test_numbers_of_a_meter_that_cannot_be(stored, native, number, value):
    """A meter's number that no clock and no reader can have made is not counted with, by Python or by the script."""
    for side in (stored, native):
        raw = side.rows["unreported"]
        meter = with_number(raw["meter"], number, value)
        if (number, value) in {
            ("position", ""),
            ("clamped", LARGEST),
        }:  # none; mistakes are clamped for as long as they go on
            continue
        assert not survives(side, {**raw, "meter": meter})


@pytest.mark.parametrize("nonce", [b"", b"0" * 15, b"0" * 17, b"0" * 15 + b"g", b"ABCDEF0123456789"])
def test_a_nonce_of_another_length_is_corrupt(stored, native, nonce):
    """Sixteen hex digits name a write, whoever reads the meter; of either case."""
    for side, lives in ((stored, survives), (native, heartbeats_survive)):
        row = side.rows["unreported"]
        first, line, lists = row["meter"].partition(b"\n")
        fields = first.split(b" ")
        fields[7] = nonce
        assert lives(side, {**row, "meter": b" ".join(fields) + line + lists}) == (nonce == b"ABCDEF0123456789")


@pytest.mark.parametrize(
    "lines",
    [
        b"", b"\n", b"x", b"\nx\n", b"\nv\t\n", b"\nv\t1\nw\n", b"\nv\t1.5\n", b"\t\n", b"\n\t\n", b"\nv\t-1\n",
        b"\n\xff\n", b"\nw\t1\nv\n", b"\nv\t1", b"\nv\t\xd9\xa3\n", b"\nv\t1\n\n",
        b"\nv\t" + b"9" * 5000 + b"\n",
    ],
)  # fmt: skip
def test_torn_views_are_corrupt_in_redis(stored, native, lines):
    """Views stand in lines of an id and a total each, and a meter ends with a line's end."""
    for side, lives in ((stored, survives), (native, heartbeats_survive)):
        row = side.rows["unreported"]
        wound = with_lists(row["meter"], b"0", lines)
        assert lives(side, {**row, "meter": wound}) == (lines == b"\n")  # none at all


@pytest.mark.parametrize(
    ("ids", "lines"),
    [
        (b"", b"\n"), (b"x", b"\n"), (b"2", b"\na\n"), (b"1", b"\na"), (b"0", b"\na\n"), (b"1", b"\n\xff\n"),
        (b"-1", b"\n"), (b"16", b"\na\n"), (b"1", b"\n"), (b"001", b"\na\n"), (b"2", b"\nv\t1\na\n"),
        (b"1", b"\na\nv\t1\n"), (b"1", b"\nv\t1\n"), (b"100", b"\n" + b"a\n" * 100),
    ],
)  # fmt: skip
def test_torn_heartbeats_are_corrupt_in_redis(stored, native, ids, lines):
    """Heartbeat ids come with their number, behind the views."""
    for side, lives in ((stored, survives), (native, heartbeats_survive)):
        row = side.rows["unreported"]
        assert not lives(side, {**row, "meter": with_lists(row["meter"], ids, lines)})


@pytest.mark.parametrize("cut", [0.0, 0.3, 0.7, 0.999])
def test_a_torn_ledger_is_corrupt_in_redis(stored, native, cut):
    """A ledger that ends too early is not half a ledger."""
    for side, lives in ((stored, survives), (native, heartbeats_survive)):
        for raw in side.rows.values():
            assert not lives(side, {**raw, "ledger": raw["ledger"][: int(len(raw["ledger"]) * cut)]})
