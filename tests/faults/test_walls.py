"""A reader's record of claimed time: damaged, contended for, delivered twice, and claimed from in batches."""

from __future__ import annotations

import logging
from contextlib import closing

import fakeredis
import pytest
from redis import Redis

from caliper_readtime import CorruptState, PageView, ReadTimePolicy, RedisStateStore, SqliteStateStore
from caliper_readtime._rules.state import Key
from caliper_readtime._rules.wall import NO_WALL, Stretch, Wall, beside, claimed
from caliper_readtime.stores import dump_wall, load_wall
from caliper_readtime.stores._redis import scripts
from caliper_readtime.testing._store_walls import _STRICT as STRICT
from caliper_readtime.testing._store_walls import _claim as claim
from caliper_readtime.testing._store_walls import _side_by_side as side_by_side
from caliper_readtime.testing._store_walls import _taking as taking
from tests.backends import namespace, redis_server
from tests.scenes import ANNA, BEES, OWLS, Scene

MINUTE = 60_000
JUNK = [
    "", "1", "x", "{}", "[]", "[1]", "[2,1790000000000]", "[1,9,5,6,1]", "[1,9,10,5,6]", "[1,9,10,5,0]", "[1,9,10,5]",
    "[1,9999999999999999]", "[1,9,9999999999999999,1,1]", "[1,-5]", "[1,true]", "[1,9,10,5.0,5]", '[1,9,"10",5,5]',
    "[1,9,[10,5,5]]", "[1,9", "[" * 100_000, f"[1,{'9' * 5000}]",
]  # fmt: skip


class InSqlite:
    """A store whose record can be written over."""

    def __init__(self, path):
        self.store = SqliteStateStore(path / "readtime.db")

    def put(self, text):
        with self.store._file.writing as sqlite:
            if text is None:
                sqlite.execute("DELETE FROM wall WHERE reader = 'anna'")
            else:
                sqlite.execute("UPDATE wall SET record = ? WHERE reader = 'anna'", (text,))

    def get(self):
        with self.store._file.reading as sqlite:
            return sqlite.execute("SELECT record FROM wall WHERE reader = 'anna'").fetchone()[0]


class InRedis:
    """The same."""

    def __init__(self, _path):
        self.store = RedisStateStore(fakeredis.FakeRedis())

    @property
    def name(self):
        return self.store._layout.names(Key("anna", "-")).wall

    def put(self, text):
        if text is None:
            self.store.client.delete(self.name)
        else:
            self.store.client.hset(self.name, "record", text)

    def get(self):
        return self.store.client.hget(self.name, "record").decode()


@pytest.fixture
def redis():
    """A store on a Redis of its own."""
    with closing(RedisStateStore(fakeredis.FakeRedis())) as store:
        yield store


# Written down


def test_a_record_is_short_text():
    """U5: a version, when it expires, and for each stretch its end, its length and how much was read; below 2 KB."""
    wall = Wall((Stretch(1_790_000_000_000, 1_790_000_030_000, 25_000),), 1_792_592_030_000)
    assert dump_wall(wall) == "[1,1792592030000,1790000030000,30000,25000]"
    assert load_wall(dump_wall(wall), "anna") == wall
    assert load_wall(dump_wall(NO_WALL), "anna") == NO_WALL
    full = Wall(tuple(Stretch(1_790_000_000_000 + place, 1_790_003_000_000, 9000) for place in range(64)), 2**41)
    assert len(dump_wall(full)) < 2000


@pytest.mark.parametrize("text", JUNK)
def test_what_is_no_record_is_corrupt(text):
    """T7: it names the reader, and what to do."""
    with pytest.raises(CorruptState, match=r"reader anna.*begins another one") as caught:
        load_wall(text, "anna")
    assert caught.value.reader_sourced_id == "anna"


