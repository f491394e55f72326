"""The command line by itself: settings from flags and environment, mounted on a host's parser, and its output."""

from __future__ import annotations

import argparse
import builtins
import io
import sys
from contextlib import closing

import pytest

from caliper_readtime import PageView, Reader, ReadTimeTracker, SqliteStateStore, _settings
from caliper_readtime._cli import FAILED, OK, add_commands, main, run
from caliper_readtime._cli.output import Output, clean
from caliper_readtime._cli.parser import own_parser
from caliper_readtime._cli.running import choose
from caliper_readtime._cli.settings import FLAGS
from tests.commands import Terminal, command, complained
from tests.scenes import ANNA, OWLS, ROSTER, SENSOR


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """A complete environment, with a file that an application has made."""
    path = tmp_path / "readtime.db"
    SqliteStateStore(path).close()
    settings = {
        "STORE_URL": f"sqlite:///{path}",
        "ENDPOINT": f"jsonl://{tmp_path}/events.jsonl",
        "ONEROSTER_URL": ROSTER,
        "SENSOR": SENSOR,
        "APP_NAME": "App",
    }
    for name, value in settings.items():
        monkeypatch.setenv(_settings.PREFIX + name, value)
    return tmp_path


def test_the_environment_is_enough(environment):
    """A sweep by environment variables alone reports into the endpoint."""
    with ReadTimeTracker.from_env() as tracker:
        tracker.observe(ANNA, OWLS, PageView("v", 10))
    assert command("sweep", "--idle", "0").document["seconds_sent"] == 10
    assert len((environment / "events.jsonl").read_text().splitlines()) == 1


def test_flags_come_before_the_environment(environment):
    """A flag of the same name wins."""
    SqliteStateStore(environment / "other.db").close()
    url = f"sqlite:///{environment}/other.db"
    assert "nothing is stored" in complained(command("inspect", "anna", "--store-url", url))
    complaint = complained(command("sweep", "--endpoint", "ftp://h/x"))
    assert "http or https" in complaint


def test_every_setting_but_secrets_and_policy_has_a_flag():
    """What others on the machine may read, and nothing that every host must share."""
    others = {"client_secret", "proxies"}
    others |= {setting.name for setting in _settings.TABLE.values() if setting.group in ("web", "policy")}
    assert set(FLAGS) == set(_settings.TABLE) - others
    help_text = subparser("sweep").format_help()
    assert "--client-secret-file" in help_text
    assert "--client-secret " not in help_text
    assert "--lock-seconds" not in help_text


def subparser(name):
    (commands,) = (action for action in own_parser(settings=True)._actions if isinstance(action.choices, dict))
    return commands.choices[name]


@pytest.mark.parametrize(
    "flag",
    [
        ("--store-url", "redis://:hunter2@h:6379/0"),
        ("--store-url", "redis+sentinel://h:26379/m?sentinel_password=hunter2"),
        ("--endpoint", "https://h/e?api_key=hunter2"),
        ("--token-url", "https://u:hunter2@h/token"),
    ],
)
@pytest.mark.usefixtures("environment")
def test_secrets_are_no_flags(flag):
    """A password in a flag is refused, says where it belongs, and is not repeated."""
    complaint = complained(command("sweep", *flag), 2)
    assert "in the environment instead" in complaint
    assert _settings.PREFIX in complaint
    assert "hunter2" not in complaint


def test_looking_needs_no_endpoint(environment, monkeypatch):
    """A command that sends nothing runs without one; one that sends names all that is missing."""
    for name in ("ENDPOINT", "SENSOR"):
        monkeypatch.setenv(_settings.PREFIX + name, "")
    complaint = complained(command("sweep"))
    assert "CALIPER_READTIME_ENDPOINT" in complaint
    assert "CALIPER_READTIME_SENSOR" in complaint
    monkeypatch.setenv(f"{_settings.PREFIX}SENSOR", SENSOR)
    assert "no event is parked" in command("parked", "list").out
    assert (environment / "readtime.db").exists()


def test_a_mistyped_path_makes_no_file(environment):
    """A store that is not there is an error, and not an empty store in which nothing is due."""
    for words in (("sweep",), ("parked", "list"), ("doctor",)):
        complaint = complained(command(*words, "--store-url", f"sqlite:///{environment}/typo.db"))
        assert complaint.endswith("typo.db: correct the path, or let the application make it")
    assert not (environment / "typo.db").exists()


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("url", ["ftp://h/x", "sqlite://relative", "redis://[::1", "nonsense"])
def test_a_wrong_store_url(url):
    """One line, exit 1."""
    complained(command("inspect", "anna", "--store-url", url))


def test_an_unknown_setting(environment, monkeypatch):
    """A mistyped variable is an error with a suggestion."""
    monkeypatch.setenv(f"{_settings.PREFIX}ENDPONT", "x")
    assert "did you mean CALIPER_READTIME_ENDPOINT?" in complained(command("sweep"))
    assert environment.exists()


@pytest.mark.parametrize(
    "words",
    [
        ("sweep", "--watch", "0"),
        ("sweep", "--idle", "-1"),
        ("sweep", "--budget", "nan"),
        ("parked", "list", "--limit", "0"),
        ("status", "--max-states", "1.5"),
        ("status", "--json", "--openmetrics"),
        ("parked",),
        ("explain", "anna"),
        ("nonsense",),
    ],
)
def test_wrong_usage(words, capsys):
    """argparse's own answer, and 2."""
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert "usage: caliper-readtime" in capsys.readouterr().err


