"""Answers as records: one line makes a data frame of them in which numbers are numbers."""

from __future__ import annotations

import copy
import json

import pandas as pd
import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, InMemoryStateStore, StoreUnavailable
from caliper_readtime.testing import RecordingEmitter
from tests.scenes import ANNA, BEES, OWLS, Scene


@pytest.fixture
def anna(scene: Scene):
    """Anna's half minute of owls was refused, 12.5 s of bees wait for an endpoint that is down."""
    scene.read(ANNA, OWLS, 30)
    scene.emitter.fail(EventRejected("anna@example.org is unknown", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, BEES, 12.5)
    scene.emitter.fail(EmitterUnavailable("anna@example.org is away"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(ANNA, BEES)
    return scene


def test_states_make_a_frame(anna):
    """A row for each article; seconds are numbers, times are read as times, and nothing holds an address."""
    records = anna.tracker.states(ANNA).to_records()
    assert not any("@" in str(value) for row in records for value in row.values())
    frame = pd.DataFrame(records).set_index("resource_id")
    assert frame["unreported_seconds"].sum() == 42.5
    assert frame["cumulative_read_time_seconds"].dtype == "float64"
    assert frame["in_flight"].dtype == "bool"
    assert frame["parked_events"].to_dict() == {"owls": 1, "bees": 0}
    assert tuple(frame.loc["owls", ["title", "kind"]]) == (OWLS.title, "article")
    assert pd.to_datetime(frame.loc["owls", "last_server_sync_at"]) == pd.Timestamp("2026-03-02T08:00:30Z")
    assert frame["finalized_at"].isna().all()


def test_parked_events_and_steps_make_frames(anna):
    """So do refused events, of the store or of one state, and the steps of a state's life."""
    for parked in (anna.tracker.parked(), anna.state().parked):
        (row,) = pd.DataFrame(parked.to_records()).to_dict("records")
        assert (row["seconds"], row["status"], row["reason"]) == (30, 422, "EventRejected: (e-mail address) is unknown")
    steps = pd.DataFrame(anna.tracker.state(ANNA, BEES).history.to_records())
    assert list(steps["kind"]) == ["claimed", "failed"]
    assert "@" not in "".join(steps["detail"])


def test_every_answer_has_records(anna):
    """Heartbeats, reports, flushes, sweeps, statuses and reconciliations: all of them flat, and JSON as they are."""
    anna.use(RecordingEmitter())
    anna.clock.advance(3600)
    tracker = anna.tracker
    answers = {
        "heartbeat": tracker.accumulate(ANNA, BEES, 5),
        "sweep": tracker.sweep(idle_seconds=0),
        "flush": tracker.flush_reader(ANNA),
        "report": tracker.partial(ANNA, BEES),
        "status": tracker.status(),
        "explanation": tracker.explain(ANNA, BEES),
        "reconciliation": tracker.reconcile(ANNA),
    }
    records = {name: answer.to_records() for name, answer in answers.items()}
    for row in (row for rows in records.values() for row in rows):
        assert all(isinstance(value, str | int | float | None) for value in row.values()), row
        json.dumps(row, allow_nan=False)
    assert records["heartbeat"][0]["accepted_seconds"] == 5
    assert [row["outcome"] for row in records["sweep"]] == ["sent", "sent"]
    assert pd.DataFrame(records["sweep"])["delta_seconds"].sum() == answers["sweep"].seconds_sent
    assert records["report"][0]["outcome"] == "nothing_to_send"
    assert records["status"][0]["parked_events"] == 1
    assert [row["line"] for row in records["explanation"]] == list(answers["explanation"].lines)
    assert {row["resource_id"]: row["matching_events"] for row in records["reconciliation"]}["bees"] == 2


def test_an_error_and_several_ids_are_text(anna):
    """A failed report says its error without an address; several ids are one text with spaces between."""
    failed = anna.reports[-1].to_records()[0]
    assert failed["error"] == "EmitterUnavailable: (e-mail address) is away"
    anna.tracker.unpark(ANNA, OWLS)
    anna.read(ANNA, OWLS, 30)
    report = anna.tracker.partial(ANNA, OWLS)
    assert report.to_records()[0]["event_ids"] == " ".join(report.event_ids)


def test_rows_are_a_tuple(anna):
    """They compare and copy as one, and an empty one says so."""
    states = anna.tracker.states(ANNA)
    assert states == tuple(states)
    for twin in (copy.copy(states), copy.deepcopy(states)):
        assert twin == states
        assert twin._repr_html_() == states._repr_html_()
    nobody = anna.tracker.states("nobody")
    assert (nobody, nobody.to_records()) == ((), [])
    assert ">none<" in nobody._repr_html_()


def test_a_tracker_shows_itself_and_its_status(anna):
    """Store, emitter and what waits; where the store is away, it says so instead of failing."""
    html = anna.tracker._repr_html_()
    for words in (
        f"{type(anna.store).__name__}(",
        "FlakyEmitter(RecordingEmitter(0 events))",
        ">unreported seconds<",
        "42.5",
    ):
        assert words in html

    class Away(InMemoryStateStore):
        def unreported(self, now=None):
            raise StoreUnavailable("h does not <answer>")

    assert "StoreUnavailable: h does not &lt;answer&gt;" in Scene(Away).tracker._repr_html_()
