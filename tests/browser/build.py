"""Builds the module form and the minified form of the page's script: ``python -m tests.browser.build``."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path

WEB = Path(__file__).parents[2] / "caliper_readtime" / "web"
SOURCE = WEB / "readtime.js"
MODULE = WEB / "readtime.mjs"
MINIFIED = WEB / "readtime.min.js"
#: The part for video and audio, and its minified form.
MEDIA, MINIFIED_MEDIA = WEB / "readtime-media.js", WEB / "readtime-media.min.js"
TYPES = WEB / "readtime.d.ts"
#: The minifier and all that it needs, pinned by hash.
PINNED = Path(__file__).parent / "minify"


def module():
    """The module form: the same text, and what it exports."""
    return SOURCE.read_text(encoding="utf-8") + "\nexport const { start, stop, touch, playing } = readtime;\n"


def minified():
    """The minified forms of the script and of its part for media, by the pinned minifier.

    Raises:
        FileNotFoundError: there is no npm.
        CalledProcessError: the minifier could not be installed, or it does not like the source.
    """
    npm = shutil.which("npm")
    if npm is None:
        raise FileNotFoundError("npm is needed to minify the script")
    with tempfile.TemporaryDirectory() as home:
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINNED / name, home)
        _run(home, npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
        terser = Path(home, "node_modules", ".bin", "terser")
        return [_run(home, terser, source, "--ecma", "2020", "-c", "-m") for source in (SOURCE, MEDIA)]


def _run(home, *command):
    told = [str(part) for part in command]
    return subprocess.run(told, cwd=home, check=True, capture_output=True, text=True, encoding="utf-8").stdout


if __name__ == "__main__":
    MODULE.write_text(module(), encoding="utf-8")
    for path, text in zip((MINIFIED, MINIFIED_MEDIA), minified(), strict=True):
        path.write_text(text, encoding="utf-8")
