"""The commands of the command line, on a host's tracker: what they answer, and when they fail."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import sqlite3
import sys
from contextlib import closing

import attrs
import pytest

from caliper_readtime import (
    EmitterUnavailable,
    EndpointRefused,
    EventRejected,
    Reader,
    ReadTimeTracker,
    SqliteStateStore,
    StoreUnavailable,
)
from caliper_readtime.testing import RecordingEmitter
from tests.commands import Terminal, command, complained
from tests.scenes import ANNA, BEES, BEN, OWLS, ROSTER, SENSOR, SelectiveEmitter, events, nothing, of_reader, value


@pytest.fixture
def ask(scene):
    """Runs a command on the scene's tracker."""
    return lambda *words, **more: command(*words, tracker=scene.tracker, **more)


@pytest.fixture
def parked(scene):
    """A scene in which the endpoint has refused Anna's half minute."""
    tracker = scene.use(SelectiveEmitter(of_reader("anna")))
    scene.read(ANNA, OWLS, 30)
    with pytest.raises(EventRejected):
        tracker.partial(ANNA, OWLS)
    return scene


# sweep


def test_sweep_works_off_everything_that_is_due(scene, ask):
    """One JSON line for each round, until nothing more is due."""
    for number in range(1001):
        scene.tracker.accumulate(Reader(f"r{number}", "r@example.org"), OWLS, 10)
    scene.clock.advance(60)
    ran = ask("sweep")
    assert (ran.code, ran.err) == (0, "")
    assert [(line["events_sent"], line["stopped_by"], line["more"]) for line in ran.json] == [
        (1000, "limit", True),
        (1, "drained", False),
    ]
    assert len(scene.sent) == 1001
    assert "example.org" not in ran.out


def test_sweep_keeps_to_idle_and_budget(scene, ask):
    """Active readers are left alone, and with no time no envelope begins."""
    scene.read(ANNA, OWLS, 30)
    assert ask("sweep").document["events_sent"] == 0
    assert ask("sweep", "--idle", "0", "--budget", "0").document["stopped_by"] == "budget"
    assert scene.sent == []
    assert ask("sweep", "--idle", "0").document["seconds_sent"] == 30


@pytest.mark.parametrize("error", [EmitterUnavailable("h did not answer"), EndpointRefused("h answered 401")])
def test_sweep_fails_where_the_endpoint_does(scene, ask, error):
    """The round's line says what came of it, one line on standard error what happened; nothing is lost."""
    scene.read(ANNA, OWLS, 30)
    scene.emitter.fail(error)
    ran = ask("sweep", "--idle", "0")
    assert str(error) in complained(ran)
    assert (ran.document["failed"], ran.document["error"]) == (1, str(error))
    assert scene.state().unreported_seconds == 30


def test_sweep_on_a_terminal(scene, ask):
    """Somebody who is looking reads a line, not JSON."""
    scene.read(ANNA, OWLS, 30)
    ran = ask("sweep", "--idle", "0", terminal=True)
    assert "1 event sent, 30 s" in ran.out
    assert "nothing was due" in ask("sweep", terminal=True).out


# inspect


def test_inspect_lists_a_readers_articles(scene, ask):
    """One row an article; the full URL of a reader is the same reader."""
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 12.5)
    scene.tracker.partial(ANNA, OWLS)
    ran = ask("inspect", "https://roster.example.org/ims/oneroster/rostering/v1p2/users/anna")
    head, *rows = [line.split() for line in ran.out.splitlines()]
    assert head[0] == "article"
    assert {tuple(row[:5]) for row in rows} == {
        ("owls", "30", "30", "0", "settled"),
        ("bees", "12.5", "0", "12.5", "unreported"),
    }
    assert {one["resource_id"]: one["unreported_seconds"] for one in ask("inspect", "anna", "--json").document} == {
        "owls": 0,
        "bees": 12.5,
    }