@pytest.mark.parametrize("budget", ["measure", "enforce"])
@pytest.mark.parametrize("where", [InSqlite, InRedis])
def test_a_damaged_record_keeps_no_time_from_being_reported(where, budget, tmp_path, caplog):
    """U10: the next claim of new time begins another record, and says so once; what it holds is measured again."""
    caplog.set_level(logging.ERROR, "caliper_readtime")
    kept = where(tmp_path)
    with closing(kept.store):
        scene = Scene(lambda: kept.store)
        scene.use(policy=ReadTimePolicy(reader_budget=budget))
        scene.read(ANNA, OWLS)
        scene.tracker.partial(ANNA, OWLS)
        kept.put("junk")
        with pytest.raises(CorruptState, match="reader anna"):
            kept.store.wall("anna")
        scene.tracker.partial(ANNA, OWLS)
        assert kept.get() == "junk"
        assert not caplog.records
        for _ in range(2):
            scene.read(ANNA, BEES)
            assert scene.tracker.sweep(idle_seconds=0).seconds_sent == 30
        assert [record.getMessage().split(":")[0] for record in caplog.records] == ["claim"]
        assert "reader_sourced_id=anna resource_id=bees" in caplog.text
        assert len(kept.store.wall("anna", 0).stretches) == 2


def test_a_record_that_says_too_much_takes_no_more_than_what_is_new():
    """U10: stretches that do not fit among themselves are not this claim's fault: a total never sinks below a claim."""
    stored = load_wall("[1,9000000000000,2000,1000,1000,2000,1000,1000,2000,1000,1000]", "anna")
    assert claimed(stored, Stretch(1000, 2000, 500), 9_000_000_000_000) == (stored, 500)


def _of_another_type(client, name):
    client.delete(name)
    client.set(name, "x")


@pytest.mark.redis
@pytest.mark.parametrize("decodes", [False, True])
@pytest.mark.parametrize("put", [_of_another_type, lambda client, name: client.hset(name, "record", b"\xff\xfe")])
def test_what_is_no_record_at_all_is_replaced_on_a_real_server(put, decodes, tmp_path):
    """U10: a key of another type, and bytes that a client cannot decode, are replaced by compare-and-swap."""
    client = Redis.from_url(redis_server().url, decode_responses=decodes)
    with closing(RedisStateStore(client, namespace=namespace(tmp_path))) as store, closing(client):
        scene = Scene(lambda: store)
        name = store._layout.names(Key("anna", "-")).wall
        for what in (OWLS, BEES):
            scene.read(ANNA, what)
            assert scene.tracker.partial(ANNA, what).delta_seconds == 30
            put(client, name)
        scene.read(ANNA, OWLS)
        scene.read(ANNA, BEES)
        assert scene.tracker.flush_reader(ANNA, wait_seconds=0).seconds_sent == 60
        assert len(store.wall("anna", 0).stretches) == 2


def test_an_evicted_state_is_not_reported_twice_where_its_reader_has_a_record(redis):
    """U9: what the page tells again after the loss was read at the very times that its record holds: a leeway more."""
    scene = Scene(lambda: redis)
    scene.use(policy=ReadTimePolicy(reader_budget="enforce"))
    opened_at = scene.clock()
    for _ in range(10):
        scene.clock.advance(60)
        seconds = (scene.clock() - opened_at).total_seconds()
        scene.tracker.observe(ANNA, OWLS, PageView("view", seconds, seconds - 60), opened_at=opened_at)
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 600
    redis.client.delete(redis._layout.names(Key("anna", "owls")).state)
    scene.clock.advance(60)
    scene.tracker.observe(ANNA, OWLS, PageView("view", 660, 600), opened_at=opened_at)
    assert scene.state().unreported_seconds == 660
    assert scene.tracker.partial(ANNA, OWLS).delta_seconds == 60 + ReadTimePolicy().leeway_seconds


# Contended for


