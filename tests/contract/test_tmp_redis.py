import pytest, redis, itertools
from contextlib import closing
from caliper_readtime.stores.redis.store import RedisStateStore
from caliper_readtime.testing import StateStoreContract
n=itertools.count()
class TestReal(StateStoreContract):
    @pytest.fixture
    def ns(self): 
        return f"t{next(n)}"
    @pytest.fixture(autouse=True)
    def _flush(self):
        redis.Redis(port=7777).flushall()
    @pytest.fixture
    def store(self, ns):
        with closing(RedisStateStore.from_url("redis://127.0.0.1:7777/0", namespace=ns)) as s: yield s
    @pytest.fixture
    def reopen(self, ns):
        return lambda: RedisStateStore.from_url("redis://127.0.0.1:7777/0", namespace=ns)
    @pytest.fixture
    def lose_due(self, ns):
        def lose():
            c=redis.Redis(port=7777)
            for k in list(c.scan_iter(f"{ns}:*:due"))+list(c.scan_iter(f"{ns}:*:idle")): c.delete(k)
        return lose
class TestPlain(TestReal):
    @pytest.fixture
    def store(self, ns):
        with closing(RedisStateStore(redis.Redis(port=7777, decode_responses=True), namespace=ns, native_heartbeats=False)) as s: yield s
import fakeredis
class TestFake(TestReal):
    @pytest.fixture
    def server(self): return fakeredis.FakeServer()
    @pytest.fixture
    def store(self, ns, server):
        with closing(RedisStateStore(fakeredis.FakeRedis(server=server), namespace=ns)) as s: yield s
    @pytest.fixture
    def reopen(self, ns,server):
        return lambda: RedisStateStore(fakeredis.FakeRedis(server=server), namespace=ns)
    @pytest.fixture
    def lose_due(self, ns,server):
        def lose():
            c=fakeredis.FakeRedis(server=server)
            for k in list(c.scan_iter(f"{ns}:*:due"))+list(c.scan_iter(f"{ns}:*:idle")): c.delete(k)
        return lose
