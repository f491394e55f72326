"""The store contract on Redis: by every kind of client, with and without native heartbeats, and on fakeredis."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import closing, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import ClassVar

import pytest
import redis
from fakeredis import FakeRedis, FakeServer

from caliper_readtime import ConfigurationError, CorruptState, ReadTimePolicy, RedisStateStore, StoreUnavailable
from caliper_readtime._rules.state import Key
from caliper_readtime.stores._codec import FINGERPRINT, fingerprint
from caliper_readtime.stores._redis import scripts
from caliper_readtime.stores._redis.encoding import meter_text
from caliper_readtime.testing._redis_server import RedisServer
from caliper_readtime.testing._store_contract import StateStoreContract
from caliper_readtime.testing._store_driver import CENTURY, NOW, POLICY, SECOND, Look, StoreDriver, empty_state, take
from tests.backends import namespace, redis_server, redis_store
from tests.contract.unreadable import refused

ROOT = Path(__file__).parents[2]
SCRIPTS = [script for script in vars(scripts).values() if isinstance(script, scripts.Script)]


class RedisContract(StateStoreContract):
    """What all of them share. ``make`` returns one more store on the states of the test's folder."""

    @pytest.fixture
    def make(self, tmp_path):
        return lambda: redis_store(tmp_path)

    @pytest.fixture
    def store(self, make):
        with closing(make()) as store:
            yield store

    @pytest.fixture
    def reopen(self, make):
        return make

    @pytest.fixture
    def lose_due(self, store):
        def lose():
            for shard in store._layout.shards:
                store.client.delete(*store._layout.index(shard)[:2])

        return lose


@pytest.mark.redis
class TestRedisStateStore(RedisContract):
    """From a URL: the store holds connections of its own."""

    def test_a_state_that_cannot_be_read_is_left_as_it_is(self, store):
        """T7: CorruptState is never overwritten: every verb names it, none touches it, others are unharmed."""
        driver, other = StoreDriver(store).read().park().read(), StoreDriver(store, Key("reader", "other")).read()
        name = store._layout.names(driver.key).state
        whole = store.client.hgetall(name)
        torn = {**whole, b"ledger": whole[b"ledger"][:-9]}
        store.client.hset(name, mapping=torn)
        for verb in refused(store, driver):
            error, answer = store.update_many([(driver.key, verb), (other.key, Look())], driver.now)
            assert isinstance(error, CorruptState)
            assert answer[1] == other.state
        with pytest.raises(CorruptState):
            store.load(driver.key, driver.now)
        assert set(store.keys("reader", driver.now)) == set(store.due(10, driver.now)) == {driver.key, other.key}
        store.swept(NOW + CENTURY)
        other.read().settle()
        assert store.client.hgetall(name) == torn
        store.client.hset(name, mapping=whole)
        StoreDriver(store, now=driver.now).read().unpark().settle()

    def test_what_has_expired_goes_by_itself(self, store):
        """X2: Redis removes a settled state some time after nobody sees it any more; what is unreported stays."""
        settled, unreported = (StoreDriver(store, Key("reader", name)).read() for name in ("settled", "unreported"))
        settled.settle()
        grace = scripts.GRACE_MS
        ttl = POLICY.state_ttl_ms + grace
        names = store._layout.names
        assert ttl - 60 * SECOND < store.client.pttl(names(settled.key).state) <= ttl
        assert store.client.pttl(names(unreported.key).state) == store.client.pttl(names(settled.key).reader) == -1
        unreported.settle()
        assert ttl - 60 * SECOND < store.client.pttl(names(settled.key).reader) <= ttl
        settled.read()
        assert store.client.pttl(names(settled.key).state) == -1  # HSET alone would have kept the old one

    def test_another_number_of_shards_is_refused(self, store, tmp_path):
        """T6: changing ``shards`` cannot orphan time: a ConfigurationError before anything is read."""
        store.meta({})
        with closing(redis_store(tmp_path, shards=4)) as other, pytest.raises(ConfigurationError, match="shards"):
            other.meta({})

    def test_a_namespace_of_another_schema_is_refused(self, store):
        """T6: a newer major version has written here: ConfigurationError before anything is read or written."""
        store.meta({})
        store.client.hset(store._layout.meta, "schema", "3")
        with pytest.raises(ConfigurationError, match="schema"):
            store.meta({})

    def test_everything_of_a_reader_goes(self, store):
        """X4: after a deletion no key of any kind names the reader."""
        drivers = [StoreDriver(store, Key(reader, "a")).read() for reader in ("gone", "stays")]
        drivers[0].park().read().take()
        store.delete("gone")
        left = [key.decode() for key in store.client.scan_iter(f"{store._layout.namespace}:*")]
        assert not [key for key in left if "gone" in key]
        assert [key for key in left if key.endswith("state:stays:a")]
        for shard in store._layout.shards:
            for index in store._layout.index(shard):
                members = store.client.zrange(index, 0, -1) if store.client.type(index) == b"zset" else ()
                assert not [member for member in members if b"gone" in member]


