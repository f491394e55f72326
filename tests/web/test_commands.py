"""``flask readtime``, ``manage.py readtime`` and system checks: the operator's commands on the host's tracker."""

from __future__ import annotations

import re
import tomllib
from importlib import import_module

import pytest
from flask import Flask

from caliper_readtime import InMemoryStateStore, ReadTimeTracker, SqliteStateStore, StoreUnavailable
from caliper_readtime import doctor as doctor_package
from caliper_readtime.web import flask as flask_adapter
from caliper_readtime.web._flask_command import readtime
from tests.scenes import ANNA
from tests.web.sites import OWLS, READERS, ROOT, SECRETS, django_site, flask_site


def flask_runner():
    """Runs ``flask readtime`` words; returns exit code, output and errors."""
    with flask_site() as site:
        app = Flask("commands")
        app.config.update(SECRET_KEY=SECRETS[0])
        flask_adapter.init_app(app, tracker=site.tracker)
        runner = app.test_cli_runner()

        def run(*words):
            result = runner.invoke(readtime, list(words))
            return result.exit_code, result.stdout, result.stderr

        yield site, run


def django_runner(capsys):
    """Runs ``manage.py readtime`` words; returns exit code, output and errors."""
    with django_site() as site:
        from django.core.management import ManagementUtility  # noqa: PLC0415

        def run(*words):
            code = 0
            try:
                ManagementUtility(["manage.py", "readtime", *words]).execute()
            except SystemExit as end:
                code = end.code
            said = capsys.readouterr()
            return code, said.out, said.err

        yield site, run


@pytest.fixture(params=["flask", "django"])
def running(request, capsys):
    """A site, and what runs its commands."""
    yield from flask_runner() if request.param == "flask" else django_runner(capsys)


def test_commands_work_on_the_hosts_tracker(running):
    """A sweep by hand sends what the host's own tracker holds."""
    site, run = running
    site.tracker.accumulate(ANNA, OWLS, 10)
    code, said, _ = run("sweep", "--idle", "0")
    assert (code, site.emitter.seconds("anna", "owls")) == (0, 10), said
    assert "10" in said


def test_exit_codes(running):
    """Codes are those of the command line: 1 for what cannot be done, 2 for wrong usage, and a line that says why."""
    _, run = running
    code, _, complaint = run("inspect", "nobody")
    assert code == 1
    assert re.match(r"(flask|manage\.py) readtime: nothing is stored of reader nobody", complaint)
    assert run("no-such-command")[0] == 2


def test_usage_says_what_was_typed(running):
    """Help and complaints name the command as the host has it."""
    _, run = running
    assert re.match(r"usage: (flask|manage\.py) readtime ", run("--help")[1])
    assert re.match(r"(flask|manage\.py) readtime flush: the following arguments are required", run("flush")[2])


def test_what_is_wrong_comes_first(running):
    """A host's own parser says first what is wrong too."""
    _, run = running
    code, _, complaint = run("status", "--max-age", "soon")
    first, second, *_ = complaint.splitlines()
    assert (code, first.endswith("status: argument --max-age: 'soon' is not a number of seconds, 0 or more")) == (
        2,
        True,
    )
    assert second.startswith("usage: ")
    code, _, complaint = run("no-such-command")
    first, second, *_ = complaint.splitlines()
    assert (code, "readtime: argument COMMAND: " in first, second.startswith("usage: ")) == (2, True, True)
    assert "invalid choice: 'no-such-command'" in first


def test_called_by_code_django_raises():
    """``call_command`` raises Django's error, and ends no process."""
    with django_site():
        from django.core.management import CommandError, call_command  # noqa: PLC0415

        with pytest.raises(CommandError, match="is not a number of seconds"):
            call_command("readtime", "status", "--max-age", "soon")


def test_help(running):
    """Help is the command line's."""
    _, run = running
    code, said, _ = run("--help")
    assert code == 0
    assert "sweep" in said
    assert "doctor" in said


def test_flask_finds_the_command():
    """The entry point names the command, and importing it loads little."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    module, _, name = project["entry-points"]["flask.commands"]["readtime"].partition(":")
    assert getattr(import_module(module), name) is readtime


def test_flask_without_init_app():
    """The command says what to call."""
    result = Flask("bare").test_cli_runner().invoke(readtime, ["sweep"])
    assert result.exit_code == 1
    assert "init_app" in result.output


def test_django_with_wrong_settings(capsys):
    """The command says what is missing, in one line."""
    with django_site(settings={"STORE_URL": "memory://"}) as site:
        from django.core.management import ManagementUtility  # noqa: PLC0415

        site.counter._tracker = None
        with pytest.raises(SystemExit) as end:
            ManagementUtility(["manage.py", "readtime", "sweep"]).execute()
    assert end.value.code == 1
    assert "CommandError: missing settings: CALIPER_READTIME_ENDPOINT" in capsys.readouterr().err


# System checks


def found(*, deploy=False):
    """What Django's checks of this application say."""
    from django.core.checks import run_checks  # noqa: PLC0415

    return {message.id: message for message in run_checks(tags=["caliper_readtime"], include_deployment_checks=deploy)}


