"""What the documents say is true: their code runs, their tables are complete, their drawing is the code's."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from caliper_readtime import SqliteStateStore, __version__, _cli, _settings
from caliper_readtime.testing import CaliperEndpoint
from tests import command_page, diagram
from tests.conftest import PROOFS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Their blocks are files and commands, which test_quickstarts follows.
QUICKSTARTS = ROOT / "docs" / "quickstart"
#: Pages that tests/recipes follows: more files for a quickstart, and an SDK that changes what it finds in a process.
ELSEWHERE = {"django-prometheus.md", "sentry.md"}
RUN = [page for page in PAGES if page.parent != QUICKSTARTS and page.name not in ELSEWHERE]
CI = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
PYTHON = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)
ENDPOINT = "https://caliper.example.org/caliper/event"


@pytest.fixture
def _files_are_closed(monkeypatch):
    """Close the files of states that a page opens, and which it needs until its last line."""
    opened, make = [], SqliteStateStore.__init__

    def made(store, *args, **options):
        make(store, *args, **options)
        opened.append(store)

    monkeypatch.setattr(SqliteStateStore, "__init__", made)
    yield
    for store in opened:
        store.close()


@pytest.mark.usefixtures("_files_are_closed")
@pytest.mark.parametrize("page", RUN, ids=lambda page: str(page.relative_to(ROOT)))
def test_code_runs(page, tmp_path, monkeypatch):
    """Every Python block of a page runs, in the page's order, with a loopback endpoint for the one it names."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("caliper_readtime")
    monkeypatch.setattr(logger, "handlers", [*logger.handlers])  # what a page adds goes with it
    text = page.read_text(encoding="utf-8")
    with CaliperEndpoint() as endpoint:
        names = {"__name__": "page"}
        for block in PYTHON.finditer(text):
            # Blank lines put the block where it stands in the page, so that a traceback names the right line.
            source = "\n" * text.count("\n", 0, block.start(1)) + block[1].replace(ENDPOINT, endpoint.url)
            exec(compile(source, str(page), "exec"), names)  # noqa: S102 - our own pages
        for part in ("_store", "tracker"):
            getattr(names.get(part), "close", lambda: None)()
        assert endpoint.conflicts == ()


@pytest.mark.parametrize(
    "page", ["write-a-store", "write-an-emitter", "send-to-a-queue", "test-your-app", "test-your-wiring"]
)
def test_contracts_pass_as_written(page, tmp_path):
    """A stranger who pastes the blocks of a how-to page into a test file sees its tests pass."""
    text = (ROOT / "docs" / "how-to" / f"{page}.md").read_text(encoding="utf-8")
    with CaliperEndpoint() as endpoint:
        blocks = "\n\n".join(PYTHON.findall(text)).replace(ENDPOINT, endpoint.url)
        assert_passes(tmp_path, blocks)


