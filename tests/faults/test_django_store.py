"""The store in Django's database under trouble: other transactions, restarts, dropped connections, other writers."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from caliper_readtime import (
    ConfigurationError,
    Outcome,
    PageView,
    ReadTimePolicy,
    ReadTimeTracker,
    StoreUnavailable,
    Sweeper,
)
from caliper_readtime._rules.state import Key
from caliper_readtime.testing import RecordingEmitter
from caliper_readtime.testing._store_concurrency import ConcurrencyRules
from caliper_readtime.testing._store_driver import Look, StoreDriver
from caliper_readtime.testing._store_many import ManyRules
from tests.django_databases import database, postgresql, sqlite
from tests.postgresql_server import pooled
from tests.scenes import ANNA, BEES, BEN, OWLS, WAIT_SECONDS, Scene, events

pytestmark = pytest.mark.postgresql


@contextmanager
def scene_on(entry):
    """A scene on a database, and its alias."""
    with database(entry) as alias:
        from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415

        scene = Scene(lambda: DjangoStateStore(alias))
        scene.alias = alias
        with closing(scene.store):
            yield scene


@pytest.fixture
def scene():
    """A scene on the shared PostgreSQL."""
    with scene_on(postgresql()) as scene:
        yield scene


@pytest.fixture(params=["postgresql", "sqlite"])
def either(request, tmp_path):
    """A scene on each kind of database."""
    with scene_on(postgresql() if request.param == "postgresql" else sqlite(tmp_path)) as scene:
        yield scene


@pytest.fixture
def thread():
    """A thread of its own, around which Django does not clean up; returns what it returned."""
    with ThreadPoolExecutor(1) as pool:
        yield lambda work, *args: pool.submit(work, *args).result(WAIT_SECONDS)


def atomic(scene):
    from django.db import transaction  # noqa: PLC0415

    return transaction.atomic(using=scene.alias)


def test_a_damaged_record_of_a_reader_is_begun_anew(either, caplog):
    """U10: it stops no claim, neither alone nor in a batch, and is told of once."""
    from caliper_readtime.web.django._walls import rows  # noqa: PLC0415

    caplog.set_level(logging.ERROR, "caliper_readtime")
    either.read(ANNA, OWLS)
    either.tracker.partial(ANNA, OWLS)
    rows(either.alias).update(record="junk")
    either.read(ANNA, OWLS)
    either.read(ANNA, BEES)
    assert either.tracker.sweep(idle_seconds=0).seconds_sent == 60
    assert len(caplog.records) == 1
    assert "resource_id=owls" in caplog.text or "resource_id=bees" in caplog.text


# The host's transactions


def test_a_heartbeat_may_be_part_of_the_hosts_transaction(either):
    """It is kept or rolled back with it, births and steady ones alike; without one it is kept at once."""
    tracker = either.tracker
    with pytest.raises(LookupError), atomic(either):
        tracker.accumulate(ANNA, OWLS, 5)
        raise LookupError
    assert tracker.state(ANNA, OWLS) is None
    with atomic(either):
        tracker.accumulate(ANNA, OWLS, 5)
    either.clock.advance(10)
    with pytest.raises(LookupError), atomic(either):
        tracker.accumulate(ANNA, OWLS, 10)
        raise LookupError
    with atomic(either):
        tracker.accumulate(ANNA, OWLS, 10)
    assert tracker.state(ANNA, OWLS).cumulative_read_time_seconds == 15
    assert tracker.finalize(ANNA, OWLS).delta_seconds == 15


@pytest.mark.parametrize("verb", ["partial", "finalize"])
def test_a_report_never_is(either, verb):
    """What a request rolls back afterwards would have been sent: it is refused, says what to do, and sends nothing."""
    either.tracker.accumulate(ANNA, OWLS, 10)
    with atomic(either):
        with pytest.raises(StoreUnavailable, match="non_atomic_requests"):
            getattr(either.tracker, verb)(ANNA, OWLS)
        with pytest.raises(StoreUnavailable, match="on_commit"):
            either.tracker.sweep(idle_seconds=0)
    assert either.emitter.events == []
    assert getattr(either.tracker, verb)(ANNA, OWLS).outcome is Outcome.SENT


def test_an_article_that_is_read_inside_the_hosts_transaction(either):
    """The heartbeat that completes it is accepted, and the sweeper sends what could not be sent there."""
    tracker = either.another(policy=ReadTimePolicy(completion_dwell_seconds=10, leeway_seconds=60))
    with atomic(either):
        counted = tracker.observe(ANNA, OWLS, PageView("v", 20))
    assert (counted.accepted_seconds, counted.report.outcome) == (20, Outcome.FAILED)
    assert tracker.sweep(idle_seconds=0).seconds_sent == 20


def test_a_report_after_the_hosts_transaction(either):
    """transaction.on_commit is the way for a view that must be atomic."""
    from django.db import transaction  # noqa: PLC0415

    reports = []
    with atomic(either):
        either.tracker.accumulate(ANNA, OWLS, 10)
        transaction.on_commit(lambda: reports.append(either.tracker.partial(ANNA, OWLS)), using=either.alias)
    assert [report.delta_seconds for report in reports] == [10]


def test_a_row_that_somebody_holds_is_not_waited_for_without_end(scene, thread, monkeypatch):
    """A host's long transaction holds a heartbeat's row: the next ones are told so after a while, others go on."""
    from caliper_readtime.web.django import _database  # noqa: PLC0415

    for name in ("_BEGUN", "_LAZILY"):
        monkeypatch.setattr(_database, name, getattr(_database, name).replace("5000", "50"))
    for reader in (ANNA, BEN):
        scene.tracker.accumulate(reader, OWLS, 10)
    with atomic(scene):
        scene.tracker.accumulate(ANNA, OWLS, 0.5)
        for verb in (lambda: scene.tracker.accumulate(ANNA, OWLS, 1), lambda: scene.tracker.partial(ANNA, OWLS)):
            with pytest.raises(StoreUnavailable, match="LockNotAvailable"):
                thread(verb)
        assert thread(scene.tracker.partial, BEN, OWLS).outcome is Outcome.SENT
    assert scene.tracker.partial(ANNA, OWLS).outcome is Outcome.SENT


def test_a_steady_heartbeat_does_not_wait_for_the_disk(scene):
    """Nor longer than 5 s for a lock, by its one statement; one of the host's transaction is durable with that."""
    from django.db import connections  # noqa: PLC0415

    said = "current_setting('synchronous_commit') || ' ' || current_setting('lock_timeout')"

    def told():
        with connections[scene.alias].cursor() as cursor:
            cursor.execute(f"SELECT message FROM told UNION ALL SELECT {said}")  # noqa: S608
            return [message for (message,) in cursor.fetchall()]

    scene.tracker.accumulate(ANNA, OWLS, 10)
    with connections[scene.alias].cursor() as cursor:
        cursor.execute(
            "CREATE TEMP TABLE told (message text);"  # noqa: S608
            f" CREATE FUNCTION pg_temp.tell() RETURNS trigger AS $$ BEGIN INSERT INTO told VALUES ({said});"
            " RETURN NEW; END $$ LANGUAGE plpgsql;"
            " CREATE TRIGGER tell BEFORE UPDATE ON caliper_readtime_state FOR EACH ROW EXECUTE FUNCTION pg_temp.tell()"
        )
    try:
        scene.tracker.accumulate(ANNA, OWLS, 1)
        assert told() == ["off 5s", "on 0"]
        with atomic(scene):
            scene.tracker.accumulate(ANNA, OWLS, 1)
        assert told() == ["off 5s", "on 0", "on 0"]
    finally:
        with connections[scene.alias].cursor() as cursor:
            cursor.execute("DROP TRIGGER tell ON caliper_readtime_state")


