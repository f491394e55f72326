"""Many readers at once: who waits, and their time as records for a data frame."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pandas as pd
import pytest

from caliper_readtime import EventRejected, Reader
from tests.commands import command, complained
from tests.scenes import ANNA, BEES, BEN, OWLS, article

ROOT = Path(__file__).parents[2]


@pytest.fixture
def ask(scene):
    """Runs a command on the scene's tracker: Anna's bees wait longest, Ben's owls are parked, her owls arrived."""
    scene.read(ANNA, OWLS, 30)
    scene.tracker.partial(ANNA, OWLS)
    scene.read(ANNA, BEES, 12.5)
    scene.read(BEN, OWLS, 20)
    scene.emitter.fail(EventRejected("no", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(BEN, OWLS)
    return lambda *words, **more: command(*words, tracker=scene.tracker, **more)


def test_who_waits(scene, ask):
    """A line for each reader with time that is not reported yet, the longest waiting first."""
    head, *rows = ask("readers", "--waiting").out.splitlines()
    assert head.split()[:2] == ["reader", "articles"]
    assert [row.split() for row in rows] == [
        ["anna", "1", "12.5", "0", "0", "2026-03-02", "08:00:30Z"],
        ["ben", "1", "20", "0", "1", "2026-03-02", "08:00:42Z"],
    ]
    scene.tracker.flush_reader(ANNA)
    (ben,) = ask("readers", "--waiting", "--json").document
    assert (ben["reader_sourced_id"], ben["unreported_seconds"], ben["parked_events"]) == ("ben", 20, 1)
    assert ben["waiting_since"] == "2026-03-02T08:00:42.500Z"


def test_readers_by_name(ask, tmp_path):
    """All that is stored of them counts; of whom nothing is stored is said once; the limit says what it left out."""
    (anna,) = ask("readers", "anna", "--json").document
    assert (anna["articles"], anna["cumulative_read_time_seconds"], anna["unreported_seconds"]) == (2, 42.5, 12.5)
    roster = tmp_path / "roster.txt"
    roster.write_text("ben\nzoe\n")
    ran = ask("readers", "anna", "--readers", str(roster), "--limit", "1")
    assert complained(ran, 0) == "nothing is stored of 1 of 3 readers"
    assert ran.out.splitlines()[-1] == "and 1 reader more: raise --limit"
    ran = ask("readers", "anna", "ben", "--limit", "1", "--json")
    assert len(ran.document) == 1
    assert complained(ran, 0) == "and 1 reader more: raise --limit"


def test_a_roster_from_a_spreadsheet(ask, tmp_path):
    """A mark of the byte order is no part of the first reader's id, nor are the ends of Windows' lines."""
    roster = tmp_path / "roster.txt"
    roster.write_bytes("anna\r\nben\r\n".encode("utf-8-sig"))
    ran = ask("readers", "--readers", str(roster), "--json")
    assert ([one["reader_sourced_id"] for one in ran.document], ran.err) == (["anna", "ben"], "")


@pytest.mark.parametrize("name", ["readers", "export"])
def test_somebody_must_be_named(ask, name):
    """Readers or --waiting, and not both; one who is not known fails."""
    assert "pass --waiting" in complained(ask(name), 2)
    assert "pass --waiting" in complained(ask(name, "anna", "--waiting"), 2)
    assert "nothing is stored of reader zoe" in complained(ask(name, "zoe"))


def test_nobody_waits(scene):
    """An empty store is fine."""
    ran = command("readers", "--waiting", tracker=scene.tracker)
    assert (ran.code, ran.out) == (0, "nobody waits\n")
    assert command("readers", "--waiting", "--json", tracker=scene.tracker).document == []


def test_export_is_what_the_tracker_answers(scene, ask):
    """JSON lines are the records of ``states().to_records()``, and hold no address."""
    ran = ask("export", "anna", "ben")
    assert ran.json == [*scene.tracker.states(ANNA).to_records(), *scene.tracker.states(BEN).to_records()]
    assert "@" not in ran.out
    assert {row["resource_id"] for row in ask("export", "--waiting").json} == {"bees", "owls"}


def test_export_makes_a_frame_in_one_line(ask):
    """Either format is read with numbers as numbers, flags as flags, and times that pandas knows."""
    lines = pd.read_json(io.StringIO(ask("export", "anna", "ben").out), lines=True)
    table = pd.read_csv(io.StringIO(ask("export", "anna", "ben", "--format", "csv").out), parse_dates=["due_at"])
    for frame in (lines, table, pd.DataFrame(ask("export", "anna", "ben").json)):
        assert frame["unreported_seconds"].sum() == 32.5
        assert frame["in_flight"].dtype == "bool"
        assert list(frame.columns) == list(lines.columns)
    for frame in (lines, table):
        assert str(frame["due_at"].dt.tz) == "UTC"
    assert table["finalized_at"].isna().all()


def test_the_pages_lines_keep_ids(scene, tmp_path, monkeypatch):
    """What the page about analysis says reads ids of digits as they are."""
    monkeypatch.chdir(tmp_path)
    scene.read(Reader("007", "bond@example.org"), article("0012"), 30)
    for file, form in (("time.jsonl", "jsonl"), ("time.csv", "csv")):
        (tmp_path / file).write_text(command("export", "007", "--format", form, tracker=scene.tracker).out)
    page = (ROOT / "docs" / "how-to" / "analyse.md").read_text("utf-8")
    ids, *reads = re.search(r"```text\n(ids = .*?)```", page, re.DOTALL)[1].splitlines()
    assert len(reads) == 2
    known = {"pd": pd}
    exec(ids, known)  # noqa: S102
    for line in reads:
        frame = eval(line, known)  # noqa: S307
        assert (frame["reader_sourced_id"][0], frame["resource_id"][0]) == ("007", "0012")
        assert frame["unreported_seconds"].sum() == 30


def test_export_of_steps(ask):
    """A record for each step that is remembered, with whose it is."""
    table = pd.read_csv(io.StringIO(ask("export", "anna", "ben", "--steps", "--format", "csv").out))
    assert list(table["kind"]) == ["claimed", "sent", "claimed", "parked"]
    assert list(table["reader_sourced_id"].unique()) == ["anna", "ben"]
    assert ask("export", "ben", "--steps").json[-1]["detail"] == "EventRejected: no"


def test_a_csv_without_rows_has_its_header(scene):
    """An empty frame with the right columns, and no error."""
    ran = command("export", "--waiting", "--format", "csv", tracker=scene.tracker)
    assert "unreported_seconds" in pd.read_csv(io.StringIO(ran.out)).columns
    assert command("export", "--waiting", tracker=scene.tracker).out == ""


def test_no_cell_is_a_formula(scene):
    """A spreadsheet that opens the file runs nothing of what a title says; JSON lines keep it to the letter."""
    evil = article("owls", title='=HYPERLINK("https://evil.example.org")')
    scene.read(ANNA, evil, 30)
    ran = command("export", "anna", "--format", "csv", tracker=scene.tracker)
    assert pd.read_csv(io.StringIO(ran.out))["title"][0] == f"'{evil.title}"
    assert command("export", "anna", tracker=scene.tracker).document["title"] == evil.title


def test_explain_as_json(scene, ask):
    """The sentences, the state by its public names, and what else is known of the reader."""
    document = ask("explain", "ben", "owls", "--json").document
    assert tuple(document["lines"]) == scene.tracker.explain("ben", "owls").lines
    assert (document["state"]["phase"], document["known_articles"]) == ("parked", ["owls"])
    assert "@" not in str(document)