def test_a_good_project_has_nothing_to_hear():
    """The example's settings and URLs are as they should be."""
    with django_site():
        assert found() == {}


@pytest.mark.parametrize(
    ("parts", "expected", "hint"),
    [
        ({"settings": {"STORE_URL": "memory://"}}, "E001", "CALIPER_READTIME"),
        ({"settings": {"STORE_ULR": "memory://"}}, "E001", "CALIPER_READTIME"),
        ({"settings": {"LEAVE": "later"}}, "E001", "CALIPER_READTIME"),
        ({"secrets": ("short",)}, "E001", "CALIPER_READTIME"),
        ({"settings": {"STORE": "news.nowhere.store"}}, "E001", "CALIPER_READTIME"),
        ({"settings": {"ON_REFUSAL": 7}}, "E001", "CALIPER_READTIME"),
        ({"reader": None}, "E002", "READER"),
        ({"overrides": {"ROOT_URLCONF": "tests.web.no_urls"}}, "E003", "include"),
        ({"overrides": {"MIDDLEWARE": []}}, "W002", "private_pages"),
    ],
)
def test_what_is_wrong_is_told(parts, expected, hint):
    """Each mistake has its id, and its hint says what to change."""
    from django.test import override_settings  # noqa: PLC0415

    with django_site() as site:
        given = {"secrets": SECRETS, "reader": READERS.get, "settings": {}, "overrides": {}, **parts}
        table = {**({} if given["reader"] is None else {"READER": given["reader"]}), **given["settings"]}
        with override_settings(SECRET_KEY=given["secrets"][0], CALIPER_READTIME=table, **given["overrides"]):
            if not given["settings"] and given["secrets"] == SECRETS:
                from caliper_readtime.web.django import current_page_counter  # noqa: PLC0415

                current_page_counter().tracker = site.tracker
            messages = found()
    assert list(messages) == [f"caliper_readtime.{expected}"]
    assert hint in messages[f"caliper_readtime.{expected}"].hint


def test_settings_must_be_a_dict():
    """Anything else is told."""
    from django.test import override_settings  # noqa: PLC0415

    with django_site(), override_settings(CALIPER_READTIME="redis://"):
        assert "must be a dict" in found()["caliper_readtime.E001"].msg


def test_a_store_that_cannot_be_opened_is_a_warning():
    """It may be up again when pages are."""

    def down():
        raise StoreUnavailable("the cluster is down")

    with django_site() as site:
        site.counter._make, site.counter._tracker = down, None
        assert list(found(deploy=True)) == ["caliper_readtime.W001"]


def test_doctors_findings_are_checks_of_a_deployment(tmp_path):
    """``check --deploy`` says what ``doctor`` says, with its hints; ``check`` asks nobody."""
    with django_site() as site:
        store = SqliteStateStore(tmp_path / "readtime.db")
        site.counter.tracker = ReadTimeTracker(store)
        assert found() == {}
        messages = found(deploy=True)
        findings = {finding.id: finding for finding in doctor_package.examine(site.counter.tracker)}
        store.close()
    message = messages["caliper_readtime.W010"]
    assert message.hint == findings["emitter.none"].hint
    assert findings["emitter.none"].text in message.msg
    bad = [finding for finding in findings.values() if finding.level is not doctor_package.Level.OK]
    assert len(messages) == len(bad)


def test_a_check_that_could_not_be_made():
    """A store that does not answer is one error, once for each check that asked it."""

    class Down(InMemoryStateStore):
        def last_sweep(self):
            raise StoreUnavailable("down")

    with django_site(store=Down()):
        message = found(deploy=True)["caliper_readtime.E008"]
    assert "sweep.store" in message.msg


def test_every_check_of_doctor_has_a_number():
    """Whatever doctor may find has an id that a project can silence, and no two have the same."""
    from caliper_readtime.web.django.checks import NUMBERS  # noqa: PLC0415

    sources = (ROOT / "caliper_readtime" / "doctor").glob("*.py")
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    names = set(re.findall(r'\b(?:ok|warn|error)\(\s*"([a-z]+\.[a-z_]+)"', text))
    assert len(names) > 10
    assert names == set(NUMBERS)
    assert len(set(NUMBERS.values())) == len(NUMBERS)