def test_sweeps_share_the_work(scene, thread):
    """What another sweep is claiming is locked, so this one is told of what is next, at once."""
    drivers = [StoreDriver(scene.store, Key("reader", name)).read() for name in ("one", "two")]
    now = drivers[0].now

    class Asking(Look):
        def __call__(self, state, moment, /):
            due.append(thread(scene.store.due, 10, now))
            return super().__call__(state, moment)

    due = []
    scene.store.update(drivers[0].key, Asking(), now)
    assert due == [(drivers[1].key,)]
    assert set(scene.store.due(10, now)) == {driver.key for driver in drivers}


# Other writers


@pytest.mark.parametrize("level", ["REPEATABLE_READ", "SERIALIZABLE"])
def test_serialization_failures_lose_nothing(level):
    """Under a stricter isolation level the server undoes transactions: they are run again, and no second is lost."""
    from psycopg import IsolationLevel  # noqa: PLC0415

    entry = postgresql()
    entry["OPTIONS"] = {**entry["OPTIONS"], "isolation_level": IsolationLevel[level]}
    with scene_on(entry) as scene:
        ConcurrencyRules().test_one_of_many_threads_gets_the_claim(scene.store)
        scene.store.delete("reader")
        ManyRules().test_many_updates_at_once_lose_nothing(scene.store, scene.store)