def test_inspect_shows_one_article(parked, ask):
    """Every field of its record, what is parked and the history; in JSON the same; never an e-mail address."""
    ran = ask("inspect", "anna", "owls")
    for words in ("cumulative read time seconds  30", "phase ", "parked event", "422", "claimed", "beside seconds "):
        assert words in ran.out
    assert re.search(r"last server sync at +2026-03-02 08:00:30Z\n", ran.out)
    document = ask("inspect", "anna", "owls", "--json").document
    (record,) = parked.state().to_records()
    assert document == {**record, "parked": document["parked"], "history": document["history"]}
    assert document["parked"][0]["status"] == 422
    assert [entry["kind"] for entry in document["history"]] == ["claimed", "parked"]
    assert document["last_server_sync_at"] == "2026-03-02T08:00:30.000Z"
    assert "anna@" not in ran.out + json.dumps(document)


# parked


def test_parked_list(parked, ask):
    """Who, what, how much and why."""
    (row,) = ask("parked", "list").out.splitlines()[1:]
    assert row.split()[:4] == ["anna", "owls", "30", "422"]
    (document,) = ask("parked", "list", "--json").document
    assert (document["reader_sourced_id"], document["seconds"]) == ("anna", 30)
    del parked


def test_parked_retry_sends_what_was_mended(parked, ask):
    """One article's, or everybody's; what is refused again stays and fails the command."""
    assert "1 of 1 article was refused again" in complained(ask("parked", "retry", "anna", "owls"))
    parked.emitter.bad = nothing
    ran = ask("parked", "retry", "--all")
    assert (ran.code, ran.err) == (0, "")
    assert "anna owls: sent, 30 s" in ran.out
    assert parked.sent == [30]
    assert "no event is parked" in ask("parked", "retry", "--all").out
    assert "no event is parked" in ask("parked", "list").out


def test_parked_retry_needs_to_know_whose(parked, ask):
    """Neither nothing nor half a name sends anything; unknown names fail."""
    for words in ((), ("anna",), ("anna", "--all"), ("anna", "owls", "--all")):
        assert "READER and ARTICLE, or pass --all" in complained(ask("parked", "retry", *words), 2)
    assert "known: owls" in complained(ask("parked", "retry", "anna", "bees"))
    parked.read(BEN, BEES, 10)
    assert "no event of reader ben on article bees is parked" in complained(ask("parked", "retry", "ben", "bees"))


def test_parked_retry_while_the_endpoint_is_down(scene, ask):
    """It ends at once, and the event stays parked."""
    scene.read(ANNA, OWLS, 30)
    scene.emitter.fail(EventRejected("no", status=422), EmitterUnavailable("h is down"))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    assert "h is down" in complained(ask("parked", "retry", "--all"))
    assert len(scene.state().parked) == 1


def test_parked_export(parked, ask):
    """One JSON line an event, as it was refused; e-mail addresses only for whoever asks."""
    ran = ask("parked", "export")
    (line,) = ran.json
    assert (line["status"], line["event"]["id"], value(line["event"])) == (422, line["event_id"], 30)
    assert "email" not in line["event"]["actor"]
    assert "@" not in ran.out.replace('"@context"', "")
    (full,) = ask("parked", "export", "--with-email").json
    assert full["event"]["actor"]["email"] == "anna@example.org"
    (sent,) = {call[0] for call in parked.emitter.calls}
    assert sent == line["event_id"]
    assert ask("parked", "export", "--limit", "1").out == ran.out


# flush and forget


def test_flush_reports_a_readers_time(scene, ask):
    """Everything, or one article's; settled is success."""
    scene.read(ANNA, OWLS, 30)
    scene.read(ANNA, BEES, 20)
    ran = ask("flush", "anna", "--article", "bees", "--confirm")
    assert ran.code == 0
    assert ran.out.splitlines()[1].split()[:3] == ["bees", "sent", "20"]
    assert scene.sent == [20]
    document = ask("flush", "anna", "--json").document
    assert (document["settled"], document["confirmed"], document["seconds_sent"]) == (True, None, 30)
    assert [(one["resource_id"], one["outcome"]) for one in document["reports"]] == [("owls", "sent")]


