"""A quickstart, pasted block by block into an empty folder, ends with seconds in the store and at the endpoint."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from caliper_readtime import __version__
from tests.packaging.quickstarts import FOLDER, ROOT, Followed, blocks, shows

#: The pages, and what becomes of each: the seconds that its reader has read.
PAGES = {"flask": 4, "django": 4, "fastapi": 4, "python": 2}


def test_every_quickstart_is_followed():
    """No page of the folder is left out but the list of them."""
    assert {path.stem for path in FOLDER.glob("*.md")} == {*PAGES, "index"}


@pytest.mark.parametrize("page", PAGES)
def test_a_quickstart_can_be_pasted(page, tmp_path):
    """Its files and commands, in its order, do what it shows, with this checkout in place of what it installs."""
    follow(page, tmp_path)


def follow(page, folder, **how):
    followed = Followed(FOLDER / f"{page}.md", folder, **how)
    followed.follow()
    if page != "python":  # whose own output says what its endpoint has
        (event,) = map(json.loads, (folder / "events.jsonl").read_text("utf-8").splitlines())
        assert [item["value"] for item in event["generated"]["items"]] == [PAGES[page]]
        assert event["actor"]["email"] == "anna@example.org"
        assert event["object"]["activity"]["name"] == "How leaves eat light"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The built wheel's folder."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", out, ROOT], check=True, capture_output=True)
    return out


@pytest.mark.proof
@pytest.mark.parametrize("page", PAGES)
def test_a_stranger_follows_a_quickstart(page, wheel, tmp_path):
    """The same with its own commands for the environment, which install the wheel of this checkout."""
    wanted = tmp_path / "constraint.txt"
    wanted.write_text(f"caliper-readtime=={__version__}\n", encoding="utf-8")
    (tmp_path / "site").mkdir()
    follow(
        page, tmp_path / "site", installs=True, environ={"PIP_CONSTRAINT": str(wanted), "PIP_FIND_LINKS": str(wheel)}
    )


@pytest.mark.parametrize(
    ("page", "wall", "forged"),
    [
        ("flask", "def login_wall", "CSRFProtect(app)"),
        ("django", "LoginRequiredMiddleware", "django-admin startproject"),  # whose settings have the middleware
        ("fastapi", "def wall", "This form is of another site."),
    ],
)
def test_what_surrounds_a_page_stands_in_it(page, wall, forged):
    """Each page with pages has a login wall, a check against forged forms, and the function that finds a reader."""
    text = "".join(block.text for block in blocks(FOLDER / f"{page}.md"))
    assert wall in text
    assert forged in text
    assert "def find_reader(sourced_id):" in text


def test_what_is_not_shown_is_noticed():
    """The right output passes, with anything for an ellipsis; a missing line and a wrong order do not."""
    shows("one\ntwo 2 s\n", "one\ntwo … s\n")
    for said in ("one\n", "two 2 s\none\n"):
        with pytest.raises(AssertionError):
            shows(said, "one\ntwo … s\n")