@pytest.mark.skipif(shutil.which("pgbouncer") is None, reason="needs PgBouncer: apt-get install pgbouncer")
def test_a_pooler_in_transaction_mode(server):
    """Behind PgBouncer, with fewer connections than threads, nothing rests on a session: nothing is lost or doubled."""
    with pooled(server) as entry, scene_on(entry) as scene:
        ConcurrencyRules().test_threads_lose_no_heartbeat(scene.store)
        scene.store.delete("reader")
        ConcurrencyRules().test_one_of_many_threads_gets_the_claim(scene.store)
        scene.store.delete("reader")
        ManyRules().test_many_updates_at_once_lose_nothing(scene.store, scene.store)


# Connections


def pid(scene):
    """The server's process that serves this thread."""
    from django.db import connections  # noqa: PLC0415

    with connections[scene.alias].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        return cursor.fetchone()[0]


def drop(scene, process):
    """Let the server end a connection."""
    from django.db import connections  # noqa: PLC0415

    with connections[scene.alias].cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
        assert cursor.fetchone() == (True,)


def test_a_dropped_connection_is_left_behind(scene, thread):
    """A thread whose connection was dropped is told once, and has another one the next time, whatever it asks."""
    scene.tracker.accumulate(ANNA, OWLS, 10)
    for ask in (
        lambda: scene.tracker.state(ANNA, OWLS),
        lambda: scene.tracker.accumulate(ANNA, OWLS, 1),
        lambda: scene.tracker.sweep(idle_seconds=0),
        lambda: scene.tracker.partial(ANNA, OWLS),
        scene.store.now,
        scene.store.last_sweep,
        lambda: scene.store.due(10),
        lambda: list(scene.store.unreported()),
    ):
        drop(scene, thread(pid, scene))
        with pytest.raises(StoreUnavailable):
            thread(ask)
        thread(ask)


def test_a_connection_that_is_dropped_within_a_claim(scene, thread):
    """The claim is not made and nothing is sent; the next call makes it, and every second arrives once."""
    driver = StoreDriver(scene.store).read()

    within = queue.Queue()

    def rolled_back():
        within.put(pid(scene))
        other = threading.Thread(target=lambda: drop(scene, within.get(timeout=WAIT_SECONDS)))

        def work():
            other.start()
            other.join()
            scene.store._rows.filter(reader="reader").update(due_at_ms=None)

        scene.store._database.transaction(work, durable=True)

    with pytest.raises(StoreUnavailable):
        thread(rolled_back)
    assert driver.due() == (driver.key,)
    assert thread(driver.take) is not None


def test_a_sweepers_thread_outlives_a_restart_of_the_server(server):
    """The documented Sweeper, in its own thread: trouble while the server is away, and the next round works again."""
    with scene_on(server.database) as scene:
        rounds = queue.Queue()
        sweeper = Sweeper(
            scene.tracker, interval_seconds=0.02, idle_seconds=0, max_backoff_seconds=0.05, on_round=rounds.put
        )

        def until(wanted):
            while not wanted(rounds.get(timeout=WAIT_SECONDS)):
                pass

        scene.tracker.accumulate(ANNA, OWLS, 10)
        with sweeper:
            until(lambda outcome: not isinstance(outcome, Exception) and outcome.seconds_sent == 10)
            server.kill()
            until(lambda outcome: isinstance(outcome, StoreUnavailable))
            server.start()
            until(lambda outcome: not isinstance(outcome, Exception))
            scene.store.close()
            scene.clock.advance(20)
            scene.tracker.accumulate(ANNA, OWLS, 20)
            until(lambda outcome: not isinstance(outcome, Exception) and outcome.seconds_sent == 20)


