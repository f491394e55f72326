"""How the command line fits a terminal: help for every flag, errors first, and no time or id cut in two."""

from __future__ import annotations

import re
import sys

import pytest

from caliper_readtime import EmitterUnavailable, EventRejected, Reader
from caliper_readtime.__main__ import MORE, main
from caliper_readtime._cli.layout import widths, wrapped
from caliper_readtime._cli.parser import own_parser
from tests.command_page import commands
from tests.commands import command
from tests.scenes import BEES, OWLS

STYLED = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
WHOLE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ")
UUID = Reader("5b0a7a5e-2f7e-4b8e-9a55-0f1f5a1f7f10", "u@example.org")


@pytest.fixture
def troubled(scene):
    """A reader with a long id: one article refused for a long reason, the other waits for the endpoint."""
    scene.read(UUID, OWLS, 30)
    scene.tracker.partial(UUID, OWLS)
    scene.read(UUID, OWLS, 61)
    scene.emitter.fail(EventRejected("actor.email is not known to the roster of this school", status=422))
    with pytest.raises(EventRejected):
        scene.tracker.partial(UUID, OWLS)
    scene.read(UUID, BEES, 12)
    scene.emitter.fail(EmitterUnavailable("caliper.example.org did not answer within 20 s"))
    with pytest.raises(EmitterUnavailable):
        scene.tracker.partial(UUID, BEES)
    return scene


def every_look(tracker):
    """What each command that looks says on a terminal."""
    who, what = UUID.sourced_id, OWLS.resource_id
    for words in (
        ("status",),
        ("readers", "--waiting"),
        ("inspect", who),
        ("inspect", who, what),
        ("explain", who, what),
        ("parked", "list"),
        ("audit", who),
        ("doctor",),
    ):
        yield words, STYLED.sub("", command(*words, tracker=tracker, terminal=True).out)


@pytest.mark.parametrize("rich", [True, False])
@pytest.mark.parametrize("columns", [80, 200])
def test_nothing_is_cut(troubled, monkeypatch, columns, rich):
    """Every time, event id and reader stands whole on one line that fits, with rich and without."""
    monkeypatch.setenv("COLUMNS", str(columns))
    if not rich:
        monkeypatch.setitem(sys.modules, "rich", None)
        for name in [name for name in sys.modules if name.endswith("_cli.rich_output")]:
            monkeypatch.delitem(sys.modules, name)
    times = 0
    for words, said in every_look(troubled.tracker):
        lines = said.splitlines()
        assert not [line for line in lines if len(line) > columns and " " in line.strip()], words
        times += len(WHOLE.findall(said))
        assert len(re.findall(r"\d{4}-\d\d-\d\d(?!\d)", said)) == len(WHOLE.findall(said)), said
        for found in re.findall(r"urn:uuid:\S*", said):
            assert re.fullmatch(r"urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\S*", found), words
        assert "5b0a7a5e-2f7e" not in said.replace(UUID.sourced_id, ""), words
    assert times >= 20


def test_a_narrow_terminal_gets_blocks(troubled, monkeypatch):
    """What does not fit side by side stands one below the other; what is piped stays a line a row."""
    monkeypatch.setenv("COLUMNS", "80")
    ran = command("readers", "--waiting", tracker=troubled.tracker, terminal=True)
    assert "waiting since  2026-03-02 08:00:30Z\n" in ran.out
    (row,) = command("readers", "--waiting", tracker=troubled.tracker).out.splitlines()[1:]
    assert row.split()[:3] == [UUID.sourced_id, "2", "73"]


def test_widths_are_shared_out():
    """Whoever needs least is served first; rigid cells keep their length; what cannot fit is None."""
    cells = [["id", "at", "why"], ["a" * 10, "2026-03-02 08:00:30Z", "some words " * 9]]
    assert widths(cells, [False, True, False], 1000) == [10, 20, 99]
    assert widths(cells, [False, True, False], 60) == [10, 20, 30]
    assert widths(cells, [False, True, False], 34) is None
    assert widths([["a"]], [True], 80) == [1]


def test_sentences_are_wrapped_between_words():
    """A time is one word, a long word is left whole, and nothing at all is one empty line."""
    said = wrapped("claimed at 2026-03-02 08:00:30Z by https://example.org/a/long/path-to/it", 20, "  ")
    assert said == ["claimed at", "  2026-03-02 08:00:30Z", "  by", "  https://example.org/a/long/path-to/it"]
    assert wrapped("abcdef", 4, cut=True) == ["abcd", "ef"]
    assert wrapped("", 20) == [""]


# Flags and usage


def test_every_argument_has_help():
    """Also those of the settings."""
    for name, parser in commands(own_parser(settings=True, more=MORE)):
        for action in parser._actions:
            assert action.help, (name, action.dest)


@pytest.mark.parametrize("settings", [True, False])
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["status", "--max-age", "x"], "caliper-readtime status: argument --max-age: 'x' is not a number of seconds"),
        (["inspect"], "caliper-readtime inspect: the following arguments are required: READER"),
        (["parked"], "caliper-readtime parked: the following arguments are required: COMMAND"),
        (["nonsense"], "caliper-readtime: argument COMMAND: invalid choice: 'nonsense'"),
        ([], "caliper-readtime: the following arguments are required: COMMAND"),
    ],
)
def test_what_is_wrong_comes_first(words, said, settings, capsys):
    """The first line is the error, and the usage that follows is short: settings are named by --help alone."""
    with pytest.raises(SystemExit) as ended:
        own_parser(settings=settings).parse_args(words)
    assert ended.value.code == 2
    first, second, *rest = capsys.readouterr().err.splitlines()
    assert first.startswith(said)
    assert second.startswith("usage: caliper-readtime")
    assert len(rest) < 5
    assert not any("--store-url" in line for line in rest)


def test_help_names_the_settings_once(capsys):
    """In their own list, with what each is."""
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])
    said = capsys.readouterr().out
    assert said.count("--store-url") == 2  # itself, and what --store stands in place of
    assert "dotted path of a store, in place of --store-url" in said


def test_one_is_not_many(scene):
    """Counts and their nouns agree."""
    scene.read(UUID, OWLS, 30)
    for words in (("audit", UUID.sourced_id), ("readers", "--waiting"), ("sweep", "--idle", "0")):
        out = command(*words, tracker=scene.tracker, terminal=True).out
        assert not re.search(r"\b1 \w+s (?!sent|failed)", out.replace(" 1 s", "")), out


def test_lines_are_not_wrapped_where_nobody_looks(troubled):
    """A pipe gets each sentence as one line."""
    lines = troubled.tracker.explain(UUID, OWLS).lines
    ran = command("explain", UUID.sourced_id, OWLS.resource_id, tracker=troubled.tracker)
    assert ran.out.splitlines() == list(lines)
