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


def jobs():
    """The jobs of the release, by name."""
    said = text(".github/workflows/release.yml").partition("\njobs:\n")[2]
    parts = re.split(r"^  (\w+):\n", said, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


def test_build_audit_and_publish_are_jobs_of_their_own():
    """What is built runs locked tools alone; what is audited is thrown away; what is published is what was built."""
    assert list(jobs()) == ["build", "audit", "publish"]
    build, audit, publish = jobs().values()
    assert list(re.findall(r"\.ci/\w+", build)) == [".ci/release"]
    assert ".ci/audit dist" in audit
    assert 'CALIPER_READTIME_REQUIRE_AUDIT: "1"' in audit
    assert "upload-artifact" in build
    assert "upload-artifact" not in audit + publish
    assert "sha256: ${{ steps.hashes.outputs.sha256 }}" in build
    assert "SHA256: ${{ needs.build.outputs.sha256 }}" in publish
    assert "sha256sum --check --strict" in publish


def test_only_publishing_has_an_identity():
    """Only the job that publishes may ask for one; it builds nothing, attests, and people are asked first."""
    build, audit, publish = jobs().values()
    assert "id-token" not in build + audit
    for needed in ("needs: [build, audit]", "environment: pypi", "id-token: write", "attestations: true"):
        assert needed in publish
    assert publish.count("run:") == 1  # the comparison of hashes
    assert "checkout" not in publish
    assert "python" not in publish.replace("gh-action-pypi-publish", "")


def test_nothing_unlocked_runs_where_artefacts_are_made():
    """The build installs by hash alone, and never what the wheel asks for."""
    said = text(".ci/release")
    assert re.findall(r"pip\" install (.+)", said) == ["--quiet --require-hashes --requirement .github/release.txt"]
    assert ".venv-audit" not in said
    assert re.search(r"^\.ci/release dist\n\.ci/audit dist$", text(".ci/run"), re.MULTILINE)


def test_hooks_are_local_and_of_the_lint_group():
    """Commit hooks fetch nothing: their tools are those of the group ``lint``, so that they are of one version."""
    said = text(".pre-commit-config.yaml")
    assert re.findall(r"repo: (.+)", said) == ["local"]
    hooks = re.findall(r"entry: (\S+)", said)
    assert set(re.findall(r"language: (.+)", said)) == {"system"}
    group = {Requirement(tool).name for tool in PROJECT["dependency-groups"]["lint"]}
    assert {{"lint-imports": "import-linter"}.get(hook, hook) for hook in hooks} <= group