@pytest.mark.redis
class TestWithoutNativeHeartbeats(RedisContract):
    """Every heartbeat by compare-and-swap with the pure transition."""

    @pytest.fixture
    def make(self, tmp_path):
        return lambda: redis_store(tmp_path, native_heartbeats=False)


@contextmanager
def passed_in(**options):
    """A client of the host's own."""
    server = redis_server()
    client = redis.Redis(host=server.host, port=server.port, socket_timeout=10, **options)
    try:
        yield client
    finally:
        client.close()


@pytest.mark.redis
class TestPassedInClient(RedisContract):
    """A client that the host uses as well: the store holds none of its connections."""

    options: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def make(self, tmp_path):
        with passed_in(**self.options) as client:
            yield lambda: RedisStateStore(client, namespace=namespace(tmp_path))

    def test_closing_the_store_leaves_the_client_open(self, store):
        """Whoever made a client closes it: no connection of its pool is closed with the store."""
        store.client.ping()
        connections = store.client.client_list()
        store.close()
        assert {one["id"] for one in store.client.client_list()} >= {one["id"] for one in connections}


@pytest.mark.redis
class TestDecodingClient(TestPassedInClient):
    """A client with ``decode_responses=True``."""

    options: ClassVar[dict[str, object]] = {"decode_responses": True}


@pytest.mark.redis
class TestDecodingResp2Client(TestPassedInClient):
    """The older wire protocol, which answers with fewer types."""

    options: ClassVar[dict[str, object]] = {"decode_responses": True, "protocol": 2}


@pytest.mark.redis
class TestResp3Client(TestPassedInClient):
    """The newer wire protocol, which answers with more types."""

    options: ClassVar[dict[str, object]] = {"protocol": 3}


class TestFakeRedis(RedisContract):
    """fakeredis[lua], for hosts' unit tests: no server anywhere."""

    options: ClassVar[dict[str, object]] = {}

    @pytest.fixture
    def make(self):
        server = FakeServer()
        return lambda: RedisStateStore(FakeRedis(server=server, **self.options))


class TestDecodingFakeRedis(TestFakeRedis):
    """The same with ``decode_responses=True``."""

    options: ClassVar[dict[str, object]] = {"decode_responses": True}


RIGHTS = re.search(r"(?m)^ACL (SETUSER .*)$", (ROOT / "docs" / "how-to" / "redis.md").read_text(encoding="utf-8"))[1]


@pytest.fixture(scope="module")
def guarded():
    """A server with a user who has exactly the rights that the manual says suffice."""
    with RedisServer({"appendonly": "yes"}) as server, closing(redis.Redis(port=server.port)) as admin:
        rights = RIGHTS.split()
        if int(admin.info("server")["redis_version"].split(".")[0]) > 7:
            rights.append("+waitaof")
        admin.execute_command("ACL", *rights)
        yield server, admin


