"""What may stand in Redis where a state or an index should: it is named, left as it is, and the others go on."""

from __future__ import annotations

import logging
import re
from contextlib import closing

import pytest
import redis as driver

from caliper_readtime import CorruptState, Outcome, PageView, RedisStateStore, StoreUnavailable
from tests.ledger_documents import document_of, text_of
from tests.redis_scenes import VERBS, content, names_of, tracker_on
from tests.scenes import ANNA, BEES, BEN, OWLS, article

pytestmark = pytest.mark.redis

NAMES = names_of()
SHARD = NAMES.due.replace("due", "*")
READS_ONE = ("accumulate", "observe", "partial", "defer", "finalize", "state", "unpark")
WRONG = {
    "string": lambda admin, key: admin.set(key, "x"),
    "list": lambda admin, key: admin.rpush(key, "x"),
    "set": lambda admin, key: admin.sadd(key, "x"),
    "zset": lambda admin, key: admin.zadd(key, {"x": 1}),
    "hash": lambda admin, key: admin.hset(key, "x", "1"),
}


def with_neighbours(redis):
    """Half a minute that anna has read, and the same for others; the store has it all."""
    for reader, what in ((ANNA, OWLS), (ANNA, BEES), (BEN, BEES)):
        redis.read(reader, what, seconds=30)


def neighbours_arrive(redis):
    """What is wrong with one state keeps nobody else from being reported."""
    report = redis.tracker.flush_reader(ANNA)
    redis.clock.advance(60)
    swept = redis.tracker.sweep()
    assert (report.seconds_sent, swept.seconds_sent, swept.stopped_by) == (30, 30, "drained")


@pytest.mark.parametrize("kind", [kind for kind in WRONG if kind != "hash"])
def test_a_state_key_of_another_type(node, redis, kind):
    """WRONGTYPE: CorruptState that names reader and article; it stays as it is, and the others are reported."""
    with_neighbours(redis)
    node.admin.delete(NAMES.state)
    WRONG[kind](node.admin, NAMES.state)
    before = content(node.admin)
    for verb in READS_ONE:
        with pytest.raises(CorruptState, match=rf"a {kind}\b.*anna.*owls") as error:
            VERBS[verb](redis.tracker)
        assert (error.value.reader_sourced_id, error.value.resource_id) == ("anna", "owls")
    assert content(node.admin) == before
    assert [state.resource_id for state in redis.tracker.states(ANNA)] == ["bees"]
    neighbours_arrive(redis)
    assert content(node.admin)[NAMES.state] == before[NAMES.state]
    assert redis.tracker.forget(ANNA) == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [("meter", None), ("ledger", None), ("meter", "x"), ("ledger", "{}")],
)
def test_a_hash_that_is_no_state(node, redis, name, value):
    """A field is missing, or says something else: CorruptState, and the others are reported. What is wrong stays.

    A steady heartbeat, which reads no ledger, may still count on the meter before the ledger is found to be wrong.
    """
    with_neighbours(redis)
    if value is None:
        node.admin.hdel(NAMES.state, name)
    else:
        node.admin.hset(NAMES.state, name, value)
    before = content(node.admin)
    redis.store._beats.ledgers.clear()  # a process that knows the ledger does not ask for it
    for verb in READS_ONE:
        with pytest.raises(CorruptState, match=r"anna.*owls.*left as it is"):
            VERBS[verb](redis.tracker)
        after = content(node.admin)
        if verb in ("accumulate", "observe") and name != "meter" and value is not None:
            (state, lives), (old, _) = after[NAMES.state], before[NAMES.state]
            changed = {field for field in state if state[field] != old[field]}
            assert changed <= {"meter"}
            node.admin.hset(NAMES.state, mapping=old)
            after[NAMES.state] = old, lives
        assert after == before
    neighbours_arrive(redis)


@pytest.mark.parametrize("index", ["due", "idle", "parked", "reader"])
def test_an_index_key_of_another_type(node, redis, index):
    """WRONGTYPE: StoreUnavailable that says another application writes there; nothing is written, the states are whole.

    A heartbeat that does not need that index goes through.
    """
    with_neighbours(redis)
    key = getattr(NAMES, index)
    node.admin.delete(key)
    WRONG["string"](node.admin, key)
    refused = []
    for verb in VERBS:
        before = content(node.admin, SHARD)
        try:
            VERBS[verb](redis.tracker)
        except StoreUnavailable as error:
            assert "another application writes there" in str(error)
            assert content(node.admin, SHARD) == before
            refused.append(verb)
        redis.clock.advance(10)
    assert {"partial", "finalize", "defer", "forget"} <= set(refused)
    with pytest.raises(StoreUnavailable, match="another application"):
        redis.tracker.accumulate(ANNA, article("new"), 0)
    node.admin.delete(key)
    redis.tracker.accumulate(ANNA, OWLS, 0, heartbeat_id="heals")
    assert redis.tracker.finalize(ANNA, OWLS).outcome is Outcome.SENT
    assert redis.emitter.seconds(ANNA, OWLS) >= 30


