"""What a release rests on: one version, locked tools, pinned actions, rights that are no wider than needed."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from caliper_readtime import __version__

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_stands_in_one_place():
    """The build reads the version from the package, and neither metadata nor other modules say it again."""
    assert PROJECT["project"]["dynamic"] == ["version"]
    assert PROJECT["tool"]["hatch"]["version"]["path"] == "caliper_readtime/__init__.py"
    saying = [path for path in (ROOT / "caliper_readtime").rglob("*.py") if "__version__ =" in path.read_text()]
    assert saying == [ROOT / "caliper_readtime" / "__init__.py"]


def test_the_changelog_knows_the_version():
    """The version is the newest release of the changelog; or it is above that, and what it brings is listed."""
    sections = re.split(r"^## ", text("CHANGELOG.md"), flags=re.MULTILINE)[1:]
    titles = [section.partition("\n")[0] for section in sections]
    assert [title for title in titles if not re.fullmatch(r"\[Unreleased\]|\[\S+\] - \d{4}-\d\d-\d\d", title)] == []
    released = [Version(title[1:].partition("]")[0]) for title in titles if title != "[Unreleased]"]
    assert released == sorted(released, reverse=True)
    version = Version(__version__)
    if version not in released[:1]:
        assert titles[0] == "[Unreleased]"
        assert re.search(r"^- \w", sections[0], re.MULTILINE)
        assert all(version > release for release in released)


def test_the_lock_is_of_the_tools_that_are_wanted():
    """Each tool of the group ``release`` is locked to a release that the group allows, and every line has hashes."""
    locked = dict(re.findall(r"^([\w.-]+)==(\S+)", text(".github/release.txt"), re.MULTILINE))
    for wanted in map(Requirement, PROJECT["dependency-groups"]["release"]):
        assert locked[wanted.name] in wanted.specifier, wanted
    entries = re.split(r"\n(?=\w)", text(".github/release.txt"))
    assert len(entries) == len(locked)
    assert [entry for entry in entries if "--hash=sha256:" not in entry] == []


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.stem)
def test_workflows_have_no_more_rights_than_they_need(workflow):
    """Rights are none by default, each that a job has says why; actions are pinned by hash, with their version."""
    said = workflow.read_text(encoding="utf-8")
    assert "\npermissions: {}\n" in said
    granted = set(re.findall(r"^ +([\w-]+: (?:read|write))(?: # \w.*)$", said, re.MULTILINE))
    assert len(re.findall(r": (?:read|write)\b", said)) >= 1
    assert granted <= {"contents: read", "id-token: write"}
    assert re.findall(r"^ +[\w-]+: (?:read|write)$", said, re.MULTILINE) == []
    assert "write-all" not in said
    actions = re.findall(r"uses: (.+)", said)
    assert actions
    assert [one for one in actions if not re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", one)] == []
    assert said.count("actions/checkout@") == said.count("persist-credentials: false")
    assert said.count("timeout-minutes:") == said.count("runs-on:")
    assert "secrets." not in said


def test_publishing_is_a_job_of_its_own():
    """Only the job that publishes may ask for an identity; it builds nothing, attests, and people are asked first."""
    build, publish = text(".github/workflows/release.yml").split("\n  publish:\n")
    assert "id-token" not in build
    assert ".ci/release dist" in build
    assert 'CALIPER_READTIME_REQUIRE_AUDIT: "1"' in build
    for needed in ("needs: build", "environment: pypi", "id-token: write", "attestations: true"):
        assert needed in publish
    assert "run:" not in publish
    assert "checkout" not in publish


def test_hooks_are_local_and_of_the_lint_group():
    """Commit hooks fetch nothing: their tools are those of the group ``lint``, so that they are of one version."""
    said = text(".pre-commit-config.yaml")
    assert re.findall(r"repo: (.+)", said) == ["local"]
    hooks = re.findall(r"entry: (\S+)", said)
    assert set(re.findall(r"language: (.+)", said)) == {"system"}
    group = {Requirement(tool).name for tool in PROJECT["dependency-groups"]["lint"]}
    assert {{"lint-imports": "import-linter"}.get(hook, hook) for hook in hooks} <= group