# Mounted by a host


def test_a_host_mounts_it(scene):
    """On a parser of the host's, with the host's tracker, which stays open; without flags for settings."""
    parser = argparse.ArgumentParser(prog="manage.py readtime")
    parser.add_argument("--settings")  # as Django has
    add_commands(parser)
    scene.read(ANNA, OWLS, 30)
    out = io.StringIO()
    assert run(parser.parse_args(["sweep", "--idle", "0"]), scene.tracker, out=out, err=out) == OK
    assert scene.sent == [30]
    with pytest.raises(SystemExit):
        parser.parse_args(["sweep", "--store-url", "memory://"])
    assert main(["inspect", "anna"], scene.tracker) == OK
    err = io.StringIO()
    assert run(parser.parse_args(["inspect", "zoe"]), scene.tracker, out=out, err=err) == FAILED
    assert err.getvalue().startswith("manage.py readtime: nothing is stored of reader zoe")


def test_django_mounts_it(scene):
    """Django's own parser class takes the commands, and its options come back as a namespace."""
    management = pytest.importorskip("django.core.management.base")
    parser = management.CommandParser(prog="manage.py readtime", called_from_command_line=True)
    parser.add_argument("--settings")
    add_commands(parser)
    options = vars(parser.parse_args(["inspect", "anna", "--json"]))
    scene.read(ANNA, OWLS, 30)
    out = io.StringIO()
    assert run(argparse.Namespace(**options), scene.tracker, out=out, err=out) == OK
    assert '"resource_id": "owls"' in out.getvalue()


# Output


@pytest.fixture
def no_rich(monkeypatch):
    """The bare install."""
    really = builtins.__import__

    def blocked(name, *rest):
        if name.partition(".")[0] == "rich":
            raise ModuleNotFoundError("No module named 'rich'", name="rich")
        return really(name, *rest)

    for name in [
        name for name in sys.modules if name.partition(".")[0] == "rich" or name.endswith("._cli.rich_output")
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", blocked)


ROWS = (("[red]anna[/red]", 12.5, None), ("ben\x1b[2J", True, "a\nb"))


def test_plain_tables():
    """Columns stand under each other, and no cell can drive a terminal."""
    out = io.StringIO()
    choose(out, out).table(("reader", "seconds", "why"), ROWS)
    assert out.getvalue().splitlines() == [
        "reader           seconds  why",
        "[red]anna[/red]  12.5     -",
        "ben [2J          yes      a b",
    ]


def test_rich_tables():
    """On a terminal the same words are drawn, as they are."""
    out = Terminal()
    output = choose(out, out)
    assert type(output).__name__ == "FancyOutput"
    output.table(("reader", "seconds", "why"), ROWS)
    for words in ("[red]anna[/red]", "12.5", "ben [2J", "a b"):
        assert words in out.getvalue()
    assert "\x1b[2J" not in out.getvalue()


def test_a_terminal_without_rich(no_rich, scene):
    """The bare install draws plain tables and counts on a terminal."""
    del no_rich
    out = Terminal()
    output = choose(out, out)
    assert type(output) is Output
    scene.read(ANNA, OWLS, 30)
    ran = command("sweep", "--idle", "0", tracker=scene.tracker, terminal=True)
    assert "1 event sent, 30 s" in ran.out
    assert "events: 0 of 1" in ran.err


def test_a_broken_rich_is_not_hidden(no_rich, monkeypatch):
    """A missing module of somebody else's is told."""
    del no_rich
    really = builtins.__import__

    def blocked(name, *rest):
        if name == "rich.console":
            raise ModuleNotFoundError("No module named 'pygments'", name="pygments")
        return really(name, *rest)

    monkeypatch.setattr(builtins, "__import__", blocked)
    with pytest.raises(ModuleNotFoundError, match="pygments"):
        choose(Terminal(), Terminal())


def test_a_rich_bar(scene):
    """On a terminal a bar counts the events that are due, and is gone afterwards."""
    for number in range(3):
        scene.read(Reader(f"r{number}", "r@example.org"), OWLS, 10)
    ran = command("sweep", "--idle", "0", tracker=scene.tracker, terminal=True)
    assert ran.code == 0
    assert "3/3" in ran.err
    assert "3 events sent, 30 s" in ran.out


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "-"), (False, "no"), (0.1 + 0.2, "0.3"), (10.0, "10"), ("a\u202eb\x07", "a b ")]
)
def test_cells(value, shown):
    """Everything is one line of text."""
    assert clean(value) == shown


def test_a_reader_that_has_had_enough(scene):
    """A closed pipe, as head leaves it, is no failure and no traceback."""

    class Closed(io.StringIO):
        def write(self, _):
            raise BrokenPipeError

    scene.read(ANNA, OWLS, 30)
    err = io.StringIO()
    parsed = own_parser(settings=False).parse_args(["inspect", "anna"])
    assert run(parsed, scene.tracker, out=Closed(), err=err) == OK
    assert err.getvalue() == ""


def test_a_host_keeps_its_tracker(tmp_path):
    """What was passed in is not closed by us."""
    closed = []

    class Kept(SqliteStateStore):
        def close(self):
            closed.append(True)
            super().close()

    with closing(Kept(tmp_path / "a.db")) as store:
        assert command("parked", "list", tracker=ReadTimeTracker(store)).code == 0
        assert closed == []