def _with_schema(admin, major, minor, **more):
    ledger = document_of(admin.hget(NAMES.state, "ledger"))
    admin.hset(NAMES.state, "ledger", text_of({**ledger, "schema": [major, minor], **more}))
    meter = admin.hget(NAMES.state, "meter")
    admin.hset(NAMES.state, "meter", re.sub(r"( [0-9a-f]{16} )2 ", rf"\g<1>{major} ", meter))


def test_a_state_of_a_newer_major_schema(node, redis):
    """CorruptState for every verb, heartbeats included; it is left as it is, and the others are reported."""
    with_neighbours(redis)
    _with_schema(node.admin, 3, 0)
    before = content(node.admin)
    for verb in READS_ONE:
        with pytest.raises(CorruptState, match=r"schema 3\.0.*newer version"):
            VERBS[verb](redis.tracker)
    assert content(node.admin) == before
    neighbours_arrive(redis)
    assert content(node.admin)[NAMES.state] == before[NAMES.state]


def test_a_state_of_a_newer_minor_schema(node, redis):
    """T7: unknown fields are kept by heartbeats, in Redis or out of it, by claims and by commits."""
    with_neighbours(redis)
    _with_schema(node.admin, 2, 7, mood={"owl": ["wise"]})
    node.admin.hset(NAMES.state, "later", "kept")
    redis.read(seconds=10)
    redis.tracker.accumulate(ANNA, OWLS, 0, duration_seconds=600)
    assert redis.tracker.finalize(ANNA, OWLS).delta_seconds == 40
    assert document_of(node.admin.hget(NAMES.state, "ledger"))["mood"] == {"owl": ["wise"]}
    assert node.admin.hget(NAMES.state, "later") == "kept"


def test_a_state_that_redis_has_evicted(node, redis, caplog):
    """Its due entry tells: an error that names reader and article, once; the entry goes, and the reader starts anew."""
    with_neighbours(redis)
    node.admin.delete(NAMES.state)
    with caplog.at_level(logging.ERROR, "caliper_readtime"):
        redis.clock.advance(60)
        swept = redis.tracker.sweep()
        assert redis.tracker.sweep().reports == ()
    assert (swept.seconds_sent, swept.stopped_by, swept.more) == (60, "drained", False)
    (said,) = caplog.records
    assert "vanished" in said.message
    assert (said.reader_sourced_id, said.resource_id) == ("anna", "owls")
    assert node.admin.zscore(NAMES.idle, NAMES.member) is None
    assert redis.tracker.state(ANNA, OWLS) is None
    assert redis.tracker.accumulate(ANNA, OWLS, 10).accepted_seconds == 10
    assert redis.tracker.finalize(ANNA, OWLS).delta_seconds == 10


@pytest.mark.parametrize(
    "verb", [verb for verb in VERBS if verb not in ("sweep", "states", "status", "parked", "flush")]
)
def test_every_verb_copes_with_a_state_that_is_gone(node, redis, verb, caplog):
    """No verb fails on a due entry without a state; those that look for the state say that it has vanished."""
    with_neighbours(redis)
    node.admin.delete(NAMES.state)
    with caplog.at_level(logging.ERROR, "caliper_readtime"):
        VERBS[verb](redis.tracker)
    if verb not in ("forget", "state", "explain"):
        assert [record.resource_id for record in caplog.records] == ["owls"]
    redis.clock.advance(60)
    assert redis.tracker.forget(ANNA) == (2 if verb in ("accumulate", "observe") else 0 if verb == "forget" else 1)
    assert not [key for key in node.admin.scan_iter() if "anna" in key]
    assert [key.reader_sourced_id for key in redis.store.due(9, None, 0)] == ["ben"]


