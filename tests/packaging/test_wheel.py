"""The built wheel, installed in a clean virtual environment, does what the checkout does."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*command, cwd):
    return subprocess.run([str(part) for part in command], cwd=cwd, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The sdist, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", out, ROOT, cwd=out)
    return out


@pytest.fixture(scope="module")
def python(built, tmp_path_factory):
    """A clean environment's Python, with the wheel and nothing else but what it needs."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=True)
    python = home / ("Scripts" if sys.platform == "win32" else "bin") / "python"
    run(python, "-m", "pip", "install", "--quiet", next(built.glob("*.whl")), cwd=home)
    return python


@pytest.fixture(scope="module")
def flask(built, python, tmp_path_factory):
    """Another one's, with Flask and pytest beside the wheel: a host's."""
    home = tmp_path_factory.mktemp("flask")
    venv.create(home, with_pip=True)
    flask = home / python.parent.name / python.name
    run(flask, "-m", "pip", "install", "--quiet", f"{next(built.glob('*.whl'))}[flask]", "pytest", cwd=home)
    return flask


def test_wheel_holds_the_whole_package(built):
    """Every file of the package is in the wheel, the type marker too, and the licence."""
    names = set(zipfile.ZipFile(next(built.glob("*.whl"))).namelist())
    package = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "caliper_readtime").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert package <= names
    assert {"caliper_readtime/py.typed", "caliper_readtime/_demo/templates/panels.html"} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_sdist_can_be_tested(built):
    """The sdist carries tests and documents, so that a distributor can run them."""
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"README.md", "CHANGELOG.md", "tests/backends.py", "docs/reference/settings.md"} <= names


def test_demo_runs_from_the_wheel(python, tmp_path):
    """The demo tells its story in the bare install, away from the checkout, over each kind of store."""
    for store in ("sqlite", "memory", f"sqlite:///{tmp_path}/kept.db", f"sqlite:///{tmp_path}/kept.db"):
        told = run(python, "-m", "caliper_readtime", "demo", "--store", store, cwd=tmp_path)
        assert "How leaves eat light   1 min" in told
        assert "Volcanoes              3 min" in told
        assert "holds it already" in told


def test_command_is_installed(python, tmp_path):
    """The console script runs, and tells in one line what is wrong with a store URL."""
    script = python.with_name("caliper-readtime")
    assert "demo" in run(script, "--help", cwd=tmp_path)
    wrong = subprocess.run(
        [script, "demo", "--store", "ftp://user:hunter2@h/x"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert wrong.returncode == 1
    assert "unknown scheme 'ftp'" in wrong.stderr
    assert "hunter2" not in wrong.stderr
    assert len(wrong.stderr.splitlines()) == 1


def test_demo_serves_from_the_wheel(python, flask, tmp_path):
    """Without Flask one line says what to install; with it, and away from the checkout, every file is served."""
    bare = subprocess.run(
        [python, "-m", "caliper_readtime", "demo", "--serve"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (bare.returncode, bare.stderr.count("\n")) == (1, 1)
    assert "pip install 'caliper-readtime[flask]'" in bare.stderr
    code = (
        "import urllib.request as r; from caliper_readtime._demo.served import Served;"
        "s = Served(); names = 'panels.css panels.js timeline.js article.css leaf.svg'.split();"
        "pages = ['', 'article', 'elsewhere', *('static/' + name for name in names)];"
        "print([r.urlopen(s.url + page).status for page in pages]); s.__exit__()"
    )
    assert run(flask, "-c", code, cwd=tmp_path).strip() == str([200] * 8)


def test_a_host_tests_with_the_plugin(flask, tmp_path, monkeypatch):
    """pytest finds the installed plugin by itself, and what the page about tests shows passes, pasted into a file."""
    page = (ROOT / "docs" / "how-to" / "test-your-app.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (tmp_path / "test_mine.py").write_text("\n".join(blocks), encoding="utf-8")
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)  # ours ask for what a host may not have
    told = run(flask, "-m", "pytest", "-W", "error", cwd=tmp_path)
    assert "plugins: caliper-readtime-" in told
    assert re.search(r"^=+ (4 passed, 1 skipped|5 passed) in", told, re.MULTILINE)  # one needs a Redis


def test_import_is_light(python, tmp_path):
    """Importing the package loads no web framework, and neither redis nor requests before they are used."""
    code = (
        "import sys, caliper_readtime;"
        "print(sorted({'redis','requests','tenacity','django','flask','pytest','authlib'} & set(sys.modules)))"
    )
    assert run(python, "-c", code, cwd=tmp_path).strip() == "[]"