def test_flush_of_an_article_that_nobody_has_read(scene, ask):
    """A mistyped article is told, and not taken for settled; one by its URL is known."""
    scene.read(ANNA, OWLS, 30)
    assert complained(ask("flush", "anna", "--article", "owls", "--article", "owl")).endswith("known: owls")
    assert scene.sent == []
    owls = f"{ROSTER}/ims/oneroster/rostering/v1p2/resources/owls"
    assert ask("flush", "anna", "--article", owls).code == 0
    assert scene.sent == [30]


def test_flush_fails_unless_settled(scene, ask):
    """The error's own words, after what was done."""
    scene.read(ANNA, OWLS, 30)
    scene.emitter.fail(EmitterUnavailable("h is down"))
    ran = ask("flush", "anna")
    assert complained(ran) == "h is down"
    assert "failed" in ran.out


def test_forget_erases(scene, ask):
    """Without a question where --yes is said; the next time there is nothing left."""
    scene.read(ANNA, OWLS, 30)
    ran = ask("forget", "anna", "--yes")
    assert (ran.code, ran.out) == (0, "erased 1 state of reader anna\n")
    assert scene.state() is None
    assert "nothing was stored" in complained(ask("forget", "anna", "--yes"))


def test_forget_asks(scene, ask, monkeypatch):
    """On a terminal it asks and says what goes; anything but yes keeps it."""
    scene.read(ANNA, OWLS, 30)
    for answer in ("\n", "n\n", "never\n", ""):
        monkeypatch.setattr(sys, "stdin", Terminal(answer))
        ran = ask("forget", "anna", terminal=True)
        assert (ran.code, scene.state() is None) == (1, False)
        assert "Erase 1 state of reader anna, 30 s unreported?" in ran.err
        assert "nothing was erased" in ran.err
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert ask("forget", "anna", terminal=True).code == 0
    assert scene.state() is None


def test_forget_asks_nobody(scene, ask, monkeypatch):
    """Where nobody can answer, --yes is required, and nothing happens without."""
    scene.read(ANNA, OWLS, 30)
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert "pass --yes" in complained(ask("forget", "anna"), 2)
    assert "pass --yes" in complained(ask("forget", "anna", terminal=True), 2)
    assert scene.state() is not None


# audit


def test_audit_adds_up(parked, ask):
    """Reported, parked, claimed and not yet claimed time make the total, whatever has happened."""
    parked.emitter.bad = nothing
    parked.read(ANNA, BEES, 20.5)
    parked.tracker.partial(ANNA, BEES)
    parked.read(ANNA, OWLS, 7)
    ran = ask("audit", "anna")
    assert ran.code == 0
    assert ran.out.splitlines()[1].split() == ["anna", "2", "57.5", "20", "30", "0", "7.5", "20", "yes"]


def test_audit_asks_the_endpoint(scene, ask):
    """What was sent and is not shown a while later is a finding; just after sending it proves nothing."""
    scene.use(RecordingEmitter())
    scene.read(ANNA, OWLS, 30)
    scene.tracker.partial(ANNA, OWLS)
    gone = scene.emitter.events.pop()["id"]
    assert ask("audit", "anna").code == 0
    scene.clock.advance(301)
    ran = ask("audit", "anna", "--json")
    assert "1 thing about" in complained(ran, 3)
    assert ran.document["held"] == 0
    assert gone in ran.document["problems"][0]