def test_listing_drops_what_is_gone(node, redis):
    """T5: listing a reader's states drops the index entry of one that is gone, and of no other."""
    with_neighbours(redis)
    node.admin.delete(NAMES.state)
    assert [key.resource_id for key in redis.store.keys(ANNA.sourced_id)] == [BEES.resource_id]
    assert node.admin.zrange(NAMES.reader, 0, -1) == [BEES.resource_id]


def test_whole_indexes_that_are_gone(node, redis):
    """D6: Due, idle and reader sets evicted: every accepting signal puts its entry back, and nothing is lost."""
    with_neighbours(redis)
    node.admin.delete(NAMES.due, NAMES.idle, NAMES.reader)
    redis.read(seconds=10)
    redis.clock.advance(60)
    redis.tracker.sweep()
    assert redis.emitter.seconds(ANNA, OWLS) == 40


def test_the_readers_index_is_put_back_by_a_steady_heartbeat(node, redis):
    """D6: the reader's set is gone: the next heartbeat by the script names its state again, for good."""
    redis.read(seconds=30)
    node.admin.delete(NAMES.reader)
    redis.read(seconds=10)
    assert node.admin.zscore(NAMES.reader, NAMES.resource) == float("inf")
    assert node.admin.pttl(NAMES.reader) == -1
    assert redis.tracker.flush_reader(ANNA).seconds_sent == 40
    assert redis.tracker.flush_reader(ANNA).settled


def test_forget_erases_what_the_index_has_lost(node, redis):
    """X4: no index names the reader's states any more: forget finds them by their own names, and no other reader's."""
    with_neighbours(redis)
    redis.tracker.flush_reader(ANNA)
    node.admin.delete(*(name for name in node.admin.scan_iter() if ":state:" not in name and name != "readtime:meta"))
    assert redis.tracker.forget(ANNA) == 2
    assert list(node.admin.scan_iter("*:state:*")) == [names_of(BEN, BEES).state]


@pytest.mark.parametrize("namespace", ["school[1]", "a*", "b?", r"c\d"])
def test_forget_looks_around_in_a_namespace_that_looks_like_a_pattern(node, namespace):
    """X4: what SCAN takes for a pattern stands for itself."""
    with closing(RedisStateStore.from_url(node.server.url, namespace=namespace)) as store:
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 30)
        node.admin.delete(*node.admin.scan_iter("*:reader:*"))
        assert tracker.forget(ANNA) == 1


def test_forget_without_the_right_to_look_around(node, caplog):
    """X4: a user without SCAN: what the index names is erased, and a warning says that no more was looked for."""
    node.admin.execute_command("ACL", "SETUSER", "reader", "on", ">pw", "~*", "+@all", "-scan")
    with closing(RedisStateStore.from_url(f"redis://reader:pw@127.0.0.1:{node.port}/0")) as store:
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 30)
        assert tracker.forget(ANNA) == 1
    assert "not every key could be looked through" in caplog.text


@pytest.mark.parametrize(("opened", "paid"), [(True, 120), (False, 60)], ids=["with a ticket", "without"])
def test_a_page_that_is_open_while_everything_is_flushed(node, redis, caplog, opened, paid):
    """X6: FLUSHALL: where the opening is known all of the page's time counts, and one warning says what happened."""
    start = redis.clock()

    def hear(total):
        view = PageView("view", total, max(0, total - 10))
        return redis.tracker.observe(ANNA, OWLS, view, opened_at=start if opened else None)

    for total in range(0, 121, 10):
        if total == 70:
            node.admin.flushall()
        state = hear(total).state
        redis.clock.advance(10)
    assert state.cumulative_read_time_seconds == paid
    (said,) = (record for record in caplog.records if "meets no state" in record.getMessage())
    assert (said.levelname, said.resource_id, said.acknowledged) == ("WARNING", "owls", 60)
    redis.clock.advance(60)
    assert redis.tracker.sweep().seconds_sent == paid


def test_a_client_that_decodes_meets_bytes_that_are_no_text(node):
    """CorruptState, whose chain does not hold the bytes: they may be an address."""
    client = driver.Redis(port=node.port, decode_responses=True)
    with closing(client), closing(RedisStateStore(client)) as store:
        tracker, _ = tracker_on(store)
        tracker.accumulate(ANNA, OWLS, 30)
        node.admin.hset(NAMES.state, "ledger", b"\xff anna@example.org")
        for verb in READS_ONE:
            with pytest.raises(CorruptState, match=r"anna.*owls") as error:
                VERBS[verb](tracker)
            found = error.value
            while found is not None:
                assert "@" not in repr(found)
                found = found.__cause__ or found.__context__