@pytest.mark.redis
class TestWithTheRightsOfTheManual(RedisContract):
    """A user whose ACL is the manual's, word for word, claims that wait included."""

    @pytest.fixture
    def make(self, guarded):
        server, admin = guarded
        admin.flushall()
        admin.script_flush()
        url = f"redis://readtime:a-password@{server.host}:{server.port}/0"
        return lambda: RedisStateStore.from_url(url, timeout_seconds=10)

    @pytest.fixture
    def lose_due(self, guarded, store):
        def lose():
            for shard in store._layout.shards:
                guarded[1].delete(*store._layout.index(shard)[:2])

        return lose

    def test_what_the_store_tells_an_operator(self, store):
        """Doctor reads INFO; without CONFIG it does without."""
        (facts,) = store.info().values()
        assert facts["aof_enabled"] == 1

    def test_claims_that_wait(self, store, guarded):
        """WAIT is allowed: without a replica a claim is not sent."""
        store.claim_replicas = 1
        store.claim_wait_seconds = 0.05
        driver = StoreDriver(store).read()
        with pytest.raises(StoreUnavailable, match="0 of 1 replicas"):
            store.update(driver.key, take("owner"), driver.now)
        assert driver.claim.owner is None

    def test_other_keys_and_commands_are_refused(self, store, guarded):
        """What is not in the rules is a StoreUnavailable that names the ACL; nothing is written, and no key is seen."""
        server, admin = guarded
        url = f"redis://readtime:a-password@{server.host}:{server.port}/0"
        with closing(RedisStateStore.from_url(url, namespace="another")) as other:
            for call in (lambda: StoreDriver(other).beat(0), lambda: other.keys("reader"), lambda: other.due(1)):
                with pytest.raises(StoreUnavailable, match="ACL"):
                    call()
        with pytest.raises(redis.exceptions.NoPermissionError):
            store.client.flushall()
        assert admin.dbsize() == 0


def test_the_rights_of_the_manual_are_no_wider_than_needed():
    """Each command that the manual allows is one that a script or the store itself uses."""
    called = {word for script in SCRIPTS for word in re.findall(r"'([A-Z]{3,})'", script.text)}
    itself = {
        "EVAL",
        "EVALSHA",
        "TIME",
        "TYPE",
        "HGET",
        "HSET",
        "ZRANGE",
        "SCAN",
        "ZSCAN",
        "SSCAN",
        "WAIT",
        "INFO",
        "SELECT",
    }
    allowed = {word[1:].upper() for word in RIGHTS.split() if word.startswith("+")}
    assert allowed == (called | itself) - {"LIMIT", "WITHSCORES"}


WITHOUT_HIREDIS = """
import sys
sys.modules["hiredis"] = None  # importing it fails, as where it is not installed
import pytest
from redis.utils import HIREDIS_AVAILABLE
from caliper_readtime.stores._redis import sending
assert not HIREDIS_AVAILABLE and sending.pack_command is None
# The package was imported before pytest could rewrite its plugin's assertions, which has none.
sys.exit(pytest.main(["-W", "ignore::pytest.PytestAssertRewriteWarning", *sys.argv[1:]]))
"""


@pytest.mark.redis
def test_without_hiredis():
    """The driver's own parser and packer serve as well: the whole contract in a process that cannot import hiredis."""
    here = f"{Path(__file__).relative_to(ROOT)}::{TestRedisStateStore.__name__}"
    command = [sys.executable, "-c", WITHOUT_HIREDIS, "-q", "-p", "no:cacheprovider", "-p", "no:cov", here]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert int(re.search(r"(\d+) passed", ran.stdout)[1]) > 40
    assert "skipped" not in ran.stdout


LUA = sorted(
    (file for file in (files("caliper_readtime.stores._redis") / "lua").iterdir() if file.name.endswith(".lua")),
    key=lambda file: file.name,
)


@pytest.mark.parametrize("file", LUA, ids=lambda file: file.name)
def test_every_script_has_its_header(file):
    """Each script says what it does, and names every key with its type, every argument and the reply."""
    text = file.read_text(encoding="utf-8")
    header = text[: re.search(r"(?m)^(?!--)", text).start()]
    code = text[len(header) :]
    assert re.match(r"-- [A-Z].*[^ ]", header)
    for number in sorted({*re.findall(r"KEYS\[(\d+)\]", code)}):
        assert re.search(rf"(?m)^-- KEYS\[{number}(\.\.\.)?\] +\w+ +(hash|zset|set)\b", header), f"KEYS[{number}]"
    for number in sorted({*re.findall(r"ARGV\[(\d+)\]", code)}):
        assert re.search(rf"(?m)^-- ARGV\[{number}(\.\.\.)?\] +\S", header), f"ARGV[{number}]"
    assert re.search(r"(?m)^-- KEYS\[", header)
    assert re.search(r"(?m)^-- ARGV", header)
    assert re.search(r"(?m)^-- Reply: \S", header)


