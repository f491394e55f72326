"""Follows a quickstart as a stranger would: writes its files, runs its commands in order, reads its page."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from html.parser import HTMLParser
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urljoin
from uuid import uuid4

import requests

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "quickstart"
BLOCK = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)
#: Above what a path of the running server shows.
SHOWN_AT = re.compile(r"open <http://127\.0\.0\.1:\d+(/\S+)>:$")
FILE = re.compile(r"(Write|Append to) `([\w./]+)`:$")
#: The command that serves the pages: it goes on until the reader has read.
SERVES = re.compile(r"^(flask run --port|python manage\.py runserver|uvicorn app:app --port) (\d+)$", re.MULTILINE)
INSTALLS = re.compile(r"^(python3 -m venv|pip install) .*\n", re.MULTILINE)
START_SECONDS = 60.0  # only a hang ever waits so long


class Block(NamedTuple):
    """A fenced block, and the line above it."""

    before: str
    language: str
    text: str


def blocks(page):
    """All blocks of a page, in its order."""
    return [Block(**found.groupdict()) for found in BLOCK.finditer(page.read_text("utf-8"))]


class Followed:
    """A page, followed in a folder; ``said`` is what its last command has put out."""

    def __init__(self, page, folder, *, installs=False, environ=None):
        self.page, self.folder, self.installs = page, folder, installs
        self.said = ""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
        path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
        self._environ = {**kept, "PATH": path, **({} if installs else {"PYTHONPATH": str(ROOT)}), **(environ or {})}
        if installs:
            self._environ.pop("PYTHONPATH", None)
        self._serving = ExitStack()

    def follow(self):
        """Do all that the page says, and compare what it shows."""
        with self._serving:
            for block in blocks(self.page):
                if file := FILE.search(block.before):
                    self._write(*file.groups(), block.text)
                elif block.language == "sh":
                    self._run(block.text)
                elif block.language == "text":
                    if at := SHOWN_AT.search(block.before):
                        self.said = requests.get(self._url + at[1], timeout=START_SECONDS).text
                    shows(self.said, block.text)
                else:
                    raise AssertionError(
                        f"{self.page.name}: {block.language!r} below {block.before!r}: neither file nor command"
                    )

    def _write(self, how, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w" if how == "Write" else "a", encoding="utf-8") as file:
            file.write(text)

    def _shell(self, text):
        # Each of our shells is new; the reader's has the environment active since its first block.
        active = ". .venv/bin/activate\n" if (self.folder / ".venv").exists() else ""
        return ["bash", "-ec", active + text]

    def _run(self, text):
        if not self.installs:
            text = INSTALLS.sub("", text).replace(". .venv/bin/activate\n", "")
        if serves := SERVES.search(text):
            self._serve(SERVES.sub(rf"exec \1 {self._port(serves[2])}", text))
            return
        ran = subprocess.run(
            self._shell(text), cwd=self.folder, env=self._environ, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, f"{text}{ran.stdout}{ran.stderr}"
        self.said = ran.stdout

    def _port(self, shown):
        with socket.create_server(("127.0.0.1", 0)) as free:
            self._url = f"http://127.0.0.1:{free.getsockname()[1]}"
        self._path = re.search(rf"Open <http://127\.0\.0\.1:{shown}(/\w+/?)>", self.page.read_text("utf-8"))[1]
        return self._url.rpartition(":")[2]

    def _serve(self, command):
        with (self.folder / "served.log").open("w") as log:
            server = subprocess.Popen(self._shell(command), cwd=self.folder, env=self._environ, stdout=log, stderr=log)
        self._serving.callback(server.wait)
        self._serving.callback(server.terminate)
        until = time.monotonic() + START_SECONDS
        while not _answers(self._url):
            assert server.poll() is None, (self.folder / "served.log").read_text()
            assert time.monotonic() < until, "the server never answered"
            time.sleep(0.05)
        read(self._url + self._path, self.folder)


def _answers(url):
    with suppress(requests.ConnectionError):
        return requests.get(f"{url}/readtime/health", timeout=START_SECONDS).status_code == 200
    return False


def shows(said, shown):
    """Each line that a page shows is a line of what was put out, in that order; ``…`` stands for anything."""
    lines = iter(said.splitlines())
    for line in shown.splitlines():
        pattern = ".*".join(map(re.escape, line.split("…")))
        assert any(re.fullmatch(pattern, one) for one in lines), f"{line!r} is not in:\n{said}"


class Tags(HTMLParser):
    """A page's first form with its fields, and the attributes of the script's tag."""

    def __init__(self, text):
        super().__init__()
        self.fields, self.script = None, None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        if tag == "form" and self.fields is None:
            self.fields = {}
        if tag in ("input", "button") and self.fields is not None and attrs.get("name"):
            self.fields.setdefault(attrs["name"], attrs.get("value", ""))
        if "data-ticket" in attrs:
            self.script = attrs


def arrived(folder):
    """How many events have arrived."""
    file = folder / "events.jsonl"
    return file.read_bytes().count(b"\n") if file.exists() else 0


def read(url, folder):
    """Be the reader and the browser: log in where the page asks for it, read for four seconds, log out, and leave."""
    session, before = requests.Session(), arrived(folder)
    answer = session.get(url, timeout=START_SECONDS)
    found = Tags(answer.text)
    assert found.script is None, "nobody has logged in"
    answer = session.post(
        answer.url,
        data={**found.fields, "username": "u1", "password": "green-leaves"},
        headers={"Referer": answer.url, "Origin": url[: url.index("/", 8)]},
        timeout=START_SECONDS,
    )
    answer.raise_for_status()
    tag = Tags(answer.text).script
    assert "private" in answer.headers["Cache-Control"]
    assert session.get(urljoin(url, tag["src"]), timeout=START_SECONDS).status_code == 200
    session.cookies.clear()
    view = str(uuid4())
    for seconds, more in ((2, {}), (4, {"l": True})):
        said = {"s": 1, "k": tag["data-ticket"], "v": view, "t": seconds * 1000, **more}
        headers = {"Content-Type": "text/plain", "Origin": url[: url.index("/", 8)]}
        sent = session.post(
            urljoin(url, tag["data-url"]), data=json.dumps(said), headers=headers, timeout=START_SECONDS
        )
        assert sent.status_code in (200, 204), sent.text
    until = time.monotonic() + START_SECONDS
    while arrived(folder) == before:
        assert time.monotonic() < until, "no event has arrived"
        time.sleep(0.05)
