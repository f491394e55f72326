"""Runs the example notebook; ``python -m tests.recipes.notebook --write`` stores its outputs and the page's picture."""

from __future__ import annotations

import base64
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from traitlets.config import Config

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "docs" / "examples" / "explain_an_incident.ipynb"
PICTURE = ROOT / "docs" / "how-to" / "explain-an-incident.png"
#: What is drawn at random there is the same in every run, or each would change the stored outputs.
SEED = """
import random, types
import caliper_readtime._delivery.lease as lease
import caliper_readtime._tracker as tracker
tracker.os = types.SimpleNamespace(urandom=random.Random(1).randbytes)
lease._RANDOM = random.Random(2)
"""
SECONDS = 300  # far beyond what a busy machine needs; a hang must end somewhere


def executed(path=NOTEBOOK):
    """The notebook with what its cells have put out; the first cell that fails raises."""
    notebook = nbformat.read(path, nbformat.NO_CONVERT)
    seed = nbformat.v4.new_code_cell(SEED)
    notebook.cells.insert(0, seed)
    # Over sockets in a directory of its own: no port can be taken by others, and nobody else can connect. Such a
    # socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="nb", dir="/tmp") as folder:
        config = Config({"KernelManager": {"transport": "ipc", "ip": f"{folder}/k"}})
        NotebookClient(
            notebook,
            config=config,
            kernel_name="python3",
            timeout=SECONDS,
            startup_timeout=SECONDS,
            record_timing=False,
        ).execute()
    notebook.cells.remove(seed)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.execution_count -= 1
            for output in cell.outputs:
                if "execution_count" in output:
                    output.execution_count -= 1
    del notebook.metadata.language_info["version"]
    return notebook


def outputs(notebook, kind):
    """Everything of a MIME type that the cells have put out, in order."""
    return [
        output["data"][kind]
        for cell in notebook.cells
        for output in cell.get("outputs", ())
        if kind in output.get("data", {})
    ]


if __name__ == "__main__":
    done = executed()
    if sys.argv[1:] == ["--write"]:
        PICTURE.write_bytes(base64.b64decode(outputs(done, "image/png")[0]))
        NOTEBOOK.write_text(nbformat.writes(done) + "\n", encoding="utf-8")
    else:
        print(nbformat.writes(done))