def test_limits_in_scripts_come_from_python():
    """No script states a limit of the rules: names after a dollar sign are all known, all used, and put in."""
    used = set()
    for file in LUA:
        code = re.sub(r"(?m)--.*$|(KEYS|ARGV)\[\d+\]", "", file.read_text(encoding="utf-8"))
        used |= set(re.findall(r"\$([A-Z_]+)", code))
        numbers = {int(number) for number in re.findall(r"(?<![\w.])\d{2,}", code)}
        script = getattr(scripts, file.name.removesuffix(".lua").upper())
        # 1000 makes milliseconds of TIME's seconds; write.lua's fields begin at 12, or behind a record.
        assert numbers <= {"write": {12, 15}}.get(script.name, {1000}), file.name
        assert not re.search(r"\$[A-Z]|--", script.text)
    assert used == {*scripts._VALUES, *scripts.policy_values(POLICY)}
    assert {script.name for script in SCRIPTS} == {file.name.removesuffix(".lua") for file in LUA}


def test_the_heartbeat_script_looks_where_python_writes():
    """Behind the first numbers of a meter stand two fingerprints of one length each, and then what is seldom needed."""
    state = empty_state()
    first = meter_text(state, state.due, state.expires_at_ms, "0123456789abcdef").partition("\n")[0]
    found = re.fullmatch(r"(?:\d+ ){5}\d* \d+ 0123456789abcdef 2 \d+ \d* (.*)", first)[1]
    assert found[:FINGERPRINT] == fingerprint(state.ledger.context.article)
    assert found[FINGERPRINT + 1 : 2 * FINGERPRINT + 1] == fingerprint(state.ledger.context.reader)
    assert re.fullmatch(r"\d* \d* \d* \d+ \d* \d*", found[2 * FINGERPRINT + 2 :])


def test_a_policy_s_numbers_stand_in_the_heartbeat_script():
    """Two policies have two scripts, and what differs is what the heartbeat's rule reads of a policy."""
    usual, other = (
        ReadTimePolicy(),
        ReadTimePolicy(
            leeway_seconds=1.5,
            catch_up_seconds=7,
            max_delta_seconds=None,
            completion_ratio=1,
            completion_dwell_seconds=9,
        ),
    )
    assert scripts.beat(ReadTimePolicy()) is scripts.BEAT
    assert scripts.beat(other).digest != scripts.beat(usual).digest
    assert scripts.policy_values(other) == {
        "CATCH_UP": "7000", "MOST": "math.huge", "LEEWAY": "1500", "RATIO": "1.0", "DWELL": "9000", "PACE": "false"
    }  # fmt: skip
    assert scripts.beat(ReadTimePolicy(lock_seconds=60)).digest == scripts.BEAT.digest