def test_audit_counts_beyond_what_history_remembers(scene, ask):
    """J1: of forty events of which five are lost, five are missing, and a doubled one is a finding too."""
    scene.use(RecordingEmitter())
    for _ in range(40):
        scene.read(ANNA, OWLS, 30)
        scene.tracker.partial(ANNA, OWLS)
    del scene.emitter.events[2:7]
    scene.emitter.events.append(scene.emitter.events[0])
    scene.clock.advance(301)
    ran = ask("audit", "anna", "--json")
    assert "2 things" in complained(ran, 3)
    assert "missing, 5 events" in ran.document["problems"][0]
    assert "doubled, 1 event " in ran.document["problems"][1]


def test_audit_of_many_readers(scene, ask, tmp_path):
    """A row or a line of JSON for each; who has read nothing is no finding; a wrong file is wrong usage."""
    scene.use(RecordingEmitter())
    for reader in (ANNA, BEN):
        scene.read(reader, OWLS, 30)
        scene.tracker.partial(reader, OWLS)
    roster = tmp_path / "roster.txt"
    roster.write_text("ben\n\nzoe\nanna\n")
    ran = ask("audit", "anna", "--readers", str(roster), "--json")
    assert (ran.code, [line["reader"] for line in ran.json]) == (0, ["anna", "ben", "zoe"])
    assert [line["held"] for line in ran.json] == [30, 30, 0]
    del scene.emitter.events[1]
    scene.clock.advance(301)
    ran = ask("audit", "--readers", str(roster), terminal=True)
    assert "1 thing about 3 readers" in ran.err
    assert (ran.code, "ben, owls: deleted, 1 event " in " ".join(ran.out.split())) == (3, True)
    assert "--readers" in complained(ask("audit", "--readers", str(tmp_path / "none")), 2)
    complained(ask("audit"), 2)


class OneBadList(RecordingEmitter):
    """Its list of Anna's events cannot be read."""

    error = EmitterUnavailable("h: its answer is not a list of events, anna@example.org")

    def listed(self, actor_id, /):
        if actor_id.endswith("anna"):
            raise self.error
        return super().listed(actor_id)


def test_audit_goes_on_where_one_list_cannot_be_read(scene, ask):
    """The others are audited, and it says who was not: a failure, or unhealthy where somebody's do not add up."""
    scene.use(OneBadList())
    for reader in (ANNA, BEN):
        scene.read(reader, OWLS, 30)
        scene.tracker.partial(reader, OWLS)
    ran = ask("audit", "anna", "ben", "--json")
    assert (ran.code, [line["held"] for line in ran.json]) == (1, [None, 30])
    assert "anna: the endpoint could not be asked: h" in ran.err
    assert "@example" not in ran.err
    assert ask("audit", "anna", "ben").out.splitlines()[2].split()[-2:] == ["30", "yes"]
    complained(ask("audit", "anna"))
    scene.emitter.events.clear()
    scene.clock.advance(301)
    assert ask("audit", "anna", "ben").code == 3
    scene.emitter.error = EndpointRefused("h answered 401")
    complained(ask("audit", "anna", "ben"))


# reconcile


def test_reconcile_shows_and_repairs(scene, ask):
    """What is missing is a finding until it was sent again; a second look finds nothing."""
    scene.use(RecordingEmitter())
    for _ in range(3):
        scene.read(ANNA, OWLS, 30)
        scene.tracker.partial(ANNA, OWLS)
    gone = scene.emitter.events.pop(1)
    scene.clock.advance(301)
    ran = ask("reconcile", "anna")
    assert "1 thing about reader anna" in complained(ran, 3)
    assert (gone["id"] in ran.out, "reconcile --repair" in ran.out) == (True, True)
    ran = ask("reconcile", "anna", "--repair", "--json")
    assert (ran.code, ran.document["articles"][0]["repaired"]["event_ids"]) == (0, [gone["id"]])
    assert scene.emitter.events[-1] == gone
    assert (ask("reconcile", "anna").code, len(scene.emitter.events)) == (0, 3)
    assert ask("reconcile", "anna", "--since", "2030-01-01", "--settle", "0").code == 0
    with pytest.raises(SystemExit):
        ask("reconcile", "anna", "--since", "yesterday")


