"""Hosts that are right and unusual pass: transactions, streamed answers, class based views; no step is no success."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager, nullcontext, suppress
from uuid import uuid4

import pytest
from flask import Flask
from flask.views import MethodView

from caliper_readtime import PageView
from caliper_readtime.errors import InvalidInput
from caliper_readtime.testing import CrashFindings, Fault, RecordingEmitter, crash_every_step
from tests.crash.test_mechanics import ONCE, event
from tests.django_databases import database, postgresql, sqlite
from tests.scenes import ANNA, OWLS, events
from tests.web.sites import setup_django

MINUTE = {(ANNA, OWLS): 60}


@contextmanager
def by_hand(client):
    """A transaction of a host that leaves none to its driver."""
    client.execute("BEGIN")
    try:
        yield
        client.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.OperationalError):  # the server has done it
            client.execute("ROLLBACK")
        raise


@contextmanager
def plain_sqlite(_path):
    client = sqlite3.connect(":memory:", isolation_level=None)
    yield client, by_hand
    client.close()


@contextmanager
def plain_postgresql(_path):
    import psycopg  # noqa: PLC0415

    known = postgresql()
    names = {"dbname": "NAME", "user": "USER", "host": "HOST", "port": "PORT"}
    with psycopg.connect(autocommit=True, **{ours: known[name] for ours, name in names.items()}) as client:
        yield client, by_hand


def of_django(entry):
    @contextmanager
    def make(path):
        with database(entry(path)) as alias:
            from django.db import connections, transaction  # noqa: PLC0415
            from django.utils.connection import ConnectionProxy  # noqa: PLC0415

            # As django.db.connection is one, of the default database.
            yield ConnectionProxy(connections, alias), lambda _client: transaction.atomic(using=alias)

    return make


DATABASES = {
    "sqlite3": plain_sqlite,
    "psycopg": plain_postgresql,
    "django on sqlite": of_django(sqlite),
    "django on postgresql": of_django(lambda _path: postgresql()),
}
NAMES = [pytest.param(name, marks=[] if "sqlite" in name else pytest.mark.postgresql, id=name) for name in DATABASES]


@contextmanager
def opened(name, path):
    """A database with the host's tables, and how a transaction begins there."""
    with DATABASES[name](path) as (client, transaction):
        for table in ("reading (seconds INTEGER)", "outbox (id VARCHAR(64), seconds INTEGER)"):
            client.cursor().execute(f"CREATE TEMPORARY TABLE {table}")
        yield client, transaction


class Outbox:
    """Seconds move into an outbox in one transaction, and from there to the endpoint."""

    def __init__(self, steps, client, transaction):
        self.transaction = transaction
        for statement in ("DELETE FROM reading", "DELETE FROM outbox", "INSERT INTO reading VALUES (10)"):
            client.cursor().execute(statement)
        self.database = steps.wrap(client, name="database")
        self.emitter = steps.emitter()
        steps.job(self.send)

    def tell(self, statement):
        self.database.cursor().execute(statement)

    def ask(self, statement):
        cursor = self.database.cursor()
        cursor.execute(statement)
        return cursor.fetchall()

    def leave(self):
        with self.transaction(self.database):
            self.move()
        self.send()

    def move(self):
        ((seconds,),) = self.ask("SELECT seconds FROM reading")
        if seconds:
            self.tell(f"INSERT INTO outbox VALUES ('urn:uuid:{uuid4()}', {seconds})")  # noqa: S608
            self.tell("UPDATE reading SET seconds = 0")

    def send(self):
        for event_id, seconds in self.ask("SELECT id, seconds FROM outbox"):
            if not self.emitter.held([event_id]):
                self.emitter.emit([event(event_id, seconds)])
            self.tell(f"DELETE FROM outbox WHERE id = '{event_id}'")  # noqa: S608


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_transaction_comes_late(name, tmp_path):
    """A statement whose answer is late was rolled back with the others of its transaction, whoever has begun that."""
    with opened(name, tmp_path) as (client, transaction):
        report = crash_every_step(
            lambda steps: Outbox(steps, client, transaction).leave, expected=ONCE, faults=[Fault.LATE]
        )
    executed = [step for step in report.steps if step.name == "database.cursor.execute"]
    assert [step.function for step in executed][:3] == ["Outbox.ask", "Outbox.tell", "Outbox.tell"]


def test_a_statement_that_commits_itself_may_come_late(tmp_path):
    """Without the transaction the same host is found out."""
    with opened("sqlite3", tmp_path) as (client, _), pytest.raises(CrashFindings, match="late effect of step"):
        crash_every_step(lambda steps: Outbox(steps, client, nullcontext).leave, expected=ONCE, faults=[Fault.LATE])


def in_flask(view):
    """Post to a class based view whose answer is streamed."""

    class Leave(MethodView):
        def post(self):
            return view()

    app = Flask("host")
    app.add_url_rule("/leave", view_func=Leave.as_view("leave"))
    return lambda: app.test_client().post("/leave")


def in_django(view):
    """The same."""
    setup_django()
    from django.http import StreamingHttpResponse  # noqa: PLC0415
    from django.test import RequestFactory  # noqa: PLC0415
    from django.views import View  # noqa: PLC0415

    class Leave(View):
        def post(self, _request):
            return StreamingHttpResponse(view())

    return lambda: Leave.as_view()(RequestFactory().post("/leave"))


@pytest.mark.parametrize("framework", [in_flask, in_django, lambda view: view], ids=["flask", "django", "generator"])
def test_a_streamed_answer_is_read(framework):
    """What a host does while its answer is read is tried as well."""

    def host(steps):
        tracker = steps.tracker(events=events())
        tracker.observe(ANNA, OWLS, PageView("v", 0))
        steps.clock.advance(60)

        def view():
            tracker.observe(ANNA, OWLS, PageView("v", 60))
            yield b"first"
            tracker.finalize(ANNA, OWLS)
            yield b"last"

        return framework(view)

    report = crash_every_step(host, expected=MINUTE)
    assert "emitter.emit" in [step.name for step in report.steps]


def test_no_step_is_no_success():
    """A host that is not built from steps delivers rightly, and nothing was tried."""

    def host(steps):
        endpoint = RecordingEmitter()
        steps.watch(endpoint)
        return lambda: endpoint.emit([event()])

    with pytest.raises(InvalidInput, match="took no step: build"):
        crash_every_step(host, expected=ONCE)