def test_the_tutorial_runs_twice(tmp_path):
    """Its script, written down as it says, ends well in the folder in which it has run before, with its file there."""
    text = (ROOT / "docs" / "tutorial" / "first-event.md").read_text(encoding="utf-8")
    (tmp_path / "first.py").write_text("\n".join(PYTHON.findall(text.partition("## A page")[0])), encoding="utf-8")
    for run in (1, 2):
        environ = {**os.environ, "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [sys.executable, "first.py"], cwd=tmp_path, env=environ, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"run {run}: {ran.stderr}"
        assert "sent 9.0" in ran.stdout


def assert_passes(tmp_path, source):
    (tmp_path / "test_mine.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    ran = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTEST_ADDOPTS": "", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert " passed" in ran.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_imports_what_is_private(page):
    """Whatever a host is shown to import is public, by every part of its name."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```py(?:thon)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    imports = [line for block in blocks for line in block.splitlines() if re.match(r"\s*(from|import) ", line)]
    assert [line for line in imports if re.search(r"caliper_readtime[.\w]*\._", line)] == []


@pytest.mark.usefixtures("_files_are_closed")
def test_readme_reports(tmp_path, monkeypatch, capsys):
    """The README's first steps end with the reader's seconds at the endpoint, and settled."""
    monkeypatch.chdir(tmp_path)
    blocks = PYTHON.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    with CaliperEndpoint() as endpoint:
        names: dict[str, object] = {}
        for block in blocks[:4]:
            exec(block.replace(ENDPOINT, endpoint.url), names)  # noqa: S102 - our own page
        assert endpoint.seconds() == 14.0
    assert "bank now" in capsys.readouterr().out


def test_the_readme_says_what_was_measured():
    """What the README says is lost is what the page about accuracy says of these flows."""
    told = dict(re.findall(r"^\| (.+?) \| \**([\d.]+ %)\** \|$", PAGES[0].read_text(encoding="utf-8"), re.MULTILINE))
    page = (ROOT / "docs" / "explanation" / "accuracy.md").read_text(encoding="utf-8")
    header, *flows = (line[2:-2].split(" | ") for line in page.splitlines() if re.match(r"\| (flow|\([abd]\))", line))
    lost = {flow[0]: flow[header.index("lost though told")] for flow in flows if len(flow) == len(header)}
    assert [re.search(r"\((.+)\)", share)[1] for share in lost.values()] == list(told.values())
    assert list(lost) == ["(a) unmount only", "(b) read-modify-write", "(d) this library, totals"]


def test_links_lead_somewhere():
    """Every relative link of every page names a file that is there."""
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page}: {target}"


def test_settings_page_is_complete():
    """The settings page lists exactly the settings that there are, and the policy's defaults."""
    text = (ROOT / "docs" / "reference" / "settings.md").read_text(encoding="utf-8")
    listed = re.findall(rf"^\| `{_settings.PREFIX}(\w+)` \|(?: ([^|]+) \|)?", text, re.MULTILINE)
    assert {name.lower() for name, _ in listed} == set(_settings.TABLE)
    defaults = {name.lower(): default.strip("` ") for name, default in listed}
    for setting in _settings.TABLE.values():
        shown = defaults[setting.name]
        if setting.name == "secrets":
            assert shown == "the framework's"
        elif setting.group in ("web", "policy"):
            value = "none" if setting.default in (None, ()) else setting.default
            assert shown == str(value).lower() or float(shown) == value, setting.name


def test_errors_page_is_complete():
    """The errors page names every error that hosts can catch."""
    from caliper_readtime import errors  # noqa: PLC0415

    text = (ROOT / "docs" / "reference" / "errors.md").read_text(encoding="utf-8")
    abstract = {"ReadTimeError", "StoreError", "EmitError"}
    assert {name for name in errors.__all__ if f"| `{name}`" in text} == set(errors.__all__) - abstract


def test_signals_page_is_complete():
    """The signals page lists exactly the reasons there are, with statuses and advice, and the keys of a message."""
    from caliper_readtime.web.refusals import Refusal  # noqa: PLC0415
    from caliper_readtime.web.signals import KEYS  # noqa: PLC0415

    text = (ROOT / "docs" / "reference" / "signals.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `(\w+)` \| (\d{3}) \| .* \| (.*) \|$", text, re.MULTILINE)
    assert sorted(listed) == sorted((reason.value, str(reason.status), reason.advice) for reason in Refusal)
    assert set(re.findall(r"^\| `(\w)` \|", text, re.MULTILINE)) == {"s", *KEYS.values()}


def fenced():
    """Every fenced block outside the quickstarts: its page, its language, its lines."""
    for page in PAGES:
        if page.parent != QUICKSTARTS:
            text = page.read_text(encoding="utf-8")
            for language, block in re.findall(r"^```(\S+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
                yield page, language, block.splitlines()


def test_fragments_say_that_they_are():
    """Code is run as it stands, or begins with a comment that says it is a fragment, and of what."""
    run, shown = {"python"}, {"sh", "text", "json", "http", "ini", "yaml", "mermaid"}
    marks = {"py": "# fragment: ", "nginx": "# fragment: ", "js": "// fragment: ", "html": "<!-- fragment: "}
    unmarked = [
        (page.name, lines[0])
        for page, language, lines in fenced()
        if language not in run | shown and not language.startswith("{") and not lines[0].startswith(marks[language])
    ]
    assert unmarked == []
    assert sum(language in marks for _, language, _ in fenced()) > 15


def test_excerpts_are_the_examples():
    """What a how-to page shows of an example or a quickstart stands there, line for line."""
    sources = [path for path in (ROOT / "docs" / "examples").rglob("*") if path.suffix in (".py", ".html", ".jinja")]
    there = "\n".join(path.read_text(encoding="utf-8") for path in [*sources, *QUICKSTARTS.glob("*.md")])
    excerpts = [
        line.strip()
        for page, language, lines in fenced()
        if page.parent.name == "how-to" and language in ("py", "html")
        for line in lines[1:]
    ]
    assert len(excerpts) > 20
    # The one line that is a reader's own.
    assert [line for line in excerpts if line not in there] == [f'"ENDPOINT": "{ENDPOINT}",']


@pytest.mark.parametrize(
    ("page", "least"),
    [
        ("explanation/promises", 30),
        ("explanation/browser", 15),
        ("security", 25),
        ("how-to/single-pages", 10),
        ("how-to/iframes", 4),
    ],
)
def test_what_is_claimed_is_shown(page, least):
    """Every test that the pages of promises, threats and browsers name exists."""
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")))
    there = {
        name
        for path in (*(ROOT / "tests").rglob("test_*.py"), *(ROOT / "caliper_readtime" / "testing").glob("*.py"))
        for name in re.findall(r"^ *def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) >= least
    assert named - there == set()


def test_drawing_is_the_table():
    """The state machine that the documentation draws is the one that the code runs by."""
    page = diagram.PAGE.read_text(encoding="utf-8")
    assert diagram.drawn(page) == page


def test_command_page_is_the_parser():
    """The reference of the command line is what the parser says."""
    page = command_page.PAGE.read_text(encoding="utf-8")
    assert command_page.written(page) == page
    assert "### sweep" in page


def test_command_page_names_every_exit_code():
    """The exit codes that are promised are those that there are."""
    page = command_page.PAGE.read_text(encoding="utf-8")
    listed = [int(code) for code in re.findall(r"^\| (\d) \|", page, re.MULTILINE)]
    assert listed == [_cli.OK, _cli.FAILED, _cli.USAGE, _cli.UNHEALTHY]


def test_ci_runs_the_readme_command():
    """CI takes its test command from the README, and there is only one."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme.count("-m pytest") == 1
    assert "command=$(grep -m1 -F -- '-m pytest' README.md)" in CI


def test_ci_leaves_no_test_out(request):
    """The README's command leaves out what is marked as a proof and no more; CI runs that, and then all proofs."""
    command = next(line for line in PAGES[0].read_text(encoding="utf-8").splitlines() if "-m pytest" in line)
    assert shlex.split(command.partition(" -m pytest")[2]) == ["-n", "auto"]
    given = request.config.getini("addopts")
    assert [word for word in given if not word.startswith("--")] == ["-m", "not proof"]
    assert not any(word.startswith(("--ignore", "--deselect")) for word in given)
    assert request.config.getini("testpaths") == ["tests"]
    (readme,) = re.findall(r'^PYTEST_ADDOPTS="(.*)" bash -c "\$command"$', CI, re.MULTILINE)
    (proofs,) = re.findall(r"^\.venv/bin/python -m pytest (.*-m proof.*)$", CI, re.MULTILINE)
    assert [word for word in readme.split() if not word.startswith("--cov")] == []
    assert [word for word in proofs.split() if not word.startswith("--cov")] == ["-m", "proof"]
    for word in ("CALIPER_READTIME_REQUIRE_BROWSER=1", "CALIPER_READTIME_REQUIRE_REDIS=1", "set -euo pipefail"):
        assert word in CI.partition("command=")[0]


@pytest.mark.parametrize("pattern", PROOFS)
def test_proofs_are_where_they_are_said_to_be(pattern):
    """No pattern of the files of proofs has lost its files."""
    assert list((ROOT / "tests").glob(pattern))


def test_changelog_knows_the_version():
    """The changelog has a section for this version, or an unreleased one."""
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{__version__}]" in changelog or "## [Unreleased]" in changelog


def test_layout():
    """The top level holds what the team agreed on, and nothing else."""
    allowed = {"pyproject.toml", "README.md", "CHANGELOG.md", "LICENSE", "caliper_readtime", "tests", "docs"}
    made = {"build", "dist", "caliper_readtime.egg-info"}
    present = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert present - made <= allowed