def test_another_host_claims_in_between(redis, monkeypatch):
    """U6: what was read is not what stands there any more: nothing is written, and the claim is measured anew."""
    first, second = side_by_side(redis, 2)
    run, calls = type(redis)._read, []

    def read(store, key, names, transition=None):
        found = run(store, key, names, transition)
        calls.append(key)
        if calls == [second.key]:
            claim(first)
        return found

    monkeypatch.setattr(type(redis), "_read", read)
    acquired, state = redis.update(second.key, taking("owner"), second.now)
    assert calls.count(second.key) == 2
    assert (acquired.beside_ms, state.meter.cumulative_ms) == (MINUTE, 0)


def test_a_batch_whose_reader_is_claimed_from_in_between(redis, monkeypatch):
    """U6: the first of a reader's chain meets another record, and so do all behind it: each goes alone, none twice."""
    *batch, other = side_by_side(redis, 6)
    write, done = type(redis)._write, []

    def written(store, writes):
        if len(writes) == len(batch) and not done:
            done.append(True)
            claim(other)
        return write(store, writes)

    monkeypatch.setattr(type(redis), "_write", written)
    answers = redis.update_many([(driver.key, taking("owner")) for driver in batch], other.now)
    assert [answer[0].beside_ms for answer in answers] == [MINUTE] * len(batch)
    assert sum(driver.state.meter.cumulative_ms for driver in (*batch, other)) == MINUTE
    assert beside(redis.wall("reader", other.now).stretches) == 0


def test_a_batch_of_one_reader_takes_two_trips(redis, monkeypatch):
    """U6: thirty articles of one reader are read by one script and written in one pipeline; none goes alone."""
    drivers = side_by_side(redis, 30)
    monkeypatch.setattr(redis, "update", None)
    trips, each = [], redis._redis.each
    monkeypatch.setattr(redis._redis, "each", lambda calls, *waits: trips.append(len(calls)) or each(calls, *waits))
    answers = redis.update_many([(driver.key, taking("owner")) for driver in drivers], drivers[0].now)
    assert sum(answer[0].beside_ms for answer in answers) == 29 * MINUTE
    assert trips == [1, 30]


def test_a_heartbeat_between_read_and_write_leaves_the_record_alone(redis, monkeypatch):
    """U6: a state that has moved is not written, and neither is the record that went with it."""
    first, second = side_by_side(redis, 2)
    claim(first)
    before, run = redis.wall("reader", first.now), type(redis)._write

    def written(store, writes):
        monkeypatch.setattr(type(redis), "_write", run)
        second.read(1000)
        answer = run(store, writes)
        assert answer == [False]
        assert redis.wall("reader", first.now) == before
        return answer

    monkeypatch.setattr(type(redis), "_write", written)
    acquired, _ = redis.update(second.key, taking("owner"), second.now + 1000)
    assert acquired.beside_ms == MINUTE


def test_a_write_that_is_delivered_twice(redis, monkeypatch):
    """U6: a driver repeats the script whose answer was lost: both say written, and the record is as it was left."""
    first, second = side_by_side(redis, 2)
    claim(first)
    run = redis._redis.run

    def twice(script, keys, args, key=None):
        answer = run(script, keys, args, key)
        if script is scripts.WRITE:
            left = redis.client.hgetall(redis._layout.names(second.key).wall)
            assert run(script, keys, args, key) == answer == 1
            assert redis.client.hgetall(redis._layout.names(second.key).wall) == left
        return answer

    monkeypatch.setattr(redis._redis, "run", twice)
    assert claim(second).beside_ms == MINUTE
    assert redis.wall("reader", first.now).stretches[0].ms == MINUTE


def test_a_record_outlives_its_expiry_by_no_more_than_the_grace(redis):
    """U7: Redis removes it; a reader who has gone leaves nothing."""
    (driver,) = side_by_side(redis, 1)
    claim(driver)
    left = redis.client.pttl(redis._layout.names(driver.key).wall)
    assert STRICT.state_ttl_ms < left <= STRICT.state_ttl_ms + scripts.GRACE_MS