def test_numbers_that_say_their_own_name_are_plain_in_the_script():
    """A float such as numpy's is written as Lua reads it: otherwise no heartbeat of that policy would be counted."""

    class Named(float):
        def __repr__(self):
            return f"np.float64({float(self)})"

    named = ReadTimePolicy(completion_ratio=Named(0.75), completion_words_per_minute=Named(200))
    assert scripts.policy_values(named) == scripts.policy_values(
        ReadTimePolicy(completion_ratio=0.75, completion_words_per_minute=200)
    )


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"namespace": ""}, "namespace"),
        ({"namespace": "a{b"}, "namespace"),
        ({"namespace": "a b"}, "namespace"),
        ({"namespace": "x" * 65}, "namespace"),
        ({"namespace": None}, "namespace"),
        ({"shards": 0}, "shards"),
        ({"shards": 1025}, "shards"),
        ({"shards": True}, "shards"),
        ({"shards": 1.5}, "shards"),
        ({"claim_replicas": -1}, "claim_replicas"),
        ({"claim_replicas": True}, "claim_replicas"),
        ({"claim_wait_seconds": 0}, "claim_wait_seconds"),
        ({"claim_wait_seconds": 61}, "claim_wait_seconds"),
        ({"connect_timeout_seconds": 0}, "connect_timeout_seconds"),
        ({"timeout_seconds": float("inf")}, "timeout_seconds"),
        ({"timeout_seconds": "2"}, "timeout_seconds"),
    ],
    ids=str,
)
def test_bad_options_are_refused(options, says):
    """A ConfigurationError names the option, before anything is connected to."""
    with pytest.raises(ConfigurationError, match=f"^{says}: "):
        RedisStateStore.from_url("redis://localhost:1/0", **options)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis://:hunter2@localhost:1/0?typo=1", "options may be wrong: typo$"),
        ("redis://:hunter2@localhost:1/0?socket_timeout=soon", "options may be wrong: socket_timeout$"),
        ("redis+cluster://:hunter2@localhost:1?typo=1", "unknown option: typo"),
        ("redis+cluster://localhost:1?ssl_ca_certs=/etc/ca.pem", "unknown option: ssl_ca_certs"),
        ("redis+sentinel://localhost:1/main?typo=1", "unknown option: typo"),
        ("redis+sentinel://localhost:1/main?sentinel_password=secret&hunter2", "unknown option .*%26"),
        ("redis+sentinel://localhost:1/main?sentinel_password=secret&hunter2=x", "unknown option .*%26"),
        ("redis://localhost:1/0?password=secret&hunter2=x", "options may be wrong .*%26"),
        ("redis://:hunter2@localhost:1/zero", "number of a database"),
        ("redis://:hunter2@localhost:1/1/2", "number of a database"),
        ("redis://:hunter2@localhost:1/-1", "number of a database"),
    ],
)
def test_unknown_options_of_a_url_are_refused(url, says):
    """A ConfigurationError names the option, before anything is connected to, and not the password."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        RedisStateStore.from_url(url)
    assert "hunter2" not in repr((caught.value, caught.value.__cause__, caught.value.__context__))


@pytest.mark.parametrize(
    ("client", "says"),
    [
        ("redis://:hunter2@localhost:1/0", r"not a str: use RedisStateStore\.from_url"),
        (b"redis://:hunter2@localhost:1/0", r"not a bytes: use RedisStateStore\.from_url"),
        (None, "not NoneType"),
        (object(), "not object"),
    ],
)
def test_what_is_no_client_is_refused(client, says):
    """A ConfigurationError says what is wanted, and not the password."""
    with pytest.raises(ConfigurationError, match=says) as caught:
        RedisStateStore(client)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("option", ["ssl_cert_reqs=none", "ssl_cert_reqs=optional", "ssl_check_hostname=False"])
def test_tls_that_checks_nothing_is_warned_of(option, caplog):
    """A WARNING when the store is made, without the URL; a URL that checks says nothing."""
    RedisStateStore.from_url("rediss://:hunter2@localhost:1/0?ssl_ca_certs=/etc/ca.pem").close()
    assert caplog.records == []
    RedisStateStore.from_url(f"rediss://:hunter2@localhost:1/0?{option}").close()
    (said,) = caplog.records
    assert "is not checked" in said.getMessage()
    assert "hunter2" not in caplog.text


def test_sentinels_are_asked_by_tls_too():
    """``rediss+sentinel://``: the authority's file goes for the sentinels and for the master that they name."""
    with closing(RedisStateStore.from_url("rediss+sentinel://localhost:1/main?ssl_ca_certs=/etc/ca.pem")) as store:
        pool = store.client.connection_pool
        for one in (pool, pool.sentinel_manager.sentinels[0].connection_pool):
            assert one.connection_kwargs["ssl_ca_certs"] == "/etc/ca.pem"


def test_nobody_listens():
    """StoreUnavailable names the place and says what to look at, without the password."""
    with closing(RedisStateStore.from_url("redis://:hunter2@127.0.0.1:1/0")) as store:
        with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1: it cannot be reached") as caught:
            store.load(Key("reader", "article"))
        assert "hunter2" not in repr((caught.value, caught.value.__cause__, store))
