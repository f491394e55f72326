"""How the harness plays a fault: what a killed process still does, what a client sees, and what it cannot judge."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import contextmanager, suppress
from uuid import uuid4

import pytest
import redis
import requests
from fakeredis import FakeRedis

from caliper_readtime import EventRejected, InvalidInput
from caliper_readtime.testing import CrashFindings, Fault, RecordingEmitter, crash_every_step
from tests.scenes import ANNA, BEES, OWLS, events

ONCE = {("anna", "owls"): 10}


def event(event_id=None, seconds=10, reader=ANNA):
    """A finished event."""
    return events().event(
        reader,
        OWLS,
        event_id=event_id or f"urn:uuid:{uuid4()}",
        generated_id=f"urn:uuid:{uuid4()}",
        seconds=seconds,
        started_at_ms=0,
        ended_at_ms=10_000,
    )


class Server:
    """A host's server, with a client's methods; ``done`` is what it was told."""

    def __init__(self):
        self.done = []

    def put(self, what="", fails=None):
        self.done.append(what)
        if fails is not None:
            raise fails
        return len(self.done)

    def buffer(self, what):
        self.done.append(what)
        return self

    def cursor(self):
        return self

    def rollback(self):
        self.done.append("rollback")

    @contextmanager
    def transaction(self):
        try:
            yield self
        finally:
            self.done.append("transaction ended")

    def close(self):
        self.done.append("closed")


def played(handle, faults):
    """Run a handler with each of these faults at each step; return what its server was told in each run."""
    servers = []

    def host(steps):
        server = Server()
        servers.append(server)
        sends = steps.emitter()
        client = steps.wrap(server)
        sent = event()

        def handler():
            handle(client)
            # Sent by no step's fault: what is judged here is the server.
            if not steps.deliveries():
                sends.emit([sent])

        return handler

    with suppress(CrashFindings):
        crash_every_step(host, faults=faults, expected=ONCE)
    return [server.done for server in servers[1:]]


def test_a_killed_process_runs_no_finally():
    """Neither ``except Exception`` nor ``finally`` nor ``except BaseException`` does anything after a crash."""
    seen = []

    def handle(client):
        try:
            client.put("one")
        except Exception:  # noqa: BLE001 - that is what is tested
            client.put("in except")
        except BaseException as error:  # noqa: BLE001 - that too
            seen.append(type(error).__name__)
            client.put("in except BaseException")
        finally:
            client.put("two")
            client.close()

    before, *_ = played(handle, [Fault.CRASH_BEFORE])
    assert seen[0] == "Crash"
    # Only the server's own rollback, and then the request that its client has sent again.
    assert before == ["rollback", "one", "two", "closed"]
    after, *_ = played(handle, [Fault.CRASH_AFTER])
    assert after == ["one", "rollback", "one", "two", "closed"]


def test_who_swallows_the_crash_has_still_answered_nobody():
    """A handler that ends as if nothing had happened is run again: its answer never left the killed process."""

    def handle(client):
        with suppress(BaseException):
            client.put("one")

    assert played(handle, [Fault.CRASH_BEFORE])[0] == ["rollback", "one"]


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (Fault.UNREACHABLE, ["seen", "rollback", "one"]),
        (Fault.LOST_ANSWER, ["one", "seen", "rollback", "one"]),
        # It lands when the handler is over, and what it leaves open is rolled back by the server.
        (Fault.LATE, ["seen", "rollback", "one", "rollback", "one"]),
    ],
)
def test_a_time_out(fault, told):
    """The call raises: nothing happened, it happened, or it happens after all else; then the client comes back."""

    def handle(client):
        try:
            client.put("one")
        except TimeoutError:
            client.put("seen")
            raise

    assert played(handle, [fault])[0] == told


def test_what_is_buffered_is_no_step():
    """A call that returns the client itself has no answer that could be lost; the stand-in is returned for it."""

    def handle(client):
        assert client.buffer("one") is client
        client.put("two")

    done = played(handle, [Fault.UNREACHABLE])
    assert done[0] == ["one", "rollback", "one", "two"]  # the fault was at the second call
    assert len(done) == 2  # and at the emission


def test_what_a_client_makes_is_numbered_too():
    """A cursor's, a pipeline's and a transaction's calls are steps, the end of the transaction included."""

    def host(steps):
        client = steps.wrap(Server(), name="db")
        sends = steps.emitter()
        sent = event()

        def handler():
            with client.transaction():
                client.cursor().put("one")
            if not steps.deliveries():
                sends.emit([sent])

        return handler

    report = crash_every_step(host, faults=[Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
    names = [step.name for step in report.steps]
    assert names == ["db.transaction.__enter__", "db.cursor.put", "db.transaction.__exit__", "emitter.emit"]
    assert {step.function.rpartition(".")[2] for step in report.steps} == {"handler"}


@pytest.mark.parametrize(
    ("make", "method", "error"),
    [
        (FakeRedis, "get_encoder", redis.exceptions.TimeoutError),
        (requests.Session, "rebuild_auth", requests.exceptions.ReadTimeout),
        (lambda: sqlite3.connect(":memory:"), "cursor", sqlite3.OperationalError),
        (Server, "put", TimeoutError),
    ],
)
def test_a_time_out_is_the_clients_own(make, method, error):
    """A host sees the exception that its client's package raises; the stand-in passes for the client."""
    seen = []

    def host(steps):
        client = make()
        steps.at_end(client.close)
        stand_in, sends, sent = steps.wrap(client, methods={method}, makers=()), steps.emitter(), event()
        assert isinstance(stand_in, type(client))

        def handler():
            sends.emit([sent])
            try:
                getattr(stand_in, method)(*["one", "two"] if method == "rebuild_auth" else [])
            except error:
                seen.append(error)
            except AttributeError:  # what the session says of such arguments
                pass

        return handler

    with suppress(CrashFindings):
        crash_every_step(host, faults=[Fault.LATE], expected=ONCE)
    assert seen == [error]


def test_a_time_out_may_be_named():
    """``error=`` makes whatever the host's client raises."""

    def host(steps):
        client, sends, sent = steps.wrap(Server(), error=lambda: LookupError("gone")), steps.emitter(), event()

        def handler():
            try:
                client.put("one")
            except LookupError:
                named.append(1)
            if not steps.deliveries():
                sends.emit([sent])

        return handler

    named = []
    crash_every_step(host, faults=[Fault.UNREACHABLE])
    assert named == [1]


def test_nothing_delivered_cannot_be_judged():
    """A host whose deliveries are not watched, or that sends none, is an error and no success."""
    with pytest.raises(InvalidInput, match="nothing was delivered"):
        crash_every_step(lambda steps: steps.wrap(Server()).put)


@pytest.mark.parametrize(
    "expected",
    [{"u1": 60}, {("anna",): 60}, {("anna", OWLS, 1): 60}, {(1, OWLS): 60}, {(ANNA, OWLS): "60"}, {(ANNA, OWLS): -1}],
    ids=str,
)
def test_what_is_expected_must_make_sense(expected):
    """A key that is no reader and article, or seconds that are none, are told before the host runs."""
    with pytest.raises(InvalidInput, match="expected: must"):
        crash_every_step(lambda _steps: pytest.fail("it ran"), expected=expected)


def test_a_host_that_does_nothing_is_told_so():
    """One run, no step: the message counts in words that are right."""
    with pytest.raises(CrashFindings) as found:
        crash_every_step(lambda _steps: lambda: None, expected=ONCE)
    head, finding, _ = str(found.value).splitlines()
    assert head == "1 run over 0 steps: 1 finding"
    assert finding == "- no fault: anna on owls: 0 s delivered, not 10 s: 10 s lost"


def test_a_handler_that_fails_by_itself_is_not_judged():
    """What a host raises without any fault comes out as it is."""

    def host(steps):
        return lambda: steps.wrap(Server()).put(fails=KeyError("mine"))

    with pytest.raises(KeyError, match="mine"):
        crash_every_step(host)


def test_a_coroutine_is_refused():
    """A handler is synchronous: ``asyncio.run`` stands inside."""

    async def handle():
        await asyncio.sleep(0)

    def host(steps):
        def handler():
            coroutine = handle()
            steps.at_end(coroutine.close)
            return coroutine

        return handler

    with pytest.raises(InvalidInput, match="synchronous"):
        crash_every_step(host)


def test_an_asynchronous_client_is_refused():
    """A call that would have to be awaited is no step, and says so."""

    class Client:
        async def get(self):
            """Never runs."""

    with pytest.raises(InvalidInput, match=r"client.get is asynchronous"):
        crash_every_step(lambda steps: steps.wrap(Client()).get)


def test_a_refused_request_is_not_judged():
    """A handler that is answered 403 without any fault tests nothing."""

    class Answer:
        status_code = 403

    with pytest.raises(InvalidInput, match="answered 403 without any fault"):
        crash_every_step(lambda steps: Answer)


def test_no_handler():
    """A host function that returns none is told what it must return."""
    with pytest.raises(InvalidInput, match="must return the handler"):
        crash_every_step(lambda steps: None)


def test_a_host_must_do_the_same_each_time():
    """Steps are found again by number and name; a host that does other things each time cannot be judged."""
    runs = []

    def host(steps):
        runs.append(1)
        client, sends = steps.wrap(Server()), steps.emitter()

        def handler():
            (client.put if len(runs) == 1 else client.buffer)("one")
            sends.emit([event()])

        return handler

    with pytest.raises(InvalidInput, match=r"server.buffer where server.put was before"):
        crash_every_step(host)


def test_jobs_that_never_end_are_found():
    """A job that fails or goes on sending for ever is stuck, though the sums may be right."""

    def host(steps):
        sends = steps.emitter()
        sent = event()

        def fails():
            raise LookupError("no such table")

        steps.job(fails)
        return lambda: None if steps.deliveries() else sends.emit([sent])

    with pytest.raises(CrashFindings, match="the jobs come to no end in 12 rounds: LookupError: no such table"):
        crash_every_step(host)


def test_what_no_sweep_settles_is_found():
    """A state that waits for ever is stuck, though the sums are right: here a second article's event is refused."""

    class Picky(RecordingEmitter):
        def emit(self, events, /):
            if any("bees" in event["object"]["id"] for event in events):
                raise EventRejected("no bees", status=422)
            super().emit(events)

    def host(steps):
        tracker = steps.tracker(emitter=Picky())
        for what in (OWLS, BEES):
            tracker.accumulate(ANNA, what, 0)
        steps.clock.advance(20)
        for what in (OWLS, BEES):
            tracker.accumulate(ANNA, what, 10)
        return lambda: tracker.finalize(ANNA, OWLS)

    with pytest.raises(CrashFindings, match="1 of the store's states are never settled") as found:
        crash_every_step(host, expected=ONCE)
    assert len(found.value.report.findings) == 1


def test_time_of_somebody_else_is_a_finding():
    """Seconds that nobody expects are doubled, whoever got them."""
    ben = events().actor_id("ben")

    def host(steps):
        sends = steps.emitter(RecordingEmitter())

        def handler():
            sends.emit([event()])
            sends.emit([{**event(), "actor": {"id": ben, "type": "TimebackUser", "email": "ben@example.org"}}])

        return handler

    with pytest.raises(AssertionError, match="ben on owls: 10 s delivered, not 0 s: 10 s doubled") as found:
        crash_every_step(host, expected=ONCE)
    assert "@" not in str(found.value)


def test_a_message_shows_each_advice_once():
    """Many findings of one kind are listed with what to do below them, and the rest is counted."""

    def host(steps):
        sends = steps.emitter()
        client = steps.wrap(Server())

        def handler():
            for number in range(30):
                client.put(number)
            sends.emit([event()])
            client.put("end")

        return handler

    with pytest.raises(CrashFindings) as found:
        crash_every_step(host)
    lines = str(found.value).splitlines()
    assert len(found.value.report.findings) > 25
    assert lines[-1] == f"and {len(found.value.report.findings) - 25} more"
    assert len(lines) < 25 + 6