def test_audit_without_a_way_to_ask(scene, ask):
    """It says so, and how to change it."""
    scene.use(RecordingEmitter())
    scene.read(ANNA, OWLS, 30)
    scene.emitter.read_back = False
    ran = ask("audit", "anna")
    assert ran.code == 0
    assert "CALIPER_READTIME_READ_BACK" in ran.out


# What is not known, and what is away


@pytest.mark.parametrize("words", [("inspect", "zoe"), ("flush", "zoe"), ("audit", "zoe")])
def test_an_unknown_reader(ask, words):
    """One line that says what to look at; nothing is created."""
    assert "nothing is stored of reader zoe: check that this is the OneRoster sourcedId" in complained(ask(*words))


def test_an_unknown_article(scene, ask):
    """The reader's own articles are named."""
    scene.read(ANNA, OWLS, 30)
    assert complained(ask("inspect", "anna", "bees")).endswith("known: owls")
    assert "this reader has no article" in complained(ask("inspect", "zoe", "bees"))


@pytest.mark.parametrize("words", [("inspect", "x" * 256), ("inspect", "a\x1b[31mb"), ("forget", "", "--yes")])
def test_ids_that_cannot_be(ask, words):
    """A usage error in one line, and no control sequence reaches the terminal."""
    ran = ask(*words)
    complained(ran, 2)
    assert "\x1b" not in ran.err


@pytest.mark.parametrize(
    "words",
    [
        ("sweep",),
        ("inspect", "anna"),
        ("parked", "list"),
        ("flush", "anna"),
        ("forget", "anna", "--yes"),
        ("audit", "a"),
    ],
)
def test_a_store_that_is_away(scene, words, monkeypatch):
    """One line with the store's own words."""

    def away(*_arguments, **_more):
        raise StoreUnavailable("Redis at h:6379: it cannot be reached: check that it runs")

    for verb in ("due", "keys", "load", "parked", "delete", "now", "update", "unreported"):
        monkeypatch.setattr(scene.store, verb, away, raising=False)
    assert complained(command(*words, tracker=scene.tracker)).startswith("Redis at h:6379: it cannot be reached")


LOOKS = [
    ("inspect", "anna"),
    ("inspect", "anna", "--json"),
    ("inspect", "anna", "owls"),
    ("inspect", "anna", "owls", "--json"),
    ("explain", "anna", "owls", "--json"),
    ("parked", "list"),
    ("parked", "list", "--json"),
    ("parked", "export"),
    ("export", "anna", "--steps"),
    ("audit", "anna"),
    ("reconcile", "anna", "--repair"),
    ("flush", "anna"),
    ("flush", "anna", "--json"),
    ("parked", "retry", "anna", "owls"),
    ("sweep",),
]


@pytest.mark.parametrize("error", [EmitterUnavailable, EventRejected])
def test_no_e_mail_address_is_shown(scene, ask, error):
    """G2: whatever is asked for, on a terminal or not, also where an emitter of somebody else's quotes an address."""
    scene.read(ANNA, OWLS, 30)
    scene.tracker.partial(ANNA, OWLS)
    scene.emitter.events.clear()  # lost there
    scene.clock.advance(600)
    scene.read(ANNA, OWLS, 30)
    for words in LOOKS * 2:
        for terminal in (False, True):
            scene.emitter.fail(error("no anna@example.org, mend it"))
            ran = ask(*words, terminal=terminal)
            assert "@example" not in ran.out + ran.err, words
    assert "no (e-mail address), mend it" in ask("inspect", "anna", "owls").out


@pytest.mark.parametrize("terminal", [False, True])
def test_no_e_mail_address_is_in_a_sweeps_words(scene, terminal, caplog):
    """G2: neither in its line nor in the log."""
    scene.read(ANNA, OWLS, 30)
    scene.emitter.fail(EmitterUnavailable("no anna@example.org"))
    ran = command("sweep", "--idle", "0", tracker=scene.tracker, terminal=terminal)
    assert "@example" not in ran.out + ran.err + caplog.text
    assert terminal or ran.document["error"] == "no (e-mail address)"