class Readers:
    """Threads that read and sweep until they are told to end, whatever becomes of the server.

    Attributes:
        progress: counts the heartbeats that were accepted.
    """

    def __init__(self, tracker):
        self.tracker = tracker
        self.progress = threading.Semaphore(0)
        self._done = threading.Event()

    def read(self, who, what):
        """Read one second after another; return how many."""
        from django.db import connections  # noqa: PLC0415

        total = 0.0
        while not self._done.is_set():
            total += 1
            with contextlib.suppress(StoreUnavailable):
                self.tracker.observe(who, what, PageView("v", total))
                self.progress.release()
        self.tracker.observe(who, what, PageView("v", total))
        connections.close_all()
        return total

    def sweep(self):
        """Sweep again and again."""
        while not self._done.is_set():
            with contextlib.suppress(StoreUnavailable):
                self.tracker.sweep(idle_seconds=0)

    def advance(self, beats=100):
        """Wait for so many heartbeats."""
        for _ in range(beats):
            assert self.progress.acquire(timeout=WAIT_SECONDS)

    def end(self):
        self._done.set()


def test_a_server_that_is_killed_among_many_writers(server):
    """Readers read and sweepers sweep through three crashes: in the end each second of each view has arrived once."""
    pairs = [(who, what) for who in (ANNA, BEN) for what in (OWLS, BEES)]
    with scene_on(server.database) as scene, ThreadPoolExecutor(len(pairs) + 2) as pool:
        policy = ReadTimePolicy(leeway_seconds=1e6, catch_up_seconds=1e6, retry_backoff_seconds=0.001, lock_seconds=0.2)
        tracker = ReadTimeTracker(scene.store, RecordingEmitter(), events(), policy)
        readers = Readers(tracker)
        reading = [pool.submit(readers.read, *pair) for pair in pairs]
        sweeping = [pool.submit(readers.sweep) for _ in range(2)]
        for _ in range(3):
            readers.advance()
            server.kill()
            server.start()
        readers.advance()
        readers.end()
        totals = [future.result(WAIT_SECONDS) for future in reading]
        for future in sweeping:
            future.result(WAIT_SECONDS)
        scene.store.close()
        while tracker.status().unreported_states:  # leases of those who were interrupted end by themselves
            tracker.sweep(idle_seconds=0)
        accepted = [tracker.state(*pair).cumulative_read_time_seconds for pair in pairs]
        assert accepted == totals
        by_id = {event["id"]: event for event in tracker.emitter.events}
        assert sum(event["generated"]["items"][0]["value"] for event in by_id.values()) == sum(accepted)


def test_a_fork_shares_no_connection(either):
    """A connection that the parent had open is none of the child's."""
    from django.db import connections  # noqa: PLC0415

    either.store.last_sweep()
    connection = connections[either.alias]
    assert connection.connection is not None
    child = os.fork()
    if not child:
        os._exit(0 if connection.connection is None and either.store.last_sweep() is None else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# What is wrong is told


def test_missing_tables(tmp_path):
    """Before ``migrate`` the error says what to run."""
    for entry in (postgresql(), sqlite(tmp_path)):
        with database(entry) as alias:
            from django.core.management import call_command  # noqa: PLC0415

            from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415

            call_command("migrate", "caliper_readtime", "zero", database=alias, verbosity=0)
            store = DjangoStateStore(alias)
            for ask, *given in ((store.last_sweep,), (store.update, Key("r", "a"), Look()), (store.meta, {})):
                with pytest.raises(ConfigurationError, match=r"manage\.py migrate"):
                    ask(*given)


@pytest.mark.parametrize("url", ["django://nowhere", "django://default/name", "django://default?timeout=3"])
def test_urls_that_name_no_database(url):
    """The error says what the URL must name."""
    from tests.web.sites import setup_django  # noqa: PLC0415

    setup_django()
    with pytest.raises(ConfigurationError, match="DATABASES"):
        ReadTimeTracker.from_settings({"STORE_URL": url}, events=events(), emitter=None)


def test_a_database_that_cannot_be_used():
    """Another kind of database is refused before anything is counted in it."""
    with database(postgresql()) as alias:
        from django.db import connections  # noqa: PLC0415

        from caliper_readtime.web.django.store import DjangoStateStore  # noqa: PLC0415

        connections[alias].vendor = "mysql"
        with pytest.raises(ConfigurationError, match="PostgreSQL or SQLite"):
            DjangoStateStore(alias)
