"""The notebook that explains an incident runs from top to bottom, and shows what it says that it shows."""

from __future__ import annotations

import base64
import os
import subprocess
import sys

import nbformat
import pytest

from tests.recipes.notebook import NOTEBOOK, PICTURE, ROOT, outputs

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def notebook(tmp_path_factory):
    """The notebook, executed. In a process of its own: what Jupyter leaves open would haunt later tests."""
    home = tmp_path_factory.mktemp("home")
    mine = {"HOME": home, "IPYTHONDIR": home, "MPLCONFIGDIR": home, "JUPYTER_CONFIG_DIR": home}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.recipes.notebook"],
        cwd=ROOT,
        env={**os.environ, **mine, "JUPYTER_RUNTIME_DIR": home, "JUPYTER_DATA_DIR": home, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return nbformat.reads(ran.stdout, nbformat.NO_CONVERT)


def test_it_shows_tables_and_two_timelines(notebook):
    """Tracker, explanation, state, sweep and report draw themselves; the timeline stands before and after the cure."""
    captions = [html.partition("<caption>")[2].partition("<")[0] for html in outputs(notebook, "text/html")]
    assert captions == ["Tracker", "Explanation", "Read time", "", "Sweep", "Report"]  # the fourth is a data frame
    pictures = [base64.b64decode(picture) for picture in outputs(notebook, "image/png")]
    assert len(pictures) == 2
    assert all(picture.startswith(PNG) and len(picture) > 5_000 for picture in pictures)
    assert pictures[0] != pictures[1]


def test_it_finds_the_difference(notebook):
    """Events and state differ by the event whose answer was lost, and agree once everything is healed."""
    said = "".join(output["text"] for cell in notebook.cells for output in cell.get("outputs", ()) if "text" in output)
    assert "11 minutes would be paid" in said
    assert "5 deliveries of 4 events; 18 minutes would be paid" in said
    (places,) = [text for text in outputs(notebook, "text/plain") if "set aside" in text]
    for place in ("arrived': 300.0", "does not know': 360.0", "set aside': 240.0", "by anybody': 180.0"):
        assert place in places


def test_it_warns_of_nothing_and_tells_no_address(notebook):
    """No cell writes to standard error, and no output has an e-mail address."""
    shown = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    assert len(shown) >= 8
    assert [output for output in shown if output.get("name") == "stderr"] == []
    told = [text for kind in ("text/html", "text/plain") for text in outputs(notebook, kind)]
    assert not any("@example.org" in text for text in told)


def test_it_is_stored_with_its_outputs(notebook):
    """Whoever opens it sees what it puts out, and another run changes nothing: ``--write`` has stored this very one."""
    stored = nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)
    nbformat.validate(stored)
    for cell, ran in zip(stored.cells, notebook.cells, strict=True):
        assert cell.source == ran.source
        # Pictures and data frames are drawn by others' releases.
        assert without_pictures(cell) == without_pictures(ran), "run python -m tests.recipes.notebook --write"
    assert len([cell for cell in stored.cells if cell.get("execution_count")]) > 10


def without_pictures(cell):
    """A cell's outputs, of pictures and data frames only that they are there."""
    shown = []
    for output in cell.get("outputs", ()):
        data = dict(output.get("data", {}))
        if "image/png" in data or "dataframe" in data.get("text/html", ""):
            data = dict.fromkeys(data)
        shown.append((output.output_type, output.get("execution_count"), output.get("text"), data))
    return shown


def test_the_page_shows_its_picture():
    """The how-to page shows the timeline, and leads to the notebook."""
    page = (ROOT / "docs" / "how-to" / "explain-an-incident.md").read_text(encoding="utf-8")
    assert f"]({PICTURE.name})" in page
    assert f"](../examples/{NOTEBOOK.name})" in page
    assert PICTURE.read_bytes().startswith(PNG)