def test_an_older_release_has_kept_addresses(parked, ask):
    """G2: what a state already holds of an error is shown without the address as well."""
    old = attrs.evolve(parked.state().ledger.parked[0], reason="EventRejected: no anna@example.org")
    ledger = attrs.evolve(parked.state().ledger, parked=(old,), last_error=old.reason)
    key = parked.state().key
    parked.store.update(key, lambda state, _now: (attrs.evolve(state, ledger=ledger), None), None)
    for words in LOOKS[:9]:
        ran = ask(*words)
        assert "@example" not in ran.out + ran.err, words
    assert parked.state().last_error == old.reason


def test_states_that_cannot_be_read(tmp_path):
    """What is left out is told: an inspection fails, an audit is unhealthy, and the others are shown."""
    path = tmp_path / "readtime.db"
    with closing(SqliteStateStore(path)) as store:
        tracker = ReadTimeTracker(store, RecordingEmitter(), events())
        tracker.accumulate(ANNA, OWLS, 10)
        tracker.accumulate(ANNA, BEES, 10)
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE state SET ledger = '{}' WHERE resource = 'owls'")
        ran = command("inspect", "anna", tracker=tracker)
        assert "states of reader anna cannot be read: owls" in complained(ran)
        assert "bees" in ran.out
        assert "owls" in command("audit", "anna", "--json", tracker=tracker).document["problems"][0]
        assert command("audit", "anna", tracker=tracker).code == 3
        complained(command("inspect", "anna", "owls", tracker=tracker))
        with closing(sqlite3.connect(path)) as other, other:
            other.execute("UPDATE state SET ledger = '{}'")
        assert "bees, owls" in complained(command("flush", "anna", tracker=tracker))
        ran = command("audit", "anna", "zoe", "--json", tracker=tracker)
        assert (ran.code, "bees, owls" in ran.json[0]["problems"][0], ran.json[1]["problems"]) == (3, True, [])
        ran = command("export", "anna", "zoe", tracker=tracker)
        assert ("bees, owls" in ran.err, "nothing is stored of 1 of 2 readers" in ran.err) == (True, True)


def test_explain_tells_the_story(scene, ask):
    """The tracker's own sentences; an unknown article names the known ones."""
    scene.read(ANNA, OWLS, 30)
    ran = ask("explain", "anna", "owls")
    assert (ran.code, tuple(ran.out.splitlines())) == (0, scene.tracker.explain("anna", "owls").lines)
    assert complained(ask("explain", "anna", "bees")).endswith("known: owls")


def test_status_in_every_form(parked, ask):
    """For people, for programs, and for Prometheus: the same figures."""
    parked.tracker.sweep()
    assert "unreported seconds    30" in ask("status").out
    document = ask("status", "--json").document
    assert (document["unreported_states"], document["parked_events"], document["exceeded"]) == (1, 1, [])
    text = ask("status", "--openmetrics").out
    assert "caliper_readtime_unreported_seconds 30.0\n" in text
    assert f"caliper_readtime_last_sweep_timestamp_seconds {parked.clock().timestamp()}\n" in text
    assert text.endswith("# EOF\n")


def test_status_is_a_health_check(parked, ask):
    """Each threshold that is exceeded is named, in one line, with exit 3; at the threshold all is well."""
    fine = ("--max-age", "30", "--max-states", "1", "--max-parked", "1")
    assert ask("status", *fine).code == 0
    assert "no sweep has ever run" in complained(ask("status", "--max-sweep-age", "60"), 3)
    parked.tracker.sweep()
    parked.clock.advance(61)
    for flag, most, words in (
        ("--max-age", "90", "unreported for 91 s"),
        ("--max-states", "0", "1 state with unreported time"),
        ("--max-parked", "0", "1 parked event (at most 0)"),
        ("--max-sweep-age", "60", "the last sweep ran 61 s ago"),
    ):
        ran = ask("status", flag, most, "--json")
        assert words in complained(ran, 3)
        assert len(ran.document["exceeded"]) == 1


def test_a_status_of_nothing(ask):
    """An empty store is fine, and its times are left out of the metrics."""
    assert ask("status", "--max-age", "0", "--max-states", "0", "--max-parked", "0").code == 0
    assert "timestamp" not in ask("status", "--openmetrics").out


def test_doctor_answers_by_its_findings(scene, ask):
    """Warnings are fine unless asked for strictly; errors are not."""
    ran = ask("doctor", "--json")
    assert ran.code == 0
    assert {"sweep.last"} <= {found["id"] for found in ran.document if found["level"] == "warn"}
    assert ask("doctor", "--strict").code == 3
    assert "no sweep has ever run" in ask("doctor", terminal=True).out
    scene.tracker.sweep()
    scene.clock.advance(7200)
    assert ask("doctor").code == 3


def test_watching_goes_on_until_a_signal(scene, ask):
    """In process: rounds at the interval, a failed one among them, until SIGTERM; then the handlers are as before."""
    scene.read(ANNA, OWLS, 30)
    scene.emitter.fail(RuntimeError("anna@example.org"))
    rounds = []

    def end_after_three(reports):
        rounds.append(reports)
        if len(rounds) == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    scene.store.swept, swept = lambda now: (swept(now), end_after_three(now)), scene.store.swept
    for terminal in (False, True):
        rounds.clear()
        ran = ask("sweep", "--watch", "0.01", "--idle", "0", terminal=terminal)
        assert (ran.code, ran.err) == (0, "")
        assert len(ran.out.splitlines()) == 3
        assert "anna@" not in ran.out


def test_a_watch_tells_of_a_lost_store(scene, ask, monkeypatch):
    """For programs a line of JSON, for people a sentence; a stranger's words are not repeated."""
    failures = [StoreUnavailable("Redis at h:1 is away"), RuntimeError("anna@example.org")]

    def away(*_arguments, **_more):
        if len(failures) == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        raise failures.pop(0)

    monkeypatch.setattr(scene.store, "due", away)
    ran = ask("sweep", "--watch", "0.01")
    assert [(line["stopped_by"], line["error"]) for line in ran.json] == [
        ("error", "Redis at h:1 is away"),
        ("error", "RuntimeError"),
    ]
    failures += [StoreUnavailable("Redis at h:1 is away"), RuntimeError("anna@example.org")]
    assert ask("sweep", "--watch", "0.01", terminal=True).out.splitlines() == [
        "round failed, going on: Redis at h:1 is away",
        "round failed, going on: RuntimeError",
    ]


def test_an_interrupted_command(scene, ask, monkeypatch):
    """Ctrl-C is one line and a failure, not a traceback."""

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(scene.store, "parked", interrupted)
    assert complained(ask("parked", "list")) == "interrupted"


def test_export_keeps_to_its_limit_and_skips_nothing(scene, ask):
    """At most so many lines; an event that could not even be built is exported without one."""

    class Unbuildable:
        """A builder of the host's own, which cannot build."""

        sensor, oneroster_url = SENSOR, ROSTER

        def event(self, *_arguments, **_more):
            raise ValueError("anna@example.org")

    tracker = scene.use(SelectiveEmitter(nothing), events=Unbuildable())
    for reader in (ANNA, BEN):
        scene.read(reader, OWLS, 30)
    tracker.sweep(idle_seconds=0)
    first, second = ask("parked", "export").json
    assert (first["event"], second["event"], first["status"]) == (None, None, None)
    assert len(ask("parked", "export", "--limit", "1").json) == 1
    assert "@" not in ask("parked", "export").out
